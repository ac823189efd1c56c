"""Rows of results and the table in Markdown."""

from collections.abc import Iterable
from dataclasses import replace
from statistics import mean
from typing import Any

from benchmarks.quality.cache import Cache, Result, Task
from benchmarks.quality.prediction import score
from benchmarks.quality.protocol import PROBLEMS

Row = dict[str, Any]
#: Columns of every table: heading, key in the row, digits.
COLUMNS = (
    ("macro-F1", "macro_f1", 3),
    ("macro recall", "macro_recall", 3),
    ("lowest recall", "lowest_recall", 2),
    ("macro PR-AUC", "macro_average_precision", 3),
    ("calibration error", "calibration_error", 3),
)
#: With more classes than this, a column for each makes no table that one can read.
MOST_CLASSES = 8
TITLES = {
    "plant31-day": "PHM 2015 plant 31, blocks of a day",
    "plant31-week": "PHM 2015 plant 31, blocks of a week",
    "tep-runs": "Tennessee Eastman, standard training and test runs",
}


def make_rows(cache: Cache, tasks: Iterable[Task]) -> tuple[list[Row], list[Task]]:
    """A row for each problem, dealing, method and seed whose tasks are all done, and the tasks that are missing."""
    groups: dict[Task, list[Task]] = {}
    for task in tasks:
        groups.setdefault(replace(task, fold=0), []).append(task)
    rows, missing = [], []
    for first, members in groups.items():
        results = [cache.current(task) for task in members]
        there = [result for result in results if result is not None]
        missing += [task for task, result in zip(members, results, strict=True) if result is None]
        if len(there) == len(members):
            rows.append(_row(first, there))
    return rows, missing


def _row(task: Task, results: list[Result]) -> Row:
    """Folds are judged together: each window of the data has one verdict."""
    problem, method = task.of
    about: Row = {
        "data": problem.data,
        "protocol": problem.protocol,
        "dealing": task.dealing,
        "method": method.name,
        "seed": task.seed,
        "folds": len(results),
    }
    about |= score([r.judged for r in results if r.judged is not None], results[0].classes)
    notes = [r.prediction.notes for r in results if r.prediction.notes]
    if notes:
        about["notes"] = {key: [n[key] for n in notes] for key in notes[0]}
    about["seconds"] = round(sum(r.seconds for r in results), 1)
    about["commit"] = ", ".join(dict.fromkeys(r.commit for r in results))
    about["machine"] = ", ".join(dict.fromkeys(r.machine for r in results))
    return about


def markdown(rows: list[Row]) -> str:
    """Tables for each problem: scores, false alarms and coverage; and what other dealings of its blocks gave."""
    parts = []
    for problem in PROBLEMS.values():
        dealt = [row for row in rows if (row["data"], row["protocol"]) == (problem.data, problem.protocol)]
        mine = [row for row in dealt if row["dealing"] == 0]
        if mine:
            folds = mine[0].get("folds", problem.folds)  # rows had no such field once
            of = "" if folds == problem.folds else f" of the first {folds} of {problem.folds} folds"
            windows = f"{mine[0]['windows']:,} windows{of}."
            parts += [f"## {TITLES[problem.key]}", windows, _main_table(mine), _budget_table(mine)]
            if alarmed := [row for row in mine if "alarms" in row]:
                parts.append(_alarms_table(alarmed))
            if any(row["coverage"] for row in mine):
                parts.append(_coverage_table(mine))
            if len(dealt) > len(mine):
                parts.append(_dealings_table(dealt))
    if not parts:
        return "Nothing is complete yet.\n"
    return "\n\n".join(parts) + "\n"


