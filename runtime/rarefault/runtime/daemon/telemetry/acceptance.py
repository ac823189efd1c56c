"""Acceptance: whether anything of the telemetry that comes can be used at all."""

from collections.abc import Mapping

from rarefault.runtime.telemetry.reasons import Reason

#: Least time for which nothing but rejections come, and least number of them, before it is a problem.
PATIENCE_S, ENOUGH = 60.0, 3
#: Reasons that are named.
NAMED = 3


class Acceptance:
    """Watches the counts of what was accepted and rejected.

    A foreign device that sends nonsense every second between the samples of others, which report every quarter of an
    hour, is no trouble: once a sample has been accepted, others are waited for as long as two bins of the grid.

    Args:
        period_s: of the model's grid.
        accepted, rejected: the counts to begin with, as for :meth:`look`.

    Attributes:
        problem: a sentence while everything is rejected, empty otherwise; other threads may read it.
    """

    def __init__(self, period_s: float, accepted: int = 0, rejected: Mapping[str, int] | None = None) -> None:
        self.problem = ""
        self._period_s = period_s
        self._accepted = accepted  # at the last change
        self._ever = False
        self._before = _telemetry(rejected or {})  # rejections until then
        self._since: float | None = None  # when the first one came after that

    def look(self, accepted: int, rejected: Mapping[str, int], now: float) -> None:
        """Compare with the last look.

        Args:
            accepted: samples so far that were read and not late.
            rejected: messages and samples so far, by reason; late ones, too.
            now: monotonic clock, seconds.
        """
        counts = _telemetry(rejected)
        if accepted != self._accepted:
            self._ever = True
            self._accepted, self._before, self._since, self.problem = accepted, counts, None, ""
            return
        new = {name: n - self._before.get(name, 0) for name, n in counts.items() if n > self._before.get(name, 0)}
        if not new:
            return
        self._since = now if self._since is None else self._since
        passed_s = now - self._since
        if passed_s < max(PATIENCE_S, 2 * self._period_s * self._ever) or sum(new.values()) < ENOUGH:
            return
        most = sorted(new.items(), key=lambda item: (-item[1], item[0]))
        named = ", ".join(f"{n} {name}" for name, n in most[:NAMED]) + (", ..." if len(most) > NAMED else "")
        self.problem = (
            f"all telemetry of the last {passed_s:.0f} s was rejected ({named}); the log and 'rarefault doctor' say why"
        )


def _telemetry(rejected: Mapping[str, int]) -> dict[str, int]:
    """The counts without that of people's answers."""
    return {str(reason): n for reason, n in rejected.items() if reason != Reason.BAD_FEEDBACK}
