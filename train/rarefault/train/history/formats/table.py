"""Tables: CSV and Parquet files and workbooks, in wide form (a column per channel) or in long form (a row per value).

CSV files have a header line; Parquet files bring their own types. Files may differ in their channels, and a row may
leave cells empty: a channel that is not reported is missing from that sample, no more. A label column becomes events:
each run of one label over a device's samples, until a sample with another one. At an empty label the run goes on; where
no other label means that there is no fault, the empty ones do. Values outside a sensor's range stay; the model clips
them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Self

import msgspec

from rarefault.runtime.journal.summary import is_journal
from rarefault.runtime.telemetry.channels import ChannelSpecs
from rarefault.train.history.data import History
from rarefault.train.history.keys import Lines, Name, TimeColumn, check_header, check_time_format
from rarefault.train.history.parsing.packed import exists
from rarefault.train.history.parsing.pattern import Pattern, escaped
from rarefault.train.history.parsing.text_form import Decimal, NumberForm, Thousands, TimeUnit
from rarefault.train.history.source import NO_SPECS, NamedSourceConfig


class TableConfig(NamedSourceConfig, frozen=True, kw_only=True, tag_field="format", tag="table"):
    """CSV or Parquet files or workbooks: device, time, one column per channel, perhaps a label; or in long form."""

    samples: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1)]
    """Files or glob patterns, relative to the configuration file; CSV files may be packed (gz, zip). Every column that
    holds numbers and is no device, time or label is a channel. A part of a path in braces is a column of that name, as
    in ``{device}/*.csv``; ``{name+}`` may hold the marks beside it."""
    device_column: str = "device"
    """Column, or part of a path or a tag, with the device's name; "" names each device after its file."""
    device: str = ""
    """In place of ``device_column``: the name of the only device or, with names of columns or parts in braces, how a
    device's name is put together, as in ``{site}-{machine}``."""
    time_column: TimeColumn = "time"
    """Column with the time, or those of the day and of the time of the day."""
    time_format: str = ""
    """How times are written, as in ``%d.%m.%Y %H:%M:%S`` (Python's ``strptime``). Default: ISO 8601, other dates that
    can be read one way only, or epoch numbers."""
    time_unit: TimeUnit = ""
    """What a number counts that is a time: seconds, milliseconds, microseconds or nanoseconds since 1970, or a
    spreadsheet's days. Default: one of the first four, by its size."""
    decimal: Decimal | None = None
    """The mark before the fraction of a number in text. Default: a point, or a comma where points part thousands; files
    whose numbers show another one are refused."""
    thousands: Thousands = ""
    """What parts the digits of long numbers in text; nothing by default."""
    comment: str = ""
    """Lines of a CSV file that begin with it are left out; none by default."""
    skip_rows: Lines = 0
    """Lines before the header."""
    skip_after_header: Lines = 0
    """Lines after the header that are no samples, such as one of units."""
    header: tuple[str, ...] = ()
    """Names of the columns of files without a header line; ``""`` is one that is not read."""
    sheet: str = ""
    """Sheet of a workbook; by default its only one."""
    label_column: str = ""
    """Column whose runs of one value become events; none by default."""
    tag_column: str = ""
    """Column with the name of what a row's value is of. With it the files are in long form: a row for each value."""
    tag_pattern: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1)] = ("{channel}",)
    """How tags are made of device and channel, as in ``PLANT.{device}.{channel}``; of several patterns the first that
    fits. A part holds none of the marks beside it, unless it is written ``{channel+}``; ``*`` is anything."""
    value_column: Name = "value"
    """Long form: column with the value."""
    quality_column: str = ""
    """Long form: column with the quality of the value; none by default."""
    good: tuple[str | int | bool, ...] = ("good", 192)
    """Long form: the qualities, in any case, whose values are taken; others are missing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_time_format(self.time_format, self.time_unit)
        check_header(self.header)
        if self.thousands and self.thousands == self.decimal:
            raise ValueError(f"thousands and decimal are both {self.thousands!r}")
        parts = {name for text in self.samples for name in Pattern(text, path=True).names}
        if self.tag_column:
            self._check_tags(parts)
        Pattern(self.device)

    def _check_tags(self, parts: set[str]) -> None:
        if self.label_column:
            raise ValueError("tag_column: in long form no row has a label; name a file of events")
        for text in self.tag_pattern:
            names = set(Pattern(text).names)
            if "channel" not in names:
                raise ValueError(f"tag_pattern: {text!r} has no {{channel}}")
            if both := sorted(names & parts):
                raise ValueError(f"tag_pattern and samples both have {{{both[0]}}}")

    @property
    def places(self) -> tuple[str, ...]:
        """Names and patterns of the files."""
        return self.samples

    @property
    def numbers(self) -> NumberForm:
        """How numbers are written."""
        return NumberForm(self.decimal or ("," if self.thousands == "." else "."), self.thousands)

    @classmethod
    def of_paths(cls, paths: Sequence[Path]) -> Self | None:
        """Files of any name that are no journals."""
        if any(path.is_dir() or is_journal(path) for path in paths):
            return None
        return cls(samples=tuple(map(str, paths)))

    def absolute(self, base: Path) -> Self:
        """The section with its paths made absolute."""
        samples = tuple(_absolute_pattern(name, base.resolve()) for name in self.samples)
        return msgspec.structs.replace(self, samples=samples, events=self.absolute_events(base))

    def read(
        self,
        base: Path,
        *,
        allow_incomplete: bool = False,  # noqa: ARG002 - samples are always there
        specs: ChannelSpecs = NO_SPECS,
    ) -> History:
        """Read samples and events."""
        from rarefault.train.history.formats.table_reader import TableReader

        return TableReader(self, base, specs).read()


def _absolute_pattern(name: str, folder: Path) -> str:
    """A file or pattern from anywhere; brackets in the folder's name, or in that of one file, are no pattern."""
    if exists(folder / name):
        return escaped(str(folder / name))
    return str(Path(escaped(str(folder))) / name)
