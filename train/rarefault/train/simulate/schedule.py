"""When which fault is where: events that add up to the configured proportions of time."""

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
        proportions: share of time of each code as labelled (the rarer one wins), by code.
    """

    plant: Int64
    component: Int64
    start_s: Int64
    end_s: Int64
    fault: Int64
    proportions: dict[int, float]


def plan_events(config: SimulationConfig, rng: np.random.Generator) -> Schedule:
    """Draw events until each fault labels its share of the bins.

    The time of all plants is one line, cut into as many stretches as there are events, with one event in each: a rare
    fault comes up all along the history. Labels are on the grid of ``period_s``: bins whose end is within the event,
    and the rarest of several faults wins, so faults are placed from the rarest on and only bins that are still free
    count.
    """
    plan = _Plan(config, rng)
    proportions = config.proportions.by_code()
    for code in sorted((code for code in proportions if proportions[code] > 0), key=lambda code: proportions[code]):
        plan.place_fault(code, round(proportions[code] * config.plants * plan.bins))
    table = np.array(plan.rows, np.int64).reshape(-1, 5)
    achieved = {code: float((plan.taken == code).sum() / (config.plants * plan.bins)) for code in proportions}
    plant, component, start, end, fault = table.T
    return Schedule(plant, component, start, end, fault, achieved)


class _Plan:
    """Events placed so far.

    Attributes:
        taken: the code that labels each bin, 0 for none, [plants, bins + 1]; bin 0 is unused.
        rows: plant, component, start, end and code of each event.
    """

    def __init__(self, config: SimulationConfig, rng: np.random.Generator) -> None:
        self.config, self.rng = config, rng
        self.bins = config.days * 86_400 // config.period_s
        self.taken = np.zeros((config.plants, self.bins + 1), np.int64)
        self.rows: list[tuple[int, int, int, int, int]] = []
        self._busy: list[list[tuple[int, int, int]]] = [[] for _ in range(config.plants)]  # component, start, end

    def place_fault(self, code: int, target: int) -> None:
        """Place events of a fault until they label ``target`` bins."""
        period_s = self.config.period_s
        fewest = min(FEWEST, target)
        count = max(fewest, round(target * period_s / MEAN_S[code]))
        stretch = self.config.plants * self.bins / max(count, 1)
        labelled = placed = tries = 0
        order = self.rng.permutation(count)
        while labelled < target and tries < 50 * count:
            slot = order[tries % count]
            # Rare faults cover their few bins evenly; common ones vary.
            typical = target / count
            length = typical if typical * period_s < 2 * 3600 else typical * self.rng.lognormal(-0.18, 0.6)
            # A long event leaves bins for the fewest that are to come.
            size = int(np.clip(round(length), 1, target - labelled - max(0, fewest - 1 - placed)))
            tries += 1
            if n := self._place_event(code, int((slot + self.rng.uniform(0.05, 0.75)) * stretch), size):
                labelled += n
                placed += 1

    def _place_event(self, code: int, at: int, size: int) -> int:
        """Place an event from bin ``at`` of all plants on, and return how many bins it labels; 0 where none is free."""
        period_s, rng = self.config.period_s, self.rng
        plant, first = divmod(at, self.bins)
        last = min(first + size, self.bins - 1)
        span = self.taken[plant, first + 1 : last + 1]
        free = span == 0
        if first < 8 or not free.any():
            return 0
        # From a little before the end of its first bin to a little after that of its last.
        start_s = (first + 1) * period_s - int(rng.integers(1, period_s * 2 // 3))
        end_s = last * period_s + int(rng.integers(0, period_s * 2 // 3))
        if end_s - start_s < period_s // 4:
            end_s = start_s + period_s // 4
        unit = _component(self._busy[plant], self.config.components, start_s, end_s, rng)
        self._busy[plant].append((unit, start_s, end_s))
        self.rows.append((plant, unit, start_s, end_s, code))
        span[free] = code
        return int(free.sum())


def _component(
    busy: list[tuple[int, int, int]], components: int, start_s: int, end_s: int, rng: np.random.Generator
) -> int:
    """A component without another fault at that time, if there is one: lost samples would hide the other."""
    taken = {component for component, start, end in busy if start <= end_s and end >= start_s}
    return int(rng.choice([c for c in range(components) if c not in taken] or components))
