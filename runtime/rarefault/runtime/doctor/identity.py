"""Checks of the client id: whether another client uses it.

A broker keeps one connection for each id. Two gateways with one id would take it from each other, and each would get
half of the telemetry. So the doctor connects with the daemon's real id for some seconds, unless a daemon with this
journal runs: another client that has it loses its connection then, and gives itself away, as it comes back and takes
it again, or as the broker publishes its last will. Nothing is lost: the doctor subscribes to nothing there and
acknowledges nothing.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from rarefault.runtime.daemon.mqtt.connection import Connection, Identity
from rarefault.runtime.daemon.mqtt.inbox import Inbox
from rarefault.runtime.daemon.mqtt.names import Names, choose_names
from rarefault.runtime.daemon.mqtt.own_topics import OFFLINE
from rarefault.runtime.daemon.mqtt.tls import tls_context
from rarefault.runtime.daemon.setup import Setup
from rarefault.runtime.doctor.files import in_use
from rarefault.runtime.doctor.findings import Findings
from rarefault.runtime.errors import JournalError
from rarefault.runtime.journal.reader import JournalReader

#: How long the id is held: clients mostly come back within a second or two.
HOLD_S = 4.0
#: How long the broker may take to answer.
ANSWER_S = 5.0


def names_of(setup: Setup) -> Names:
    """Who the daemon will be: by its configuration, and by its journal where there is one."""
    path = setup.source.parent / setup.config.journal.path
    if not setup.config.journal.path or not path.exists():
        return choose_names(setup.config, None)
    try:
        with JournalReader(path) as reader:
            return choose_names(setup.config, reader.fact("names", Names))
    except JournalError:
        return choose_names(setup.config, None)  # what is wrong with it is said where files are checked


def check_identity(setup: Setup, own: Identity, protocol: str, found: Findings) -> None:
    """Whether another client uses the daemon's id.

    Args:
        setup: of the daemon.
        own: the doctor's identity, which is let in.
        protocol: that the broker speaks.
        found: gets the finding.
    """
    names = names_of(setup)
    journal = setup.source.parent / setup.config.journal.path
    if setup.config.journal.path and journal.exists() and in_use(journal):
        found.note("identity", f"a daemon with this journal is running, as client {names.client_id!r}")
        return
    statuses = Inbox(1000)
    wake, other = socket.socketpair()
    with wake, other, _connected(setup, _watcher(own), protocol, statuses, wake) as watching:
        if watching is None:
            return  # what is wrong with the broker is said elsewhere
        watching.subscribe([(f"{setup.config.publish.prefix}/+/status", 1)])
        _serve(watching, wake, until_subscribed=True)
        real = replace(own, client_id=names.client_id, receive_maximum=1, passing=False)
        taken = _hold(setup, real, protocol, watching, wake)
    wills = [m.topic for m in iter(statuses.next, None) if m is not None and not m.retained and m.payload == OFFLINE]
    if taken is None:
        found.warning("identity", f"the broker does not let in client {names.client_id!r}, the daemon's own id")
    elif not taken and not wills:
        found.good("identity", f"nobody else uses the client id {names.client_id!r}")
    else:
        who = f", whose status is on {wills[0]}" if wills else ""
        found.problem(
            "identity",
            f"another client{who} uses the client id {names.client_id!r}: the broker gives the telemetry to one of "
            "both at a time; give each gateway its own broker.client_id, and its own journal",
        )


def _watcher(own: Identity) -> Identity:
    return replace(own, client_id=f"{own.client_id}-watch")


def _hold(setup: Setup, real: Identity, protocol: str, watching: Connection, wake: socket.socket) -> bool | None:
    """Hold the real id for a while: whether somebody took it, None where the broker does not let it in."""
    with _connected(setup, real, protocol, Inbox(1), wake) as holding:
        if holding is None:
            return None
        deadline = time.monotonic() + HOLD_S
        while time.monotonic() < deadline and holding.ended is None:
            for connection in (holding, watching):
                connection.serve(0.05, wake, hold=True)
        taken, new = holding.ended is not None, not holding.session_present
    if new and not taken:
        # A session that was not there before is not left behind.
        with _connected(setup, replace(real, passing=True), protocol, Inbox(1), wake):
            pass
    return taken


@contextmanager
def _connected(
    setup: Setup, identity: Identity, protocol: str, inbox: Inbox, wake: socket.socket
) -> Iterator[Connection | None]:
    """A connection that is accepted, or None; it ends in good order."""
    connection = Connection(
        1, setup.config.broker, identity, protocol, ANSWER_S, tls_context(setup.config.broker, setup.source), inbox
    )
    try:
        connection.open()
        _serve(connection, wake)
        yield connection if connection.up else None
    except OSError:
        yield None
    finally:
        if connection.up:
            connection.disconnect()
            connection.flush()
        connection.abandon("the examination is over")


def _serve(connection: Connection, wake: socket.socket, *, until_subscribed: bool = False) -> None:
    """Serve until the broker has let the connection in, or answered its subscription."""
    deadline = time.monotonic() + ANSWER_S
    while connection.ended is None and time.monotonic() < deadline:
        if connection.subscribed is not None if until_subscribed else connection.up:
            return
        connection.serve(0.1, wake, hold=True)
