"""Paths into messages: a key as it stands or, where there is none, keys of nested objects and places in arrays."""

from collections.abc import Iterator, Sequence
from typing import Any

from rarefault.runtime.telemetry.reasons import Reason, RejectionError

#: Stands in a path for every key of an object.
ANY_KEY = "*"
#: Arrays, objects and records that are looked at in one message.
MOST_PLACES = 200_000


def at_path(sample: Any, path: str) -> Any:
    """What a path leads to; None where it leads nowhere.

    >>> at_path({"a": {"b": [7, 8]}}, "a.b.1"), at_path({"a.b": 1, "a": 2}, "a.b"), at_path({"a": 1}, "a.b")
    (8, 1, None)
    """
    if type(sample) is dict and path in sample:
        return sample[path]
    if "." not in path and type(sample) is dict:
        return None
    value = sample
    for name in path.split("."):
        if type(value) is dict:
            value = value.get(name)
        elif type(value) is list and name.isdecimal() and len(name) < 6:
            value = value[int(name)] if int(name) < len(value) else None
        else:
            return None
    return value


class Found:
    """A record inside a message.

    Attributes:
        chain: the record, the object that it is in, and so on to the message itself.
        key: the key that ``*`` stands for on the way; None where there was none.
    """

    __slots__ = ("chain", "key")

    def __init__(self, chain: tuple[Any, ...], key: str | None) -> None:
        self.chain, self.key = chain, key

    def get(self, path: str) -> Any:
        """What a path leads to in the record or, where it leads nowhere, in the objects around it."""
        for place in self.chain:
            value = at_path(place, path)
            if value is not None:
                return value
        return None


def find_records(message: Any, path: str) -> Iterator[Found] | None:
    """The records at a path of a message; None where the message has no such path.

    Arrays on the way are gone through, nested ones as well; ``*`` is every key of an object. An empty path is the
    message itself.

    >>> [(found.key, found.chain[0]) for found in find_records({"a": [{"v": 1}], "b": {"v": 2}}, "*")]
    [('a', {'v': 1}), ('b', {'v': 2})]
    """
    steps = path.split(".") if path else []
    if steps and steps[0] != ANY_KEY and type(message) is dict and path in message:
        steps = [path]
    if steps and not _leads(message, steps):
        return None
    return _walk(message, steps, (), None, [MOST_PLACES])


def _leads(value: Any, steps: Sequence[str]) -> bool:
    """Whether a path is there, in the first item where it goes through arrays."""
    for step in steps:
        while type(value) is list:
            if not value:
                return True
            value = value[0]
        if type(value) is not dict:
            return False
        if step == ANY_KEY:
            value = next(iter(value.values()), None)
            if value is None:
                return True
        elif step in value:
            value = value[step]
        else:
            return False
    return True


def _walk(
    value: Any, steps: Sequence[str], around: tuple[Any, ...], key: str | None, left: list[int]
) -> Iterator[Found]:
    left[0] -= 1
    if left[0] < 0:
        raise RejectionError(Reason.TOO_LARGE, f"more than {MOST_PLACES} arrays and records")
    if type(value) is list:
        for item in value:
            yield from _walk(item, steps, around, key, left)
    elif not steps:
        yield Found((value, *around), key)
    elif type(value) is not dict:
        yield Found((value, *around), key)  # no record: whoever reads it says so
    elif steps[0] == ANY_KEY:
        for name, item in value.items():
            yield from _walk(item, steps[1:], (value, *around), name, left)
    else:
        yield from _walk(value.get(steps[0]), steps[1:], (value, *around), key, left)
