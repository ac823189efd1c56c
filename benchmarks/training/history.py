"""A simulated history of pumps: six channels a minute, and four faults, the rarest a sensor that is frozen.

It makes load, and shows whether a rare fault is found at all; it is no evidence for accuracy on real machines.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

Values = NDArray[np.float64]

PUMPS, DAYS = 12, 60
MINUTES_A_DAY = 1440
CHANNELS = ("flow", "pressure", "current", "vibration", "temperature", "speed")
NOISE = (1.5, 0.05, 0.4, 0.12, 0.25, 4.0)
START = datetime(2025, 1, 6, tzinfo=UTC)
#: Share of the samples that are lost.
LOST = 0.002
#: Decimals that are written, as of a logger.
DECIMALS = 2


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        share: of all time.
        minutes: shortest and longest event.
        parts: what it adds to flow, pressure, current, vibration and temperature, in parts of them.
    """

    share: float
    minutes: tuple[int, int]
    parts: tuple[float, float, float, float, float]


#: The frozen sensor is the flow's: it repeats the value that it had when the event began.
FAULTS = {
    "clogged": Fault(0.04, (300, 900), (-0.07, 0.03, 0.02, 0.04, 0.01)),
    "bearing": Fault(0.015, (240, 720), (0.0, 0.0, 0.02, 0.12, 0.03)),
    "cavitation": Fault(0.005, (60, 180), (-0.03, -0.03, -0.02, 0.15, 0.0)),
    "frozen": Fault(0.001, (20, 60), (0.0, 0.0, 0.0, 0.0, 0.0)),
}
FROZEN = "frozen"
#: Fewest events of a fault, however short the history.
FEWEST = 5
#: Fewest days, so that every fold has some blocks of a day.
FEWEST_DAYS = 3
#: Stretches a day in which something harmless looks a little like a fault.
HARMLESS_A_DAY = 0.5

Event = tuple[int, int, int, str]
"""Pump, first minute, minute after the last, fault."""


def make(folder: Path, scale: float = 1.0, seed: int = 0) -> int:
    """Write ``samples.parquet`` and ``events.csv``; the same files for the same arguments.

    Args:
        folder: made where it is missing.
        scale: part of the days.
        seed: of all draws.

    Returns:
        Number of samples.
    """
    folder.mkdir(parents=True, exist_ok=True)
    minutes = max(FEWEST_DAYS, round(DAYS * scale)) * MINUTES_A_DAY
    rng = np.random.default_rng(seed)
    events = _plan(minutes, rng)
    frames = []
    for pump in range(PUMPS):
        values = _run(minutes, [event for event in events if event[0] == pump], rng)
        kept = np.flatnonzero(rng.random(minutes) >= LOST)
        seconds = kept * 60 + rng.integers(5, 55, len(kept))
        time = np.datetime64(START.replace(tzinfo=None), "ms") + (seconds * 1000).astype("timedelta64[ms]")
        columns = {name: values[kept, c] for c, name in enumerate(CHANNELS)}
        frames.append(pl.DataFrame({"device": [f"pump-{pump + 1}"] * len(kept), "time": time, **columns}))
    samples = pl.concat(frames)
    samples.with_columns(pl.col("time").dt.replace_time_zone("UTC")).write_parquet(folder / "samples.parquet")
    lines = ["device,start,end,fault", *(_line(event) for event in sorted(events))]
    (folder / "events.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(samples)


def _plan(minutes: int, rng: np.random.Generator) -> list[Event]:
    """Events that do not overlap, an hour apart at least, the rarest first."""
    busy = np.zeros((PUMPS, minutes), bool)
    events: list[Event] = []
    for name, fault in sorted(FAULTS.items(), key=lambda item: item[1].share):
        wanted = fault.share * PUMPS * minutes
        shortest, longest = fault.minutes
        count = max(FEWEST, round(wanted / ((shortest + longest) / 2)))
        scaled = wanted / count / ((shortest + longest) / 2)
        for _ in range(count):
            length = max(10, round(rng.integers(shortest, longest + 1) * scaled))
            for _ in range(1000):
                pump, first = int(rng.integers(PUMPS)), int(rng.integers(60, minutes - length - 60))
                around = busy[pump, first - 60 : first + length + 60]
                if not around.any():
                    busy[pump, first : first + length] = True
                    events.append((pump, first, first + length, name))
                    break
    return events


def _run(minutes: int, events: list[Event], rng: np.random.Generator) -> Values:
    """What the sensors of a pump show, [minutes, channels]."""
    at = np.arange(minutes)
    day = at / MINUTES_A_DAY
    load = 0.75 + 0.18 * np.sin(2 * np.pi * (day - 0.3)) + 0.02 * np.sin(2 * np.pi * 7 * day)
    load += np.cumsum(rng.normal(0, 1e-4, minutes))
    own = 1 + rng.normal(0, 0.02, 5)  # pumps differ a little
    usual = (120 * load, 4.2 - 0.9 * load**2, 18 + 14 * load, 1.6 + 0.8 * load, 38 + 14 * load)
    values = np.stack([*(own[c] * of for c, of in enumerate(usual)), 1450 + 40 * load], axis=1)
    harmless = [
        (first, first + int(rng.integers(10, 60)), str(rng.choice(list(FAULTS))), 0.5)
        for first in rng.integers(0, minutes - 60, round(minutes / MINUTES_A_DAY * HARMLESS_A_DAY))
    ]
    for begin, end, name, depth in [*((a, b, name, 1.0) for _, a, b, name in events), *harmless]:
        grown = np.minimum((np.arange(begin, end) - begin + 1) / 15, 1) * depth  # all of it after a quarter of an hour
        values[begin:end, :5] *= 1 + np.outer(grown, FAULTS[name].parts)
    values = np.round(values + rng.normal(0, NOISE, values.shape), DECIMALS)
    for _, begin, end, name in events:
        if name == FROZEN:
            values[begin:end, 0] = values[begin - 1, 0]
    return values


def _line(event: Event) -> str:
    pump, first, end, name = event
    start, stop = ((START + timedelta(minutes=at)).isoformat() for at in (first, end))
    return f"pump-{pump + 1},{start},{stop},{name}"
