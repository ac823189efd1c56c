"""The simulated plants as files in the form of the PHM Society 2015 data challenge."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from rarefault.runtime.arrays import Float64, Int64
from rarefault.train.simulate.config import SimulationConfig
from rarefault.train.simulate.physics import STEP_S, Traces
from rarefault.train.simulate.schedule import Schedule

#: The fault log's clock runs behind that of the sensors, as in the real data.
LOG_BEHIND_S = 3600
#: Share of samples that are lost by themselves, and that are written twice.
LOST, TWICE = 0.003, 0.001
#: Noise of the temperature sensors and of the valve's position.
NOISE_K, NOISE_VALVE = 0.15, 0.008


def write_plant(
    folder: Path,
    number: int,
    plant: int,
    config: SimulationConfig,
    traces: Traces,
    severity: Float64,
    schedule: Schedule,
    rng: np.random.Generator,
) -> int:
    """Write ``plant_Na.csv``, ``plant_Nb.csv`` and ``plant_Nc.csv`` and return the number of samples."""
    start = datetime.fromisoformat(config.start)
    samples: list[tuple[int, str]] = []
    for c in range(config.components):
        unit = plant * config.components + c
        at = _sample_times(config, rng)
        step = at // STEP_S
        at, step = at[severity[6, step, unit] == 0], step[severity[6, step, unit] == 0]
        temperatures = traces.sensors[:3, step, unit] + rng.normal(0, NOISE_K, (3, len(step)))
        position = traces.sensors[3, step, unit] + rng.normal(0, NOISE_VALVE, len(step))
        setpoints, commands = traces.controls[:2, step, unit], traces.controls[2:, step, unit]
        columns = np.rint(
            np.concatenate([10 * temperatures, 100 * position[None].clip(0, 1), 10 * setpoints, 100 * commands])
        ).astype(int)
        rows = [",".join(map(str, values)) for values in columns.T.tolist()]
        samples += [(t, f"{c + 1},{_time(start, t)},{row}") for t, row in zip(at.tolist(), rows, strict=True)]
    _write(folder / f"plant_{number}a.csv", samples, rng)

    energy: list[tuple[int, str]] = []
    for z in range(config.zones):
        units = [plant * config.components + c for c in range(config.components) if c % config.zones == z]
        power = traces.power[:, units].sum(axis=1) + 1.5
        meter = 1000.0 + np.cumsum(power) * STEP_S / 3600
        at = _sample_times(config, rng)
        energy += [
            (t, f"{z + 1},{_time(start, t)},{meter[t // STEP_S]:.2f},{power[t // STEP_S]:.2f}") for t in at.tolist()
        ]
    _write(folder / f"plant_{number}b.csv", energy, rng)

    own = np.flatnonzero(schedule.plant == plant)
    log = [
        f"{_time(start, int(schedule.start_s[i]) - LOG_BEHIND_S)},"
        f"{_time(start, int(schedule.end_s[i]) - LOG_BEHIND_S)},{schedule.fault[i]}"
        for i in own[np.argsort(schedule.start_s[own], kind="stable")]
    ]
    (folder / f"plant_{number}c.csv").write_text("".join(f"{line}\n" for line in log), encoding="utf-8")
    return len(samples) + len(energy)


def _sample_times(config: SimulationConfig, rng: np.random.Generator) -> Int64:
    """Seconds of one component's samples: its own phase, some jitter, some losses."""
    count = config.days * 86_400 // config.period_s - 1
    phase = rng.uniform(0.02, 0.98) * config.period_s
    at = np.arange(count) * config.period_s + phase + rng.normal(0, 0.01 * config.period_s, count)
    at = at[rng.random(count) >= LOST]
    return np.sort(at.clip(0, config.days * 86_400 - 1).astype(np.int64))


def _time(start: datetime, seconds: int) -> str:
    return f"{start + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S}"


def _write(path: Path, rows: list[tuple[int, str]], rng: np.random.Generator) -> None:
    rows.sort(key=lambda row: row[0])
    twice = rng.random(len(rows)) < TWICE
    with path.open("w", encoding="utf-8") as file:
        for (_, line), repeated in zip(rows, twice.tolist(), strict=True):
            file.write(f"{line}\n{line}\n" if repeated else f"{line}\n")
