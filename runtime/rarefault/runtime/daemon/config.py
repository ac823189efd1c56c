"""Configuration of the daemon: one TOML file, frozen, unknown keys refused."""

import ipaddress
import math
import os
import re
import socket
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from rarefault.runtime.errors import ConfigError
from rarefault.runtime.inference.manifest import NotNegative, Share
from rarefault.runtime.settings import Section, load_toml
from rarefault.runtime.telemetry.config import MappingConfig, key_of
from rarefault.runtime.telemetry.sparkplug.topics import NAMESPACE
from rarefault.runtime.telemetry.topics import only_needed, topic_filter, topic_level_problem

Seconds = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}


def split_url(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of ``mqtt://host:port`` or ``mqtts://host:port``; ValueError where it is anything else."""
    example = "; write it like mqtt://broker.local:1883, or mqtts://broker.local:8883 with TLS"
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ValueError(f"url {url!r}: {error}{example}") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise ValueError(f"url {url!r} does not begin with mqtt:// or mqtts://{example}")
    if parts.username is not None or parts.password is not None:
        raise ValueError("url must not hold a user or a password; use broker.username and broker.password_file")
    try:
        port = parts.port
    except ValueError:
        raise ValueError(f"url {url!r} has a port that is no number from 1 to 65535{example}") from None
    if not parts.hostname or port == 0 or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"url {url!r} is not a host and a port{example}")
    try:
        parts.hostname.encode("idna")
    except UnicodeError:
        raise ValueError(f"url {url!r} has a host name that cannot be looked up{example}") from None
    return parts.scheme, parts.hostname, port or DEFAULT_PORTS[parts.scheme]


class ModelConfig(Section, frozen=True):
    """``[model]``: the model file that makes the verdicts."""

    path: Annotated[str, msgspec.Meta(min_length=1)]
    """The model file (ONNX) that ``rarefault export`` wrote. Relative to the folder of the configuration file."""
    watch: bool = True
    """Reload when the model file or the configuration file changes. SIGHUP reloads in any case."""
    threads: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    """Threads that ONNX Runtime uses. One is best on a gateway, where most batches are small."""


