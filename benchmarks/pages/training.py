"""Tables of ``training.json``, ``training_memory.json`` and ``novelty.json``."""

from typing import Any

from benchmarks.pages.markdown import number, table

Result = dict[str, Any]


def minutes(of: Result) -> str:
    """What trainings with the defaults took and scored, beside LightGBM on the same blocks."""
    real, keys = of["real"], ("cpu_s", "rss_mb", "macro_f1")
    runs = (
        (f"{of['samples']:,} samples of pumps", *(of[f"million_{key}"] for key in keys), of),
        ("plant 31, days, first fold", *(real[key] for key in keys), real),
    )
    rows = [
        [
            name,
            number(cpu_s, 0),
            number(rss_mb, 0),
            number(macro_f1, 3),
            number(rival["lightgbm_cpu_s"], 0),
            number(rival["lightgbm_macro_f1"], 3),
        ]
        for name, cpu_s, rss_mb, macro_f1, rival in runs
    ]
    heads = ["history", "processor s", "peak memory, MB", "macro-F1", "LightGBM, processor s", "LightGBM, macro-F1"]
    text = (
        f"The rarest fault of the pumps, a frozen sensor, has a recall of {of['rarest_recall']:.2f}, and there are "
        f"{of['false_alarms_per_device_day']:.2f} false alarms per device and day. Plant 31 takes "
        f"{of['ratio_lightgbm']:.2f} times what LightGBM's two fits take."
    )
    return table(heads, rows) + f"\n\n{text}"


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
    """Which score tells a fault that training has never seen from what is known."""
    names = ("posterior", "sets", "distance")
    heads = ["data", "fault", "events", *(f"AUROC of {name}" for name in names)]
    heads += [f"flagged by {name} (elsewhere)" for name in names]
    rows = [
        [
            row["data"],
            row["fault"],
            str(row["events"]),
            *(number(row["scores"][name]["auroc"], 2) for name in names),
            *(_flagged(row["scores"][name]) for name in names),
        ]
        for row in of["rows"]
    ]
    mean = {name: sum(row["scores"][name]["auroc"] for row in of["rows"]) / len(of["rows"]) for name in names}
    better = sum(row["scores"]["distance"]["auroc"] > row["scores"]["posterior"]["auroc"] for row in of["rows"])
    total = (
        f"Mean AUROC: {', '.join(f'{number(mean[name], 2)} by {name}' for name in names)}. The distance has a larger "
        f"one than the posterior for {better} of {len(of['rows'])} faults."
    )
    return table(heads, rows, words=2) + f"\n\n{total}"


def _flagged(score: dict[str, float]) -> str:
    return f"{number(score['flagged'], 2)} ({number(score['flagged_elsewhere'], 2)})"


def novelty_alarms(of: Result) -> str:
    """What is predicted of a fault that training has never seen, and which alarms meet it."""
    heads = [
        "data", "fault", "called normal", "called another fault", "events", "met by any alarm",
        "met by `unknown` of sets alone", "of sets and distance", "false `unknown` per device-day of sets alone",
        "of both",
    ]  # fmt: skip
    ways = ("sets", "distance")
    rows = [
        [
            row["data"],
            row["fault"],
            number(row["normal"], 2),
            number(row["another_fault"], 2),
            str(row["events"]),
            str(row["events_alarmed"]),
            *(str(row["alarms"][way]["events_met"]) for way in ways),
            *(number(row["alarms"][way]["false_per_day"], 2) for way in ways),
        ]
        for row in of["rows"]
    ]
    alone, both = (sum(row["alarms"][way]["events_met"] for row in of["rows"]) for way in ways)
    events, alarmed = (sum(row[key] for row in of["rows"]) for key in ("events", "events_alarmed"))
    total = (
        f"`unknown` meets {alone} of {events} events by prediction sets alone and {both} by sets and distance; any "
        f"alarm meets {alarmed}."
    )
    return table(heads, rows, words=2) + f"\n\n{total}"
