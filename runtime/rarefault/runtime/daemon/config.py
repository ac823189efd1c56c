"""Configuration of the daemon: one TOML file, frozen, unknown keys refused."""

import math
import os
import re
import socket
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from rarefault.runtime.daemon.topics import Template, topic_level_problem
from rarefault.runtime.errors import ConfigError
from rarefault.runtime.inference.manifest import NotNegative, Share
from rarefault.runtime.settings import Section, load_toml

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
    """``[model]``: what says the verdicts."""

    path: Annotated[str, msgspec.Meta(min_length=1)]
    """The ONNX file; relative to the configuration file."""
    watch: bool = True
    """Whether a changed model or configuration file is loaded by itself; SIGHUP does it in any case."""
    threads: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    """Threads of ONNX Runtime."""


class BrokerConfig(Section, frozen=True):
    """``[broker]``: the MQTT broker and the session with it."""

    url: str = "mqtt://localhost:1883"
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    """``auto`` speaks MQTT 5 and falls back to 3.1.1 where the broker does not know it."""
    client_id: str = ""
    """Names the session that the broker keeps while the daemon is away; by default ``rarefault-`` and the runtime."""
    username: str = ""
    password_file: str = ""
    """File whose first line is the password; relative to the configuration file."""
    password_env: str = ""
    """Environment variable that holds the password."""
    ca_file: str = ""
    """With mqtts://: certificates (PEM) of whom to trust; by default those of the system."""
    certificate_file: str = ""
    """With mqtts://: the daemon's own certificate (PEM), where the broker asks for one."""
    key_file: str = ""
    """With mqtts://: the key of that certificate (PEM, not encrypted)."""
    check_host_name: bool = True
    """With mqtts://: whether the broker's certificate must be made out to the host in the url."""
    keepalive_s: Annotated[int, msgspec.Meta(ge=5, le=65535)] = 60
    connect_timeout_s: Annotated[float, msgspec.Meta(gt=0, le=300)] = 5.0
    """How long a connection may take, and how long the broker may take to answer it."""
    session_expiry_s: Annotated[int, msgspec.Meta(ge=0, le=4_294_967_295)] = 7 * 86400
    """MQTT 5: how long the broker keeps the session of a daemon that is away; 4294967295 is for ever."""
    reconnect_min_s: Seconds = 1.0
    reconnect_max_s: Seconds = 60.0

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


class TelemetryConfig(Section, frozen=True):
    """``[telemetry]``: where the samples come from and what they look like."""

    topic: str = "telemetry/{device}"
    """Levels may be fixed text, ``+`` (any) or hold ``{device}`` (the device's name)."""
    share: str = ""
    """Group of daemons among which the broker deals out the devices (MQTT 5, shared subscription); only for brokers
    that give all messages of a topic to one member."""
    qos: Literal[0, 1] = 1
    device: str = ""
    """Path of the device's name in the message. Where the topic has ``{device}``, too, the two must agree."""
    several_topics: bool = False
    """Whether a device may come on topics that differ before ``{device}``, or anywhere where only the message names it;
    otherwise that is taken for two machines of one name, and the second one's telemetry is rejected."""
    sender_property: str = ""
    """MQTT 5: name of a user property in which the broker names the sender; it must be the device."""
    time: str = "time"
    """Path of the sample's time in the message."""
    values: str = "values"
    """Path of the object of channel values in the message; empty where they are the message itself."""
    fields: dict[str, str] = msgspec.field(default_factory=dict)
    """Foreign name, or path into nested objects such as ``sensors.inlet.value``, to channel."""
    max_payload_bytes: Count = 1 << 20
    max_batch: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 10_000
    """Largest number of samples in a JSON array."""
    max_values: Count = 1000
    """Largest number of values in a sample, those of unknown channels included."""
    max_future_s: Annotated[float, msgspec.Meta(ge=0)] = 300.0
    """A sample may be this much ahead of the daemon's clock."""
    max_age_s: Seconds = 7 * 86400.0
    """A sample may be this old; ``inf`` for the replay of history."""
    clock_wait_s: Annotated[float, msgspec.Meta(ge=0)] = 600.0
    """How long telemetry waits at the broker while the daemon's clock seems to be behind: behind the journal, not set
    by the system, or behind all devices. ``inf`` is for ever. Before the model's training, it always waits."""
    silent_after_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """A device of which nothing arrives for so long has ``no data``; 0 is the model's ``max_gap_s``, ``inf`` never."""

    def __post_init__(self) -> None:
        has_device = Template(self.topic).has_device
        if not has_device and not self.device:
            raise ValueError(
                f"topic {self.topic!r} has no {{device}}; write it where the device's name stands, such as "
                "telemetry/{device}, or name the message's key for it in telemetry.device"
            )
        if self.share and (problem := topic_level_problem(self.share)):
            raise ValueError(f"share {self.share!r}: {problem}")
        if not self.time:
            raise ValueError("time must be the path of a key")
        for name in ("max_future_s", "max_age_s", "clock_wait_s", "silent_after_s"):
            if math.isnan(getattr(self, name)):
                raise ValueError(f"{name} must be a number")

    @property
    def subscription(self) -> str:
        """The topic filter, as the broker gets it."""
        filter_ = Template(self.topic).subscription
        return f"$share/{self.share}/{filter_}" if self.share else filter_