class BrokerConfig(Section, frozen=True):
    """``[broker]``: the MQTT broker, and how the daemon connects to it."""

    url: str = "mqtt://localhost:1883"
    """Address of the broker: ``mqtt://HOST:PORT``, or ``mqtts://HOST:PORT`` with TLS. The port is 1883 or 8883 by
    default. User name and password have keys of their own."""
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    """MQTT version. ``auto`` tries MQTT 5 first and falls back to 3.1.1 when the broker does not speak MQTT 5."""
    client_id: str = ""
    """MQTT client id. The broker keeps the daemon's session under this id while the daemon is away. Default:
    ``rarefault-`` and the runtime's name. With a journal, the default is the id of the journal's first start."""
    username: str = ""
    """User name at the broker. Empty: none."""
    password_file: str = ""
    """File whose first line is the password. Relative to the folder of the configuration file."""
    password_env: str = ""
    """Name of the environment variable that holds the password."""
    ca_file: str = ""
    """TLS only: file with the CA certificates to trust (PEM). Default: those of the system."""
    certificate_file: str = ""
    """TLS only: the daemon's own certificate (PEM), for a broker that asks for one. Needs ``key_file``."""
    key_file: str = ""
    """TLS only: the private key of that certificate (PEM, not encrypted)."""
    check_host_name: bool = True
    """TLS only: require that the broker's certificate was issued for the host in ``url``."""
    keepalive_s: Annotated[int, msgspec.Meta(ge=5, le=65535)] = 60
    """MQTT keep-alive interval, seconds."""
    connect_timeout_s: Annotated[float, msgspec.Meta(gt=0, le=300)] = 5.0
    """How long a connection may take to open, and how long the broker may take to answer it, seconds."""
    session_expiry_s: Annotated[int, msgspec.Meta(ge=0, le=4_294_967_295)] = 7 * 86400
    """MQTT 5: how long the broker keeps the session of a daemon that is away, seconds. 4294967295 means for ever."""
    reconnect_min_s: Seconds = 1.0
    """Delay before the first new attempt to connect, seconds. It doubles with each failed attempt and is shortened at
    random by up to half."""
    reconnect_max_s: Seconds = 60.0
    """Longest delay between two attempts to connect, seconds."""

    def __post_init__(self) -> None:
        split_url(self.url)
        if self.reconnect_min_s > self.reconnect_max_s or not math.isfinite(self.reconnect_max_s):
            raise ValueError(
                f"reconnect_min_s ({self.reconnect_min_s:g}) must not exceed reconnect_max_s ({self.reconnect_max_s:g})"
            )
        if self.password_file and self.password_env:
            raise ValueError("give the password in password_file or in password_env, not in both")
        if (self.password_file or self.password_env) and not self.username:
            raise ValueError("a password needs a username")
        if not self.tls:
            given = [name for name in ("ca_file", "certificate_file", "key_file") if getattr(self, name)]
            given += [] if self.check_host_name else ["check_host_name"]
            if given:
                raise ValueError(f"{' and '.join(given)} can be given with mqtts:// only, but url is {self.url!r}")
        if bool(self.certificate_file) != bool(self.key_file):
            raise ValueError("certificate_file and key_file must be given both or not at all")
        if len(self.client_id.encode()) > 65535 or not (self.client_id.isprintable()):
            raise ValueError("client_id must be printable text of at most 65535 bytes")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the broker."""
        return split_url(self.url)[1:]

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return split_url(self.url)[0] == "mqtts"


class TelemetryConfig(MappingConfig, frozen=True):
    """``[telemetry]``: where the samples come from and what the messages look like.

    ``[[telemetry]]`` may stand several times, for several kinds of messages; a message is read by the first whose topic
    fits. The keys of the subscription and of the clock are the same for all: they need be in the first only.
    """

    share: str = ""
    """Group name of a shared subscription (MQTT 5): the broker divides the devices among the daemons of the group. Only
    for brokers that send all messages of a topic to the same member of the group."""
    qos: Literal[0, 1] = 1
    """QoS of the subscription. With 0, the broker does not keep messages while the daemon is away."""
    sender_property: str = ""
    """MQTT 5: user property in which the broker names the sender. The sender must be the device, or the message is
    rejected."""
    max_future_s: Annotated[float, msgspec.Meta(ge=0)] = 300.0
    """How far ahead of the daemon's clock a sample's time may be, seconds."""
    max_age_s: Seconds = 7 * 86400.0
    """How old a sample may be on arrival, seconds. ``inf`` accepts any age, for the replay of history."""
    clock_wait_s: Annotated[float, msgspec.Meta(ge=0)] = 600.0
    """How long telemetry waits at the broker while this machine's clock seems to be behind, seconds: earlier than the
    journal's samples, not yet set by the system, or earlier than the times of all devices. ``inf`` waits for ever. A
    clock that is earlier than this release or the model's training makes telemetry wait in any case."""
    silent_after_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """A device without telemetry for this long gets the alarm state ``no data``, seconds. 0 takes the model's
    ``max_gap_s``; ``inf`` means never."""
    host_id: str = ""
    """Sparkplug only: be a host application of this id, so that edge nodes whose primary host it is send. Empty: be an
    observer, whom no edge node waits for."""

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if self.share and (problem := topic_level_problem(self.share)):
            problems.append(f"share {self.share!r}: {problem}")
        problems += [
            f"{name} must be a number"
            for name in ("max_future_s", "max_age_s", "clock_wait_s", "silent_after_s")
            if math.isnan(getattr(self, name))
        ]
        if self.host_id and (problem := topic_level_problem(self.host_id)):
            problems.append(f"host_id {self.host_id!r}: {problem}")
        if self.share and self.format == "sparkplug":
            problems.append(
                "share cannot be given with format 'sparkplug': each daemon would miss messages of all nodes"
            )
        if self.host_id and self.format != "sparkplug":
            problems.append(f"host_id can be given with format 'sparkplug' only, but format is {self.format!r}")
        if problems:
            raise ValueError("\n".join(problems))

    @property
    def subscription(self) -> str:
        """The topic filter, as the broker gets it."""
        filter_ = self.template.subscription
        return f"$share/{self.share}/{filter_}" if self.share else filter_


#: Keys of a mapping that hold for all of the daemon's telemetry.
COMMON = ("share", "qos", "sender_property", "max_future_s", "max_age_s", "clock_wait_s", "silent_after_s")


