"""Identity: the names of the daemon and its session at the broker, kept in the journal from start to start."""

import logging

from rarefault.runtime.daemon.config import DaemonConfig
from rarefault.runtime.daemon.host.sampled_log import SampledLog
from rarefault.runtime.daemon.mqtt.names import Session, choose_names
from rarefault.runtime.daemon.mqtt.session import BrokerSession
from rarefault.runtime.daemon.turns.memory import TurnStore
from rarefault.runtime.errors import JournalError

log = logging.getLogger(__name__)


class DaemonIdentity:
    """Names and session of the daemon.

    Args:
        config: of the daemon.
        store: keeps them.
        session: with the broker.

    Attributes:
        names: of the daemon.
        saved_session: that the journal has; None before the broker has granted the subscription.
    """

    def __init__(self, config: DaemonConfig, store: TurnStore, session: BrokerSession) -> None:
        self._store = store
        self._session = session
        self._log = SampledLog(log)
        self.saved_session: Session | None = None
        before = store.names()
        self.names = choose_names(config, before)
        # Retained topics of an earlier name, to be cleared with the names; None where the journal has both.
        self._ghosts: list[str] | None = None
        if before != self.names:
            self._ghosts = []
        if before is not None and before.client_id != self.names.client_id:
            log.warning(
                "the client id is %r now and was %r: what the broker has kept for that is not sent to this one; set "
                "broker.client_id back to have it",
                self.names.client_id,
                before.client_id,
            )
        if before is not None and before.runtime != self.names.runtime:
            log.warning("the runtime is %r now and was %r, whose status is cleared", self.names.runtime, before.runtime)
            self._ghosts = [f"{config.publish.prefix}/{before.runtime}/{leaf}" for leaf in ("status", "health")]
        session.introduce(self.names, store.session())

    def save(self) -> None:
        """Have the journal keep what it does not have yet."""
        session = self._session.subscriptions.kept
        if self._store.waiting:
            return
        try:
            if self._ghosts is not None:
                self._store.keep_names(self.names, self._ghosts)
                self._ghosts = None
            if session is not None and session != self.saved_session:
                self._store.keep_session(session)
                self.saved_session = session
        except JournalError as error:
            self._log.log("identity", logging.WARNING, "names and session could not be kept, trying again: %s", error)
