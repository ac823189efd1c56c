"""The device's name: from levels of the topic, paths of the message, and parts of the names of values."""

import re
from typing import Any

from rarefault.runtime.telemetry.paths import Found
from rarefault.runtime.telemetry.reasons import Reason, RejectionError, keys_of, quote
from rarefault.runtime.telemetry.topics import DEVICE, MAX_NAME, Template

#: Names that are told apart where several parts make them; more are forgotten.
MAX_NAMES = 100_000
#: Stands in a template for the key that ``*`` in ``records`` has found.
KEY = "key"

_PART = re.compile(r"\{([^{}]*)\}")


class Naming:
    """Names the device of a record.

    Args:
        text: ``telemetry.device``.
        template: of the topics.
        keyed: whether the keys of an object are devices.
        of_names: what the names of values have, by ``telemetry.name_pattern``.

    Attributes:
        sources: what the name is made from; nothing where neither topic nor message has it.
        of_topic: those of them that are levels of the topic.
        message_paths: those of them that are paths of the message.

    Raises:
        ValueError: the text has braces that do not fit.
    """

    def __init__(
        self, text: str, template: Template, *, keyed: bool = False, of_names: frozenset[str] = frozenset()
    ) -> None:
        self.text = text
        named = template.has_device or DEVICE in of_names
        given = of_names | frozenset(template.keys)
        pattern = text if "{" in text or "}" in text else ""
        rest = _PART.sub("", pattern)
        if "{" in rest or "}" in rest or "{}" in pattern:
            raise ValueError(f"device {text!r}: braces must hold a name of the topic or a path of the message")
        self._path = "" if pattern else text
        if pattern:
            names = [found[1] for found in _PART.finditer(pattern)]
        else:
            names = [text] if text else [KEY] if keyed and not named else []
            names += [DEVICE] if named else []
            pattern = f"{{{names[0]}}}" if names else ""
        self.sources = tuple(names)
        self.of_topic = frozenset(name for name in names if name in template.keys)
        self.message_paths = tuple(n for n in names if n not in given and not (n == KEY and keyed))
        self._pieces = _PART.split(pattern)  # text, name, text, name, ..., text
        self._given = given
        self._is_topic = pattern == "{device}" and template.has_device
        self._several = len(self._pieces) > 3
        self._parts_of: dict[str, tuple[str, ...]] = {}

    @property
    def by_topic_alone(self) -> bool:
        """Whether the topic's ``{device}`` is the name, so that no message need be looked at."""
        return self._is_topic

    def name(self, names: dict[str, str], found: Found) -> str:
        """The name of a record's device.

        Args:
            names: what the topic, and the name of the value, have for each of their parts.
            found: the record.

        Raises:
            RejectionError: the message does not have a part of it, its device is not the topic's, or another device
                has the same name.
        """
        pieces = self._pieces
        parts = tuple(self._part(path, names, found) for path in pieces[1::2])
        if self._path and DEVICE in names and parts[0] != names[DEVICE]:
            raise RejectionError(
                Reason.WRONG_SENDER,
                f"{self._path!r} is {quote(parts[0])} on a topic of {quote(names[DEVICE])}",
            )
        if not self._several:
            return pieces[0] + parts[0] + pieces[2]
        name = pieces[0] + "".join(part + text for part, text in zip(parts, pieces[2::2], strict=True))
        known = self._parts_of.get(name)
        if known is None and len(name) <= MAX_NAME:  # a longer one is refused
            if len(self._parts_of) >= MAX_NAMES:
                self._parts_of.clear()
            self._parts_of[name] = parts
        elif known is not None and known != parts:
            raise RejectionError(
                Reason.TWO_TOPICS,
                f"{' and '.join(map(quote, known))} give the name {quote(name)}, and so do "
                f"{' and '.join(map(quote, parts))}: telemetry.device must tell them apart",
            )
        return name

    def _part(self, path: str, names: dict[str, str], found: Found) -> str:
        if path in self._given:
            return names[path]
        value: Any = found.key if path == KEY and found.key is not None else found.get(path)
        if type(value) is int and value.bit_length() <= 64:
            return str(value)
        if type(value) is not str:
            if value is None:
                raise RejectionError(
                    Reason.BAD_DEVICE, f"there is no {path!r} that names the device; {keys_of(found.chain[0])}"
                )
            raise RejectionError(Reason.BAD_DEVICE, f"{path!r} must be text or a whole number, got {quote(value)}")
        return value
