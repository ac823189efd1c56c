"""What a request may ask for: each parameter known, once, and within bounds."""

from typing import Literal, TypeVar, cast, get_args

from starlette.requests import Request

T = TypeVar("T", bound=str)
#: Longest text, characters; the name of a device has at most as many in a topic of some length.
LONGEST = 1000


class RequestError(Exception):
    """A request that cannot be answered.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Parameters:
    """The parameters of a request.

    Args:
        request: it.
        names: that the route knows.

    Raises:
        RequestError: there are others, or one stands twice.
    """

    def __init__(self, request: Request, *names: str) -> None:
        items = request.query_params.multi_items()
        self._given = dict(items)
        if len(self._given) != len(items):
            raise RequestError(400, "a parameter stands twice")
        if unknown := sorted(self._given.keys() - set(names)):
            raise RequestError(400, f"unknown parameter {unknown[0][:40]!r}; known: {', '.join(names) or 'none'}")

    def text(self, name: str, default: str | None = None) -> str:
        """A text; RequestError where it is missing and has no default, or is too long."""
        found = self._given.get(name, default)
        if found is None:
            raise RequestError(400, f"parameter {name} is missing")
        if len(found) > LONGEST:
            raise RequestError(400, f"parameter {name} has more than {LONGEST} characters")
        return found

    def number(self, name: str, default: int | None, least: int, most: int) -> int:
        """A whole number; RequestError where it is none, or out of bounds."""
        text = self.text(name, None if default is None else str(default))
        if not text.isascii() or not text.isdigit() or len(text) > 15 or not least <= int(text) <= most:
            raise RequestError(400, f"parameter {name} must be a whole number from {least} to {most}")
        return int(text)

    def choice(self, name: str, choices: object, default: T) -> T:
        """One of the values of a Literal; RequestError where it is another."""
        found = self.text(name, default)
        known = get_args(choices)
        if found not in known:
            raise RequestError(400, f"parameter {name} must be one of {', '.join(known)}")
        return cast(T, found)

    def choices(self, name: str, choices: object) -> tuple[str, ...]:
        """Values of a Literal with commas between; none where it is not given."""
        text = self.text(name, "")
        return tuple(self._one(name, part, choices) for part in text.split(",")) if text else ()

    def switch(self, name: str) -> bool:
        """1 or 0; 0 where it is not given."""
        return self.choice(name, Literal["0", "1"], "0") == "1"

    def _one(self, name: str, part: str, choices: object) -> str:
        if part not in get_args(choices):
            raise RequestError(400, f"parameter {name} must be of {', '.join(get_args(choices))}")
        return part
