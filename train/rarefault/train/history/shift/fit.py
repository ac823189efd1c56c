"""How sharply the channels change at the borders of a shifted log."""

from collections.abc import Mapping, Sequence

import numpy as np

from rarefault.runtime.arrays import Float64, Int64
from rarefault.train.history.shift.borders import Borders
from rarefault.train.history.shift.channel_sets import MEASURED, MOST_CHANGE, ChannelSet

#: What the square of a mean change has to exceed to count: twice its spread by chance.
CHANCE = 4.0


class Fit:
    """Measures the fit of a log at any shift.

    At each border the mean of each channel within a span after it is compared with that before it. The changes of a
    group, those at ends with the sign turned, add up where they agree and cancel where they do not. The fit is the sum
    over groups and channels of the squares beyond chance.

    Args:
        borders: of the log.
        channel_sets: of each device, by slot.
        n_channels: of the history.
        span_ms: how long before and after a border is looked at.
    """

    def __init__(
        self, borders: Borders, channel_sets: Mapping[int, Sequence[ChannelSet]], n_channels: int, span_ms: int
    ) -> None:
        self.borders, self.span_ms = borders, span_ms
        self._channel_sets, self._n_channels = channel_sets, n_channels
        self._width = n_channels + max(map(len, channel_sets.values()))
        self._own = {slot: np.flatnonzero(borders.device == slot) for slot in channel_sets}
        self._sizes = {id(one): self._usual(one) for own in channel_sets.values() for one in own}

    def _usual(self, channel_set: ChannelSet) -> tuple[Float64, Float64]:
        """Usual size of a change, [c], and the spread of the changes in it, [c]."""
        at = channel_set.time_ms[:: max(1, len(channel_set.time_ms) // MEASURED)]
        change, there = channel_set.changes(*self._spans(at))
        change = change[there]
        if not len(change):
            nothing = np.full(len(channel_set.columns), np.inf)
            return nothing, np.ones_like(nothing)
        size = np.maximum(1.4826 * np.median(np.abs(change), axis=0), change.std(axis=0) / 2)
        size = np.where(size > 0, size, np.inf)
        spread = np.clip(change / size, -MOST_CHANGE, MOST_CHANGE).std(axis=0)
        return size, np.where(spread > 0, spread, 1.0)

    def _spans(self, at: Int64, wait_ms: int = 0) -> tuple[tuple[Int64, Int64], tuple[Int64, Int64]]:
        """The spans before and after instants, or those of :meth:`changes` with ``wait_ms``."""
        span = self.span_ms
        if not wait_ms:
            return (at - span, at), (at, at + span)
        before, after = at + max(0, wait_ms - 3 * span), at + max(0, wait_ms - 2 * span)
        return (before - span, before), (after, at + wait_ms - span)

    def changes(self, shift_ms: int | Mapping[int, int], *, wait_ms: int = 0) -> Float64:
        """Changes at the shifted borders in their usual size, ends with the sign turned, [b, m].

        Args:
            shift_ms: added to the log, or by device to its events.
            wait_ms: if given, what has changed a span before that time after the border: since the border or, where
                that is longer ago, since two spans before.
        """
        out = np.zeros((len(self.borders.device), self._width))
        for slot, own in self._own.items():
            at = self.borders.time_ms[own] + (shift_ms if isinstance(shift_ms, int) else shift_ms[slot])
            spans = self._spans(at, wait_ms)
            for number, channel_set in enumerate(self._channel_sets[slot]):
                size, spread = self._sizes[id(channel_set)]
                change, _ = channel_set.changes(*spans)
                out[np.ix_(own, channel_set.columns)] = np.clip(change / size, -MOST_CHANGE, MOST_CHANGE) / spread
                out[own, self._n_channels + number] = 2 * channel_set.presence(*spans)
        return out * self.borders.sign[:, None]

    def score(self, changes: Float64, *, sign: int = 0) -> float:
        """The fit by the changes, [b, m], of all borders or only of starts (1) or ends (-1)."""
        weight = np.ones(len(changes)) if not sign else (self.borders.sign == sign).astype(np.float64)
        return float(self.scores(changes, weight[None])[0])

    def scores(self, changes: Float64, weights: Float64) -> Float64:
        """The fit by the changes, [b, m], under each of some weights of the borders, [r, b]: [r]."""
        total = np.zeros(len(weights))
        for first, size in zip(self.borders.first.tolist(), self.borders.sizes.tolist(), strict=True):
            own = slice(first, first + size)
            count = np.maximum(weights[:, own].sum(axis=1), 1.0)
            mean = weights[:, own] @ changes[own] / np.sqrt(count)[:, None]
            total += np.maximum(mean**2 - CHANCE, 0.0).sum(axis=1)
        return total
