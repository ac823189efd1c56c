"""Looks for the shift of a log that fits its telemetry best; a finding is said, never applied.

The search is coarse over all quarter hours that zones can be apart, then fine around the best. It finds something only
where all of this holds (decision 0043):

- the best fit stands out from that at times far from the events;
- where the events are dealt into halves, day by day, both halves find it;
- with the events drawn anew, the log as it is fits clearly less in nearly all draws;
- starts and ends agree, as they do when a clock is wrong; starts alone are late where events are noticed late;
- where the channels change after the log says so, they had not begun to change before, as in a slow fault.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rarefault.runtime.arrays import Float64, Int64
from rarefault.train.history.data import History
from rarefault.train.history.shift.borders import Borders, borders_of
from rarefault.train.history.shift.fit import Fit
from rarefault.train.history.shift.sample import Sampled, sample
from rarefault.train.history.shift.streams import DAY_MS
from rarefault.train.history.shift.structs import LogShift, ShiftCurve, ShiftKind
from rarefault.train.history.shift.wording import (
    NO_BORDERS,
    NO_CHANGE,
    NO_SAMPLES,
    NO_SEARCH,
    RARE_SAMPLES,
    fits,
    found,
)

MINUTE_MS, QUARTER_MS, HOUR_MS = 60_000, 900_000, 3_600_000
#: Zones are up to 14 hours from UTC.
FARTHEST_MS = 14 * HOUR_MS
#: Shortest and longest span before and after a border, and what each is of the one before.
SHORTEST_SPAN_MS, LONGEST_SPAN_MS, WIDER = 300_000, 80 * MINUTE_MS, 4
#: A span holds a sample of a stream even where these are not quite regular.
IRREGULAR = 1.1
#: Samples that are farther apart tell too little of hours.
RAREST_MS = 3 * HOUR_MS
#: Fewest events in groups.
FEWEST_EVENTS = 12
#: Shifts by whole days, and hours besides, at which the fit by chance is measured.
FAR_SHIFTS = 200
#: The best fit must exceed the fit by chance so many times, both above its middle.
STANDS_OUT = 1.5
#: From here on no other span is tried.
CLEAR = 3.0
#: Times that the events are dealt into halves, and share of them in which both halves must be best at one shift.
DEALS, AGREED = 40, 0.6
#: Draws of events, and share of them in which the log as it is may fit nearly as well as the best shift.
DRAWS, MOST_DRAWS_AT_ZERO = 200, 0.1
#: What fits nearly as well as the best.
NEARLY = 0.9
#: Percentiles of the best shift over the draws.
SPREAD = (2.5, 97.5)
#: Smallest shift that is said, though not less than a third of a span, and that is spoken of as one of zones.
LEAST_MS, LEAST_ZONE_MS = 5 * MINUTE_MS, 2 * QUARTER_MS
#: A side, starts or ends, is heard where it has so much of the other's fit.
HEARD = 0.3
#: A shift may be rounded to one between zones by so much beyond those that fit nearly as well.
ROUNDED_MS = 7.5 * MINUTE_MS
#: A log can be early by so many spans at least; what is less may be a fault that shows slowly.
EARLY_SPANS = 1.5
#: So much of the fit may be there before the best shift.
BEGUN = 0.3


def find_log_shift(history: History, *, from_log: bool = True, seed: int = 0) -> LogShift:
    """Search a history; the text of a finding lacks the mend, which the section of the data knows.

    Args:
        history: any; it is not changed.
        from_log: whether the events come from a log with times of its own.
        seed: of what is drawn.
    """
    rng = np.random.default_rng(seed)
    if not from_log:
        return LogShift(kind="none", text=NO_SEARCH)
    sampled = sample(history, rng) if len(history) and len(history.events) else None
    if sampled is None:
        return LogShift(kind="none", text=NO_SAMPLES)
    if sampled.period_ms > RAREST_MS:
        return LogShift(kind="none", text=RARE_SAMPLES)
    borders = borders_of(history.events, sampled.spans_ms, rng)
    if borders is None or borders.events < FEWEST_EVENTS:
        return LogShift(kind="none", text=NO_BORDERS, events=0 if borders is None else borders.events)
    return _Search(sampled, borders, len(history.channels), rng).run()


@dataclass(frozen=True)
class _Coarse:
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


class _Search:
    def __init__(self, sampled: Sampled, borders: Borders, n_channels: int, rng: np.random.Generator) -> None:
        self.sampled, self.borders, self.n_channels, self.rng = sampled, borders, n_channels, rng

    def run(self) -> LogShift:
        coarse = self._clearest()
        curve = self._curve(coarse)
        if coarse.stands_out < STANDS_OUT or self._agreement(coarse) < AGREED:
            return LogShift(kind="none", text=NO_CHANGE, events=self.borders.events, curve=curve)
        fine = _Fine(coarse, self.borders, self.sampled.period_ms, self.rng)
        kind, best_ms = fine.judge()
        if kind == "none":
            return LogShift(kind=kind, text=fits(fine.why), events=self.borders.events, curve=curve)
        low, high = (edge / 1000 for edge in fine.interval)
        return LogShift(
            kind=kind,
            text=found(kind, best_ms / 1000, (low, high), self.borders.events, fine.one_side),
            offset_s=best_ms / 1000,
            low_s=low,
            high_s=high,
            events=self.borders.events,
            curve=curve,
        )

    def _clearest(self) -> _Coarse:
        """With the shortest span by which the best fit is clear, or else the span by which it is clearest."""
        tried = []
        for span in self._spans():
            tried.append(self._coarse(span))
            if tried[-1].stands_out >= CLEAR:
                return tried[-1]
        return max(tried, key=lambda one: one.stands_out)

    def _spans(self) -> list[int]:
        """Spans before and after a border: of about a sample, and longer ones for channels that are noisy."""
        spans = [max(SHORTEST_SPAN_MS, round(IRREGULAR * self.sampled.period_ms))]
        while spans[-1] * WIDER <= LONGEST_SPAN_MS:
            spans.append(spans[-1] * WIDER)
        return spans

    def _coarse(self, span_ms: int) -> _Coarse:
        fit = Fit(self.borders, self.sampled.streams, self.n_channels, span_ms)
        step = min(QUARTER_MS, span_ms // MINUTE_MS * MINUTE_MS)
        both = (np.arange(-FARTHEST_MS, FARTHEST_MS + 1, one) for one in (QUARTER_MS, step))
        shifts = np.unique(np.concatenate([*both]))
        scores = np.array([fit.score(fit.changes(int(shift))) for shift in shifts])
        far = np.array([fit.score(fit.changes(self._far())) for _ in range(FAR_SHIFTS)])
        return _Coarse(fit, shifts, scores, float(np.median(far)), float(far.max()))

    def _agreement(self, coarse: _Coarse) -> float:
        """Share of the deals in which both halves of the events fit best at about one shift."""
        n = int(self.borders.cluster.max()) + 1
        first = np.array([self.rng.permutation(n) % 2 for _ in range(DEALS)], np.float64)[:, self.borders.cluster]
        weights = np.concatenate([first, 1 - first])
        scores = np.stack([coarse.fit.scores(coarse.fit.changes(int(shift)), weights) for shift in coarse.shift_ms])
        best = coarse.shift_ms[scores.argmax(axis=0)]
        apart = np.abs(best[:DEALS] - best[DEALS:])
        return float((apart <= max(QUARTER_MS, 2 * coarse.fit.span_ms)).mean())

    def _far(self) -> Mapping[int, int]:
        """A shift of each device by whole days, within its samples, and of all by some hours."""
        within = int(self.rng.integers(-FARTHEST_MS // QUARTER_MS, FARTHEST_MS // QUARTER_MS + 1)) * QUARTER_MS
        return {
            slot: int(self.rng.integers(2, max(3, (high - low) // DAY_MS - 1))) * DAY_MS + within
            for slot, (low, high) in self.sampled.spans_ms.items()
        }

    @staticmethod
    def _curve(coarse: _Coarse) -> ShiftCurve:
        return ShiftCurve(
            shift_s=[shift / 1000 for shift in coarse.shift_ms.tolist()],
            fit=[round(value, 4) for value in coarse.share(coarse.score).tolist()],
            noise=round(float(coarse.share(np.array([coarse.most]))[0]), 4),
        )


class _Fine:
    """The fine search around the best of a coarse one.

    Attributes:
        interval: of the shifts that fit nearly as well, milliseconds.
        why: there is no finding.
    """

    def __init__(self, coarse: _Coarse, borders: Borders, period_ms: float, rng: np.random.Generator) -> None:
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
        begun, there = self.fit.changes(0, wait_ms=self.best_ms), self.fit.changes(self.best_ms)
        scores = [sum(self.fit.score(changes, sign=sign) for sign in sides) for changes in (begun, there)]
        return scores[0] <= BEGUN * scores[1]


def _draws(borders: Borders, rng: np.random.Generator) -> Float64:
    """How often each border is in a draw, first all of them once, [1 + r, b]; whole days are drawn."""
    n = int(borders.cluster.max()) + 1
    counts = rng.multinomial(n, np.full(n, 1 / n), size=DRAWS).astype(np.float64)
    return np.concatenate([np.ones((1, len(borders.cluster))), counts[:, borders.cluster]])
