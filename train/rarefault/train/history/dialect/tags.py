"""Long form: which column names what a row's value is of, and how such tags are made of device and channel."""

from collections.abc import Sequence

import polars as pl

from rarefault.runtime.proposal.finding import Finding

#: Names of the column with the values, in small letters.
VALUE_WORDS = frozenset({"value", "values", "_value", "val", "wert", "valor", "valeur", "reading"})
#: Names of the column with their quality.
QUALITY_WORDS = frozenset({"quality", "status", "q", "qualität", "opcquality", "opc_quality"})
#: What stands between the parts of a tag, in the order in which it is tried.
_MARKS = (".", "/", "\\", ":", "|")


def tag_pattern(tags: Sequence[str]) -> str | None:
    """The pattern of tags that all have as many parts, of which the last is the channel, and the one before the device.

    >>> tag_pattern(["PLANT.P1.TEMP", "PLANT.P1.FLOW", "PLANT.P2.TEMP"])
    'PLANT.{device}.{channel}'

    Args:
        tags: different ones.

    Returns:
        None where they have no parts, or not as many.
    """
    for mark in _MARKS:
        parts = [tag.split(mark) for tag in tags]
        length = len(parts[0]) if parts else 0
        if length < 2 or any(len(one) != length or not all(one) for one in parts):
            continue
        before = [column[0] if len(set(column)) == 1 else "*" for column in zip(*parts, strict=True)][:-2]
        return mark.join([*before, "{device}", "{channel}"])
    return None


def long_form_findings(columns: dict[str, pl.Series]) -> list[Finding]:
    """The keys of long form, where a column is named as one of values and another one holds tags."""
    value = next((name for name in columns if name.lower() in VALUE_WORDS), None)
    if value is None:
        return []
    for name, column in columns.items():
        if name == value or column.dtype != pl.String:
            continue
        tags = column.drop_nulls().unique(maintain_order=True).to_list()
        pattern = tag_pattern(tags) if 1 < len(tags) <= len(column) // 2 else None
        if pattern is None:
            continue
        found = [
            Finding("tag_column", name, f"{name} holds {tags[0]!r} and {len(tags) - 1} others, {value} the values")
        ]
        found.append(Finding("tag_pattern", pattern, f"{tags[0]!r} has parts", 'tag_pattern = "{channel}"'))
        if value != "value":
            found.append(Finding("value_column", value, "its name says so"))
        quality = next((one for one in columns if one.lower() in QUALITY_WORDS), None)
        return found + ([Finding("quality_column", quality, "its name says so")] if quality else [])
    return []


def devices_are_tags(devices: Sequence[str], channels: Sequence[str]) -> str | None:
    """A sentence where the devices look like tags of a history in long form; None where they do not."""
    if len(channels) != 1 or channels[0].lower() not in VALUE_WORDS or len(devices) < 2:
        return None
    pattern = tag_pattern(devices)
    if pattern is None:
        return None
    return (
        f"the only channel is {channels[0]!r}, and devices are named like {devices[0]!r}: if these are tags, each is a "
        f'device now; set data.tag_column to their column and data.tag_pattern, such as "{pattern}"'
    )
