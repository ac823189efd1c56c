"""Topics: the template of the topics that carry telemetry, and which names may stand in a topic."""

import re

#: What stands in a template for the name of the device.
DEVICE = "{device}"
#: Longest name of a device, in characters.
MAX_NAME = 128


class Template:
    """Where telemetry comes from, such as ``site/+/{device}/data``.

    Each level is fixed text, ``+`` (any text), or text around one ``{device}``.

    Attributes:
        text: the template as it was written.
        has_device: whether a device's name is part of it.
        subscription: the MQTT topic filter that brings all of its topics, and perhaps others.
        ambiguous: whether one name of a device can come from several places: a ``+`` stands before ``{device}``, or
            somewhere in a template without it.

    Raises:
        ValueError: the template cannot be used.
    """

    def __init__(self, text: str) -> None:
        levels = text.split("/")
        if text.count(DEVICE) > 1:
            raise ValueError(f"topic {text!r} has {DEVICE} more than once")
        for level in levels:
            fixed = level.replace(DEVICE, "")
            if "#" in fixed or ("+" in fixed and level != "+"):
                raise ValueError(f"topic {text!r}: '+' must stand for a whole level, and '#' is not allowed")
            if "{" in fixed or "}" in fixed:
                raise ValueError(f"topic {text!r}: {DEVICE} is the only name in braces that it may have")
            if fixed and (problem := topic_level_problem(fixed.replace("+", "x"))):
                raise ValueError(f"topic {text!r}: {problem}")
        if not text or len(text.encode()) > 65535:
            raise ValueError("topic must have 1 to 65535 bytes")
        if levels[0] == "$share":
            raise ValueError(
                f"topic {text!r}: a shared subscription has its group in telemetry.share; it is only for brokers that "
                "give all samples of a device to one daemon"
            )
        self.text = text
        self.has_device = DEVICE in text
        self.subscription = "/".join("+" if DEVICE in level else level for level in levels)
        at = next((i for i, level in enumerate(levels) if DEVICE in level), len(levels))
        self._levels_before = at
        self.ambiguous = "+" in levels[:at]
        self._pattern = re.compile("/".join(map(_level_pattern, levels)), re.DOTALL)

    def matches(self, topic: str) -> bool:
        """Whether the topic carries telemetry."""
        return self._pattern.fullmatch(topic) is not None

    def device(self, topic: str) -> str | None:
        """Name of the device in a topic (empty in a template without one); None where the topic does not match."""
        found = self._pattern.fullmatch(topic)
        if found is None:
            return None
        return found["device"] if self.has_device else ""

    def place(self, topic: str) -> list[str]:
        """The levels of a topic before that of the device, or all of them in a template without one.

        They name the place of the device; what comes behind its name are its own parts.
        """
        return topic.split("/")[: self._levels_before]


def topic_level_problem(name: str) -> str | None:
    """Why a name cannot be one level of a topic that is published to, or None where it can."""
    if not name:
        return "a level must not be empty"
    if len(name) > MAX_NAME:
        return f"a level must have at most {MAX_NAME} characters, this one has {len(name)}"
    if found := next((c for c in "/+#" if c in name), None):
        return f"a level must not hold {found!r}"
    if not name.isprintable():
        return "a level must not hold control characters"
    return None


def _level_pattern(level: str) -> str:
    if level == "+":
        return "[^/]*"
    return "(?P<device>[^/]*)".join(re.escape(part) for part in level.split(DEVICE))
