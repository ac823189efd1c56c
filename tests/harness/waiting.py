"""Waiting for what must happen."""

import time
from collections.abc import Callable

import pytest

#: How long a test waits for what must happen, seconds; generous, because machines are shared.
PATIENCE_S = 30.0


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds; the test fails where it does not in time."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {PATIENCE_S:g} s in vain for: {what}")
        time.sleep(0.005)
