"""The ``[data]`` section: which history to read, and how."""

import codecs
import glob
import zoneinfo
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from rarefault.runtime.inference.manifest import Finite

#: Which of several events that are active at one time gives the label; see ``labels.label_bins``.
Overlap = Literal["rarest", "file order"]
#: How the times of events are placed on the grid; see :mod:`rarefault.train.history.labels`.
EventTimes = Literal["exact", "rounded"]

#: What an event without an end does.
OpenEvents = Literal["refuse", "last", "unlabelled"]

#: An instant: ISO 8601 with a time zone, as a TOML date-time or as text.
Instant = Annotated[datetime, msgspec.Meta(tz=True)]

Name = Annotated[str, msgspec.Meta(min_length=1)]


class Phm2015Config(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="format", tag="phm2015"
):
    """A folder of ``plant_Na.csv`` (sensors), ``plant_Nb.csv`` (energy) and ``plant_Nc.csv`` (fault log).

    Attributes:
        path: the folder, relative to the configuration file.
        plants: the plants N to read; every complete one (with all three files) by default.
        time_shift_s: added to start and end of every event, seconds; the challenge's fault logs run one hour behind
            its sensor files.
        missing: numbers that stand for no value in any channel, such as -9999; the model keeps them for live samples.
        encoding: of the files' text, such as "cp1252".
        mostly_faulty: whether one fault may cover more than half of the time.
        overlap: which of several active events gives the label.
        event_times: ``exact``, or rounded to the grid.
        start: samples before it are left out; by default none.
        end: samples at or after it are left out; by default none.
    """

    path: Name
    plants: tuple[Annotated[int, msgspec.Meta(ge=0)], ...] = ()
    time_shift_s: float = 3600.0
    missing: tuple[Finite, ...] = ()
    encoding: str = "utf-8"
    mostly_faulty: bool = False
    overlap: Overlap = "rarest"
    event_times: EventTimes = "exact"
    start: Instant | None = None
    end: Instant | None = None

    def __post_init__(self) -> None:
        _check_span(self.start, self.end)
        _check_encoding(self.encoding)

    @property
    def places(self) -> tuple[str, ...]:
        """What is read."""
        return (self.path,)


class TableConfig(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="format", tag="table"
):
    """CSV (with a header line) or Parquet files in long form: device, time, channels, and perhaps a label.

    Attributes:
        samples: files or glob patterns, relative to the configuration file.
        events: CSV or Parquet file with the columns device, start, end, fault, and perhaps unit; none by default.
        device_column: column with the device's name; "" names each device after its file.
        time_column: ISO 8601, epoch seconds or epoch milliseconds.
        label_column: column whose runs of one value become events; none by default.
        separator: what stands between the fields of a CSV file.
        time_zone: IANA name of the zone that times without an offset are in; without it such times are refused.
        channels: the columns to read as channels; by default every other column that holds numbers.
        counters: channels that only increase (meters); the grid takes their increase per bin.
        faults: the known faults, in the order of the classes; by default all that occur, by name.
        normal: labels and fault names that mean no fault; by default the usual words, see :mod:`normal`.
        open_events: what an event without an end does: it lasts to the last sample of its device (``last``), that time
            is ``unlabelled``, or it is refused (``refuse``).
        missing: numbers that stand for no value in any channel, such as -9999; the model keeps them for live samples.
        encoding: of the files' text, such as "cp1252".
        mostly_faulty: whether one fault may cover more than half of the time.
        overlap: which of several active events gives the label.
        event_times: ``exact``, or rounded to the grid.
        start: samples before it are left out; by default none.
        end: samples at or after it are left out; by default none.
    """

    samples: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1)]
    events: str = ""
    device_column: str = "device"
    time_column: Name = "time"
    label_column: str = ""
    separator: Literal[",", ";", "\t", "|"] = ","
    time_zone: str = ""
    channels: tuple[Name, ...] = ()
    counters: tuple[Name, ...] = ()
    faults: tuple[Name, ...] = ()
    normal: tuple[str, ...] | None = None
    open_events: OpenEvents = "refuse"
    missing: tuple[Finite, ...] = ()
    encoding: str = "utf-8"
    mostly_faulty: bool = False
    overlap: Overlap = "rarest"
    event_times: EventTimes = "exact"
    start: Instant | None = None
    end: Instant | None = None

    def __post_init__(self) -> None:
        _check_span(self.start, self.end)
        _check_encoding(self.encoding)
        _check_zone(self.time_zone)
        _check_names(self.channels, self.faults, self.normal or ())

    @property
    def places(self) -> tuple[str, ...]:
        """What is read."""
        return self.samples


