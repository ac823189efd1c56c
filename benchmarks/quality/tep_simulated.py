"""A fleet of simulated Tennessee Eastman plants with rare faults, as a history in table form.

    python -m benchmarks.quality.tep_simulated [--workers N]

The standard files of that process (``benchmarks.tep_to_table``) are 44 short runs, most of them faulty from end to end.
Here each of 20 plants runs for 120 hours under Ricker's decentralised control. Disturbances 1 to 20 come and go at
random instants: 30 % of the time is faulty, and the faults' shares fall from 5.8 % to 0.1 % of it, the rarest five
events of half an hour. The operators change the production rate every day or so. Where a plant trips, its event ends,
the plant is down for some hours and starts again.

The label is that a disturbance is active. A plant takes hours to come to rest after one, which counts as normal.

The simulator is the package ``tep-studio`` (BSD licence), which wraps the revised model of Bathelt, Ricker and Jelali
(2015). A simulated hour takes about a quarter of a second, all plants some ten minutes of a processor. Each plant is
kept in ``benchmarks/.cache/tep-simulated`` when it is complete, so this may be interrupted. All draws go by ``SEED``.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.harness.machine import cache
from benchmarks.tep_to_table import CHANNELS, START_MS, write_table
from numpy.typing import NDArray

#: What simulates; another version may give other numbers.
SIMULATOR = ("tep-studio", "0.2.0")
SEED = 0
N_FAULTS = 20
#: Hours between two samples, and between two steps of controller and solver, for which the model was made.
PERIOD_H, STEP_H = 0.05, 0.0005
#: Hours that a plant stands still after a trip, and that must be left for a new start.
DOWN_H, LEAST_H = 4.0, 1.0
#: Hours before the first event of a plant, and at least between two.
START_H, APART_H = 4.0, 0.5
HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Fleet:
    """What is simulated.

    Attributes:
        plants: how many.
        hours: that each runs.
        faulty: share of the time in which a fault is active.
        rarest: share of the rarest fault as a part of the commonest's; those between lie on a geometric series.
        event_h: mean length of an event, hours, where that leaves a fault ``fewest`` events; rarer ones have shorter.
        fewest: events of a fault.
        seed: of all draws.
    """

    plants: int = 20
    hours: float = 120.0
    faulty: float = 0.3
    rarest: float = 1 / 57
    event_h: float = 2.5
    fewest: int = 5
    seed: int = SEED


#: The one that methods are compared on.
FLEET = Fleet()


@dataclass(frozen=True)
class Event:
    """A disturbance (1 to 20) that is active in [start_h, end_h)."""

    fault: int
    start_h: float
    end_h: float


@dataclass(frozen=True)
class Plan:
    """What one plant is to go through.

    Attributes:
        plant: its number, from 0 on.
        hours: that it runs.
        events: in order of time.
        production: hour from which on a production rate is wanted, and the rate as a part of the nominal one.
        seed: of the noise and of the random disturbances.
    """

    plant: int
    hours: float
    events: tuple[Event, ...]
    production: tuple[tuple[float, float], ...]
    seed: int


@dataclass(frozen=True)
class Run:
    """What came of it.

    Attributes:
        hour: of each sample, [M].
        values: in the order of ``CHANNELS``, [M, 52].
        events: as long as the plant ran.
    """

    hour: NDArray[np.float64]
    values: NDArray[np.float64]
    events: tuple[Event, ...]


def make_plans(fleet: Fleet) -> list[Plan]:
    """Draw what each plant goes through; nothing is simulated.

    The events of each fault are dealt to the plants as evenly as their number allows.
    """
    rng = np.random.default_rng(fleet.seed)
    shares = np.geomspace(1, fleet.rarest, N_FAULTS)
    hours = shares / shares.sum() * fleet.faulty * fleet.plants * fleet.hours
    dealt: list[list[tuple[int, float]]] = [[] for _ in range(fleet.plants)]
    for fault, own_h in zip(rng.permutation(N_FAULTS) + 1, hours, strict=True):
        count = max(fleet.fewest, round(own_h / fleet.event_h))
        length = rng.uniform(0.4, 1.6, count)
        order = np.concatenate([rng.permutation(fleet.plants) for _ in range(count // fleet.plants + 1)])
        for plant, part in zip(order[:count].tolist(), length / length.sum(), strict=True):
            dealt[plant].append((int(fault), float(part * own_h)))
    return [_plan(fleet, plant, events, rng) for plant, events in enumerate(dealt)]


def _plan(fleet: Fleet, plant: int, dealt: list[tuple[int, float]], rng: np.random.Generator) -> Plan:
    """Place a plant's events at random in its time."""
    order = rng.permutation(len(dealt))
    free = fleet.hours - START_H - sum(length for _, length in dealt) - APART_H * len(dealt)
    if free < 0:
        raise ValueError(f"{fleet.hours:g} hours do not hold the {len(dealt)} events of plant {plant}")
    gaps = rng.dirichlet(np.ones(len(dealt) + 1)) * free
    at, events = START_H, []
    for number, gap in zip(order.tolist(), gaps, strict=False):
        fault, length = dealt[number]
        at += float(gap)
        events.append(Event(fault, at, at + length))
        at += length + APART_H
    changes, at = [(0.0, 1.0)], 0.0
    while (at := at + float(rng.uniform(12, 36))) < fleet.hours:
        changes.append((at, float(rng.uniform(0.97, 1.03))))
    return Plan(plant, fleet.hours, tuple(events), tuple(changes), int(rng.integers(1, 2**31)))


