"""Taking back in what was set aside: its messages are published again, on their own topics, to the daemon's broker.

So they come by the way by which all telemetry comes, whether the daemon is running or not, and whichever model it has
by now. A message is deleted from the journal only once the broker has confirmed it.
"""

import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import numpy as np

from rarefault.runtime.daemon.config import DaemonConfig, LimitsConfig, load_config, read_password
from rarefault.runtime.daemon.devices import DeviceTable
from rarefault.runtime.daemon.mqtt.connection import Connection, Identity
from rarefault.runtime.daemon.mqtt.first_answer import connect_once
from rarefault.runtime.daemon.mqtt.inbox import Inbox
from rarefault.runtime.daemon.telemetry.decoder import TelemetryDecoder
from rarefault.runtime.daemon.telemetry.rejections import MAX_KEPT, MAX_KEPT_TEXT, Rejections
from rarefault.runtime.daemon.telemetry.sample_buffer import SampleBuffer
from rarefault.runtime.errors import BrokerError, ConfigError, JournalError
from rarefault.runtime.journal.reader import JournalReader, reason_of
from rarefault.runtime.journal.records import SetAside
from rarefault.runtime.telemetry.sparkplug import NAMESPACE

#: How long the broker may take to answer.
ANSWER_S = 10.0
#: Messages that are deleted together.
TOGETHER = 100


class Retaken(msgspec.Struct):
    """What became of what was set aside.

    Attributes:
        found: number of messages that were set aside for the reason.
        cut: those that were too long to be kept whole, so that they cannot be taken back.
        sparkplug: those of Sparkplug, which nobody but their edge node may publish.
        late: samples of the others that are older than the newest that is known of their device: there may be no
            verdicts for them any more, but the journal keeps them to learn from.
        sent: number of messages that were published again and deleted here.
        refused: number that the broker refused, and that stay.
    """

    found: int = 0
    cut: int = 0
    sparkplug: int = 0
    late: int = 0
    sent: int = 0
    refused: int = 0


def find_config(journal: Path) -> Path:
    """The configuration beside a journal that names it; ConfigError where there is none, or there are several."""
    fits = []
    for path in sorted(journal.parent.glob("*.toml")):
        try:
            config = load_config(path)
        except ConfigError:
            continue  # another program's, or one that no daemon runs with
        if config.journal.path and (path.parent / config.journal.path).resolve() == journal.resolve():
            fits.append(path)
    if len(fits) != 1:
        what = "several configurations name it" if fits else "no configuration beside it names it"
        raise ConfigError(str(journal), [f"{what}; name the daemon's with --config"])
    return fits[0]


def retake(journal: Path, source: Path, reason: str, since_ms: int = 0, *, dry_run: bool = False) -> Retaken:
    """Publish again what was set aside for a reason.

    Args:
        journal: the daemon's journal; the daemon may be running.
        source: the daemon's configuration.
        reason: of the rejections.
        since_ms: only what arrived from then on, milliseconds since the epoch.
        dry_run: only count what there is.

    Raises:
        ConfigError: the configuration cannot be used.
        JournalError: the journal cannot be used.
        BrokerError: the broker cannot be reached, refuses the client, or does not answer; what it has confirmed is
            deleted from the journal.
    """
    config = load_config(source)
    if config.telemetry.sender_property:
        problem = "the broker names the sender of a message, who is not the device if it is sent again from here"
        raise ConfigError(str(source), [f"telemetry.sender_property: {problem}; nothing can be taken back in"])
    done = Retaken()
    whole: list[tuple[int, SetAside]] = []
    with JournalReader(journal) as reader:
        for key, aside in reader.rejected(reason, since_ms):
            done.found += 1
            if aside.topic.startswith(f"{NAMESPACE}/"):
                done.sparkplug += 1
            elif len(aside.payload) >= MAX_KEPT or len(aside.topic) >= MAX_KEPT_TEXT or not aside.payload:
                done.cut += 1
            else:
                whole.append((key, aside))
        done.late = _late(config, source, reader, [aside for _, aside in whole])
    if whole and not dry_run:
        _send(config, source, journal, whole, done)
    return done


