"""Write the telemetry of four made-up pumps and their fault log as CSV: the data of the tutorial.

    python examples/pumps.py [FOLDER]

``telemetry.csv``, ``faults.csv``
    Six weeks of history. Telemetry in wide form: a row for each device and time, a column for each channel.
    Faults: device, start, end, fault.
``later.csv``, ``later-faults.csv``
    The two weeks after. They end while pump-2 cavitates.

Times are local and have no offset, as many loggers write them. The same call writes the same files.
"""

import csv
import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

DEVICES = ("pump-1", "pump-2", "pump-3", "pump-4")
CHANNELS = ("flow", "pressure", "current", "vibration", "temperature")
START = datetime(2025, 1, 6)  # noqa: DTZ001 - local time, on purpose
PERIOD = timedelta(minutes=10)
BINS_A_DAY = timedelta(days=1) // PERIOD
DAYS, LATER_DAYS = 42, 14

#: Fault: events of each pump in the history; shortest and longest event, hours.
FAULTS = {"clogged": (7, 8, 20), "bearing": (5, 8, 20), "cavitation": (3, 4, 8)}
#: What a fault adds: parts of flow, pressure, current and vibration; kelvins of temperature.
EFFECTS = {
    "clogged": (-0.10, 0.04, 0.02, 0.05, 0.3),
    "bearing": (0.00, 0.00, 0.02, 0.17, 1.2),
    "cavitation": (-0.03, -0.04, -0.02, 0.20, 0.0),
}
NOISE = (0.03, 0.03, 0.03, 0.12, 0.02)
LOST = 0.003

Event = tuple[int, int, str]
"""First bin, bin after the last, fault."""


def plan(rng: np.random.Generator, days: int) -> list[Event]:
    """The events of one pump, in order of time."""
    faults = [fault for fault, (count, _, _) in FAULTS.items() for _ in range(max(1, round(count * days / DAYS)))]
    rng.shuffle(faults)
    slots = np.linspace(0, days * BINS_A_DAY, len(faults) + 1).astype(int).tolist()
    margin = BINS_A_DAY // 8
    events = []
    for fault, begin, end in zip(faults, slots[:-1], slots[1:], strict=True):
        _, shortest, longest = FAULTS[fault]
        length = int(rng.integers(shortest, longest + 1)) * BINS_A_DAY // 24
        first = int(rng.integers(begin + margin, max(end - length - margin, begin + margin + 1)))
        events.append((first, first + length, fault))
    return events


def run(rng: np.random.Generator, days: int, events: list[Event]) -> np.ndarray:
    """What the sensors of one pump show, [bins, channels]; every other day something harmless looks like a fault."""
    bins = np.arange(days * BINS_A_DAY)
    load = 0.75 + 0.2 * np.sin(2 * np.pi * (bins / BINS_A_DAY - 0.3)) + np.cumsum(rng.normal(0, 5e-4, len(bins)))
    values = np.stack([120 * load, 4.2 - 0.9 * load**2, 18 + 14 * load, 1.6 + 0.8 * load, 38 + 14 * load], axis=1)
    harmless = [
        (first, first + int(rng.integers(3, 12)), str(rng.choice(list(FAULTS))))
        for first in rng.integers(0, len(bins), days // 2)
    ]
    for first, end, fault in events + harmless:
        there = bins[first:end]
        depth = np.minimum((there - first + 1) / 6, 1)  # fully there after an hour
        *parts, kelvins = EFFECTS[fault]
        values[there, :4] *= 1 + np.outer(depth, parts)
        values[there, 4] += kelvins * depth
    return values * (1 + rng.normal(0, NOISE, values.shape))


def write(samples: Path, log: Path, start: datetime, days: int, rng: np.random.Generator, *, last: bool) -> None:
    """Write one stretch of time; with ``last``, pump-2 cavitates when it ends."""
    rows: list[tuple[str, ...]] = []
    faults: list[tuple[str, ...]] = []
    for device in DEVICES:
        events = plan(rng, days)
        if last and device == "pump-2":
            end = days * BINS_A_DAY
            events = [event for event in events if event[1] < end - BINS_A_DAY] + [(end - 30, end, "cavitation")]
        for i, values in enumerate(run(rng, days, events)):
            at = start + i * PERIOD + timedelta(minutes=3, seconds=int(rng.integers(60)))
            if rng.random() >= LOST:
                rows.append((at.isoformat(" "), device, *(f"{value:.2f}" for value in values)))
        faults += [(device, *((start + i * PERIOD).isoformat(" ") for i in event[:2]), event[2]) for event in events]
    save(samples, ("time", "device", *CHANNELS), sorted(rows))
    save(log, ("device", "start", "end", "fault"), faults)


def save(path: Path, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Write a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def main(folder: Path) -> None:
    """Write all four files."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    write(folder / "telemetry.csv", folder / "faults.csv", START, DAYS, rng, last=False)
    later = START + timedelta(days=DAYS)
    write(folder / "later.csv", folder / "later-faults.csv", later, LATER_DAYS, rng, last=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
