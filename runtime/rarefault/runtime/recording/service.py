"""The recorder: a daemon without a model. Messages in, lines in files out.

One thread, turn by turn, as the daemon's (:mod:`rarefault.runtime.daemon.service`). A turn takes the messages that have
come, writes them, and acknowledges them only when they are on the disk; what cannot be written waits at the broker.
"""

import errno
import logging
import re
import shutil
import socket
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from rarefault.runtime import __version__
from rarefault.runtime.daemon.config import EdgeConfig, HomeAssistantConfig, RecorderConfig, read_password
from rarefault.runtime.daemon.host.clock import wall_ms
from rarefault.runtime.daemon.host.clock_watch import ClockWatch
from rarefault.runtime.daemon.host.signals import Requests
from rarefault.runtime.daemon.host.systemd import Notifier
from rarefault.runtime.daemon.mqtt.connection import Identity
from rarefault.runtime.daemon.mqtt.first_answer import connect_once
from rarefault.runtime.daemon.mqtt.inbox import Inbox, Message
from rarefault.runtime.daemon.mqtt.session import BrokerSession
from rarefault.runtime.daemon.mqtt.tls import tls_context
from rarefault.runtime.errors import ConfigError, UsageError
from rarefault.runtime.recording.lines import line_of
from rarefault.runtime.recording.state import State, names_of, read_state, write_state
from rarefault.runtime.recording.topics import TopicCount, Wanted
from rarefault.runtime.recording.writer import RecordingWriter
from rarefault.runtime.settings import load_toml

log = logging.getLogger(__name__)

#: Longest wait of a turn in which nothing happens, and time between two looks around.
IDLE_S = 1.0
#: Time between two lines about how it goes.
PROGRESS_S = 10.0
#: How long to wait before files that could not be written are tried again.
RETRY_S = 5.0
#: Messages that are written together at most, and bytes of their payloads.
TOGETHER, TOGETHER_BYTES = 1000, 8 << 20
#: What a full disk answers, or a quota.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: How long the broker may take to forget a session.
FORGET_S = 5.0


def load_recorder(path: Path) -> RecorderConfig:
    """Read a configuration for the recorder.

    Raises:
        ConfigError: the configuration, or a file that it names, cannot be used.
    """
    config = load_toml(path, RecorderConfig)
    tls_context(config.broker, path)
    daemons = config.client_id
    if config.record.client_id == daemons:
        raise ConfigError(
            str(path),
            [f"record.client_id: {daemons!r} is the daemon's, whose connection the recorder would end: give another"],
        )
    return config


