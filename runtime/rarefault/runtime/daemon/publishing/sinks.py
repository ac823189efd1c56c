"""The sinks besides the broker, by the kind of their configuration."""

import os
from pathlib import Path

from rarefault.runtime.daemon.config import DaemonConfig
from rarefault.runtime.daemon.publishing.file_sink import FileSink
from rarefault.runtime.daemon.publishing.sink import Route
from rarefault.runtime.journal.records import BROKER


def routes(config: DaemonConfig) -> list[Route]:
    """All sinks and what goes to each; the broker gets everything."""
    return [Route(BROKER), *(Route(sink.path, sink.what) for sink in config.sink)]


def open_sinks(config: DaemonConfig, base: Path) -> list[FileSink]:
    """The sinks besides the broker; ``base``: folder that paths are relative to."""
    return [FileSink(sink, base) for sink in config.sink]


def check_sinks(config: DaemonConfig, source: Path) -> list[str]:
    """What keeps the sinks of a configuration file from being used, a sentence each that begins with the key."""
    base = source.parent
    taken = {source.resolve(): "the configuration", (base / config.model.path).resolve(): "model.path"}
    if config.journal.path:
        journal = (base / config.journal.path).resolve()
        taken |= {journal.with_name(journal.name + end): "journal.path" for end in ("", "-wal", "-shm", ".lock")}
    problems = []
    for number, sink in enumerate(config.sink):
        key, path = f"sink[{number}].path", base / sink.path
        if sink.path == BROKER:
            problems.append(f"{key}: {BROKER!r} names the broker itself; name another file")
        elif (other := taken.get(path.resolve())) is not None:
            problems.append(f"{key}: {sink.path!r} is the file of {other}; name another one")
        elif problem := _file_problem(path):
            problems.append(f"{key}: {problem}")
        taken[path.resolve()] = key
    return problems


def _file_problem(path: Path) -> str:
    """Why a file cannot be appended to, and what to do."""
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}; make it"
    if path.exists() and not path.is_file():
        return f"{path} is no regular file; name a file"
    if not os.access(path.parent, os.W_OK | os.X_OK) or (path.exists() and not os.access(path, os.R_OK | os.W_OK)):
        return f"{path} or its folder cannot be written; give this user the right to"
    return ""
