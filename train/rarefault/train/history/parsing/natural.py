"""The order of names that a person expects."""

import re


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sorting key that puts ``pump 2`` before ``pump 10``."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]
