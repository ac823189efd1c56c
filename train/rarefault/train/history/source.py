"""A ``[data]`` section: the keys that formats share, and what each format answers for itself."""

import codecs
import zoneinfo
from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

import msgspec

from rarefault.runtime.inference.manifest import NORMAL, Finite
from rarefault.runtime.settings import Section
from rarefault.runtime.telemetry.channels import ChannelSpecs
from rarefault.train.history.data import UNLABELLED, EventTimes, History, Overlap

#: Of channels of which nothing is known.
NO_SPECS: ChannelSpecs = {}

#: What an event without an end does.
OpenEvents = Literal["refuse", "last", "unlabelled"]

#: An instant: ISO 8601 with a time zone, as a TOML date-time or as text.
Instant = Annotated[datetime, msgspec.Meta(tz=True)]

Name = Annotated[str, msgspec.Meta(min_length=1)]


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
    encoding: str = "utf-8"
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
        _check_encoding(self.encoding)

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

    events: str = ""
    """CSV or Parquet file with the columns device, start, end, fault (``rarefault label`` writes one), and perhaps
    unit; none by default."""
    separator: Literal[",", ";", "\t", "|"] = ","
    """What stands between the fields of a CSV file."""
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
        _check_zone(self.time_zone)
        _check_names(self.channels, self.faults, self.normal or ())

    def absolute_events(self, base: Path) -> str:
        """The path of the events file, made absolute; "" where there is none."""
        return str(base.resolve() / self.events) if self.events else ""


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


def _check_encoding(name: str) -> None:
    try:
        known = codecs.lookup(name)._is_text_encoding  # noqa: SLF001 - nothing public says
    except (LookupError, ValueError):
        known = False
    if not known:
        raise ValueError(f"encoding: no text encoding {name!r} is known; write it like 'utf-8', 'cp1252' or 'latin-1'")


def _check_zone(name: str) -> None:
    if name in {"", "UTC"}:
        return
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"time_zone: no time zone {name!r} is known; write it like 'Europe/Zurich' or 'UTC'") from None
