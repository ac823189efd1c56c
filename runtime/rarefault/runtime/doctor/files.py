"""Checks of files: the configuration, the model, secrets, the journal, sinks."""

import os
import shutil
import stat
from pathlib import Path

from rarefault.runtime.daemon.config import BrokerConfig, DaemonConfig, load_config, read_password
from rarefault.runtime.daemon.host.clock import ClockTrust, WallClock, trained_ms
from rarefault.runtime.daemon.mqtt.tls import tls_context
from rarefault.runtime.daemon.publishing.sinks import check_sinks, warn_sinks
from rarefault.runtime.daemon.setup import Setup
from rarefault.runtime.doctor.findings import Findings
from rarefault.runtime.errors import ConfigError, JournalError, ModelFileError
from rarefault.runtime.inference.model_file import LoadedModel, load_model
from rarefault.runtime.journal.files import lock
from rarefault.runtime.journal.reader import JournalReader
from rarefault.runtime.telemetry.reader import column_trees

#: Devices that a finding names.
NAMED = 5


def check_files(path: Path, found: Findings) -> Setup | None:
    """Check everything that can be known without a broker; the setup where a daemon could start with it."""
    try:
        config = load_config(path)
    except ConfigError as error:
        for problem in error.problems:
            found.problem("config", f"{path}: {problem}")
        return None
    found.good("config", f"{path} has no unknown key and no impossible value")
    model = _model(path, config, found)
    if model is not None:
        _clock(config, model, found)
    _journal(path, config, model, found)
    _sinks(path, config, found)
    secrets, password = _secrets(path, config.broker, found)
    return Setup(config, model, password, path) if model is not None and secrets else None


def _model(path: Path, config: DaemonConfig, found: Findings) -> LoadedModel | None:
    try:
        model = load_model(path.parent / config.model.path, config.model.threads)
        column_trees(config.sources, model.manifest.channels, str(path))
    except ModelFileError as error:
        found.problem("model", str(error))
        return None
    except ConfigError as error:
        for problem in error.problems:
            found.problem("config", f"{path}: {problem}")
        return None
    manifest = model.manifest
    found.good(
        "model",
        f"{model.model_id}, {model.size_bytes / 1e6:.1f} MB: {len(manifest.channels)} channels, classes "
        f"{', '.join(manifest.classes)}",
    )
    return model


def _clock(config: DaemonConfig, model: LoadedModel, found: Findings) -> None:
    """Whether the daemon would take anything with this clock."""
    trust = ClockTrust(WallClock(), config.telemetry.max_future_s, config.telemetry.clock_wait_s)
    trust.trained_ms = trained_ms(model.manifest)
    if problem := trust.problem():
        found.problem("clock", f"{problem}; set it, by NTP if you can")


def _secrets(path: Path, broker: BrokerConfig, found: Findings) -> tuple[bool, str | None]:
    """Whether all secrets can be read, and the password."""
    whole, password = True, None
    for read in (lambda: read_password(broker, path), lambda: tls_context(broker, path)):
        try:
            result = read()
        except ConfigError as error:
            whole = False
            for problem in error.problems:
                found.problem("secrets", f"{path}: {problem}")
        else:
            password = result if isinstance(result, str) else password
    for key in ("password_file", "key_file"):
        name = getattr(broker, key)
        secret = path.parent / name
        if name and secret.exists() and stat.S_IMODE(secret.stat().st_mode) & 0o077:
            found.warning("secrets", f"broker.{key}: others can read {secret}; chmod 600 {secret}")
    if whole and (broker.username or broker.tls):
        found.good("secrets", "password and certificates can be read")
    return whole, password


def _journal(path: Path, config: DaemonConfig, model: LoadedModel | None, found: Findings) -> None:
    settings = config.journal
    if not settings.path:
        found.warning("journal", "journal.path is not set: what the daemon has taken is lost when it is killed")
        return
    file = path.parent / settings.path
    folder = file.parent
    if not folder.is_dir():
        found.problem("journal", f"journal.path: there is no folder {folder}; make it")
        return
    if not os.access(folder, os.W_OK | os.X_OK) or (file.exists() and not os.access(file, os.R_OK | os.W_OK)):
        found.problem("journal", f"journal.path: {file} or its folder cannot be written; give this user the right to")
        return
    free = shutil.disk_usage(folder).free
    used = file.stat().st_size if file.exists() else 0
    needed = settings.max_bytes + settings.max_rejected_bytes - used
    if free < needed:
        found.warning(
            "journal",
            f"journal.max_bytes: the disk of {folder} has {free / 1e9:.2f} GB free, the journal may take "
            f"{needed / 1e9:.2f} GB more; free some room, or lower it",
        )
    if not file.exists():
        found.good("journal", f"{file} will be made; {free / 1e9:.1f} GB free")
        return
    try:
        with JournalReader(file) as reader:
            samples, size = reader.samples()
            muted = [name for name, clock in reader.clocks().items() if clock.muted]
            if model is not None and reader.channels != model.manifest.channels:
                found.problem("journal", f"{file} is that of a model with other channels; name another journal.path")
                return
    except JournalError as error:
        found.problem("journal", str(error))
        return
    if muted:
        names = ", ".join(muted[:NAMED]) + (", ..." if len(muted) > NAMED else "")
        found.warning(
            "journal",
            f"all samples of {len(muted)} device(s) are late ({names}): a clock was ahead before, or has gone back; "
            "'rarefault inspect' shows their times; set the clocks, and they are served again by themselves",
        )
    who = "a daemon is using it" if in_use(file) else "no daemon is using it"
    found.good("journal", f"{file} holds {samples} samples ({size / 1e6:.1f} MB); {who}; {free / 1e9:.1f} GB free")


def _sinks(path: Path, config: DaemonConfig, found: Findings) -> None:
    problems = check_sinks(config, path)
    for problem in problems:
        found.problem("sink", f"{path}: {problem}")
    if problems:
        return
    for name, warning in warn_sinks(config, path.parent).items():
        if warning:
            found.warning("sink", warning)
        else:
            found.good("sink", f"sink {name} can be used")


def in_use(file: Path) -> bool:
    """Whether a daemon has a journal open."""
    try:
        os.close(lock(file))
    except JournalError:
        return True
    return False
