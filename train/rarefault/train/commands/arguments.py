"""Types of arguments that several commands have."""

import argparse
from datetime import datetime


def instant(text: str) -> int:
    """An ISO 8601 time with a zone as milliseconds since the epoch; argparse prints the error."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write it like 2011-03-01T12:00:00Z") from None
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} has no time zone; write it like 2011-03-01T12:00:00Z")
    return round(moment.timestamp() * 1000)