class JournalConfig(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="format", tag="journal"
):
    """Journals of the daemon: what it has received of its devices. A daemon may be writing them meanwhile.

    Attributes:
        path: one journal, or several, relative to the configuration file.
        events: CSV or Parquet file with the columns device, start, end, fault (``rarefault label`` writes one), and
            perhaps unit; none by default.
        separator: what stands between the fields of a CSV file of events.
        time_zone: IANA name of the zone that times of events without an offset are in; without it these are refused.
        channels: the channels to read; by default all of the journal.
        counters: channels that only increase (meters); the grid takes their increase per bin.
        faults: the known faults, in the order of the classes; by default all that occur, by name.
        normal: fault names that mean no fault; by default the usual words, see :mod:`normal`.
        open_events: what an event without an end does: it lasts to the last sample of its device (``last``), that time
            is ``unlabelled``, or it is refused (``refuse``).
        missing: numbers that stand for no value in any channel, such as -9999; the model keeps them for live samples.
        encoding: of the files' text, such as "cp1252".
        mostly_faulty: whether one fault may cover more than half of the time.
        overlap: which of several active events gives the label.
        event_times: ``exact``, or rounded to the grid.
        start: samples before it are left out; by default none.
        end: samples at or after it are left out; by default none.
    """

    path: Name | Annotated[tuple[Name, ...], msgspec.Meta(min_length=1)]
    events: str = ""
    separator: Literal[",", ";", "\t", "|"] = ","
    time_zone: str = ""
    channels: tuple[Name, ...] = ()
    counters: tuple[Name, ...] = ()
    faults: tuple[Name, ...] = ()
    normal: tuple[str, ...] | None = None
    open_events: OpenEvents = "refuse"
    missing: tuple[Finite, ...] = ()
    encoding: str = "utf-8"
    mostly_faulty: bool = False
    overlap: Overlap = "rarest"
    event_times: EventTimes = "exact"
    start: Instant | None = None
    end: Instant | None = None

    def __post_init__(self) -> None:
        _check_span(self.start, self.end)
        _check_encoding(self.encoding)
        _check_zone(self.time_zone)
        _check_names(self.channels, self.faults, self.normal or ())

    @property
    def paths(self) -> tuple[str, ...]:
        """The journals."""
        return (self.path,) if isinstance(self.path, str) else self.path

    places = paths


class TogetherConfig(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="format", tag="together"
):
    """Several sources as one history, such as tables of the past and the journals since.

    Channels, devices and faults of one name are one; what a source does not have is missing from its samples.

    Attributes:
        sources: sections like ``[data]`` itself; each brings its own events.
        mostly_faulty: whether one fault may cover more than half of the time.
    """

    sources: Annotated[tuple[Phm2015Config | TableConfig | JournalConfig, ...], msgspec.Meta(min_length=1)]
    mostly_faulty: bool = False

    def __post_init__(self) -> None:
        for key in ("overlap", "event_times"):
            if len({getattr(source, key) for source in self.sources}) > 1:
                raise ValueError(f"all sources must have the same {key}: it is a rule for the whole history")

    @property
    def places(self) -> tuple[str, ...]:
        """What is read."""
        return tuple(place for source in self.sources for place in source.places)

    @property
    def missing(self) -> tuple[float, ...]:
        """Numbers that stand for no value in any of the sources."""
        return tuple(dict.fromkeys(number for source in self.sources for number in source.missing))

    @property
    def counters(self) -> tuple[str, ...]:
        """The channels that only increase in any of the sources."""
        named = (getattr(source, "counters", ()) for source in self.sources)
        return tuple(dict.fromkeys(name for names in named for name in names))

    @property
    def start(self) -> None:
        """Each source has its own."""
        return

    end = start


#: One source of samples.
Source = Phm2015Config | TableConfig | JournalConfig
DataConfig = Source | TogetherConfig


def absolute(data: DataConfig, base: Path) -> DataConfig:
    """The section with its paths made absolute, so that it can be used from anywhere.

    Args:
        data: the section.
        base: folder that its paths are relative to.
    """
    here = base.resolve()
    if isinstance(data, TogetherConfig):
        return msgspec.structs.replace(data, sources=tuple(_absolute(source, here) for source in data.sources))
    return _absolute(data, here)


def _absolute(data: Source, here: Path) -> Source:
    if isinstance(data, Phm2015Config):
        return msgspec.structs.replace(data, path=str(here / data.path))
    events = str(here / data.events) if data.events else ""
    if isinstance(data, TableConfig):
        samples = tuple(_absolute_pattern(name, here) for name in data.samples)
        return msgspec.structs.replace(data, samples=samples, events=events)
    path = str(here / data.path) if isinstance(data.path, str) else tuple(str(here / name) for name in data.path)
    return msgspec.structs.replace(data, path=path, events=events)


def _absolute_pattern(name: str, here: Path) -> str:
    """A file or pattern from anywhere; brackets in the folder's name, or in that of one file, are no pattern."""
    if (here / name).is_file():
        return glob.escape(str(here / name))
    return str(Path(glob.escape(str(here))) / name)


def _check_span(start: datetime | None, end: datetime | None) -> None:
    if start is not None and end is not None and end <= start:
        raise ValueError(f"end must be after start, got start {start.isoformat()} and end {end.isoformat()}")


def _check_names(channels: tuple[str, ...], faults: tuple[str, ...], normal: tuple[str, ...]) -> None:
    for key, names in (("channels", channels), ("faults", faults), ("normal", normal)):
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{key} names {', '.join(map(repr, twice))} more than once")
        if wide := [name for name in names if name != name.strip()]:
            raise ValueError(f"{key} names {wide[0]!r}: write it without the blanks around it, as names are read")
    if both := sorted(set(faults) & {*normal, "normal"}):
        raise ValueError(f"faults and normal both name {', '.join(both)}")
    if reserved := sorted({"unlabelled"} & {*faults, *normal}):
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
