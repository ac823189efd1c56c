"""Tables and charts of ``learning_curve.json``: what a model scores by the days of its history."""

from statistics import fmean, mean
from typing import Any

from benchmarks.pages.chart import Curves, curves
from benchmarks.pages.markdown import number, spread, table

Result = dict[str, Any]
Rows = list[dict[str, Any]]
#: What a model has, by the key of the result.
EXPERTS = {"network": "network alone", "trees": "trees alone", "both": "both, pooled"}
SCORES = {"macro_f1": "macro-F1", "log_loss": "log loss"}


def scores(of: Result, data: str, score: str) -> str:
    """A row for each amount of history, a column for what a model has; a dash where that has not been run."""
    rows = []
    for size in _sizes(of, data):
        cells = [_values(of, data, size, experts, score) for experts in EXPERTS]
        texts = ["–" if not cell else spread(_spread(cell), 3) for cell in cells]
        rows.append([number(_days(of, data, size), 0), *texts, str(max(len(cell) for cell in cells))])
    if not rows:
        return "Nothing has been run yet."
    return table(
        ["days of history", *(f"{SCORES[score]}, {name}" for name in EXPERTS.values()), "seeds"], rows, words=0
    )


def chart(of: Result, data: str) -> str:
    """Both scores, means over the seeds."""
    sizes = _sizes(of, data)
    columns = [
        Curves(
            title,
            {
                name: [mean(found) if (found := _values(of, data, size, experts, score)) else None for size in sizes]
                for experts, name in EXPERTS.items()
            },
        )
        for score, title in SCORES.items()
    ]
    days = [number(_days(of, data, size), 0) for size in sizes]
    return curves(f"macro-F1 and log loss by the days of history, {data}", days, "days of history", columns)


def _sizes(of: Result, data: str) -> list[float]:
    return sorted({row["history"] for row in of["rows"] if row["data"] == data})


def _days(of: Result, data: str, size: float) -> float:
    return fmean(row["days"] for row in of["rows"] if row["data"] == data and row["history"] == size)


def _values(of: Result, data: str, size: float, experts: str, score: str) -> list[float]:
    key = {"data": data, "history": size, "experts": experts}
    return [row[score] for row in of["rows"] if all(row[name] == value for name, value in key.items())]


def _spread(values: list[float]) -> list[float]:
    return [mean(values), min(values), max(values)] if len(values) > 1 else values
