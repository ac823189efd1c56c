"""Checks of the broker: name, port, TLS, password, rights, and what telemetry comes."""

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import msgspec

from rarefault.runtime.daemon.mqtt.connection import Connection, Identity
from rarefault.runtime.daemon.mqtt.first_answer import connect_once
from rarefault.runtime.daemon.mqtt.inbox import Inbox, Message
from rarefault.runtime.daemon.mqtt.session import PERMANENT
from rarefault.runtime.daemon.mqtt.tls import tls_context, tls_problem
from rarefault.runtime.daemon.publishing.payloads import AlarmPayload, VerdictPayload
from rarefault.runtime.daemon.setup import Setup
from rarefault.runtime.daemon.telemetry.feedback import ResultPayload
from rarefault.runtime.doctor.findings import Findings
from rarefault.runtime.doctor.identity import check_identity, names_of
from rarefault.runtime.inference.manifest import NORMAL
from rarefault.runtime.telemetry.topics import only_needed
from rarefault.runtime.times import format_ms

#: The device in whose name is published what tries the broker.
NAME = "rarefault-doctor"
#: How long the broker may take to answer a request.
ANSWER_S = 5.0
#: Messages by which a shared subscription is tried.
PROBES = 20
#: Messages that are looked at.
MOST_MESSAGES = 100_000


def check_broker(setup: Setup, seconds: float, found: Findings) -> list[Message] | None:
    """Connect as the daemon would, but with a session of its own, and return the telemetry of some seconds.

    Returns:
        What came, None where nobody could listen.
    """
    if not _reachable(setup, found) or not _secure(setup, found):
        return None
    messages = Inbox(MOST_MESSAGES)
    wake, other = socket.socketpair()
    with wake, other:
        connection = _connect(setup, messages, wake, found)
        if connection is None:
            return None
        try:
            if not _subscribe(setup, connection, wake, found):
                return None
            _publish(setup, connection, wake, found)
            check_identity(setup, _identity(setup), connection.protocol, found)
            if setup.config.telemetry.share:
                _share(setup, wake, found)
            return _listen(connection, messages, wake, seconds)
        finally:
            connection.disconnect()
            connection.abandon("the examination is over")


def _reachable(setup: Setup, found: Findings) -> bool:
    broker = setup.config.broker
    host, port = broker.address
    try:
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        found.problem("broker", f"broker.url: the name {host} cannot be looked up ({error.strerror}); check it and DNS")
        return False
    try:
        socket.create_connection((host, port), timeout=broker.connect_timeout_s).close()
    except OSError as error:
        reason = error.strerror or str(error)
        found.problem(
            "broker", f"broker.url: nothing answers at {host}:{port} ({reason}); is the broker running, the port right?"
        )
        return False
    return True


def _secure(setup: Setup, found: Findings) -> bool:
    broker = setup.config.broker
    context = tls_context(broker, setup.source)
    if context is None:
        if broker.username:
            found.warning("tls", "the password goes over the network in clear text; use mqtts:// where the broker can")
        return True
    host, port = broker.address
    try:
        with (
            socket.create_connection((host, port), timeout=broker.connect_timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=host) as sock,
        ):
            version, certificate = sock.version(), sock.getpeercert()
            # TLS 1.3: a broker refuses our certificate only after the handshake.
            sock.settimeout(0.3)
            with suppress(TimeoutError):  # it waits for us to speak, as it should
                sock.recv(1)
    except OSError as error:
        found.problem("tls", f"broker {broker.url}: {tls_problem(error, broker)}")
        return False
    if not broker.check_host_name:
        found.warning("tls", "check_host_name is off: another machine with a certificate of the same CA could answer")
    until = str(certificate["notAfter"]) if certificate else ""
    left_days = (ssl.cert_time_to_seconds(until) - time.time()) / 86_400 if until else 0.0
    if until and left_days < 30:
        found.warning("tls", f"the broker's certificate expires in {left_days:.0f} days ({until}); have it renewed")
    found.good("tls", f"{version}, certificate verified, valid until {until}")
    return True