class PublishConfig(Section, frozen=True):
    """``[publish]``: where verdicts, alarms and the daemon's state are published."""

    prefix: str = "rarefault"
    """Start of all topics that the daemon publishes, such as ``{prefix}/{device}/verdict``."""
    runtime: str = ""
    """Name of this daemon in its status and health topics. Default: the host name. With a journal, the default is the
    name of the journal's first start."""
    qos: Literal[0, 1] = 1
    """QoS of verdicts, alarms and answers to feedback. With 0, they can be lost."""
    feedback: bool = True
    """Listen to ``{prefix}/{device}/feedback`` and keep people's answers in the journal. Without a journal, nobody
    listens."""

    def __post_init__(self) -> None:
        for level in self.prefix.split("/"):
            if problem := topic_level_problem(level):
                raise ValueError(f"prefix {self.prefix!r}: {problem}")
        if self.runtime and (problem := topic_level_problem(self.runtime)):
            raise ValueError(f"runtime {self.runtime!r}: {problem}")

    @property
    def runtime_name(self) -> str:
        """Name of this daemon in topics."""
        return self.runtime or re.sub(r"[^A-Za-z0-9._-]", "_", socket.gethostname()) or "runtime"


class HomeAssistantConfig(Section, frozen=True):
    """``[home_assistant]``: discovery by Home Assistant, openHAB and Domoticz."""

    enabled: bool = False
    """Publish discovery messages, so that each device and the daemon appear there by themselves. If it is switched off
    again, a daemon with a journal clears them."""
    prefix: str = "homeassistant"
    """Start of the discovery topics. Home Assistant's own setting must be the same."""

    def __post_init__(self) -> None:
        for level in self.prefix.split("/"):
            if problem := topic_level_problem(level):
                raise ValueError(f"prefix {self.prefix!r}: {problem}")


class LimitsConfig(Section, frozen=True):
    """``[limits]``: how much the daemon keeps in memory. Nothing grows beyond these limits."""

    max_devices: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1000
    """Most devices at a time. Telemetry of further devices is rejected."""
    forget_after_s: Seconds = 7 * 86400.0
    """A device with ``no data`` for this long is forgotten, seconds: it makes room for others, and its retained alarm
    is cleared."""
    samples_per_s: Seconds = 100.0
    """Most samples per second of one device, by its own time or by the daemon's clock, whichever has advanced further.
    More are rejected. ``inf`` means no limit."""
    burst_samples: Count = 10_000
    """Samples that a device may send at once beyond that rate."""
    outbox_messages: Count = 10_000
    """Most verdicts and alarms that wait for the broker's confirmation, and as many for each ``[[sink]]``. Where there
    is no room, the oldest verdict is dropped. The last alarm of each device is never dropped."""
    pending_messages: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 1000
    """Telemetry messages that are received and not yet acknowledged. Under MQTT 5 the broker is told this limit."""


class JournalConfig(Section, frozen=True):
    """``[journal]``: the file that keeps what must survive a restart."""

    path: str = ""
    """The journal (an SQLite file). Relative to the folder of the configuration file. Empty: no journal, and a killed
    daemon forgets everything."""
    sync: Literal["full", "normal"] = "full"
    """What a committed turn survives: ``full`` a power failure, ``normal`` a killed process only."""
    snapshot_s: Seconds = 60.0
    """Shortest time between two snapshots of the devices' state, seconds. A restart processes again the samples that
    came after the last snapshot."""
    keep_days: Seconds = 30.0
    """Samples, verdicts, alarms, answers and rejected telemetry older than this are deleted, days. Age counts from the
    newest samples in the journal, so a clock that is ahead deletes nothing."""
    max_bytes: Annotated[int, msgspec.Meta(ge=1 << 20)] = 1 << 30
    """Most bytes of samples. Beyond it the oldest samples are deleted."""
    on_damage: Literal["salvage", "stop"] = "salvage"
    """What to do with a damaged journal. ``salvage`` puts the file aside and goes on with what can be read of it;
    ``stop`` ends the daemon."""
    max_rejected_bytes: Annotated[int, msgspec.Meta(ge=0)] = 16 << 20
    """Most bytes of rejected telemetry that the journal keeps. Beyond it the oldest is deleted; 0 keeps none."""
    max_verdict_bytes: Annotated[int, msgspec.Meta(ge=0)] = 256 << 20
    """Most bytes of verdicts that the journal keeps, 14 and two for each class a verdict. Beyond it the oldest are
    deleted; 0 keeps none."""
    commit_ms: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 10.0
    """How long a message may wait for others, so that they are committed together, milliseconds."""
    commit_messages: Count = 16
    """With this many messages, the daemon commits without waiting. Should not exceed the number of messages that the
    broker sends unacknowledged (Mosquitto: 20)."""


