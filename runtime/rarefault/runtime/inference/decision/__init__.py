"""The decision: what the experts think of a window becomes a verdict and a debounced alarm.

It is computed here and nowhere else; fitting, evaluation and daemon call it. In this order:

1. the experts' opinions are pooled, and faults that are looked for at units give way to the rarest
   (:mod:`~rarefault.runtime.inference.decision.pool`);
2. the result is weighed against the belief, which is what the windows before have left
   (:mod:`~rarefault.runtime.inference.decision.belief`);
3. temperature, thresholds and prediction sets make a verdict of it, and the distance says how familiar it is
   (:mod:`~rarefault.runtime.inference.decision.decision`);
4. verdicts that last make an alarm (:mod:`~rarefault.runtime.inference.decision.alarms`).

Shapes: W windows, E experts, K classes, U units, J faults that are looked for at units, V values of an opinion (K + U
J, and the distance where the network measures one), D device slots.
"""

from rarefault.runtime.inference.decision.alarms import STATE_FOREIGN, STATE_NO_DATA, AlarmChange
from rarefault.runtime.inference.decision.decision import Decision, Judgement

__all__ = ["STATE_FOREIGN", "STATE_NO_DATA", "AlarmChange", "Decision", "Judgement"]
