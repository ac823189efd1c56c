"""The watch on the clock: where it is set, and whether telemetry waits because it cannot be right."""

import logging
import time

from rarefault.runtime.daemon.config import TelemetryConfig
from rarefault.runtime.daemon.host.clock import ClockTrust, WallClock
from rarefault.runtime.daemon.mqtt.session import BrokerSession

log = logging.getLogger(__name__)

#: While telemetry waits because all devices contradict the clock, new messages are looked at this often.
LOOK_S = 1.0


class ClockWatch:
    """Looks at the clock once a turn.

    Args:
        config: how far the clock is trusted.
        received_ms: when the journal's samples were received; 0 where there are none.

    Attributes:
        steps: how often the clock was set.
        problem: why it cannot be right, in a sentence; empty where it can.
        trust: decides that.
    """

    def __init__(self, config: TelemetryConfig, received_ms: int) -> None:
        self.steps = 0
        self.problem = ""
        self._clock = WallClock()
        self.trust = ClockTrust(self._clock, config.max_future_s, config.clock_wait_s)
        self.trust.received_ms = received_ms
        self._look_once_more = False  # whether to see once more if all devices contradict the clock
        self._seen_waiting, self._seen_at = 0, 0.0

    def use(self, config: TelemetryConfig, trained_ms: int) -> None:
        """Go on with other settings and another model."""
        self.trust.change(config.max_future_s, config.clock_wait_s)
        self.trust.trained_ms = trained_ms

    @property
    def holds_up(self) -> bool:
        """Whether telemetry must wait, and none is to be looked at."""
        return bool(self.problem) and not self._look_once_more

    def look(self, session: BrokerSession) -> bool:
        """Notice where the clock was set, and whether it can be right; whether telemetry is taken again from now on."""
        if step_ms := self._clock.step_ms():
            self.steps += 1
            log.warning(
                "this machine's clock was set %s by %.1f s", "ahead" if step_ms > 0 else "back", abs(step_ms) / 1e3
            )
            session.shift(step_ms, self._clock.now_ms())
            self.trust.agree()
        before, self.problem = self.problem, self.trust.problem()
        if self.problem and not before:
            log.error("%s", self.problem)
        elif before and not self.problem:
            log.info("telemetry is taken again")
        now = time.monotonic()
        if self.problem and session.waiting != self._seen_waiting and now - self._seen_at >= LOOK_S:
            # More has come: perhaps from a device that does not contradict.
            self._look_once_more, self._seen_at = self.trust.contradicted, now
        return bool(before) and not self.problem

    def looked(self) -> None:
        """Messages were taken and read."""
        self._look_once_more = False

    def contradicted(self, accepted: int, too_new: int, known: int) -> bool:
        """Whether it is this clock that is behind: all devices send from the future, and not one of them alone.

        Args:
            accepted: samples of this turn whose time fits the clock.
            too_new: devices whose samples were too new.
            known: devices that have a slot.
        """
        if accepted:
            self.trust.agree()
            return False
        return 0 < too_new >= min(2, known) and self.trust.contradict(too_new)

    def gave_back(self, waiting: int) -> None:
        """The messages wait again, so many in all."""
        self._seen_waiting = waiting
