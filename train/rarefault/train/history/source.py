"""A ``[data]`` section: the keys that formats share, and what each format answers for itself."""

import json
from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Self

import msgspec

from rarefault.runtime.inference.manifest import NORMAL, Finite
from rarefault.runtime.settings import Section
from rarefault.runtime.telemetry.channels import ChannelSpecs
from rarefault.train.history.data import UNLABELLED, EventTimes, History, Overlap
from rarefault.train.history.events.config import EventsConfig
from rarefault.train.history.keys import Instant, Name, OpenEvents, check_encoding, check_zone
from rarefault.train.history.parsing.text_form import UTF8, Separator, TextForm, TimeForm

#: Of channels of which nothing is known.
NO_SPECS: ChannelSpecs = {}


class HistoryConfig(Section, frozen=True, kw_only=True):
    """A ``[data]`` section: what is read, and how."""

    mostly_faulty: bool = False
    """Whether one fault may cover more than half of the time."""

    @property
    @abstractmethod
    def places(self) -> tuple[str, ...]:
        """The files, folders and patterns that are read."""

    @abstractmethod
    def read(self, base: Path, *, allow_incomplete: bool = False, specs: ChannelSpecs = NO_SPECS) -> History:
        """Read it, whether or not there are samples in it.

        Args:
            base: folder that the paths are relative to.
            allow_incomplete: accept a history without samples or without a fault log.
            specs: whose words are numbers; what they do to numbers is done to the whole history.

        Raises:
            HistoryError: a file or a column is missing, or cannot be read.
        """

    @abstractmethod
    def absolute(self, base: Path) -> Self:
        """The section with its paths, which are relative to ``base``, made absolute."""

    @property
    def span_ms(self) -> tuple[int | None, int | None]:
        """Start and end of what is read, milliseconds since the epoch; None where the section has no such limit."""
        return None, None

    @property
    def counters(self) -> tuple[str, ...]:
        """The channels that only increase, as far as the section names them."""
        return ()

    @property
    def has_log(self) -> bool:
        """Whether events come from a log with times of its own, which may be those of another clock."""
        return True

    @abstractmethod
    def with_offset(self, offset_s: float) -> str:
        """What to set so that the log's times are shifted.

        Args:
            offset_s: to be added to them, seconds.
        """

    @property
    def faults(self) -> tuple[str, ...]:
        """The known faults in the order of the classes, as far as the section names them."""
        return ()

    def describe(self) -> str:
        """The places in one line, for messages."""
        return ", ".join(self.places)

    def unit_prefixes(self, channels: Sequence[str]) -> tuple[str, ...]:  # noqa: ARG002 - formats look at them
        """How the channels of each like part of a device begin, as far as the format defines it; by default none.

        Args:
            channels: names, [C].
        """
        return ()


class SourceConfig(HistoryConfig, frozen=True, kw_only=True):
    """One source of samples. Each format is a subclass with a module in ``formats``."""

    missing: tuple[Finite, ...] = ()
    """Numbers that stand for no value in any channel, such as -9999; the model keeps them for live samples."""
    encoding: str = UTF8
    """Of the files' text, such as "cp1252"."""
    overlap: Overlap = "rarest"
    """Which of several active events gives the label."""
    event_times: EventTimes = "exact"
    """``exact``, or rounded to the grid."""
    start: Instant | None = None
    """Samples before it are left out; by default none."""
    end: Instant | None = None
    """Samples at or after it are left out; by default none."""

    def __post_init__(self) -> None:
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise ValueError(
                f"end must be after start, got start {self.start.isoformat()} and end {self.end.isoformat()}"
            )
        check_encoding(self.encoding)

    @classmethod
    @abstractmethod
    def of_paths(cls, paths: Sequence[Path]) -> Self | None:
        """The section that reads these files or folders as they are; None where they are of another format."""

    @property
    def span_ms(self) -> tuple[int | None, int | None]:
        """Start and end of what is read, milliseconds since the epoch; None where the section has no such limit."""
        return _ms(self.start), _ms(self.end)