def _identity(setup: Setup) -> Identity:
    config = setup.config
    return Identity(
        # With the daemon's own id, one that is running would lose its connection.
        f"{names_of(setup).client_id}-doctor",
        setup.password,
        will_topic="",
        will_payload=b"",
        receive_maximum=config.limits.pending_messages,
        maximum_packet=4 * config.max_payload_bytes + (1 << 16),
        sender_property=config.telemetry.sender_property,
        passing=True,
    )


def _connect(setup: Setup, messages: Inbox, wake: socket.socket, found: Findings) -> Connection | None:
    config = setup.config
    identity = _identity(setup)
    connection, protocol = connect_once(
        config.broker, setup.source, identity, messages, wake, answer_s=ANSWER_S, hold=False
    )
    if connection.up:
        found.good("broker", f"{config.broker.url} accepts {_who(setup)} over MQTT {protocol}")
        return connection
    reason = connection.refused or str(connection.ended)
    remedy = PERMANENT.get(reason, "see the broker's log")
    found.problem("broker", f"{config.broker.url} refuses {_who(setup)}: {reason}; {remedy}")
    return None


def _subscribe(setup: Setup, connection: Connection, wake: socket.socket, found: Findings) -> bool:
    config = setup.config
    # Not the shared ones, whose members would miss it.
    filters = only_needed([source.template.subscription for source in config.sources])
    connection.subscribe([(text, config.telemetry.qos) for text in filters])
    deadline = time.monotonic() + ANSWER_S
    while connection.subscribed is None and connection.ended is None and time.monotonic() < deadline:
        connection.serve(0.2, wake, hold=False)
    if connection.subscribed is None:
        found.problem(
            "telemetry", f"no answer to the subscription to {', '.join(filters)} ({connection.ended or 'too late'})"
        )
        return False
    allowed = True
    for topic_filter, granted in zip(filters, connection.subscribed, strict=False):
        if isinstance(granted, str):
            allowed = False
            found.problem(
                "telemetry",
                f"the broker does not allow {_who(setup)} to read {topic_filter} ({granted}); change its access rules, "
                "or telemetry.topic",
            )
        elif granted < config.telemetry.qos:
            found.warning(
                "telemetry", f"the broker grants QoS {granted} only: telemetry is lost while the daemon is away"
            )
    return allowed


def _share(setup: Setup, wake: socket.socket, found: Findings) -> None:
    """Whether the broker gives all messages of a topic to one member of a group."""
    config = setup.config
    topic = f"{config.publish.prefix}/{NAME}/verdict"
    payload = _tests(setup)["verdict"]
    inboxes = [Inbox(MOST_MESSAGES), Inbox(MOST_MESSAGES)]
    members: list[Connection] = []
    try:
        for number, inbox in enumerate(inboxes):
            identity = replace(_identity(setup), client_id=f"{config.client_id}-doctor-{number}")
            tls = tls_context(config.broker, setup.source)
            member = Connection(1, config.broker, identity, "5", ANSWER_S, tls, inbox)
            member.open()
            members.append(member)
            _serve_until(member, wake, lambda c: c.up)
            member.subscribe([(f"$share/{config.telemetry.share}-doctor/{topic}", 1)])
            _serve_until(member, wake, lambda c: c.subscribed is not None)
            granted = member.subscribed[0] if member.subscribed else "no answer"
            if isinstance(granted, str):
                found.warning("share", f"shared subscriptions cannot be tried on {topic} ({granted})")
                return
        for _ in range(PROBES):
            members[0].publish(topic, payload, qos=1, retain=False)
        deadline = time.monotonic() + ANSWER_S
        while sum(map(len, inboxes)) < PROBES and time.monotonic() < deadline:
            for member in members:
                member.serve(0.05, wake, hold=False)
        counts = [len(inbox) for inbox in inboxes]
    except OSError as error:
        found.warning("share", f"shared subscriptions cannot be tried: {error}")
        return
    finally:
        for member in members:
            member.disconnect()
            member.abandon("the examination is over")
    if sum(counts) < PROBES:
        found.warning("share", f"of {PROBES} messages to a shared subscription {sum(counts)} came")
    elif min(counts):
        found.problem(
            "share",
            f"the broker deals the messages of one topic to all members of a group ({counts[0]} and {counts[1]} of "
            f"{PROBES}): a device's samples would be scattered over the daemons; give each daemon its own "
            "telemetry.topic instead of telemetry.share, or let the broker choose members by topic",
        )
    else:
        found.good("share", "the broker gives all messages of a topic to the same member of a group")


