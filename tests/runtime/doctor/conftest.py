"""Fixtures of the doctor."""

import pytest

from rarefault.runtime.doctor import identity


@pytest.fixture(autouse=True)
def short_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Holds the daemon's id for a moment only: that it is held long enough is tested with the daemon's names."""
    monkeypatch.setattr(identity, "HOLD_S", 0.3)