class NamedSourceConfig(SourceConfig, frozen=True, kw_only=True):
    """A source that names devices, channels and faults, and may have a file of events."""

    events: str | EventsConfig = ""
    """CSV or Parquet file with the columns device, start, end, fault (``rarefault label`` writes one), and perhaps
    unit; none by default. A section ``[data.events]`` reads a file with other columns."""
    separator: Separator | None = None
    """What stands between the fields of a CSV file. Default: what a first line ``sep=;`` says, or else a comma."""
    time_zone: str = ""
    """IANA name of the zone that times without an offset are in; without it such times are refused."""
    channels: tuple[Name, ...] = ()
    """The channels to read; by default all."""
    counters: tuple[Name, ...] = ()
    """Channels that only increase (meters); the grid takes their increase per bin."""
    faults: tuple[Name, ...] = ()
    """The known faults, in the order of the classes; by default all that occur, by name."""
    normal: tuple[str, ...] | None = None
    """Labels and fault names that mean no fault; by default the usual words, see
    :mod:`rarefault.train.history.parsing.normal`."""
    open_events: OpenEvents = "refuse"
    """What an event without an end does: it lasts to the last sample of its device (``last``), that time is
    ``unlabelled``, or it is refused (``refuse``)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_zone(self.time_zone)
        _check_names(self.channels, self.faults, self.normal or ())

    def absolute_events(self, base: Path) -> str | EventsConfig:
        """The file of events with its path made absolute; "" where there is none."""
        if isinstance(self.events, EventsConfig):
            return msgspec.structs.replace(self.events, path=str(base.resolve() / self.events.path))
        return str(base.resolve() / self.events) if self.events else ""

    @property
    def has_log(self) -> bool:
        """Whether there is a file of events."""
        return bool(self.events)

    def with_offset(self, offset_s: float) -> str:
        """The keys of ``[data.events]``."""
        mapped = isinstance(self.events, EventsConfig)
        total = offset_s + (self.events.offset_s if isinstance(self.events, EventsConfig) else 0.0)
        path = "" if mapped else f"path = {json.dumps(self.events)}, "
        return (
            "if its times are of another zone, set time_zone in [data.events]; if its clock was wrong, "
            f"offset_s = {total:g} ([data.events] with {path}offset_s = {total:g})"
        )

    @property
    def event_log(self) -> EventsConfig | None:
        """The section of the log with what it takes over from this one; None where there is no log."""
        if not self.events:
            return None
        log = self.events if isinstance(self.events, EventsConfig) else EventsConfig(path=self.events)
        return msgspec.structs.replace(
            log,
            open=log.open or self.open_events,
            separator=log.separator or self.separator,
            encoding=log.encoding or self.encoding,
            time_zone=log.time_zone or self.time_zone,
        )


def text_form(section: NamedSourceConfig | EventsConfig, prefix: str) -> TextForm:
    """How the lines of a section's files are written.

    Args:
        section: its keys; those that it does not have are as by default.
        prefix: of its keys in messages, such as ``"data."``.
    """
    names = ("separator", "encoding", "comment", "skip_rows", "skip_after_header", "header", "sheet")
    own = {name: getattr(section, name) for name in names if hasattr(section, name)}
    return TextForm(**own, records=isinstance(section, EventsConfig), prefix=prefix)


def time_form(section: NamedSourceConfig | EventsConfig) -> TimeForm:
    """How the times of a section's files are written."""
    return TimeForm(
        section.time_zone,
        getattr(section, "time_format", ""),
        getattr(section, "time_unit", ""),
        decimal=section.numbers.decimal if hasattr(section, "numbers") else ".",
    )


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)


def _check_names(channels: tuple[str, ...], faults: tuple[str, ...], normal: tuple[str, ...]) -> None:
    for key, names in (("channels", channels), ("faults", faults), ("normal", normal)):
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{key} names {', '.join(map(repr, twice))} more than once")
        if padded := [name for name in names if name != name.strip()]:
            raise ValueError(f"{key} names {padded[0]!r}: write it without the blanks around it, as names are read")
    if both := sorted(set(faults) & {*normal, NORMAL}):
        raise ValueError(f"faults and normal both name {', '.join(both)}")
    if reserved := sorted({UNLABELLED} & {*faults, *normal}):
        raise ValueError(f"{reserved[0]!r} is reserved for time of which nobody knows the class; it is no fault's name")
