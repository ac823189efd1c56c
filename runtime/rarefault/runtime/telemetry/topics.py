"""Topics: the template of the topics that carry telemetry, and which names may stand in a topic."""

import re
from collections.abc import Sequence

#: Name of the level that names the device.
DEVICE = "device"
#: Name of the level that names a channel.
CHANNEL = "channel"
#: Longest name of a device, in characters.
MAX_NAME = 128
#: Topics that something is remembered of, and the longest of them, characters; others are looked at anew.
MAX_TOPICS, MAX_REMEMBERED = 20_000, 256

_NAME = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(\.\.\.)?\}")


class Template:
    """Where telemetry comes from, such as ``{site}/+/{device}/{channel}``.

    Each level is fixed text, ``+`` (any text), or text around one name in braces. The last may be ``#`` (any further
    levels), or a name such as ``{device...}``, which takes all further levels.

    >>> template = Template("{site}/+/{device}/#")
    >>> template.subscription
    '+/+/+/#'
    >>> template.names("north/hall/pump1/data")
    {'site': 'north', 'device': 'pump1'}

    Attributes:
        text: the template as it was written.
        keys: its names, in their order.
        has_device, has_channel: whether ``{device}`` or ``{channel}`` is one of them.
        subscription: the MQTT topic filter that brings all of its topics, and perhaps others.

    Raises:
        ValueError: the template cannot be used.
    """

    def __init__(self, text: str) -> None:
        levels = text.split("/")
        if not text or len(text.encode()) > 65535:
            raise ValueError("topic must have 1 to 65535 bytes")
        for i, level in enumerate(levels):
            _check_level(text, level, last=i == len(levels) - 1)
        if levels[0] == "$share":
            raise ValueError(
                f"topic {text!r}: a shared subscription has its group in telemetry.share; it is only for brokers that "
                "give all samples of a device to one daemon"
            )
        self.text = text
        self.keys = tuple(found[1] for found in _NAME.finditer(text))
        if twice := sorted({key for key in self.keys if self.keys.count(key) > 1}):
            raise ValueError(f"topic {text!r} has {{{twice[0]}}} more than once")
        self.has_device, self.has_channel = DEVICE in self.keys, CHANNEL in self.keys
        self.subscription = "/".join(map(_filter_level, levels))
        self._levels = levels
        # The usual template is read without the pattern, which takes twice as long.
        one = len(self.keys) == 1 and not {"+", "#"} & set(levels) and not text.endswith("...}")
        begin, _, end = text.partition(f"{{{self.keys[0]}}}") if one else ("", "", "")
        self._simple: tuple[str, str, str] | None = (begin, end, self.keys[0]) if one else None
        self._rest = self.keys[-1] if levels[-1].endswith("...}") else ""
        self._pattern = re.compile(_pattern(levels), re.DOTALL)

    def matches(self, topic: str) -> bool:
        """Whether the topic carries telemetry."""
        return self._pattern.fullmatch(topic) is not None

    def names(self, topic: str) -> dict[str, str] | None:
        """What stands for each name in a topic; None where the topic does not fit."""
        if self._simple is not None:
            begin, end, key = self._simple
            if not topic.startswith(begin):
                return None
            name = topic[len(begin) :]
            if end:
                if not name.endswith(end):
                    return None
                name = name[: -len(end)]
            return None if "/" in name else {key: name}
        found = self._pattern.fullmatch(topic)
        if found is None:
            return None
        names = found.groupdict()
        if self._rest:
            names[self._rest] = names[self._rest].replace("/", ".")
        return names

    def device(self, topic: str) -> str | None:
        """Name of the device in a topic (empty in a template without one); None where the topic does not match."""
        names = self.names(topic)
        return None if names is None else names.get(DEVICE, "")

    def place_of(self, parts: frozenset[str]) -> "Place":
        """How topics say where a device is, whose name is made from some of the template's names."""
        return Place(self, self._levels, parts)


