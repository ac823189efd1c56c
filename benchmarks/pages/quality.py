"""Tables and chart of ``quality.json``: what every method scores on the same blocks."""

from collections.abc import Callable
from typing import Any

from benchmarks.pages.chart import Panel, panels
from benchmarks.pages.markdown import average, commit, number, spread, table
from benchmarks.quality.summary import Entry, Summary

TITLES = {
    "plant31-day": "PHM 2015 plant 31, blocks of a day",
    "plant31-week": "PHM 2015 plant 31, blocks of a week",
    "tep-runs": "Tennessee Eastman, standard training and test runs",
    "tep-simulated-plants": "Tennessee Eastman, simulated plants with rare faults",
}
#: With more classes than this, a column for each makes no table that one can read.
MOST_CLASSES = 8
OURS = "rarefault"
#: Networks that differ in the recipe alone, by the column's heading.
RECIPES = {
    "plain loss": "LR-ConvLSTM plain",
    "class weights": "LR-ConvLSTM weighted only",
    "under-sampling": "LR-ConvLSTM under-sampled only",
    "both (the recipe)": "LR-ConvLSTM full recipe",
    "SMOTE": "LR-ConvLSTM SMOTE",
}


def markdown(summary: Summary) -> str:
    """All tables of all problems, as the benchmark prints them."""
    parts = []
    for key, about in summary.items():
        parts += [f"## {TITLES[key]}", f"{about['windows']:,} windows."]
        parts += [text for make in _TABLES if (text := make(summary, key))]
    return "\n\n".join(parts) + "\n" if parts else "Nothing is complete yet.\n"


def windows(summary: Summary, key: str) -> str:
    """How much was judged."""
    about = summary[key]
    folds = "one fold" if about["folds"] == 1 else f"{about['folds']} folds"
    return f"{about['windows']:,} windows were judged, in {folds}."


def scores(summary: Summary, key: str) -> str:
    """What a method is worth as a whole."""
    heads = ["method", "macro-F1", "macro recall", "macro PR-AUC", "calibration error", "log loss", "seconds", "seeds"]

    def row(name: str, entry: Entry) -> list[str]:
        cells = [spread(entry[key], 3) for key in ("macro_f1", "macro_recall", "macro_average_precision")]
        cells += [number(entry["calibration_error"][0], 3), number(entry["log_loss"][0], 2)]
        return [_bold(name), *cells, number(entry["seconds"], 0), str(entry["seeds"])]

    return table(heads, [row(*item) for item in summary[key]["methods"].items()])


def f1(summary: Summary, key: str) -> str:
    """F1 of each class."""
    return _by_class(summary, key, "F1", lambda entry: entry["f1"])


def recall(summary: Summary, key: str) -> str:
    """Recall of each class."""
    return _by_class(summary, key, "recall", lambda entry: entry["recall"])


def budget(summary: Summary, key: str) -> str:
    """What a budget of one false alarm per device and day leaves."""
    classes = _classes(summary, key)[1:]  # no alarm is raised for normal
    heads = ["method", "false alarms per device-day", "macro-F1", *(f"recall {name}" for name in classes)]
    rows = []
    for name, entry in summary[key]["methods"].items():
        of = entry["budget"]
        cells = [spread(of["false_alarms"], 2), spread(of["macro_f1"], 3)]
        rows.append([_bold(name), *cells, *(number(of["recall"][c][0], 2) for c in classes)])
    return table(heads, rows)


def alarms(summary: Summary, key: str) -> str:
    """What the alarms are worth, where that has been measured."""
    heads = [
        "method", "false alarms per device-day", "alarm changes per device-day", "events", "events detected", "seeds",
    ]  # fmt: skip
    rows = []
    for name, entry in summary[key]["methods"].items():
        if of := entry.get("alarms"):
            detected = f"{of['events_alarmed'][0]:,.0f} ({of['events_alarmed'][0] / of['events']:.0%})"
            cells = [spread(of["false_alarms"], 3), spread(of["changes"], 2), f"{of['events']:,}", detected]
            rows.append([_bold(name), *cells, str(of["seeds"])])
    return table(heads, rows) if rows else ""


def coverage(summary: Summary, key: str) -> str:
    """How much of an event has its class in the prediction set."""
    classes = _classes(summary, key)
    rows = []
    for name, entry in summary[key]["methods"].items():
        cells = [_covered(entry["coverage"].get(c)) for c in classes]
        if any(cell != "–" for cell in cells):
            rows.append([_bold(name), *cells])
    return table(["method", *classes], rows) if rows else ""


