"""Setup: everything that a daemon is made from, read and checked together."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from rarefault.runtime.daemon.config import DaemonConfig, load_config, read_password
from rarefault.runtime.daemon.mqtt.tls import tls_context
from rarefault.runtime.daemon.overrides import override
from rarefault.runtime.daemon.publishing.sinks import check_sinks
from rarefault.runtime.errors import ConfigError
from rarefault.runtime.inference.model_file import LoadedModel, load_model
from rarefault.runtime.telemetry.reader import column_trees

#: Keys that a running daemon cannot change.
FIXED = (
    "broker",
    "telemetry.topic",
    "telemetry.qos",
    "telemetry.sender_property",
    "telemetry.host_id",
    "publish",
    "limits.pending_messages",
    "limits.outbox_messages",
    "journal.path",
    "journal.sync",
    "metrics",
    "sink",
    "log.format",
)


@dataclass(frozen=True, slots=True)
class Setup:
    """What a daemon is made from.

    Attributes:
        config: its configuration.
        model: that makes the verdicts.
        password: of ``config.broker.username``, if there is one.
        source: the configuration file, which other paths are relative to, and which errors name.
        overridden: keys of ``[decision]`` that replace the model's own; its manifest has them in place.
    """

    config: DaemonConfig
    model: LoadedModel
    password: str | None
    source: Path
    overridden: tuple[str, ...] = ()

    def model_file(self) -> Path:
        """Path of the model."""
        return self.source.parent / self.config.model.path


def load_setup(path: Path) -> Setup:
    """Read a configuration and all that it names.

    Raises:
        ConfigError: the configuration, or a file that it names, cannot be used.
        ModelFileError: the model cannot be used.
    """
    config = load_config(path)
    password = read_password(config.broker, path)
    tls_context(config.broker, path)
    if problems := check_sinks(config, path):
        raise ConfigError(str(path), problems)
    model = load_model(path.parent / config.model.path, config.model.threads)
    column_trees(config.sources, model.manifest.channels, str(path))
    manifest, overridden = override(model.manifest, config.decision, str(path))
    return Setup(config, replace(model, manifest=manifest), password, path, overridden)


def reload_setup(load: Callable[[], Setup], before: Setup) -> Setup:
    """Read again what a running daemon was made from, for it to go on with.

    Raises:
        ConfigError, ModelFileError: as :func:`load_setup`, or something changed that needs a restart.
    """
    after = load()
    changed = [key for key in FIXED if _at(before.config, key) != _at(after.config, key)]
    if changed:
        raise ConfigError(str(after.source), [f"{key}: changed; this needs a restart of the daemon" for key in changed])
    old, new = before.model.manifest.channels, after.model.manifest.channels
    if after.config.journal.path and old != new:
        problem = "the new model has other channels than the journal; stop the daemon and name another journal.path"
        raise ConfigError(str(after.source), [f"model.path: {problem}"])
    return after


def _at(config: DaemonConfig, key: str) -> object:
    if key == "telemetry.topic":
        return config.subscriptions  # of all mappings
    value: object = config
    for name in key.split("."):
        value = getattr(value, name)
    return value
