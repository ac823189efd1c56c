"""Notes in groups, with a note as the trainer writes it for each."""

import pytest

from rarefault.train.history.notes import UNKNOWN_LABELS
from rarefault.train.report.notes import GRAVE, OTHERS, counted, grouped, is_grave


@pytest.mark.parametrize(
    ("note", "group"),
    [
        ("class leak has no window in the train blocks: the model cannot learn it", GRAVE),
        ("fault a is the label of 60% of the training windows: no rare fault; look for events", GRAVE),
        ("channel code gives fault a away: its value 3 comes with 99% of its training windows", GRAVE),
        (f"7 {UNKNOWN_LABELS} (first: a.csv:3)", GRAVE),
        ("class leak has no window in the test blocks: it cannot be scored there", "few events"),
        ("fewer than 9 held-out events of fault_1 (4): a coverage of 0.9 cannot be stated of them", "few events"),
        ("fewer events than the 5 folds: leak (1); some parts hold none of these", "few events"),
        ("2 event(s) last longer than a block of 1 days and are cut at block borders", "blocks"),
        ("channel(s) that never change in the training blocks: lamp; they stay inputs", "channels"),
        ("97% of the samples come within 3 s of a border of the grid's bins", "channels"),
        ("39 duplicate rows, dropped (first: plant_1a.csv:87)", "files"),
        ("the log names the unit of too few events to look for a fault there", "units"),
        (
            "further training made the network worse on the validation blocks: the weights of the earlier run",
            "decision",
        ),
        ("something new", OTHERS),
    ],
)
def test_each_note_has_a_group(note: str, group: str) -> None:
    assert list(grouped([note])) == [group]
    assert is_grave(note) == (group == GRAVE)


def test_they_are_counted() -> None:
    """The gravest group first, whatever the order."""
    notes = [
        "39 duplicate rows, dropped",
        "class a has no window in the train blocks: the model cannot learn it",
        "new",
    ]
    assert counted(notes) == f"3: 1 about {GRAVE}, 1 about files, 1 about others"
