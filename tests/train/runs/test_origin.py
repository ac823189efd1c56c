"""What a training begins with."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from rarefault.runtime.inference.manifest import Derived
from rarefault.train.runs.origin import Origin


def test_notes_name_derived_inputs() -> None:
    """A derived input that never changes is named like a channel that does not."""
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    rows[:, 2] = 0
    train: Any = SimpleNamespace(windows=SimpleNamespace(rows=rows))
    config: Any = SimpleNamespace(
        model=SimpleNamespace(network=False), grid=SimpleNamespace(chosen=(Derived("flow", "still"),))
    )
    origin = Origin(cast("Any", SimpleNamespace(history=SimpleNamespace(channels=("flow", "speed")))))
    (note,) = origin.networks(config, train, None).notes
    assert Derived("flow", "still").name in note