class Recorder:
    """Records until it is told to stop.

    Args:
        config: of the recorder.
        source: the configuration file, which the paths of certificates are relative to.
        folder: of the recording.
        requests: to stop.
        notifier: of systemd.
        seconds: stop after so many; None: not by itself.

    Attributes:
        messages: number that were recorded.
        ignored: number that were left out, as ``ignore_topics`` or ``record.retained`` say.
        unkept: number of those recorded that came with QoS 0, which a broker keeps for nobody.
        session: with the broker.
        writer: of the files.

    Raises:
        ConfigError: the password that the configuration points to is missing.
        UsageError: the folder cannot be used.
    """

    def __init__(
        self,
        config: RecorderConfig,
        source: Path,
        folder: Path,
        requests: Requests | None = None,
        notifier: Notifier | None = None,
        seconds: float | None = None,
    ) -> None:
        self.messages = self.ignored = self.unkept = 0
        self._config, self._source, self._folder = _listening(config), source, folder
        self._password = read_password(config.broker, source)
        self._requests, self._notifier = requests or Requests(), notifier or Notifier()
        self._end = time.monotonic() + seconds if seconds is not None else None
        self._wanted = Wanted(config.sources, retained=config.record.retained)
        self._topics = TopicCount()
        self.writer = RecordingWriter(folder, config.record, wall_ms())
        state = read_state(folder)
        self._names = names_of(config, state)
        self._state = State(self._names.client_id, state.session if state else None)
        try:
            if state != self._state:  # a full disk keeps no one from starting again
                write_state(folder, self._state)
        except OSError as error:
            raise UsageError(f"--output {folder}: the folder cannot be written: {error.strerror}") from None
        self.session = BrokerSession(self._config, self._password, source)
        self.session.introduce(self._names, self._state.session, listens_only=True)
        self._requests.waiter = self.session
        self._clock = ClockWatch(config.telemetry, 0)
        self._waiting_since: float | None = None
        self._problem = ""
        self._ended = False
        self._retry_at = 0.0
        self._looked_at = self._reported_at = time.monotonic()
        self._reported = 0

    def run(self) -> None:
        """Record until a signal, or the end of the time.

        Raises:
            BrokerError: the broker's first answer was a refusal that waiting does not mend.
        """
        log.info(
            "rarefault %s records %s at %s into %s as client %s",
            __version__,
            self._config.topics,
            self._config.broker.url,
            self._folder,
            self._names.client_id,
        )
        free, more = shutil.disk_usage(self._folder).free, self._config.record.max_bytes - self.writer.size
        if free < more:
            log.warning(
                "the disk of %s has %.2f GB free, the recording may take %.2f GB more; lower record.max_bytes, or "
                "messages will wait at the broker for room",
                self._folder,
                free / 1e9,
                more / 1e9,
            )
        self._notifier.send("READY=1")
        try:
            while not self._requests.stopping and self._left_s() > 0:
                self._turn()
                now = time.monotonic()
                if now - self._looked_at >= IDLE_S:
                    self._look_around(now)
            log.info("stopping (%s)", self._requests.reason if self._requests.stopping else "the time is over")
            if not self._held():
                self._take()
        finally:
            self._notifier.send("STOPPING=1")
            self._ended = True
            self.session.close(IDLE_S)
            self._save()
            self.writer.close()
        self._report(time.monotonic())

    def forget(self) -> bool:
        """Have the broker forget the session, after :meth:`run`; whether it has."""
        config = self._config
        identity = Identity(self._names.client_id, self._password, "", b"", 1, 1 << 16, passing=True)
        wake, other = socket.socketpair()
        with wake, other:
            connection, _ = connect_once(
                config.broker, self._source, identity, Inbox(1), wake, answer_s=FORGET_S, hold=True
            )
            forgotten = connection.up
            if forgotten:
                connection.disconnect()
            connection.abandon("the session is to be forgotten")
        if forgotten:
            self._state = State(self._names.client_id)
            self._write_state()
        return forgotten

    @property
    def client_id(self) -> str:
        """Names the session at the broker."""
        return self._names.client_id

    def _left_s(self) -> float:
        return self._end - time.monotonic() if self._end is not None else IDLE_S

    def _held(self) -> bool:
        """Whether messages must wait, unacknowledged."""
        return self._clock.holds_up or time.monotonic() < self._retry_at

    def _turn(self) -> None:
        """Wait for the broker, write what has come, and acknowledge it."""
        self._clock.look(self.session)
        held = self._held()
        linger_s = 0.0 if held else self._linger_s()
        idle_s = 0.0 if self.writer.busy else max(0.0, min(IDLE_S, self._left_s()))
        self.session.poll(min(linger_s, idle_s) if linger_s else idle_s, hold=held, linger=linger_s > 0)
        if self.session.waiting and self._waiting_since is None:
            self._waiting_since = time.monotonic()
        with suppress(OSError):  # the next write says it
            self.writer.step()
        if not held and not self._linger_s():
            self._take()

    def _linger_s(self) -> float:
        """How long to wait for more messages, to be written together with those that are there."""
        record = self._config.record
        if self._waiting_since is None or self.session.waiting >= record.commit_messages:
            return 0.0
        return max(0.0, self._waiting_since + record.commit_ms / 1000 - time.monotonic())

    def _take(self) -> None:
        """Write the messages that wait, and acknowledge them."""
        self._waiting_since = None
        messages: list[Message] = []
        size = 0
        while len(messages) < TOGETHER and size < TOGETHER_BYTES and (message := self.session.next()) is not None:
            messages.append(message)
            size += len(message.payload)
        if not messages:
            return
        wanted = [message for message in messages if self._wanted(message)]
        try:
            if wanted:
                self.writer.write(b"".join(map(line_of, wanted)), wall_ms())
        except OSError as error:
            self.session.give_back(messages)
            self._fail(error)
            return
        self.session.acknowledge(messages)
        if self._problem:
            log.info("%s is written again", self._folder)
            self._problem = ""
        self.messages += len(wanted)
        self.ignored += len(messages) - len(wanted)
        self.unkept += sum(not message.qos for message in wanted)
        for message in wanted:
            self._topics.add(message.topic)

    def _fail(self, error: OSError) -> None:
        """Messages could not be written: they wait."""
        self._retry_at = time.monotonic() + RETRY_S
        problem = f"{self._folder} cannot be written: {error.strerror or error}"
        if problem != self._problem:
            remedy = "free some room" if error.errno in FULL else "see to the folder and its disk"
            log.error("%s; messages wait at the broker, next attempt every %g s; %s", problem, RETRY_S, remedy)
        self._problem = problem

    def _look_around(self, now: float) -> None:
        """What is done once a second, whether or not there are messages."""
        self._looked_at = now
        self._notifier.alive()
        with suppress(OSError):  # the next write says it
            self.writer.look(wall_ms())
        self._save()
        if self._requests.reloading:
            self._requests.reloading = False
            log.warning("not reloaded: the recorder reads its configuration when it is started")
        if now - self._reported_at >= PROGRESS_S:
            self._report(now)

    def _save(self) -> None:
        """Keep the session that the broker has granted."""
        session = self.session.subscriptions.kept
        if session is not None and session != self._state.session:
            self._state = State(self._names.client_id, session)
            self._write_state()

    def _write_state(self) -> None:
        try:
            write_state(self._folder, self._state)
        except OSError as error:
            log.warning("the state of the recorder could not be kept in %s: %s", self._folder, error.strerror)

    def _report(self, now: float) -> None:
        """Log how it goes."""
        rate = (self.messages - self._reported) / max(now - self._reported_at, 1e-3)
        self._reported, self._reported_at = self.messages, now
        with suppress(OSError):
            self.writer.count()
        text = (
            f"{self.messages} message(s) of {self._topics} topic(s), {rate:.1f}/s; "
            f"{self.writer.size / 1e6:.1f} MB in {self.writer.files} file(s)"
        )
        counts = (
            (self.ignored, "left out"),
            (self.unkept, "sent with QoS 0, which the broker does not keep while the recorder is away"),
            (self.session.dropped, "of QoS 0 lost, as they came too fast"),
            (self.writer.deleted, "old file(s) deleted"),
        )
        text += "".join(f"; {count} {what}" for count, what in counts if count)
        if not self.session.ready and not self._ended:
            text += "; not connected"
        if self._problem:
            text += f"; {self._problem}"
        log.info("%s", text)
        self._notifier.status(text)


def data_section(config: Path, folder: Path) -> str:
    """The ``[data]`` section by which the trainer reads a recording.

    Args:
        config: the daemon's configuration.
        folder: of the recording.
    """
    pattern = re.sub(r"[*?\[{]", r"[\g<0>]", str(folder.resolve())) + "/*.jsonl*"
    return (
        f'[data]\nformat = "recording"\nrecordings = {_quoted(pattern)}\ndaemon = {_quoted(str(config.resolve()))}\n'
        '# events = "work-orders.csv"  # when which fault was there: device, start, end, fault\n'
    )


def _quoted(text: str) -> str:
    """A string of TOML, whose escapes are those of JSON but for one."""
    return msgspec.json.encode(text).decode().replace("\x7f", "\\u007f")


def _listening(config: RecorderConfig) -> EdgeConfig:
    """The configuration of a session that gets all telemetry and nothing else.

    As a member of a shared subscription, it would take messages from the daemons.
    """
    return msgspec.structs.replace(
        config,
        mappings=tuple(msgspec.structs.replace(source, share="") for source in config.sources),
        publish=msgspec.structs.replace(config.publish, feedback=False),
        home_assistant=HomeAssistantConfig(),
    )
