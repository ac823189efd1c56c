"""Types and checks of keys that several sections have."""

import codecs
import zoneinfo
from datetime import datetime
from typing import Annotated, Literal

import msgspec

#: What an event without an end does.
OpenEvents = Literal["refuse", "last", "unlabelled"]

#: An instant: ISO 8601 with a time zone, as a TOML date-time or as text.
Instant = Annotated[datetime, msgspec.Meta(tz=True)]

Name = Annotated[str, msgspec.Meta(min_length=1)]

#: A column of times, or those of the day and of the time of the day.
TimeColumn = Name | Annotated[tuple[Name, ...], msgspec.Meta(min_length=2, max_length=2)]

#: How many lines.
Lines = Annotated[int, msgspec.Meta(ge=0)]

#: What a time's format must name: the year, or all of it.
_YEAR = ("%Y", "%y", "%s", "%D", "%F", "%c", "%x", "%G")


def check_encoding(name: str) -> None:
    """ValueError where it is not the name of an encoding of text."""
    try:
        known = codecs.lookup(name)._is_text_encoding  # noqa: SLF001 - nothing public says
    except (LookupError, ValueError):
        known = False
    if not known:
        raise ValueError(f"encoding: no text encoding {name!r} is known; write it like 'utf-8', 'cp1252' or 'latin-1'")


def check_zone(name: str) -> None:
    """ValueError where it is not the name of a time zone."""
    if name in {"", "UTC"}:
        return
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"time_zone: no time zone {name!r} is known; write it like 'Europe/Zurich' or 'UTC'") from None


def check_time_format(wanted: str, unit: str) -> None:
    """ValueError where times cannot be read in it."""
    if not wanted:
        return
    if unit:
        raise ValueError("time_format is of text and time_unit of numbers: name one of them")
    if "%Z" in wanted:
        raise ValueError("time_format: names of zones (%Z) are not read; write their letters, and set time_zone")
    if not any(mark in wanted for mark in _YEAR):
        raise ValueError(f"time_format: {wanted!r} has no year; write it like '%d.%m.%Y %H:%M:%S'")


def check_header(header: tuple[str, ...]) -> None:
    """ValueError where it names a column twice."""
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        raise ValueError(f"header names {twice[0]!r} more than once")