def assignments(summary: Summary, key: str) -> str:
    """The same blocks assigned to the folds otherwise."""
    classes = _classes(summary, key)
    heads = [
        "method",
        "assignment",
        "macro-F1",
        "calibration error",
        "false alarms",
        *(f"coverage {c}" for c in classes),
    ]
    rows = []
    for name, entry in summary[key]["methods"].items():
        measured = [
            [one["macro_f1"], one["calibration_error"], one["false_alarms"], *(one["coverage"].get(c) for c in classes)]
            for one in entry.get("fold_assignments", {}).values()
        ]
        if measured:
            means = [average(column) for column in zip(*measured, strict=True)]
            for label, values in zip([*entry["fold_assignments"], "mean"], [*measured, means], strict=True):
                rows.append([_bold(name), label, *(number(value, 3) for value in values)])
    return table(heads, rows) if rows else ""


def recipe(summary: Summary) -> str:
    """The imbalance recipe, in networks without trees and filter."""
    rows = []
    for key in summary:
        mine = summary[key]["methods"]
        for label, name in (("as decided", "macro_f1"), ("largest log-probability", "macro_f1_plain")):
            cells = [spread(mine[m][name], 3) if m in mine else "–" for m in RECIPES.values()]
            rows.append([TITLES[key], label, *cells])
    return table(["data", "macro-F1", *RECIPES], rows, words=2)


def gain(summary: Summary) -> str:
    """How far the log loss of a method is below that of another one on the same blocks."""
    rows = []
    for key, about in summary.items():
        for name, entry in about["methods"].items():
            if of := entry.get("gain"):
                low, high = of["interval"]
                cells = [f"{of['log_loss'][0]:.1%}", f"{low:.1%} to {high:.1%}", str(of["blocks"]), str(entry["seeds"])]
                rows.append([TITLES[key], f"{name}, over {of['over']}", *cells])
    heads = ["data", "method", "log loss lower by", "90 % interval over blocks", "blocks", "seeds"]
    return table(heads, rows, words=2) if rows else ""


def headline(summary: Summary) -> str:
    """Macro-F1 of every method on all data, for a front page."""
    methods = _methods(summary)
    rows = [[_bold(name), *(_score(about["methods"].get(name)) for about in summary.values())] for name in methods]
    return table(["macro-F1", *(TITLES[key] for key in summary)], rows)


def commits(summary: Summary) -> str:
    """Which code and which machine each entry is of."""
    rows = []
    for key, about in summary.items():
        for name, entry in about["methods"].items():
            short = ", ".join(map(commit, entry["commits"]))
            rows.append([TITLES[key], _bold(name), short, "; ".join(entry["machines"])])
    return table(["data", "method", "commits", "machines"], rows, words=4)


def chart(summary: Summary) -> str:
    """Macro-F1 of every method, a panel for each data set, as SVG."""
    methods = _methods(summary)
    columns = [
        Panel(TITLES[key], [(about["methods"].get(name) or {"macro_f1": [None]})["macro_f1"][0] for name in methods])
        for key, about in summary.items()
    ]
    return panels("Macro-F1 of every method", methods, columns, mine={OURS, f"{OURS} without network"})


def _by_class(summary: Summary, key: str, head: str, of: Callable[[Entry], dict[str, list[float]]]) -> str:
    classes = _classes(summary, key)
    if not classes:
        return ""
    rows = [
        [_bold(name), *(number(of(entry)[c][0], 2) for c in classes)] for name, entry in summary[key]["methods"].items()
    ]
    return table([head, *classes], rows)


def _methods(summary: Summary) -> list[str]:
    """All methods, in the order of the data set that has most of them."""
    longest_first = sorted(summary.values(), key=lambda about: -len(about["methods"]))
    return list(dict.fromkeys(name for about in longest_first for name in about["methods"]))


def _classes(summary: Summary, key: str) -> list[str]:
    """The classes that the tested windows have, where they are few enough to show."""
    there = list(next(iter(summary[key]["methods"].values()))["f1"])
    return there if len(there) <= MOST_CLASSES else []


def _covered(of: dict[str, Any] | None) -> str:
    if of is None:
        return "–"
    error = f" ± {of['standard_error']:.3f}" if "standard_error" in of else ""
    return number(of["by_event"][0], 3) + error


def _score(entry: Entry | None) -> str:
    return "–" if entry is None else spread(entry["macro_f1"], 3)


def _bold(name: str) -> str:
    return f"**{name}**" if name.startswith(OURS) else name


_TABLES = (scores, f1, recall, budget, alarms, coverage, assignments)
