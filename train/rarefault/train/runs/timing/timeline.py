"""How far a training is, all stages together, and how long it will go on."""

import time
from collections.abc import Callable, Mapping

#: So much of the time that was expected must be over before what it took corrects what is to come; and by how much at
#: most.
TRUSTED, LARGEST = 0.05, 4.0
#: Of a stage, this share must be done before its own speed says how long it goes on.
BEGUN = 0.05


class Timeline:
    """Stages in their order, weighted by the seconds that they are expected to take, corrected by those that they took.

    A stage is over when a later one begins; its blocks of time add up.

    Args:
        expected: seconds of each stage, in their order; a stage that is not among them counts for nothing.
        clock: seconds.

    >>> now = [0.0]
    >>> line = Timeline({"fit": 10.0, "trees": 30.0}, clock=lambda: now[0])
    >>> line.begin("fit"), line.position()
    (None, (0.0, 40.0))
    >>> now[0] = 20.0
    >>> line.begin("trees"), line.position()
    (None, (0.25, 60.0))
    """

    def __init__(self, expected: Mapping[str, float], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._order = list(expected)
        self._expected = dict(expected)
        self._taken = dict.fromkeys(self._order, 0.0)
        self._at, self._share, self._shown = -1, 0.0, 0.0
        self._since: float | None = None

    @property
    def known(self) -> bool:
        """Whether anything is expected at all."""
        return bool(self._expected)

    def expect(self, expected: Mapping[str, float]) -> None:
        """Replace what stages are expected to take."""
        self._expected.update({stage: seconds for stage, seconds in expected.items() if stage in self._expected})

    def begin(self, stage: str) -> None:
        """A stage begins, or goes on."""
        if stage not in self._expected:
            return
        self._pause()
        at = self._order.index(stage)
        if at != self._at:
            self._at, self._share = at, 0.0
        self._since = self._clock()

    def within(self, share: float) -> None:
        """So much of the present stage is done, from 0 to 1."""
        self._share = max(self._share, min(share, 1.0))

    def end(self, stage: str) -> None:
        """A stage ends, or stops for a while."""
        if stage in self._expected:
            self._pause()
            self._since = None

    def position(self) -> tuple[float, float]:
        """Share of the whole that is done, which never falls, and the seconds that are left."""
        pace = self._pace()
        left = sum(self._expected[stage] * pace for stage in self._order[self._at + 1 :])
        if self._at >= 0:
            left += self._left_now(pace)
        over = sum(self._taken.values()) + self._running()
        share = over / (over + left) if over + left else 1.0
        self._shown = max(self._shown, share)
        return self._shown, left

    def _left_now(self, pace: float) -> float:
        stage = self._order[self._at]
        taken, expected = self._taken[stage] + self._running(), self._expected[stage] * pace
        by_estimate = max(expected - taken, 0.0)
        if self._share < BEGUN:
            return by_estimate
        by_speed = taken * (1 - self._share) / self._share
        return self._share * by_speed + (1 - self._share) * by_estimate

    def _pace(self) -> float:
        """How much longer stages took than they were expected to."""
        done = self._order[: max(self._at, 0)]
        expected = sum(self._expected[stage] for stage in done)
        if expected < TRUSTED * sum(self._expected.values()) or not expected:
            return 1.0
        pace = sum(self._taken[stage] for stage in done) / expected
        return min(max(pace, 1 / LARGEST), LARGEST)

    def _running(self) -> float:
        return 0.0 if self._since is None else self._clock() - self._since

    def _pause(self) -> None:
        if self._since is not None:
            self._taken[self._order[self._at]] += self._running()