class Place:
    """The levels of a topic that say where a device is: those up to the last one of its name, or all.

    What comes behind are the device's own parts, and so is ``{channel}``.

    Args:
        template: of the topics.
        levels: of the template.
        parts: the names that make the device's name.

    Attributes:
        ambiguous: whether one name of a device can come from several places: some level before it is any text, and no
            part of the name, or the name is made from several.
    """

    def __init__(self, template: Template, levels: list[str], parts: frozenset[str]) -> None:
        self.matches = template.matches
        keys = [{found[1] for found in _NAME.finditer(level)} for level in levels]
        own = [i for i, key in enumerate(keys) if key & parts]
        end = own[-1] + 1 if own else len(levels)
        self._end = None if (levels[-1] == "#" and end == len(levels)) or "...}" in levels[end - 1] else end
        self._skipped = [i for i in range(end) if CHANNEL in keys[i]]
        loose = any(
            level in {"+", "#"} or (key and not key & parts and CHANNEL not in key)
            for level, key in zip(levels[:end], keys, strict=False)
        )
        self.ambiguous = loose or len(own) > 1 or "...}" in levels[end - 1]

    def of(self, topic: str) -> list[str]:
        """The place that a topic of the template names."""
        levels = topic.split("/")[: self._end]
        for i in self._skipped:
            levels[i] = ""
        return levels


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


def topic_filter(text: str) -> re.Pattern[str]:
    """The topics that an MQTT topic filter matches.

    Raises:
        ValueError: it is none.
    """
    levels = text.split("/")
    for i, level in enumerate(levels):
        if (("+" in level or "#" in level) and len(level) > 1) or (level == "#" and i < len(levels) - 1):
            raise ValueError(f"{text!r}: '+' must stand for a whole level, '#' for all further ones at the end")
    if not text:
        raise ValueError("a topic filter must not be empty")
    return re.compile(_pattern(levels), re.DOTALL)


def only_needed(filters: Sequence[str]) -> list[str]:
    """Topic filters without those whose topics another one brings, which a broker would deliver twice.

    >>> only_needed(["a/+/x", "a/#", "b/+", "b/+"])
    ['a/#', 'b/+']
    """
    different = list(dict.fromkeys(filters))
    return [text for text in different if not any(other != text and _covers(other, text) for other in different)]


def _covers(filter_: str, other: str) -> bool:
    """Whether a topic filter matches all topics of another."""
    levels, others = filter_.split("/"), other.split("/")
    for i, level in enumerate(levels):
        if level == "#":
            return True
        if i >= len(others) or others[i] == "#" or (level != "+" and level != others[i]):
            return False
    return len(levels) == len(others)


def _check_level(text: str, level: str, *, last: bool) -> None:
    """Refuse a level that no template may have."""
    fixed = _NAME.sub("", level)
    if "#" in fixed and (level != "#" or not last):
        raise ValueError(f"topic {text!r}: '#' must stand alone, as the last level")
    if "+" in fixed and level != "+":
        raise ValueError(f"topic {text!r}: '+' must stand for a whole level")
    if "{" in fixed or "}" in fixed:
        raise ValueError(
            f"topic {text!r}: a name in braces has letters, digits and '_' only, such as {{device}} or {{site}}"
        )
    if len(_NAME.findall(level)) > 1:
        raise ValueError(f"topic {text!r}: a level must not have more than one name")
    if "...}" in level and not (last and not fixed):
        raise ValueError(f"topic {text!r}: a name with '...' must be the last level, and all of it")
    if level not in {"+", "#"} and fixed and (problem := topic_level_problem(fixed)):
        raise ValueError(f"topic {text!r}: {problem}")


def _filter_level(level: str) -> str:
    if "...}" in level:
        return "#"
    return "+" if _NAME.search(level) else level


def _pattern(levels: list[str]) -> str:
    """The regular expression of a template, or of a topic filter."""
    if levels == ["#"]:
        return ".*"
    text = "/".join(map(_level_pattern, levels))
    return text.removesuffix("/#") + "(?:/.*)?" if levels[-1] == "#" else text


def _level_pattern(level: str) -> str:
    if level == "+":
        return "[^/]*"
    if level == "#":
        return "#"
    found = _NAME.search(level)
    if found is None:
        return re.escape(level)
    what = ".+" if found[2] else "[^/]*"
    return f"{re.escape(level[: found.start()])}(?P<{found[1]}>{what}){re.escape(level[found.end() :])}"