def simulate(plan: Plan) -> Run:
    """Run a plant through its plan, with a new start after each trip.

    Raises:
        RuntimeError: the simulator is not installed in its version.
    """
    _check_simulator()
    at, starts = 0.0, 0
    hours, values, events = [], [], []
    while plan.hours - at > LEAST_H or not starts:
        hour, value, tripped = _campaign(plan, at, plan.seed + starts)
        end = at + hour[-1] if tripped else plan.hours
        hours.append(at + hour)
        values.append(value)
        events += [replace(e, start_h=max(e.start_h, at), end_h=min(e.end_h, end)) for e in plan.events
                   if e.start_h < end and e.end_h > at]  # fmt: skip
        at, starts = end + DOWN_H, starts + 1
        if not tripped:
            break
    return Run(np.concatenate(hours), np.concatenate(values), tuple(events))


def _campaign(plan: Plan, begin_h: float, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """From a start to the plan's end or to a trip: hours since the start, values, whether the plant tripped."""
    from tep_studio import ClosedLoopSimulation

    loop = ClosedLoopSimulation(control_interval=STEP_H, horizon=plan.hours - begin_h)
    found = loop.run(
        seed=float(seed),
        disturbance_schedule=_disturbances(plan.events, begin_h),
        setpoint_schedule=_setpoints(plan.production, begin_h, lambda: loop.controller.setpoints),
        record_every=round(PERIOD_H / STEP_H),
    )
    rows = found.results[:-1] if found.terminated else found.results  # the last one is of no regular instant
    hour = np.array([row.time_start for row in rows])
    values = np.array([[*row.measurements, *row.implemented_action[:11]] for row in rows])
    return hour, values, found.terminated


def _disturbances(events: Sequence[Event], begin_h: float) -> Callable[[float], NDArray[np.float64]]:
    """The simulator's activation vector at an hour since the start."""
    edges = np.array([hour for e in events for hour in (e.start_h, e.end_h)])
    vectors = np.zeros((len(edges) + 1, 28))
    for number, event in enumerate(events):
        vectors[2 * number + 1, event.fault - 1] = 1.0
    return lambda hour: vectors[np.searchsorted(edges, begin_h + hour, "right")]


def _setpoints(changes: Sequence[tuple[float, float]], begin_h: float, first: Callable[[], Any]) -> Callable[..., Any]:
    """The operators' targets at an hour since the start; ``first`` gives those that the controller starts with."""
    edges = [hour for hour, _ in changes]
    made: dict[int, Any] = {}

    def at(hour: float) -> Any:
        number = int(np.searchsorted(edges, begin_h + hour, "right")) - 1
        if number not in made:
            made.setdefault(-1, first())
            made[number] = replace(made[-1], production_rate=made[-1].production_rate * changes[number][1])
        return made[number]

    return at


def _check_simulator() -> None:
    name, wanted = SIMULATOR
    try:
        found = version(name)
    except PackageNotFoundError:
        found = "none"
    if found != wanted:
        raise RuntimeError(
            f"{name} {wanted} simulates these plants; installed is: {found}. Remedy: pip install {name}=={wanted}"
        )


def kept(fleet: Fleet, plant: int, folder: Path) -> Path:
    """Where a plant's run is kept."""
    text = json.dumps([asdict(fleet), SIMULATOR, PERIOD_H, STEP_H, DOWN_H, LEAST_H, START_H, APART_H])
    return folder / f"plant-{plant:02d}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.npz"


def prepare(fleet: Fleet = FLEET, folder: Path | None = None, workers: int = 1) -> list[Path]:
    """Simulate the plants that are not kept yet, and return the files of all."""
    folder = folder or cache("tep-simulated")
    plans = make_plans(fleet)
    folder.mkdir(parents=True, exist_ok=True)
    files = [kept(fleet, plan.plant, folder) for plan in plans]
    todo = [(plan, file) for plan, file in zip(plans, files, strict=True) if not file.exists()]
    if todo and workers > 1:
        with ProcessPoolExecutor(workers) as pool:
            for line in pool.map(keep, *zip(*todo, strict=True)):
                print(line, flush=True)
    else:
        for plan, file in todo:
            print(keep(plan, file), flush=True)
    return files


def keep(plan: Plan, file: Path) -> str:
    """Simulate a plant into a file, whole or not at all; a line that tells of it."""
    run = simulate(plan)
    events = np.array([[e.fault, e.start_h, e.end_h] for e in run.events]).reshape(-1, 3)
    fresh = file.with_suffix(".tmp")
    with fresh.open("wb") as out:
        np.savez_compressed(out, hour=run.hour, values=run.values.astype(np.float32), events=events)
    fresh.replace(file)
    return f"plant {plan.plant}: {len(run.hour):,} samples, {len(run.events)} of {len(plan.events)} events"


def to_table(files: Sequence[Path], target: Path) -> None:
    """Write ``samples.parquet`` and ``events.csv`` of some plants."""
    samples, events = {}, []
    for file in files:
        device = "_".join(file.name.split("-")[:2])
        with np.load(file) as run:
            # What is measured after the first step of a bin is stamped a step before its end, where its label holds;
            # the log goes by the same clock.
            stamp = _clock_ms(run["hour"] + STEP_H)
            samples[device] = stamp, run["values"].astype(np.float64)
            for fault, *span_h in run["events"].tolist():
                start, end = _clock_ms(np.array(span_h)).tolist()
                events.append((device, start, end, f"fault_{int(fault):02d}"))
    write_table(target, CHANNELS, samples, events)


def _clock_ms(hour: NDArray[np.float64]) -> NDArray[np.int64]:
    return START_MS + np.rint((hour + PERIOD_H - 2 * STEP_H) * HOUR_MS).astype(np.int64)


def main() -> int:
    """Simulate what is missing."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.quality.tep_simulated",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workers", type=int, default=1, help="plants that are simulated at once (default 1)")
    parser.add_argument("--table", type=Path, metavar="FOLDER", help="also write the history as a table")
    args = parser.parse_args()
    try:
        files = prepare(workers=args.workers)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    if args.table:
        to_table(files, args.table)
    print(f"{len(files)} plants are in {files[0].parent}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
