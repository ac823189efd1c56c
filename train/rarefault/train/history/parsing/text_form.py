"""How the text of a table's file is written: what a ``[data]`` section says of its lines, numbers and times."""

from dataclasses import dataclass
from typing import Literal

#: What stands between the fields of a line.
Separator = Literal[",", ";", "\t", "|"]
SEPARATORS: tuple[Separator, ...] = (",", ";", "\t", "|")
Decimal = Literal[".", ","]
#: What parts the digits of long numbers; a blank stands for every kind of blank, an apostrophe for both of its forms.
Thousands = Literal["", ".", ",", " ", "'"]
#: What a number counts that stands for a time; "excel" and "excel1904" are a spreadsheet's days.
TimeUnit = Literal["", "s", "ms", "us", "ns", "excel", "excel1904"]

UTF8 = "utf-8"


@dataclass(frozen=True, slots=True)
class TextForm:
    """The lines of a file.

    Attributes:
        separator: between the fields; None is what a first line ``sep=;`` says, or else a comma.
        encoding: of the text.
        comment: lines that begin with it are left out; "" is none.
        skip_rows: lines before the header.
        skip_after_header: lines after the header that are no rows, such as one of units.
        header: names of the columns where no line names them.
        sheet: of a workbook; "" is its only one.
        records: whether a quoted field may go on in the next line, as comments in logs do; such a file is read at once.
        prefix: of the keys in messages, such as ``"data."``.
    """

    separator: Separator | None = None
    encoding: str = UTF8
    comment: str = ""
    skip_rows: int = 0
    skip_after_header: int = 0
    header: tuple[str, ...] = ()
    sheet: str = ""
    records: bool = False
    prefix: str = "data."


@dataclass(frozen=True, slots=True)
class NumberForm:
    """Numbers as text.

    Attributes:
        decimal: the mark before the fraction.
        thousands: what parts the digits of long numbers, "" is nothing.
    """

    decimal: Decimal = "."
    thousands: Thousands = ""


#: Numbers with a point and nothing between their digits.
PLAIN = NumberForm()


@dataclass(frozen=True, slots=True)
class TimeForm:
    """Times as text or numbers.

    Attributes:
        zone: where times without an offset are from; with "" those are not good.
        format: as of ``strptime``; "" is every form that can be read one way only.
        unit: of numbers; "" is seconds, milliseconds, microseconds or nanoseconds by their size.
        day_first: the order in ``01/03/2024``; None is not known.
        decimal: the mark before the fraction of a number.
    """

    zone: str = ""
    format: str = ""
    unit: TimeUnit = ""
    day_first: bool | None = None
    decimal: Decimal = "."


#: ISO 8601 with a zone, other ways that can be read one way only, and epoch numbers.
USUAL = TimeForm()
#: UTF-8, a header line, commas.
COMMAS = TextForm()