def _late(config: DaemonConfig, source: Path, reader: JournalReader, aside: list[SetAside]) -> int:
    """Number of samples that are older than the newest of their device."""
    newest = {name: clock.newest_ms for name, clock in reader.clocks().items()}
    first, *others = config.sources
    sources = (msgspec.structs.replace(first, max_future_s=float("inf"), max_age_s=float("inf")), *others)
    limits = LimitsConfig(max_devices=1_000_000, samples_per_s=float("inf"))
    devices = DeviceTable()
    # What channels are does not matter to when samples are.
    decoder = TelemetryDecoder(sources, reader.channels, {}, devices, limits, Rejections(), str(source))
    samples = SampleBuffer(config.max_batch, len(reader.channels))
    late = 0
    for message in aside:
        decoder.decode(message.topic, message.payload, message.received_ms, samples)
        before = np.array([newest.get(name, -1) for name in devices.names], np.int64)
        late += int((samples.time_ms < before[samples.device]).sum()) if len(samples) else 0
        samples.clear()
    return late


def _send(
    config: DaemonConfig, source: Path, journal: Path, messages: list[tuple[int, SetAside]], done: Retaken
) -> None:
    """Publish messages in their order, and delete each once it is confirmed."""
    with _connected(config, source) as (connection, wake), closing(_open(journal)) as db:
        waiting: dict[int, int] = {}
        confirmed: list[int] = []
        left = iter(messages)
        upcoming = next(left, None)
        deadline = time.monotonic() + ANSWER_S
        try:
            while upcoming is not None or waiting:
                while upcoming is not None and connection.window > 0:
                    key, aside = upcoming
                    waiting[connection.publish(aside.topic, aside.payload, qos=1, retain=False)] = key
                    upcoming = next(left, None)
                connection.serve(0.2, wake, hold=True)
                for mid, refused in connection.confirmations:
                    deadline = time.monotonic() + ANSWER_S
                    if (answered := waiting.pop(mid, None)) is None:
                        continue
                    if refused is None:
                        confirmed.append(answered)
                    else:
                        done.refused += 1
                connection.confirmations = []
                if len(confirmed) >= TOGETHER:
                    _delete(db, journal, confirmed, done)
                if connection.ended is not None or time.monotonic() > deadline:
                    why = connection.ended or "no answer"
                    raise BrokerError(f"broker {config.broker.url} does not take all messages ({why}); begin again")
        finally:
            _delete(db, journal, confirmed, done)


def _open(journal: Path) -> sqlite3.Connection:
    try:
        return sqlite3.connect(f"{journal.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=10.0)
    except sqlite3.Error as error:
        raise JournalError(f"{journal}: the journal cannot be written: {reason_of(error)}") from error


def _delete(db: sqlite3.Connection, journal: Path, keys: list[int], done: Retaken) -> None:
    try:
        db.execute("BEGIN IMMEDIATE")
        db.executemany("DELETE FROM rejected WHERE key = ?", ((key,) for key in keys))
        db.execute("COMMIT")
    except sqlite3.Error as error:
        raise JournalError(
            f"{journal}: {len(keys)} messages were sent, but are still set aside: {reason_of(error)}"
        ) from error
    done.sent += len(keys)
    keys.clear()


@contextmanager
def _connected(config: DaemonConfig, source: Path) -> Iterator[tuple[Connection, socket.socket]]:
    """A connection as the daemon's, with an id of its own."""
    identity = Identity(
        f"{config.client_id}-retake",
        read_password(config.broker, source),
        will_topic="",
        will_payload=b"",
        receive_maximum=20,
        maximum_packet=1 << 16,
        passing=True,
    )
    wake, other = socket.socketpair()
    with wake, other:
        connection, _ = connect_once(config.broker, source, identity, Inbox(1), wake, answer_s=ANSWER_S, hold=True)
        if not connection.up:
            why = connection.refused or connection.ended
            raise BrokerError(f"broker {config.broker.url} cannot be used: {why}; 'rarefault doctor' examines it")
        try:
            yield connection, wake
        finally:
            connection.disconnect()
            connection.abandon("all is sent")