class PublishConfig(Section, frozen=True):
    """``[publish]``: where the verdicts go."""

    prefix: str = "rarefault"
    """Topics are ``{prefix}/{device}/verdict``, ``{prefix}/{device}/alarm``, ``{prefix}/{runtime}/status`` and
    ``{prefix}/{runtime}/health``, and ``{prefix}/{device}/feedback/result`` for what people are answered."""
    runtime: str = ""
    """Name of this daemon; by default the host's name."""
    qos: Literal[0, 1] = 1
    feedback: bool = True
    """Whether to listen to ``{prefix}/{device}/feedback`` and keep it; needs a journal."""

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


class LimitsConfig(Section, frozen=True):
    """``[limits]``: how much the daemon keeps; none of its queues grows beyond."""

    max_devices: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1000
    forget_after_s: Seconds = 7 * 86400.0
    """A device that has had ``no data`` for so long makes room for others."""
    samples_per_s: Seconds = 100.0
    """Samples of one device per second, of its own time or of the daemon's; more are rejected. ``inf`` is no limit."""
    burst_samples: Count = 10_000
    """Samples that a device may send at once beyond that rate."""
    outbox_messages: Count = 10_000
    """Verdicts and alarms that wait for the broker's confirmation, and as many for each ``[[sink]]``."""
    pending_messages: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 1000
    """Telemetry messages that are received and not yet acknowledged."""


class JournalConfig(Section, frozen=True):
    """``[journal]``: what survives the daemon."""

    path: str = ""
    """The file, relative to the configuration file; empty keeps everything in memory only."""
    sync: Literal["full", "normal"] = "full"
    """``full`` survives a power failure, ``normal`` a killed process."""
    snapshot_s: Seconds = 60.0
    """Time between two snapshots of the devices' memory; a restart processes again what came after the last."""
    keep_days: Seconds = 30.0
    """Samples older than this are deleted, by the journal's own newest ones: a clock that is ahead makes none old."""
    max_bytes: Annotated[int, msgspec.Meta(ge=1 << 20)] = 1 << 30
    """The oldest samples beyond this size are deleted."""
    on_damage: Literal["salvage", "stop"] = "salvage"
    """``salvage`` puts a damaged file aside and goes on with what can be read of it; ``stop`` ends the daemon."""
    max_rejected_bytes: Annotated[int, msgspec.Meta(ge=0)] = 16 << 20
    """What was set aside is deleted beyond this size, oldest first; 0 sets nothing aside."""
    commit_ms: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 10.0
    """How long telemetry may wait for more of it, to be written together."""
    commit_messages: Count = 16
    """So many messages do not wait; at most the number that the broker sends unacknowledged (Mosquitto: 20)."""


class MetricsConfig(Section, frozen=True):
    """``[metrics]``: the pages ``/metrics`` for Prometheus, ``/healthz`` and ``/readyz``."""

    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    """0 is off."""
    host: str = "127.0.0.1"


class DecisionConfig(Section, frozen=True):
    """``[decision]``: what replaces the model's own decision, without another training."""

    coverage: Annotated[float, msgspec.Meta(ge=0, lt=1)] | None = None
    """Share of an event's windows in which its class is plausible; one that the model has levels for, or 0 for none."""
    raise_threshold: Share | None = None
    clear_threshold: Share | None = None
    on_delay_s: NotNegative | None = None
    off_delay_s: NotNegative | None = None
    unknown_windows: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """So many windows in a row of which no class is plausible make the alarm state ``unknown``; 0: none ever do."""
    mute: tuple[str, ...] | None = None
    """Faults that raise no alarm; their verdicts are published all the same."""


class FileSinkConfig(Section, frozen=True):
    """``[[sink]]`` of ``kind = "file"``: verdicts and alarms as lines of JSON in a file, besides the broker."""

    kind: Literal["file"]
    """What the sink is."""
    path: Annotated[str, msgspec.Meta(min_length=1)]
    """The file, relative to the configuration file; its folder must exist. The path is the name of the sink in metrics
    and in the journal: lines that a file under another path is owed are not written to this one."""
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


class LogConfig(Section, frozen=True):
    """``[log]``: what is said on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class DaemonConfig(Section, frozen=True):
    """The whole file."""

    model: ModelConfig
    broker: BrokerConfig = BrokerConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    publish: PublishConfig = PublishConfig()
    limits: LimitsConfig = LimitsConfig()
    journal: JournalConfig = JournalConfig()
    metrics: MetricsConfig = MetricsConfig()
    decision: DecisionConfig = DecisionConfig()
    sink: tuple[FileSinkConfig, ...] = ()
    """Places besides the broker that verdicts and alarms go to."""
    log: LogConfig = LogConfig()

    def __post_init__(self) -> None:
        template = Template(self.telemetry.topic)
        for leaf in ("verdict", "alarm", "status", "health", "feedback", "feedback/result"):
            if template.matches(own := f"{self.publish.prefix}/x/{leaf}"):
                raise ValueError(
                    f"telemetry.topic {self.telemetry.topic!r} also matches what the daemon uses itself, such as "
                    f"{own!r}; change publish.prefix or telemetry.topic"
                )
        if self.telemetry.sender_property and self.broker.protocol == "3.1.1":
            raise ValueError("telemetry.sender_property needs MQTT 5, but broker.protocol is 3.1.1")
        if self.telemetry.share and self.broker.protocol == "3.1.1":
            raise ValueError("telemetry.share needs MQTT 5, but broker.protocol is 3.1.1")

    @property
    def feedback_topic(self) -> str:
        """Template of the topics on which people answer alarms; empty where nobody listens."""
        return f"{self.publish.prefix}/{{device}}/feedback" if self.publish.feedback and self.journal.path else ""

    @property
    def client_id(self) -> str:
        """Names the session at the broker."""
        return self.broker.client_id or f"rarefault-{self.publish.runtime_name}"


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
