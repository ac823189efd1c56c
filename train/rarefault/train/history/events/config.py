"""``[data.events]``: a log of faults whose columns have other names, or whose file is written otherwise."""

from rarefault.runtime.inference.manifest import Finite
from rarefault.runtime.settings import Section
from rarefault.train.history.keys import (
    Lines,
    Name,
    OpenEvents,
    TimeColumn,
    check_encoding,
    check_header,
    check_time_format,
    check_zone,
)
from rarefault.train.history.parsing.text_form import Separator, TimeUnit


class EventsConfig(Section, frozen=True, kw_only=True):
    """``[data.events]``: the file of events, where its columns have other names or it is written in another way."""

    path: Name
    """CSV or Parquet file or workbook, relative to the configuration file."""
    device_column: str = "device"
    """Column with the device's name. Without it all events are of the only device that there is."""
    device: str = ""
    """Device of every event, in place of a column."""
    start_column: TimeColumn = "start"
    """Column with the start, or those of the day and of the time of the day."""
    end_column: TimeColumn = "end"
    """Column with the end, or those of the day and of the time of the day."""
    fault_column: str = "fault"
    """Column with the fault."""
    fault: str = ""
    """Fault of every event, in place of a column, as for a list of anomalies."""
    unit_column: str = "unit"
    """Column that may be there: the part of the device that the event is of."""
    ignore: tuple[Name, ...] = ()
    """Words in the column of faults that are no faults, such as inspections: these rows are counted and left out."""
    open: OpenEvents | None = None
    """As ``data.open_events``, which it is by default."""
    separator: Separator | None = None
    """As ``data.separator``, which it is by default."""
    encoding: str = ""
    """As ``data.encoding``, which it is by default."""
    comment: str = ""
    """Lines that begin with it are left out; none by default."""
    skip_rows: Lines = 0
    """Lines before the header."""
    skip_after_header: Lines = 0
    """Lines after the header that are no events."""
    header: tuple[str, ...] = ()
    """Names of the columns of a file without a header line; ``""`` is one that is not read."""
    sheet: str = ""
    """Sheet of a workbook; by default its only one."""
    time_zone: str = ""
    """Zone of times without an offset; by default ``data.time_zone``."""
    time_format: str = ""
    """As ``data.time_format``, but for this file alone."""
    time_unit: TimeUnit = ""
    """As ``data.time_unit``, but for this file alone."""
    offset_s: Finite = 0.0
    """Added to start and end of every event, seconds, where the clock of the log was wrong: -600 for one that was ten
    minutes fast. For times in another zone, ``time_zone`` is the key: it follows summer time, too."""

    def __post_init__(self) -> None:
        check_zone(self.time_zone)
        if self.encoding:
            check_encoding(self.encoding)
        check_time_format(self.time_format, self.time_unit)
        check_header(self.header)
        if not self.fault and not self.fault_column:
            raise ValueError("name the fault_column, or the fault that every event is of")
