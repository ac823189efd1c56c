"""The search around the best of the coarse one, and what its result is."""

from dataclasses import dataclass

import numpy as np

from rarefault.runtime.arrays import Float64, Int64
from rarefault.train.history.shift.borders import Borders
from rarefault.train.history.shift.fit import Fit
from rarefault.train.history.shift.structs import ShiftKind

MINUTE_MS, QUARTER_MS, HOUR_MS = 60_000, 900_000, 3_600_000
#: Draws of events, and share of them in which the log as it is may fit nearly as well as the best shift.
DRAWS, MOST_DRAWS_AT_ZERO = 200, 0.1
#: What fits nearly as well as the best.
NEARLY = 0.9
#: Percentiles of the best shift over the draws.
SPREAD = (2.5, 97.5)
#: Smallest shift that is said, though not less than a third of a span, and that is spoken of as one of zones.
LEAST_MS, LEAST_ZONE_MS = 5 * MINUTE_MS, HOUR_MS
#: A side, starts or ends, is heard where it has so much of the other's fit.
HEARD = 0.3
#: A shift may be rounded to one between zones by so much beyond those that fit nearly as well.
ROUNDED_MS = 7.5 * MINUTE_MS
#: A log can be early by so many spans at least; what is less may be a fault that shows slowly.
EARLY_SPANS = 1.5
#: Spans that an event lasts at least whose end shows what came before it.
LONG_SPANS = 4
#: So much of the fit may be there before the best shift.
BEGUN = 0.3


@dataclass(frozen=True)
class Coarse:
    """The coarse search with one span.

    Attributes:
        fit: of that span.
        shift_ms: tried, [L].
        score: of each, [L].
        middle, most: of the fit by chance.
    """

    fit: Fit
    shift_ms: Int64
    score: Float64
    middle: float
    most: float

    @property
    def stands_out(self) -> float:
        """How many times the best exceeds what chance reaches."""
        return float((self.score.max() - self.middle) / max(self.most - self.middle, 1e-9))

    def share(self, score: Float64) -> Float64:
        """Scores as shares of the best one."""
        share: Float64 = np.clip((score - self.middle) / max(self.score.max() - self.middle, 1e-9), 0.0, None)
        return share


class Fine:
    """The fine search around the best of a coarse one.

    Attributes:
        interval: of the shifts that fit nearly as well, milliseconds.
        why: there is no finding.
    """

    def __init__(self, coarse: Coarse, borders: Borders, period_ms: float, rng: np.random.Generator) -> None:
        self.fit, self.borders = coarse.fit, borders
        self.why, self.one_side, self.period_ms = "", "", period_ms
        about, span = int(coarse.shift_ms[coarse.score.argmax()]), coarse.fit.span_ms
        step = max(MINUTE_MS, span // 20 // MINUTE_MS * MINUTE_MS)
        reach = -(-max(span, QUARTER_MS) // step) * step
        self.shifts = np.arange(about - reach, about + reach + 1, step)
        weights = _draws(borders, rng)
        scores = np.stack([self.fit.scores(self.fit.changes(int(shift)), weights) for shift in self.shifts])
        self.best_ms, self.interval = self._nearly(scores - coarse.middle)
        # A log is written to the minute at best.
        near = [self.fit.scores(self.fit.changes(shift), weights) for shift in (-MINUTE_MS, 0, MINUTE_MS)]
        at_zero = np.max(near, axis=0)
        nearly = at_zero[1:] - coarse.middle >= NEARLY * (scores[:, 1:].max(axis=0) - coarse.middle)
        self.at_zero = float(nearly.mean())

    def _nearly(self, scores: Float64) -> tuple[int, tuple[int, int]]:
        """Middle of the shifts that fit nearly as well as the best, and all that may be the best one.

        Args:
            scores: of each shift, first for all events, then for each draw, [L, 1 + r].
        """
        score = scores[:, 0]
        first = last = int(score.argmax())
        enough = NEARLY * score.max()
        while first > 0 and score[first - 1] >= enough:
            first -= 1
        while last < len(score) - 1 and score[last + 1] >= enough:
            last += 1
        drawn = self.shifts[scores[:, 1:].argmax(axis=0)]
        low, high = np.percentile(drawn, SPREAD, method="nearest")
        middle = (self.shifts[first] + self.shifts[last]) // 2
        return int(middle), (int(min(low, self.shifts[first])), int(max(high, self.shifts[last])))

    def judge(self) -> tuple[ShiftKind, int]:
        """What the shift is and how long, milliseconds; ``why`` says why it is none."""
        low, high = self.interval
        sides = self._sides()
        least = max(LEAST_MS, self.fit.span_ms // 3)
        fits = low <= MINUTE_MS and high >= -MINUTE_MS
        if fits or self.at_zero > MOST_DRAWS_AT_ZERO or abs(self.best_ms) < least:
            self.why = "as it is"
        elif self.best_ms < 0 and len(sides) < 2:
            self.why = "sides"
        elif self.best_ms > 0 and not self._comes_suddenly(sides):
            self.why = "slow"
        if self.why:
            return "none", 0
        near = min(ROUNDED_MS, self.period_ms / 2)
        for of in (HOUR_MS, 2 * QUARTER_MS, QUARTER_MS):
            rounded = round(self.best_ms / of) * of
            if low - near <= rounded <= high + near and abs(rounded) >= LEAST_ZONE_MS:
                self.one_side = "" if len(sides) == 2 else "starts" if sides == [1] else "ends"
                return "zone", rounded
        if len(sides) < 2:
            self.why = "sides"
            return "none", 0
        return "clock", self.best_ms

    def _sides(self) -> list[int]:
        """Which of starts (1) and ends (-1) fit better when they are shifted, or tell nothing."""
        best, zero = self.fit.changes(self.best_ms), self.fit.changes(0)
        scores = {sign: (self.fit.score(best, sign=sign), self.fit.score(zero, sign=sign)) for sign in (1, -1)}
        most = max(map(max, scores.values()))
        return [sign for sign, (at_best, at_zero) in scores.items() if at_best > at_zero or at_zero < HEARD * most]

    def _comes_suddenly(self, sides: list[int]) -> bool:
        """Whether the channels have not begun to change by the logged borders, or before the best shift."""
        if self.best_ms < EARLY_SPANS * self.fit.span_ms:
            return False
        # Before the end of a short event is its start.
        sign, long = self.borders.sign, self.borders.lasts_ms > LONG_SPANS * self.fit.span_ms
        weights = [((sign == side) & (long | (sign > 0))).astype(np.float64) for side in sides]
        begun, there = self.fit.changes(0, wait_ms=self.best_ms), self.fit.changes(self.best_ms)
        before, best = (self.fit.scores(changes, np.stack(weights)).sum() for changes in (begun, there))
        return bool(best > 0 and before <= BEGUN * best)


def _draws(borders: Borders, rng: np.random.Generator) -> Float64:
    """How often each border is in a draw, first all of them once, [1 + r, b]; whole days are drawn."""
    n = int(borders.cluster.max()) + 1
    counts = rng.multinomial(n, np.full(n, 1 / n), size=DRAWS).astype(np.float64)
    return np.concatenate([np.ones((1, len(borders.cluster))), counts[:, borders.cluster]])