class MetricsConfig(Section, frozen=True):
    """``[metrics]``: the pages ``/metrics`` for Prometheus, ``/healthz`` and ``/readyz``."""

    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    """TCP port of the pages. 0: off."""
    host: str = "127.0.0.1"
    """Address that the pages are served on."""


class PageConfig(Section, frozen=True):
    """``[page]``: the web page for people, ``rarefault page``. The daemon itself does not use it."""

    host: str = "127.0.0.1"
    """Address that the page is served on: one of this machine alone, ``127.0.0.1``, ``::1`` or ``localhost``."""
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8650
    """TCP port of the page."""

    def __post_init__(self) -> None:
        if not _is_loopback(self.host):
            raise ValueError(
                f"host {self.host!r} can be reached from other machines, and the page has no users: everybody there "
                'could read it; write "127.0.0.1", and reach it from elsewhere through an SSH tunnel, or through a '
                "reverse proxy with a login"
            )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class DecisionConfig(Section, frozen=True):
    """``[decision]``: settings that replace those of the model file, without a new training.

    A key that is not set leaves the model's own value.
    """

    coverage: Annotated[float, msgspec.Meta(ge=0, lt=1)] | None = None
    """Share of an event's windows whose prediction set must contain the event's class. Must be a coverage that the
    model file has thresholds for; 0 publishes no prediction sets."""
    raise_threshold: Share | None = None
    """An alarm is raised when the fault's score is at least this for ``on_delay_s``."""
    clear_threshold: Share | None = None
    """An alarm is cleared when the fault's score is below this for ``off_delay_s``."""
    on_delay_s: NotNegative | None = None
    """How long a fault must last before its alarm is raised, seconds."""
    off_delay_s: NotNegative | None = None
    """How long a fault must be gone before its alarm is cleared, seconds."""
    unknown_windows: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """This many windows in a row that fit no class make the alarm state ``unknown``: in each of them, no class reaches
    its conformal threshold, or the distance from all classes is too large. 0: never."""
    mute: tuple[str, ...] | None = None
    """Faults that raise no alarm. Their verdicts are still published."""


class FileSinkConfig(Section, frozen=True, tag_field="kind", tag="file"):
    """``[[sink]]``, kind ``file``: another place for verdicts and alarms, besides the broker: lines of JSON in a file.

    ``[[sink]]`` may stand several times.
    """

    path: Annotated[str, msgspec.Meta(min_length=1)]
    """The file, relative to the configuration file, on a local disk; its folder must exist. The path is the name of the
    sink in metrics and in the journal: lines that a file under another path is owed are not written to this one."""
    what: Literal["all", "verdicts", "alarms"] = "all"
    """Which lines are written."""
    max_bytes: Annotated[int, msgspec.Meta(ge=1 << 16)] = 64 << 20
    """A file that would grow beyond this size becomes ``path.1``, that one ``path.2``, and so on."""
    keep: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 5
    """Number of such older files that are kept; the oldest is deleted."""

    @property
    def name(self) -> str:
        """Names the sink."""
        return self.path


class SparkplugSinkConfig(Section, frozen=True, tag_field="kind", tag="sparkplug"):
    """``[[sink]]``, kind ``sparkplug``: alarms as the metrics of a Sparkplug edge node, at the daemon's broker.

    It has a connection of its own. All of it is of QoS 0, so an alarm may be lost on the way.
    """

    group: Annotated[str, msgspec.Meta(min_length=1)]
    """Group of the edge node."""
    path: Annotated[str, msgspec.Meta(min_length=1)]
    """File that keeps the number of the session, the last alarm of each machine and the codes of faults, relative to
    the configuration file; its folder must exist. The path is the name of the sink in metrics and in the journal."""
    edge: str = ""
    """Id of the edge node. Default: ``publish.runtime``."""
    codes: dict[str, Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)]] = msgspec.field(default_factory=dict)
    """Number of each fault for the metric ``Fault Code``. ``normal`` is 0, ``no data`` -1, ``unknown`` -2; faults that
    are not named get the next free number when they first appear, and keep it."""

    def __post_init__(self) -> None:
        problems = []
        for key in ("group", "edge"):
            name = getattr(self, key)
            if name and (problem := topic_level_problem(name)):
                problems.append(f"{key} {name!r}: {problem}")
        if len(set(self.codes.values())) < len(self.codes):
            problems.append("codes: two faults have the same number")
        if problems:
            raise ValueError("\n".join(problems))

    @property
    def name(self) -> str:
        """Names the sink."""
        return self.path

    @property
    def what(self) -> Literal["alarms"]:
        """What goes to it."""
        return "alarms"

    def edge_of(self, runtime: str) -> str:
        """Id of the edge node; ``runtime``: the daemon's name."""
        return self.edge or runtime


