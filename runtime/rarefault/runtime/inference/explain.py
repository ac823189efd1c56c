"""Explanation: where a fault shows, and which channels moved the verdict behind an alarm.

By occlusion (Zeiler and Fergus, "Visualizing and understanding convolutional networks", 2014, section 4.2): the window
is judged again with one channel missing, and all that is derived from it, from the same carried state and the same
belief, all channels in one batch. The contribution of a channel is what the fault's posterior loses without it::

    contribution_c = log posterior(fault | window) - log posterior(fault | window without channel c)

A fault that is looked for at units is shown by one of them; only the channels of that unit are occluded, and the
contribution is what the probability of the fault at this unit loses: where a second unit has the fault, too, the
device's posterior would lose nothing.

Occlusion needs no gradients, so the edge can afford it. It shows what the model used, which need not be the cause.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rarefault.runtime.arrays import Float32, Float64
from rarefault.runtime.inference.decision import Decision
from rarefault.runtime.inference.engine import Step

#: Channels that an alarm names, and the least contribution for which it does.
MOST_CHANNELS, LEAST = 5, 0.01
#: Smallest posterior that a logarithm is taken of.
_TINY = 1e-12


class Judged(NamedTuple):
    """A window, and what it was judged from.

    Attributes:
        window: [L, I].
        state: the carried state before it, [S].
        belief: the belief before it, [K].
        opinions: of the experts on it, [E, V].
    """

    window: Float32
    state: Float32
    belief: Float64
    opinions: Float32


class Explanation(NamedTuple):
    """Why a window has a fault.

    Attributes:
        channels: the channels that gave most to the fault, with what they gave, the largest first.
        unit: number of the unit that shows it; None where the fault is not looked for at units.
    """

    channels: tuple[tuple[int, float], ...]
    unit: int | None


def explain(
    judged: Judged, fault: int, step: Step, decision: Decision, columns: Sequence[Sequence[int]]
) -> Explanation:
    """The unit that shows a fault, and the channels that gave most to it.

    Args:
        judged: the window.
        fault: index of the class.
        step: the model.
        decision: its decision.
        columns: of the window, that each channel gives, [C].
    """
    unit = decision.unit_of(judged.opinions, fault)
    channels = list(range(len(columns)))
    if unit is not None and decision.spec.units is not None:
        own = set(decision.spec.units.channels[unit])
        channels = [c for c in channels if own & set(columns[c])]
    given = contributions(judged, fault, step, decision, [columns[c] for c in channels], unit)
    order = np.argsort(-given, kind="stable")[:MOST_CHANNELS]
    return Explanation(tuple((channels[i], float(given[i])) for i in order if given[i] >= LEAST), unit)


def contributions(
    judged: Judged,
    fault: int,
    step: Step,
    decision: Decision,
    columns: Sequence[Sequence[int]],
    unit: int | None = None,
) -> Float64:
    """What columns of the window, together those of one channel, gave to the log-probability of a fault, [C].

    Args:
        judged, fault, step, decision: see :func:`explain`.
        columns: of each channel, [C].
        unit: that shows the fault; None: the whole device.
    """
    batch = np.repeat(judged.window[None], len(columns) + 1, axis=0)
    for i, own in enumerate(columns):
        batch[i, :, list(own)] = np.nan
    opinions, _ = step(batch, np.repeat(judged.state[None], len(batch), axis=0))
    if unit is None:
        share = decision.posterior_after(opinions, judged.belief)[:, fault]
    else:
        share = decision.share_at(opinions, unit, fault)
    log_share = np.log(np.maximum(share, _TINY))
    found: Float64 = log_share[-1] - log_share[:-1]
    return found
