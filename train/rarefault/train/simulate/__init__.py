"""A plant simulator: the default of the demo and a source of load, never evidence for accuracy."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from rarefault.runtime.inference.manifest import NORMAL
from rarefault.train.simulate.config import FAULTS, Proportions, SimulationConfig, fault_name
from rarefault.train.simulate.files import write_plant
from rarefault.train.simulate.physics import run_plants, severities, weather
from rarefault.train.simulate.schedule import plan_events

__all__ = ["FAULTS", "Proportions", "SimulationConfig", "SimulationSummary", "fault_name", "simulate"]

#: Plants stepped together; bounds the memory of large fleets.
BATCH = 8


class SimulationSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What was written."""

    folder: str
    plants: int
    samples: int
    events: dict[str, int]
    """Number of events of each fault."""
    proportions: dict[str, float]
    """Share of time of each class, as labelled on the grid of ``period_s``."""


def simulate(config: SimulationConfig, out: Path, progress: Callable[[float], None] | None = None) -> SimulationSummary:
    """Simulate plants and write them as a folder in the form of PHM 2015.

    The same configuration gives the same files, byte for byte.

    Args:
        config: plants, days, faults and seed.
        out: folder; made if it is not there.
        progress: called with the share that is done, from 0 to 1.
    """
    out.mkdir(parents=True, exist_ok=True)
    schedule = plan_events(config, np.random.default_rng([config.seed, 0]))
    outdoor = weather(config, np.random.default_rng([config.seed, 1]))
    samples = 0
    for first in range(0, config.plants, BATCH):
        some = range(first, min(first + BATCH, config.plants))
        part = msgspec.structs.replace(config, plants=len(some))
        inside = (schedule.plant >= some.start) & (schedule.plant < some.stop)
        columns = ("plant", "component", "start_s", "end_s", "fault")
        chosen = {name: getattr(schedule, name)[inside] for name in columns}
        chosen["plant"] = chosen["plant"] - first
        own = type(schedule)(**chosen, proportions={})
        severity = severities(part, own, np.random.default_rng([config.seed, 2, first]))
        traces = run_plants(
            part, outdoor[:, some.start : some.stop], severity, np.random.default_rng([config.seed, 3, first])
        )
        for plant in range(len(some)):
            rng = np.random.default_rng([config.seed, 4, first + plant])
            samples += write_plant(out, first + plant + 1, plant, config, traces, severity, own, rng)
            if progress is not None:
                progress((first + plant + 1) / config.plants)
    counts = np.bincount(schedule.fault, minlength=len(FAULTS) + 1)
    return SimulationSummary(
        folder=str(out),
        plants=config.plants,
        samples=samples,
        events={fault_name(code): int(counts[code]) for code in FAULTS},
        proportions={NORMAL: 1 - sum(schedule.proportions.values())}
        | {fault_name(code): schedule.proportions.get(code, 0.0) for code in FAULTS},
    )
