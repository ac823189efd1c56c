"""Health: what keeps the daemon from its work, on its topics, for systemd, and for whoever asks."""

import time
from typing import Literal

import msgspec

from rarefault.runtime import __version__
from rarefault.runtime.daemon.host.clock import wall_ms
from rarefault.runtime.daemon.host.problems import Problem
from rarefault.runtime.daemon.host.systemd import Notifier
from rarefault.runtime.daemon.parts import Parts
from rarefault.runtime.daemon.publishing.payloads import HealthPayload
from rarefault.runtime.times import format_ms

#: The daemon is ill when its main loop has not been seen to go on for so long.
ILL_S = 30.0


class Health:
    """Looks at the parts of a daemon.

    Args:
        parts: of the daemon.
        notifier: of systemd.

    Attributes:
        payload: as it was published last; None before.
    """

    def __init__(self, parts: Parts, notifier: Notifier) -> None:
        self.payload: HealthPayload | None = None
        self._parts = parts
        self._notifier = notifier
        self._encoder = msgspec.json.Encoder()

    def problems(self) -> list[Problem]:
        """What keeps the daemon from its work; other threads may ask."""
        parts = self._parts
        idle_s = time.monotonic() - parts.looked_at
        found = [
            Problem(f"the main loop has been busy for {idle_s:.0f} s" if idle_s > ILL_S else "", sick=True),
            Problem("" if parts.session.ready else f"no connection to broker {parts.setup.config.broker.url}"),
            Problem(parts.session.subscriptions.lost, past=True),
            Problem(parts.store.trouble, impairs=True),
            Problem(parts.clock.problem, impairs=True),
            Problem(parts.store.loss, past=True),
            Problem("the broker confirms nothing" if parts.broker_delivery.stalled else ""),
            *(Problem(sink.problem) for sink in parts.sinks),
            Problem(parts.host.problem if parts.host is not None else ""),
            Problem(parts.intake.acceptance.problem, impairs=True),
        ]
        return [problem for problem in found if problem.text]

    def publish(self) -> None:
        """Publish how the daemon is, where that has changed; keep systemd's watchdog quiet where it is well."""
        problems = self.problems()
        impaired = any(problem.impairs for problem in problems)
        payload = self._payload("impaired" if impaired else "online", problems)
        if self.payload is None or msgspec.structs.replace(payload, time=self.payload.time) != self.payload:
            self.payload = payload
        self._parts.session.publish_state(impaired=impaired, health=self._encoder.encode(self.payload))
        self._notifier.status(
            "; ".join(problem.text for problem in problems) or f"serving {self._parts.setup.model.model_id}"
        )
        if not any(problem.sick for problem in problems):
            self._notifier.send("WATCHDOG=1")

    def farewell(self) -> bytes:
        """The last payload, of a daemon that stops; empty where none was published before."""
        return self._encoder.encode(self._payload("offline", [])) if self.payload else b""

    def _payload(self, status: Literal["online", "offline", "impaired"], problems: list[Problem]) -> HealthPayload:
        parts = self._parts
        return HealthPayload(
            status=status,
            problems=[problem.text for problem in problems],
            model=parts.setup.model.model_id,
            devices=len(parts.store.devices),
            muted=len(parts.store.pipeline.grid.clocks.muted()),
            silent=parts.presence.silent,
            overridden={key: getattr(parts.setup.config.decision, key) for key in parts.setup.overridden},
            version=__version__,
            time=format_ms(wall_ms()),
        )
