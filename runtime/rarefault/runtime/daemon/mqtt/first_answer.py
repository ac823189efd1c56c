"""A connection for what is done once, such as a check: the first protocol that the broker takes."""

import socket
import ssl
from pathlib import Path

from rarefault.runtime.daemon.config import BrokerConfig
from rarefault.runtime.daemon.mqtt.connection import Connection, Identity
from rarefault.runtime.daemon.mqtt.inbox import Inbox
from rarefault.runtime.daemon.mqtt.tls import tls_context, tls_problem


def connect_once(
    config: BrokerConfig,
    source: Path,
    identity: Identity,
    inbox: Inbox,
    wake: socket.socket,
    *,
    answer_s: float,
    hold: bool,
) -> tuple[Connection, str]:
    """Connect, with each of the configured protocols until one is taken.

    Args:
        config: of the broker.
        source: the configuration file, whose folder paths are relative to.
        identity: who connects.
        inbox: for what comes.
        wake: ends a wait.
        answer_s: how long the broker may take to answer, seconds.
        hold: whether nothing is to be read but answers.

    Returns:
        The last connection that was tried, which is up where the broker took it, and its protocol.
    """
    for protocol in ("5", "3.1.1") if config.protocol == "auto" else (config.protocol,):
        tls = tls_context(config, source)
        connection = Connection(1, config, identity, protocol, answer_s, tls, inbox)
        try:
            connection.open()
        except OSError as error:
            failed = tls is not None and isinstance(error, ssl.SSLError | ConnectionResetError)
            connection.ended = tls_problem(error, config) if failed else str(error)
            continue
        while not connection.up and connection.ended is None:
            connection.serve(0.2, wake, hold=hold)
        if connection.up:
            break
    return connection, protocol
