"""Explanation: which channels moved the verdict behind an alarm.

By occlusion (Zeiler and Fergus, "Visualizing and understanding convolutional networks", 2014, section 4.2): the window
is judged again with one channel missing, and all that is derived from it, from the same carried state, all channels in
one batch. The contribution of a channel is what the fault's posterior loses without it::

    contribution_c = log posterior(fault | window) - log posterior(fault | window without channel c)

It needs no gradients, so the edge can afford it. It shows what the model used, which need not be the cause.
"""

from collections.abc import Sequence

import numpy as np

from rarefault.runtime.arrays import Float32, Float64
from rarefault.runtime.inference.decision import Decision
from rarefault.runtime.inference.engine import Step

#: Channels that an alarm names, and the least contribution for which it does.
MOST_CHANNELS, LEAST = 5, 0.01
#: Smallest posterior that a logarithm is taken of.
_TINY = 1e-12


def explain(
    window: Float32, state: Float32, fault: int, step: Step, decision: Decision, columns: Sequence[Sequence[int]]
) -> tuple[tuple[int, float], ...]:
    """The channels that gave most to a fault, with what they gave, the largest first.

    Args:
        window: [L, I].
        state: the carried state before it, [S].
        fault: index of the class.
        step: the model.
        decision: its decision.
        columns: of the window, that each channel gives, [C].
    """
    given = contributions(window, state, fault, step, decision, columns)
    order = np.argsort(-given, kind="stable")[:MOST_CHANNELS]
    return tuple((int(c), float(given[c])) for c in order if given[c] >= LEAST)


def contributions(
    window: Float32, state: Float32, fault: int, step: Step, decision: Decision, columns: Sequence[Sequence[int]]
) -> Float64:
    """What columns of the window, together those of one channel, gave to a class's log-posterior, [C]."""
    batch = np.repeat(window[None], len(columns) + 1, axis=0)
    for i, own in enumerate(columns):
        batch[i, :, list(own)] = np.nan
    log_prob, _ = step(batch, np.repeat(state[None], len(batch), axis=0))
    posterior = np.log(np.maximum(decision.posterior(log_prob)[:, fault], _TINY))
    found: Float64 = posterior[-1] - posterior[:-1]
    return found
