"""The comparison of a retrained model with the one before, for people."""

from pathlib import Path
from typing import Any

from rarefault.train.evaluation.metrics import HEADLINES


def comparison_rows(retraining: dict[str, Any]) -> list[tuple[str, list[float | None]]]:
    """Name and values of each row of a table: old validation before and after, new test before and after."""
    columns = [
        retraining[part][when] if retraining[part] else None
        for part in ("old_validation", "new_test")
        for when in ("before", "after")
    ]
    rows = [(line.title, [column[line.key] if column else None for column in columns]) for line in HEADLINES]
    rows += [
        (f"{word} of {name}", [column["classes"][name][key] if column else None for column in columns])
        for name in retraining["old_validation"]["before"]["classes"]
        for word, key in (("F1", "f1"), ("recall", "recall"))
    ]
    return rows


def refusal(retraining: dict[str, Any], out: Path) -> str:
    """Why a retrained model is not accepted."""
    return (
        f"the retrained model is not accepted: {'; '.join(retraining['reasons'])}. Look at the labels of the new data, "
        f"raise the limit if that is wanted, or train anew on all data; {out} stays to look at and is not exported"
    )
