"""Lines of a log that belong together, because a quoted comment goes on in the next line."""

import csv

#: So many lines at most are one record; a quote that closes later is a stray one.
_MOST_LINES = 200


def whole_records(lines: list[str], separator: str, fewest: int, most: int) -> tuple[list[int], list[str]]:
    """Lines with those joined (by a blank) that a quote holds together, where that gives the right number of fields.

    >>> whole_records(['P1,"leaks', 'badly",seal', 'P2,"12"",worn'], ",", 3, 3)
    ([0, 2], ['P1,"leaks badly",seal', 'P2,"12"",worn'])

    Args:
        lines: of a file.
        separator: between the fields.
        fewest, most: number of fields of a record.

    Returns:
        Position of the first line of each record, and the records.
    """
    first, records, at = [], [], 0
    while at < len(lines):
        count = _lines_of(lines, at, separator, fewest, most) if lines[at].count('"') % 2 else 1
        first.append(at)
        records.append(" ".join(line.strip("\r") for line in lines[at : at + count]))
        at += count
    return first, records


def _lines_of(lines: list[str], at: int, separator: str, fewest: int, most: int) -> int:
    """How many lines are one record, from one with an open quote on; 1 where none closes it."""
    for last in range(at + 1, min(at + _MOST_LINES, len(lines))):
        if lines[last].count('"') % 2:
            rows = list(csv.reader([" ".join(lines[at : last + 1])], delimiter=separator))
            return last + 1 - at if len(rows) == 1 and fewest <= len(rows[0]) <= most else 1
    return 1