class LogConfig(Section, frozen=True):
    """``[log]``: what the daemon logs on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe messages that are logged."""
    format: Literal["text", "json"] = "text"
    """``text`` for people, or ``json``: one object per line."""


class RecordConfig(Section, frozen=True):
    """``[record]``: the recording of messages by ``rarefault record``; the daemon does not read it."""

    client_id: str = ""
    """MQTT client id of the recorder, under which the broker keeps messages while the recorder is away. It must not be
    the daemon's. Default: that of the folder's first recording, which is the daemon's with ``-record-`` and six random
    digits behind it."""
    retained: bool = True
    """Record messages that the broker had kept from before the subscription. They are marked with ``retain``. With
    ``false`` they are left out."""
    file_bytes: Annotated[int, msgspec.Meta(ge=1 << 16)] = 64 << 20
    """A file of this size is complete: it is compressed, and a new one is begun. So it is at the end of a day (UTC)."""
    max_bytes: Annotated[int, msgspec.Meta(ge=1 << 17)] = 4 << 30
    """Most bytes of all files of a recording, as they are on the disk. Beyond it the oldest files are deleted. At least
    twice ``file_bytes``."""
    commit_ms: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 100.0
    """How long a message may wait for others, so that they are written to the disk together, milliseconds."""
    commit_messages: Count = 16
    """With this many messages, the recorder writes without waiting. Should not exceed the number of messages that the
    broker sends unacknowledged (Mosquitto: 20)."""

    def __post_init__(self) -> None:
        if self.max_bytes < 2 * self.file_bytes:
            raise ValueError(f"max_bytes ({self.max_bytes}) must be at least twice file_bytes ({self.file_bytes})")
        if len(self.client_id.encode()) > 65535 or not self.client_id.isprintable():
            raise ValueError("client_id must be printable text of at most 65535 bytes")


