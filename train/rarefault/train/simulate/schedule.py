"""When which fault is where: events that add up to the wanted shares of time."""

from dataclasses import dataclass

import numpy as np

from rarefault.runtime.arrays import Int64
from rarefault.train.simulate.config import SimulationConfig

#: Typical duration of an event, seconds.
MEAN_S = {1: 18_000, 2: 25_000, 3: 30_000, 4: 5_400, 5: 12_000, 6: 24_000}
#: Fewest events of a fault that occurs at all, so that every block of a split can hold one.
FEWEST = 5


@dataclass(frozen=True)
class Schedule:
    """All events, in order of fault (rarest first), then of time.

    Attributes:
        plant, component: which unit, from 0, [V].
        start_s, end_s: seconds since the start of the simulation, [V].
        fault: code, 1 to 6, [V].
        share: share of time of each code as labelled (the rarer one wins), by code.
    """

    plant: Int64
    component: Int64
    start_s: Int64
    end_s: Int64
    fault: Int64
    share: dict[int, float]


def plan_events(config: SimulationConfig, rng: np.random.Generator) -> Schedule:
    """Draw events until each fault labels its share of the bins.

    The time of all plants is one line, cut into as many stretches as there are events, with one event in each: a rare
    fault comes up all along the history. Labels are on the grid of ``period_s``: bins whose end is within the event,
    and the rarest of several faults wins, so faults are placed from the rarest on and only bins
    that are still free count.
    """
    p = config.period_s
    bins = config.days * 86_400 // p
    taken = np.zeros((config.plants, bins + 1), np.int64)
    rows: list[tuple[int, int, int, int, int]] = []
    busy: list[list[tuple[int, int, int]]] = [[] for _ in range(config.plants)]  # component, start, end
    shares = config.proportions.by_code()
    for code in sorted((c for c in shares if shares[c] > 0), key=lambda c: shares[c]):
        wanted = round(shares[code] * config.plants * bins)
        fewest = min(FEWEST, wanted)
        count = max(fewest, round(wanted * p / MEAN_S[code]))
        stretch = config.plants * bins / max(count, 1)
        got = made = tries = 0
        order = rng.permutation(count)
        while got < wanted and tries < 50 * count:
            slot = order[tries % count]
            # Rare faults share their few bins evenly; common ones vary.
            typical = wanted / count
            length = typical if typical * p < 2 * 3600 else typical * rng.lognormal(-0.18, 0.6)
            # A long event leaves bins for the fewest that are to come.
            size = int(np.clip(round(length), 1, wanted - got - max(0, fewest - 1 - made)))
            at = int((slot + rng.uniform(0.05, 0.75)) * stretch)
            plant, first = divmod(at, bins)
            tries += 1
            last = min(first + size, bins - 1)
            free = taken[plant, first + 1 : last + 1] == 0
            if first < 8 or not free.any():
                continue
            # From a little before the end of its first bin to a little after that of its last.
            start_s = (first + 1) * p - int(rng.integers(1, p * 2 // 3))
            end_s = last * p + int(rng.integers(0, p * 2 // 3))
            if end_s - start_s < p // 4:
                end_s = start_s + p // 4
            unit = _component(busy[plant], config.components, start_s, end_s, rng)
            busy[plant].append((unit, start_s, end_s))
            rows.append((plant, unit, start_s, end_s, code))
            taken[plant, first + 1 : last + 1][free] = code
            got += int(free.sum())
            made += 1
    table = np.array(rows, np.int64).reshape(-1, 5)
    achieved = {code: float((taken == code).sum() / (config.plants * bins)) for code in shares}
    plant_, component, start, end, fault = table.T
    return Schedule(plant_, component, start, end, fault, achieved)


def _component(
    busy: list[tuple[int, int, int]], components: int, start_s: int, end_s: int, rng: np.random.Generator
) -> int:
    """A component without another fault at that time, if there is one: lost samples would hide the other."""
    taken = {component for component, start, end in busy if start <= end_s and end >= start_s}
    return int(rng.choice([c for c in range(components) if c not in taken] or components))