def _main_table(rows: list[Row]) -> str:
    classes = _classes(rows)
    heads = [head for head, _, _ in COLUMNS] + [f"F1 {name}" for name in classes] + ["seconds", "seeds"]
    lines = [f"| method | {' | '.join(heads)} |", "|---" + "|--:" * len(heads) + "|"]
    for method, group in _by_method(rows):
        cells = [spread([row[key] for row in group], digits) for _, key, digits in COLUMNS]
        cells += [spread([row["f1_per_class"][name] for row in group], 2) for name in classes]
        cells += [f"{mean(row['seconds'] for row in group):.0f}", str(len(group))]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _budget_table(rows: list[Row]) -> str:
    classes = _classes(rows)[1:]  # of normal, no alarm is raised
    heads = ["false alarms", "macro-F1"] + [f"recall {name}" for name in classes]
    lines = [
        "Thresholds that keep the validation blocks within one false alarm per device and day; on the test blocks:\n",
        f"| method | {' | '.join(heads)} |",
        "|---" + "|--:" * len(heads) + "|",
    ]
    for method, group in _by_method(rows):
        budgets = [row["budget"] for row in group]
        cells = [spread([b["false_alarms_per_device_day"] for b in budgets], 2)]
        cells.append(spread([b["macro_f1"] for b in budgets], 3))
        cells += [spread([b["recall_per_class"][name] for b in budgets], 2) for name in classes]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _alarms_table(rows: list[Row]) -> str:
    about = (
        "Alarms of the decision by macro-F1, with the scores and delays that held-out events ask for, per device and "
        "day, `unknown` counted; rows of before those were fitted are not here:\n"
    )
    lines = [
        about,
        "| method | false alarms | changes of the alarm state | events with an alarm of their fault |",
        "|---|--:|--:|--:|",
    ]
    for method, group in _by_method(rows):
        alarms = [row["alarms"] for row in group]
        cells = [
            spread([a["false_alarms_per_device_day"] for a in alarms], 3),
            spread([a["alarm_changes_per_device_day"] for a in alarms], 2),
            spread([a["events_alarmed"] / a["events"] for a in alarms], 3),
        ]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _coverage_table(rows: list[Row]) -> str:
    classes = _classes(rows)
    about = (
        "Share of an event's windows in which its class was plausible, at a coverage of 90 %, all events counting "
        "alike, and the standard error that so many events leave; a dash where no fold's validation blocks have the "
        "events for it:\n"
    )
    lines = [
        about,
        f"| method | {' | '.join(classes)} |",
        "|---" + "|--:" * len(classes) + "|",
    ]
    for method, group in _by_method(rows):
        cells = []
        for name in classes:
            there = [row["coverage"][name] for row in group if name in row["coverage"]]
            errors = [of["standard_error"] for of in there if "standard_error" in of]
            cell = spread([of["by_event"] for of in there], 3) if there else "–"
            cells.append(f"{cell} ± {mean(errors):.3f}" if errors else cell)
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _dealings_table(rows: list[Row]) -> str:
    classes = _classes(rows)
    about = (
        "Blocks dealt to the folds otherwise, too: methods that have been run so, seed 0; false alarms and coverage as "
        "above:\n"
    )
    heads = ["macro-F1", "calibration error", "false alarms", *(f"coverage {name}" for name in classes)]
    lines = [about, f"| method | dealing | {' | '.join(heads)} |", "|---|--:" + "|--:" * len(heads) + "|"]
    for method, group in _by_method([row for row in rows if row["seed"] == 0]):
        if len(group) == 1:
            continue
        told = [
            [row["macro_f1"], row["calibration_error"], row["budget"]["false_alarms_per_device_day"]]
            + [row["coverage"].get(name, {}).get("by_event") for name in classes]
            for row in group
        ]
        names = [str(row["dealing"]) for row in group]
        columns = [[value for value in column if value is not None] for column in zip(*told, strict=True)]
        for name, values in zip([*names, "mean"], [*told, [mean(c) if c else None for c in columns]], strict=True):
            cells = ["–" if value is None else f"{value:.3f}" for value in values]
            lines.append(f"| {method} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _classes(rows: list[Row]) -> list[str]:
    """The classes that the tested windows have, where they are few enough to show."""
    there = [name for name, f1 in rows[0]["f1_per_class"].items() if f1 is not None]
    return there if len(there) <= MOST_CLASSES else []


def _by_method(rows: list[Row]) -> list[tuple[str, list[Row]]]:
    names = dict.fromkeys(row["method"] for row in rows)
    return [(name, [row for row in rows if row["method"] == name]) for name in names]


def spread(values: list[float], digits: int) -> str:
    """Mean, and the range in brackets where there are several."""
    text = f"{mean(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} [{min(values):.{digits}f}, {max(values):.{digits}f}]"
