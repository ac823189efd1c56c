"""Tables of ``training_memory.json`` and ``novelty.json``."""

from typing import Any

from benchmarks.pages.markdown import number, table

Result = dict[str, Any]


def memory(of: Result) -> str:
    """Peak and time of two trainings."""
    rows = [
        [number(row["samples"], 0), str(row["channels"]), number(row["peak_mb"], 0), number(row["seconds"], 0)]
        for row in of["rows"]
    ]
    text = (
        f"Each further sample of {of['bytes_of_a_sample']} bytes takes {of['bytes_per_sample']:,} bytes of the peak; "
        f"copied windows and sequences alone would take {of['copied_mb']:,} MB."
    )
    return table(["samples", "channels", "peak memory, MB", "seconds"], rows, words=0) + f"\n\n{text}"


def stages(of: Result) -> str:
    """Where the time goes."""
    names = list(of["rows"][0]["stages"])
    heads = ["stage", *(f"{row['samples']:,} samples, s" for row in of["rows"])]
    return table(heads, [[name, *(number(row["stages"][name], 0) for row in of["rows"])] for name in names])


def novelty(of: Result) -> str:
    """What becomes of a fault that training has never seen."""
    heads = [
        "data", "fault", "windows", "AUROC", "called normal", "called another fault", "prediction set empty",
        "of other windows", "events", "met by `unknown`", "met by any alarm", "`unknown` per device-day elsewhere",
    ]  # fmt: skip
    rows = [
        [row["data"], row["fault"], number(row["windows"], 0), number(row["auroc"], 2), number(row["normal"], 2),
         number(row["another_fault"], 2), number(row["strange"], 2), number(row["strange_elsewhere"], 3),
         str(row["events"]), str(row["events_unknown"]), str(row["events_alarmed"]),
         number(row["unknown_elsewhere"], 2)]
        for row in of["rows"]
    ]  # fmt: skip
    met, alarmed, events = (
        sum(row[key] for row in of["rows"]) for key in ("events_unknown", "events_alarmed", "events")
    )
    total = f"`unknown` meets {met} of {events} events; any alarm meets {alarmed}."
    return table(heads, rows, words=2) + f"\n\n{total}"
