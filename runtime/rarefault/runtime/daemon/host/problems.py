"""Problems: what keeps the daemon from its work, for whoever restarts it, routes to it, or looks at its status."""

from typing import NamedTuple


class Problem(NamedTuple):
    """One problem.

    Attributes:
        text: a sentence.
        sick: whether it is the daemon's own, so that a restart may help.
        impairs: whether telemetry cannot be taken or kept; the status is then ``impaired``.
        past: whether it is over, and the daemon serves: somebody should know what was lost.
    """

    text: str
    sick: bool = False
    impairs: bool = False
    past: bool = False
