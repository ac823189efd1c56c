"""The sinks besides the broker, by the kind of their configuration."""

from pathlib import Path
from typing import Any

from rarefault.runtime.daemon.config import DaemonConfig, FileSinkConfig, SparkplugSinkConfig
from rarefault.runtime.daemon.publishing.file_sink import FileSink
from rarefault.runtime.daemon.publishing.sink import ConfiguredSink, Route
from rarefault.runtime.daemon.publishing.sparkplug import SparkplugSink
from rarefault.runtime.journal.records import BROKER

#: The class of each kind of sink. Another kind has a configuration of its own, which :class:`DaemonConfig` names, and a
#: class with what :class:`FileSink` has.
KINDS: dict[type, Any] = {FileSinkConfig: FileSink, SparkplugSinkConfig: SparkplugSink}


def routes(config: DaemonConfig) -> list[Route]:
    """All sinks and what goes to each; the broker gets everything."""
    return [Route(BROKER), *(Route(sink.name, sink.what) for sink in config.sink)]


def open_sinks(config: DaemonConfig, source: Path) -> list[ConfiguredSink]:
    """The sinks besides the broker; ``source``: the configuration file, whose folder paths are relative to."""
    return [
        SparkplugSink(sink, config, source) if isinstance(sink, SparkplugSinkConfig) else FileSink(sink, source.parent)
        for sink in config.sink
    ]


def check_sinks(config: DaemonConfig, source: Path) -> list[str]:
    """What keeps the sinks of a configuration file from being used, a sentence each that begins with the key."""
    base = source.parent
    taken = {str(source.resolve()): "the configuration", str((base / config.model.path).resolve()): "model.path"}
    if config.journal.path:
        journal = str((base / config.journal.path).resolve())
        taken |= {journal + end: "journal.path" for end in ("", "-wal", "-shm", ".lock")}
    problems = []
    for number, sink in enumerate(config.sink):
        key, kind = f"sink[{number}]", KINDS[type(sink)]
        place = kind.place(sink, base)
        if sink.name == BROKER:
            problems.append(f"{key}.path: {BROKER!r} names the broker itself; name another file")
        elif place in taken:
            problems.append(f"{key}.path: {sink.name!r} is the file of {taken[place]}; name another one")
        elif problem := kind.check(sink, base):
            problems.append(f"{key}.{problem}")
        taken[place] = f"{key}.path"
    return problems


def warn_sinks(config: DaemonConfig, base: Path) -> dict[str, str]:
    """By name, what may keep a sink that can be used from publishing later; empty where nothing does."""
    return {sink.name: KINDS[type(sink)].warn(sink, base) for sink in config.sink}
