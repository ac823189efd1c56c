"""Where one device has most of the false alarms, a person is told."""

from typing import Any

import msgspec
import pytest

from rarefault.train.evaluation.event_scores import device_notes
from rarefault.train.evaluation.metrics import Scores


def scores_of(by_device: dict[str, int]) -> Scores:
    """Scores with false alarms, those with most first."""
    plain: dict[str, Any] = {field.name: 0 for field in msgspec.structs.fields(Scores) if field.required}
    plain |= {"classes": {}, "absent": [], "confusion": [], "lowest_recall_class": None}
    plain |= {"reliability": [], "fault_reliability": []}
    plain |= {"false_alarms": sum(by_device.values()), "false_alarms_by_device": by_device}
    return msgspec.convert(plain, Scores)


@pytest.mark.parametrize(
    ("by_device", "devices"), [({}, 6), ({"a": 2, "b": 1}, 6), ({"a": 4, "b": 4}, 6), ({"a": 6, "b": 1}, 2)]
)
def test_few_or_shared_false_alarms_are_no_news(by_device: dict[str, int], devices: int) -> None:
    """Less than five, no majority, or a fleet of two."""
    assert device_notes(scores_of(by_device), devices) == []


def test_the_device_with_most_is_named() -> None:
    """With its number and that of all."""
    (note,) = device_notes(scores_of({"pump-3": 7, "pump-1": 2}), 6)
    assert note == "pump-3 has 7 of the 9 false alarms of the test blocks: see whether it is unlike the others"
