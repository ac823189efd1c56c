"""Listening to a broker for a while, as a client of its own."""

import socket
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from rarefault.runtime.daemon.config import BrokerConfig
from rarefault.runtime.daemon.mqtt.connection import Connection, Identity
from rarefault.runtime.daemon.mqtt.first_answer import connect_once
from rarefault.runtime.daemon.mqtt.inbox import Inbox
from rarefault.runtime.daemon.mqtt.session import PERMANENT
from rarefault.runtime.errors import BrokerError
from rarefault.runtime.proposal.messages.trial import Heard

#: How long the broker may take to answer a request.
ANSWER_S = 5.0
#: Messages, topics and bytes that are kept; of topics with many messages, the first ones.
MOST_MESSAGES, MOST_TOPICS, MOST_BYTES, MOST_OF_TOPIC = 100_000, 10_000, 256 << 20, 500


def listen(
    broker: BrokerConfig,
    source: Path,
    password: str | None,
    filters: Sequence[str],
    seconds: float,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Heard]:
    """Messages that come within some seconds, retained ones among them.

    Args:
        broker: where to.
        source: a file whose folder the paths of ``broker`` are relative to.
        password: of the user.
        filters: topic filters.
        seconds: how long.
        tell: takes a line about how far it is, now and then.

    Raises:
        BrokerError: nobody could listen.
    """
    inbox = Inbox(MOST_MESSAGES)
    identity = Identity(
        f"rarefault-init-{uuid.uuid4().hex[:12]}",
        password,
        will_topic="",
        will_payload=b"",
        receive_maximum=1000,
        maximum_packet=4 << 20,
        passing=True,
    )
    wake, other = socket.socketpair()
    with wake, other:
        connection, _ = connect_once(broker, source, identity, inbox, wake, answer_s=ANSWER_S, hold=False)
        if not connection.up:
            reason = connection.refused or str(connection.ended)
            remedy = PERMANENT.get(reason, "is the broker running, are address and port right?")
            raise BrokerError(f"{broker.url}: {reason}" if "; " in reason else f"{broker.url}: {reason}; {remedy}")
        try:
            _subscribe(connection, wake, filters, broker)
            return _take(connection, inbox, wake, seconds, tell)
        finally:
            connection.disconnect()
            connection.abandon("all was heard")


def _subscribe(connection: Connection, wake: socket.socket, filters: Sequence[str], broker: BrokerConfig) -> None:
    connection.subscribe([(text, 1) for text in filters])
    deadline = time.monotonic() + ANSWER_S
    while connection.subscribed is None and connection.ended is None and time.monotonic() < deadline:
        connection.serve(0.2, wake, hold=False)
    refused = [
        f"{text} ({answer})"
        for text, answer in zip(filters, connection.subscribed or (), strict=False)
        if isinstance(answer, str)
    ]
    if connection.subscribed is None or len(refused) == len(filters):
        why = ", ".join(refused) or str(connection.ended or "no answer")
        who = f"user {broker.username!r}" if broker.username else "clients without a user name"
        raise BrokerError(
            f"{broker.url}: the subscription is refused: {why}; allow {who} to read the topics, or name those that may "
            "be read with --topics"
        )


def _take(
    connection: Connection, inbox: Inbox, wake: socket.socket, seconds: float, tell: Callable[[str], None]
) -> list[Heard]:
    kept: list[Heard] = []
    per_topic: dict[str, int] = {}
    size, shown_at = 0, 0.0
    began = time.monotonic()
    while connection.ended is None and (left := began + seconds - time.monotonic()) > 0:
        connection.serve(min(left, 0.2), wake, hold=False)
        while (message := inbox.next()) is not None:
            connection.acknowledge([message])
            n = per_topic.get(message.topic, 0)
            if (n == 0 and len(per_topic) >= MOST_TOPICS) or n >= MOST_OF_TOPIC:
                continue
            if len(kept) >= MOST_MESSAGES or size + len(message.payload) > MOST_BYTES:
                return kept
            per_topic[message.topic] = n + 1
            size += len(message.payload)
            kept.append(Heard(message.topic, bytes(message.payload), message.arrived_ms, message.retained))
        if time.monotonic() - shown_at > 1:
            shown_at = time.monotonic()
            tell(f"{len(kept)} messages on {len(per_topic)} topics, {left:.0f} s left")
    return kept
