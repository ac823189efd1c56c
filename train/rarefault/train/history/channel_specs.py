"""What channels are, applied to a whole history, as the daemon applies it to live telemetry."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rarefault.runtime.arrays import Float64
from rarefault.runtime.errors import HistoryError
from rarefault.runtime.inference.missing import without_named
from rarefault.runtime.telemetry.channels import ChannelMeaning, ChannelSpec, ChannelSpecs
from rarefault.runtime.telemetry.reasons import ValueReason
from rarefault.train.history.data import History
from rarefault.train.history.notes import CHANNEL_MISSING, OUT_OF_RANGE, TOO_LARGE

_PLAIN = ChannelSpec()
#: How a reading notes what was dropped, and whether strict reading refuses it.
_NOTES = {
    ValueReason.NAMED_MISSING: (CHANNEL_MISSING, False),
    ValueReason.OUT_OF_RANGE: (OUT_OF_RANGE, False),
    ValueReason.NOT_FINITE: (TOO_LARGE, True),
}


def with_specs(
    history: History, specs: ChannelSpecs, missing: Sequence[float] = (), *, everything: bool = False
) -> History:
    """The history in the units of its channels.

    Args:
        history: as it was read, or in those units already.
        specs: what channels are, by name.
        missing: numbers that stand for no value in any channel, as devices send them.
        everything: whether all channels that ``specs`` names must be there.

    Raises:
        HistoryError: it was read by others, or lacks a channel that they name.
    """
    if dict(history.channel_specs) == dict(specs):
        values = without_sent(history.values, missing, specs, history.channels)
        return history if values is history.values else replace(history, values=values)
    if history.channel_specs:
        raise HistoryError(
            "the history was read by other [channels] than those of the model: read it by the same, or train anew"
        )
    if everything and (foreign := [name for name in specs if name not in history.channels]):
        raise HistoryError(
            f"channels.{foreign[0]}: the history has no such channel, only {', '.join(history.channels)}"
        )
    values, dropped = ChannelMeaning(specs, history.channels).apply(without_named(history.values, missing))
    for column, why, which in dropped:
        kind, problem = _NOTES[why]
        first = history.values[np.flatnonzero(which)[0], column]
        history.notes.add(kind, int(which.sum()), f"{first:g}", problem=problem, at=history.channels[column])
    return replace(history, values=values, channel_specs=dict(specs))


def without_sent(values: Float64, missing: Sequence[float], specs: ChannelSpecs, channels: Sequence[str]) -> Float64:
    """Values in the units of their channels, minus infinite where what was sent stands for no value.

    Args:
        values: [M, C].
        missing: the numbers as devices send them; themselves where there are none.
        specs: what channels are, by name.
        channels: names, [C].
    """
    if not missing:
        return values
    values = values.copy()
    for i, name in enumerate(channels):
        spec = specs.get(name, _PLAIN)
        sent = np.asarray(missing, np.float64)
        both = np.concatenate((sent, sent.astype(np.float32).astype(np.float64)))
        values[:, i] = without_named(values[:, i], (both * spec.scale + spec.offset).tolist())
    return values


def words_only(specs: ChannelSpecs) -> ChannelSpecs:
    """The specs that turn words into numbers, and leave these as devices send them."""
    return {name: ChannelSpec(states=spec.states) for name, spec in specs.items() if spec.states}
