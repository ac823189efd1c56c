"""Names of values that hold the device, such as ``pump1.temp`` or ``Line 3/Pump A/temp``."""

from rarefault.runtime.telemetry.formats.message import IgnoredMessage
from rarefault.runtime.telemetry.pattern import Pattern
from rarefault.runtime.telemetry.reasons import Ignored, Reason, RejectionError, quote
from rarefault.runtime.telemetry.topics import CHANNEL

#: Names whose parts are remembered, and the longest of them.
MOST_NAMES, LONGEST_NAME = 20_000, 256

#: The parts of a name but for the channel, and the channel's name.
Parts = tuple[dict[str, str], str]


class NameParts:
    """Takes the names of values apart.

    Args:
        patterns: of which the first that fits counts.

    Attributes:
        patterns: the same.
        foreign: the last name that fitted none, quoted.
    """

    def __init__(self, patterns: tuple[Pattern, ...]) -> None:
        self.patterns = patterns
        self.foreign = ""
        self._known: dict[str, Parts | None] = {}
        self._name_of: dict[tuple[str, ...], str] = {}

    def of(self, name: str) -> Parts:
        """The parts of a name.

        Raises:
            IgnoredMessage: it fits no pattern.
            RejectionError: another name has the same parts.
        """
        found = self._known[name] if name in self._known else self._find(name)
        if found is None:
            self.foreign = quote(name)
            raise IgnoredMessage(Ignored.NAME)
        return found

    def _find(self, name: str) -> Parts | None:
        parts = next((parts for pattern in self.patterns if (parts := pattern.match(name)) is not None), None)
        if len(self._known) >= MOST_NAMES:
            self._known.clear()
            self._name_of.clear()
        found = None if parts is None else (parts, parts.pop(CHANNEL))
        if len(name) > LONGEST_NAME:
            return found
        if found is not None:
            key = (found[1], *found[0].values())
            other = self._name_of.setdefault(key, name)
            if other != name:
                raise RejectionError(
                    Reason.TWO_TOPICS,
                    f"{quote(other)} and {quote(name)} have the same parts by telemetry.name_pattern: name the part "
                    "that tells them apart",
                )
        self._known[name] = found
        return found
