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

import numpy as np

from rarefault.train.history.data import History
from rarefault.train.history.shift.borders import Borders, borders_of
from rarefault.train.history.shift.channel_sets import DAY_MS
from rarefault.train.history.shift.fine import HOUR_MS, MINUTE_MS, QUARTER_MS, Coarse, Fine
from rarefault.train.history.shift.fit import Fit
from rarefault.train.history.shift.sample import Sampled, sample
from rarefault.train.history.shift.structs import LogShift, ShiftCurve
from rarefault.train.history.shift.wording import (
    NO_BORDERS,
    NO_CHANGE,
    NO_SAMPLES,
    NO_SEARCH,
    RARE_SAMPLES,
    fits,
    found,
)

#: Zones are up to 14 hours from UTC.
FARTHEST_MS = 14 * HOUR_MS
#: Shortest and longest span before and after a border, and what each is of the one before.
SHORTEST_SPAN_MS, LONGEST_SPAN_MS, WIDER = 300_000, 80 * MINUTE_MS, 4
#: A span holds a sample of a channel set even where these are not quite regular.
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
CLEAR = 2.0
#: Times that the events are dealt into halves, and share of them in which both halves must be best at one shift.
DEALS, AGREED = 40, 0.75


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


class _Search:
    def __init__(self, sampled: Sampled, borders: Borders, n_channels: int, rng: np.random.Generator) -> None:
        self.sampled, self.borders, self.n_channels, self.rng = sampled, borders, n_channels, rng

    def run(self) -> LogShift:
        coarse = self._clearest()
        curve = self._curve(coarse)
        if coarse.stands_out < STANDS_OUT or self._agreement(coarse) < AGREED:
            return LogShift(kind="none", text=NO_CHANGE, events=self.borders.events, curve=curve)
        fine = Fine(coarse, self.borders, self.sampled.period_ms, self.rng)
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

    def _clearest(self) -> Coarse:
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

    def _coarse(self, span_ms: int) -> Coarse:
        fit = Fit(self.borders, self.sampled.channel_sets, self.n_channels, span_ms)
        step = min(QUARTER_MS, span_ms // MINUTE_MS * MINUTE_MS)
        both = (np.arange(-FARTHEST_MS, FARTHEST_MS + 1, one) for one in (QUARTER_MS, step))
        shifts = np.unique(np.concatenate([*both]))
        scores = np.array([fit.score(fit.changes(int(shift))) for shift in shifts])
        far = np.array([fit.score(fit.changes(self._far())) for _ in range(FAR_SHIFTS)])
        return Coarse(fit, shifts, scores, float(np.median(far)), float(far.max()))

    def _agreement(self, coarse: Coarse) -> float:
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
    def _curve(coarse: Coarse) -> ShiftCurve:
        return ShiftCurve(
            shift_s=[shift / 1000 for shift in coarse.shift_ms.tolist()],
            fit=[round(value, 4) for value in coarse.share(coarse.score).tolist()],
            noise=round(float(coarse.share(np.array([coarse.most]))[0]), 4),
        )
