"""What of the rows of results is kept in git: for each problem and method, means and ranges over the seeds.

The rows themselves, one for each training seed and fold assignment, stay in ``benchmarks/.cache/quality/rows.json``.
Nothing of the compared methods' libraries is imported here, so that the pages can be made without them.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

Row = dict[str, Any]
#: Mean; where there are several seeds, their least and their largest value, too.
Spread = list[float]
Entry = dict[str, Any]
#: Problems by their key, each ``{"windows", "folds", "methods": {name: Entry}}``.
Summary = dict[str, dict[str, Any]]

#: The file in git.
RESULT = "benchmarks/results/quality.json"
#: Of every row.
SCORES = (
    "macro_f1",
    "macro_recall",
    "lowest_recall",
    "macro_average_precision",
    "calibration_error",
    "log_loss",
    "macro_f1_plain",
    "macro_recall_plain",
)


def summarise(rows: Iterable[Row]) -> Summary:
    """Means and ranges of the rows of each problem and method."""
    found: Summary = {}
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((f"{row['data']}-{row['protocol']}", row["method"]), []).append(row)
    for (problem, method), group in groups.items():
        first = [row for row in group if row["dealing"] == 0]
        if first:
            about = found.setdefault(problem, {"windows": first[0]["windows"], "folds": 0, "methods": {}})
            about["folds"] = max(about["folds"], *(row.get("folds", 0) for row in first))
            about["methods"][method] = _entry(first) | _assignments(group)
    return found


def merged(earlier: Summary, fresh: Summary) -> tuple[Summary, list[str]]:
    """The fresh entries, and of the earlier ones those that the fresh do not have or have of fewer seeds.

    Returns:
        The summary, and a sentence for each earlier entry that was kept in the place of a fresh one.
    """
    result: Summary = {key: about | {"methods": dict(about["methods"])} for key, about in earlier.items()}
    kept = []
    for problem, about in fresh.items():
        there = result.setdefault(problem, about | {"methods": {}})
        for name, entry in about["methods"].items():
            before = there["methods"].get(name)
            if before and before["seeds"] > entry["seeds"]:
                kept.append(f"{problem}, {name}: kept, of {before['seeds']} seeds; run just now: {entry['seeds']}")
            else:
                there["methods"][name] = entry
        there |= {"windows": about["windows"], "folds": max(there["folds"], about["folds"])}
    return result, kept


def in_order(summary: Summary, problems: Iterable[str], methods: Iterable[str]) -> Summary:
    """The same with problems and methods in the order given; what is named there no more is left out."""
    order = list(methods)
    found: Summary = {}
    for key in problems:
        if key in summary:
            mine = summary[key]["methods"]
            found[key] = summary[key] | {"methods": {name: mine[name] for name in order if name in mine}}
    return found


def read(path: Path) -> Summary:
    """Read a file; nothing where there is none. Ends the program where it holds something else, such as rows."""
    found: Summary = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if not isinstance(found, dict):
        sys.exit(f"{path} holds no means by data set and method, as {RESULT} does: name another file, or remove it")
    return found


def write(path: Path, summary: Summary) -> None:
    """Write a file in which each method is one line, so that a diff shows which of them changed."""
    parts = []
    for key, about in summary.items():
        lines = ",\n".join(f"   {json.dumps(name)}: {json.dumps(entry)}" for name, entry in about["methods"].items())
        head = ", ".join(f'"{name}": {json.dumps(about[name])}' for name in about if name != "methods")
        parts.append(f' {json.dumps(key)}: {{{head}, "methods": {{\n{lines}\n }}}}')
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def _entry(rows: list[Row]) -> Entry:
    """All rows of a method with the first fold assignment."""
    entry: Entry = {"seeds": len(rows), "seconds": round(mean(row["seconds"] for row in rows), 1)}
    entry |= {key: _spread([row[key] for row in rows]) for key in SCORES}
    entry["f1"] = _by_class([row["f1_per_class"] for row in rows])
    entry["recall"] = _by_class([row["recall_per_class"] for row in rows])
    budgets = [row["budget"] for row in rows]
    entry["budget"] = {
        "false_alarms": _spread([budget["false_alarms_per_device_day"] for budget in budgets]),
        "macro_f1": _spread([budget["macro_f1"] for budget in budgets]),
        "recall": _by_class([budget["recall_per_class"] for budget in budgets]),
    }
    if alarms := [row["alarms"] for row in rows if "alarms" in row]:  # rows of earlier releases have none
        entry["alarms"] = {
            "seeds": len(alarms),
            "false_alarms": _spread([a["false_alarms_per_device_day"] for a in alarms]),
            "changes": _spread([a["alarm_changes_per_device_day"] for a in alarms]),
            "events": alarms[0]["events"],
            "events_alarmed": _spread([a["events_alarmed"] for a in alarms]),
        }
    if gains := [row["gain"] for row in rows if "gain" in row]:
        entry["gain"] = {
            "over": gains[0]["over"],
            "log_loss": _spread([gain["log_loss"] for gain in gains]),
            "interval": [_rounded(mean(gain["interval"][end] for gain in gains)) for end in (0, 1)],
            "blocks": gains[0]["blocks"],
        }
    entry["coverage"] = _coverage(rows)
    entry["commits"] = list(dict.fromkeys(commit for row in rows for commit in row["commit"].split(", ")))
    entry["machines"] = list(dict.fromkeys(row["machine"] for row in rows))
    return entry


def _coverage(rows: list[Row]) -> dict[str, dict[str, Any]]:
    """Of each class of which it can be stated: by event, and the standard error that so many events leave."""
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(name for row in rows for name in row["coverage"]):
        there = [row["coverage"][name] for row in rows if name in row["coverage"]]
        found[name] = {"by_event": _spread([one["by_event"] for one in there]), "events": there[0]["events"]}
        if errors := [one["standard_error"] for one in there if "standard_error" in one]:
            found[name]["standard_error"] = _rounded(mean(errors))
    return found


def _assignments(rows: list[Row]) -> dict[str, Any]:
    """The rows of seed 0 by fold assignment, where there are several."""
    first_seed = [row for row in rows if row["seed"] == 0]
    if len(first_seed) < 2:
        return {}
    return {
        "fold_assignments": {
            str(row["dealing"]): {
                "macro_f1": _rounded(row["macro_f1"]),
                "calibration_error": _rounded(row["calibration_error"]),
                "false_alarms": _rounded(row["budget"]["false_alarms_per_device_day"]),
                "coverage": {name: _rounded(one["by_event"]) for name, one in row["coverage"].items()},
            }
            for row in first_seed
        }
    }


def _by_class(rows: list[Mapping[str, float | None]]) -> dict[str, Spread]:
    """Of the classes that the tested windows have."""
    return {
        name: _spread([value for row in rows if (value := row[name]) is not None])
        for name in rows[0]
        if rows[0][name] is not None
    }


def _spread(values: list[float]) -> Spread:
    several = [mean(values), min(values), max(values)] if len(values) > 1 else values
    return [_rounded(value) for value in several]


def _rounded(value: float) -> float:
    return round(value, 6)