class EdgeConfig(Section, frozen=True, kw_only=True):
    """The sections of a daemon's configuration file, for all that does without its model."""

    broker: BrokerConfig = BrokerConfig()
    mappings: TelemetryConfig | Annotated[tuple[TelemetryConfig, ...], msgspec.Meta(min_length=1)] = msgspec.field(
        default=TelemetryConfig(), name="telemetry"
    )
    publish: PublishConfig = PublishConfig()
    limits: LimitsConfig = LimitsConfig()
    journal: JournalConfig = JournalConfig()
    metrics: MetricsConfig = MetricsConfig()
    page: PageConfig = PageConfig()
    decision: DecisionConfig = DecisionConfig()
    sink: tuple[FileSinkConfig | SparkplugSinkConfig, ...] = ()
    """Places besides the broker that verdicts and alarms go to."""
    home_assistant: HomeAssistantConfig = HomeAssistantConfig()
    record: RecordConfig = RecordConfig()
    log: LogConfig = LogConfig()

    def __post_init__(self) -> None:
        self._check_sources()
        if self.telemetry.sender_property and self.broker.protocol == "3.1.1":
            raise ValueError("telemetry.sender_property needs MQTT 5, but broker.protocol is 3.1.1")
        if self.telemetry.share and self.broker.protocol == "3.1.1":
            raise ValueError("telemetry.share needs MQTT 5, but broker.protocol is 3.1.1")

    def _check_sources(self) -> None:
        """Refuse mappings that also match the daemon's own topics, or that contradict each other."""
        problems = []
        for i, source in enumerate(self.sources):
            key = key_of(self.sources, i)
            template = source.template
            ignored = [topic_filter(text) for text in source.ignore_topics]
            for leaf in ("verdict", "alarm", "status", "health", "feedback", "feedback/result"):
                own = f"{self.publish.prefix}/x/{leaf}"
                if template.matches(own) and not any(pattern.fullmatch(own) for pattern in ignored):
                    problems.append(
                        f"{key}.topic {source.topic!r} also matches what the daemon uses itself, such as {own!r}; "
                        f"change publish.prefix or {key}.topic"
                    )
                    break
            first, default = self.sources[0], TelemetryConfig()
            problems += [
                f"{key}.{name} is {getattr(source, name)!r}, but that of the first is {getattr(first, name)!r}: it is "
                "for all telemetry, give it in the first only"
                for name in COMMON
                if getattr(source, name) not in {getattr(first, name), getattr(default, name)}
            ]
            same = [other.topic for other in self.sources[:i] if other.topic == source.topic]
            if same and not any(other.ignore_topics for other in self.sources[:i]):
                problems.append(f"{key}.topic {source.topic!r} is that of an earlier one, which reads all of it")
        if problems:
            raise ValueError("\n".join(problems))

    @property
    def sources(self) -> tuple[TelemetryConfig, ...]:
        """What messages look like, one mapping or several."""
        return (self.mappings,) if isinstance(self.mappings, TelemetryConfig) else self.mappings

    @property
    def foreign_sources(self) -> tuple[TelemetryConfig, ...]:
        """The mappings, without what the daemon publishes itself as an edge node of Sparkplug."""
        own = tuple(
            f"{NAMESPACE}/{sink.group}/+/{sink.edge_of(self.publish.runtime_name)}/#"
            for sink in self.sink
            if isinstance(sink, SparkplugSinkConfig)
        )
        return tuple(
            msgspec.structs.replace(source, ignore_topics=(*source.ignore_topics, *own))
            if own and source.format == "sparkplug"
            else source
            for source in self.sources
        )

    @property
    def telemetry(self) -> TelemetryConfig:
        """The first mapping, whose keys of the subscription and of the clock hold for all."""
        return self.sources[0]

    @property
    def max_batch(self) -> int:
        """Most samples that a message may bring."""
        return max(source.max_batch for source in self.sources)

    @property
    def max_payload_bytes(self) -> int:
        """Largest message."""
        return max(source.max_payload_bytes for source in self.sources)

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """The topic filters of the telemetry, as the broker gets them; none brings only what another brings."""
        group = f"$share/{self.telemetry.share}/" if self.telemetry.share else ""
        filters = only_needed([source.template.subscription for source in self.sources])
        return tuple(f"{group}{text}" for text in filters)

    @property
    def topics(self) -> str:
        """The topics of the telemetry, for messages."""
        return ", ".join(source.topic for source in self.sources)

    @property
    def feedback_topic(self) -> str:
        """Template of the topics on which people answer alarms; empty where nobody listens."""
        return f"{self.publish.prefix}/{{device}}/feedback" if self.publish.feedback and self.journal.path else ""

    @property
    def client_id(self) -> str:
        """Names the session at the broker."""
        return self.broker.client_id or f"rarefault-{self.publish.runtime_name}"


class DaemonConfig(EdgeConfig, frozen=True, kw_only=True):
    """The daemon's configuration file."""

    model: ModelConfig


class RecorderConfig(EdgeConfig, frozen=True, kw_only=True):
    """The daemon's configuration file as the recorder reads it: the model may be made later."""

    model: ModelConfig | None = None


def load_config(path: Path) -> DaemonConfig:
    """Read the daemon's configuration; ConfigError with all of its problems."""
    return load_toml(path, DaemonConfig)


def read_password(broker: BrokerConfig, source: Path) -> str | None:
    """The password that the configuration file ``source`` points to, or None where it names none.

    Raises:
        ConfigError: the file or the environment variable that should hold it is missing.
    """
    if broker.password_env:
        if broker.password_env not in os.environ:
            raise ConfigError(
                str(source), [f"broker.password_env: the environment variable {broker.password_env} is not set"]
            )
        return os.environ[broker.password_env]
    if not broker.password_file:
        return None
    path = source.parent / broker.password_file
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(str(source), [f"broker.password_file: {path} cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigError(str(source), [f"broker.password_file: {path} is not UTF-8 text"]) from None
    if not lines or not lines[0]:
        raise ConfigError(str(source), [f"broker.password_file: the first line of {path} is empty"])
    return lines[0]