def _serve_until(connection: Connection, wake: socket.socket, condition: Callable[[Connection], bool]) -> None:
    deadline = time.monotonic() + ANSWER_S
    while not condition(connection) and connection.ended is None and time.monotonic() < deadline:
        connection.serve(0.2, wake, hold=False)


def _publish(setup: Setup, connection: Connection, wake: socket.socket, found: Findings) -> None:
    """Whether verdicts, alarms and answers to feedback could be published: an unretained test of each."""
    config = setup.config
    denied = []
    for leaf, payload in _tests(setup).items():
        topic = f"{config.publish.prefix}/{NAME}/{leaf}"
        mid = connection.publish(topic, payload, qos=1, retain=False)
        deadline = time.monotonic() + ANSWER_S
        answers = [c for c in connection.confirmations if c.mid == mid]
        while not answers and connection.ended is None and time.monotonic() < deadline:
            connection.serve(0.2, wake, hold=False)
            answers = [c for c in connection.confirmations if c.mid == mid]
        if not answers:
            found.problem("publish", f"the broker does not confirm what is published on {topic} ({connection.ended})")
            return
        if answers[0].refused is not None:
            denied.append(f"{topic} ({answers[0].refused})")
    if denied:
        found.problem(
            "publish",
            f"the broker does not allow {_who(setup)} to publish on {' and '.join(denied)}; change its access rules "
            f"for {config.publish.prefix}/#",
        )
    elif connection.protocol == "5":
        found.good("publish", f"verdicts and alarms may be published below {config.publish.prefix}/")
    else:
        found.note("publish", "whether verdicts may be published cannot be known: MQTT 3.1.1 has no answer for that")


def _tests(setup: Setup) -> dict[str, bytes]:
    """By the end of the topic, a message that whoever reads there can read, that says nothing is wrong, and is a test.

    It has all the keys of a real one, so that no consumer stumbles over it, and ``"test": true``.
    """
    manifest, model = setup.model.manifest, setup.model.model_id
    now_ms = time.time_ns() // 1_000_000
    id_, now = f"{NAME}-{now_ms}", format_ms(now_ms)
    probabilities = {name: float(name == NORMAL) for name in manifest.classes}
    prediction_set = [NORMAL] if manifest.decision.coverage else msgspec.UNSET
    familiarity = 1.0 if manifest.decision.distance is not None else msgspec.UNSET
    unknown = False if manifest.decision.tells_unknown else msgspec.UNSET
    more = prediction_set, familiarity, unknown
    messages: dict[str, msgspec.Struct] = {
        "verdict": VerdictPayload(id_, NAME, now, now, NORMAL, 1.0, 1.0, probabilities, model, now, *more),
        "alarm": AlarmPayload(id_, NAME, NORMAL, now, 1.0, 1.0, {}, model),
    }
    if setup.config.feedback_topic:
        runtime = names_of(setup).runtime
        messages["feedback/result"] = ResultPayload("", accepted=False, reason="a test", runtime=runtime, time=now)
    return {leaf: msgspec.json.encode(msgspec.to_builtins(m) | {"test": True}) for leaf, m in messages.items()}


def _listen(connection: Connection, messages: Inbox, wake: socket.socket, seconds: float) -> list[Message]:
    """Telemetry of some seconds; it is acknowledged, which the daemon's own session does not notice."""
    kept: list[Message] = []
    deadline = time.monotonic() + seconds
    while connection.ended is None and (left := deadline - time.monotonic()) > 0 and len(kept) < MOST_MESSAGES:
        connection.serve(min(left, 0.2), wake, hold=False)
        while (message := messages.next()) is not None:
            kept.append(message)
            connection.acknowledge([message])
    return kept


def _who(setup: Setup) -> str:
    user = setup.config.broker.username
    return f"user {user!r}" if user else "a client without a user name"
