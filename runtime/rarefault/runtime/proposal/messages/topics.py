"""Topics that belong together, and which of their levels name a device or a channel."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

#: Levels that say what a message is, and not of which machine.
_GENERIC = frozenset(
    {"all", "data", "event", "events", "json", "measurement", "measurements", "message", "messages", "metrics", "out"}
    | {"raw", "readings", "rpc", "send", "sensor", "sensors", "stat", "state", "status", "tags", "tele", "telemetry"}
    | {"up", "update", "value", "values"}
)
#: Names for the levels beside the device that are part of its name.
_PLACES = ("site", "area", "line", "cell", "part")
#: Examples of a level that evidence names.
_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Naming:
    """How topics name devices and channels.

    Attributes:
        topic: a template for ``telemetry.topic``.
        device: for ``telemetry.device``; "" is ``{device}`` of the topic.
        evidence: what the topics show.
        other: what the template may as well be; "" for nothing.
    """

    topic: str
    device: str
    evidence: str
    other: str = ""


def clusters(topics: Iterable[tuple[str, str, AbstractSet[str]]]) -> list[list[str]]:
    """Topics in groups that one mapping may read.

    Args:
        topics: different ones, each with what its payloads look like, and the keys that they have.
    """
    keys: dict[str, AbstractSet[str]] = {}
    groups: dict[tuple[str, int, str], list[str]] = defaultdict(list)
    for topic, look, own in topics:
        keys[topic] = own
        levels = topic.split("/")
        groups[look, len(levels), levels[0]].append(topic)
    merged: list[tuple[tuple[str, int], list[str]]] = []
    kinds = ((form, kind) for form, group in groups.items() for kind in _by_last_level(group, keys))
    for (look, n_levels, _), group in kinds:
        ends = {topic.rpartition("/")[2] for topic in group}
        for key, other in merged:
            same = {topic.rpartition("/")[2] for topic in other}
            # Sites, or devices, that stand in the first level: what they send has the same names.
            alike = n_levels > 1 and 2 * len(ends & same) >= len(ends | same)
            if key == (look, n_levels) and alike and _same_keys(keys[group[0]], keys[other[0]]):
                other.extend(group)
                break
        else:
            merged.append(((look, n_levels), group))
    return [group for _, group in merged]


def _by_last_level(topics: list[str], keys: Mapping[str, AbstractSet[str]]) -> list[list[str]]:
    """Topics apart whose last level says of what kind their messages are, such as data and status of each machine."""
    ends: dict[str, list[str]] = defaultdict(list)
    for topic in topics:
        ends[topic.rpartition("/")[2]].append(topic)
    if len(ends) == len(topics):
        return [topics]
    kinds: list[list[str]] = []
    for group in ends.values():
        same = next((kind for kind in kinds if _same_keys(keys[kind[0]], keys[group[0]])), None)
        if same is None:
            kinds.append(group)
        else:
            same.extend(group)
    return kinds


def _same_keys(one: AbstractSet[str], other: AbstractSet[str]) -> bool:
    """Whether most keys of payloads are the same, so that the key of the time is likely to be."""
    return 3 * len(one & other) >= 2 * len(one | other)


def namings(topics: Sequence[str], *, channel: bool) -> list[Naming]:
    """How a group of topics may name devices and, with ``channel``, channels; the likeliest first."""
    rows = [topic.split("/") for topic in topics]
    columns = [list(dict.fromkeys(column)) for column in zip(*rows, strict=True)]
    varying = [i for i, column in enumerate(columns) if len(column) > 1]
    return _with_channel(rows, columns, varying) if channel else _without(rows, columns, varying)


def _with_channel(rows: list[list[str]], columns: list[list[str]], varying: list[int]) -> list[Naming]:
    last = len(columns) - 1
    at = varying[-1] if varying and (len(varying) > 1 or varying[0] == last) else last
    others = [i for i in varying if i != at]
    if not others:
        # One device: its level stands before the channel, or there is none and the first level must do.
        device = at - 1 if at else min(1, last)
        if device == at:
            return []
        first = _template(columns, varying, device, at)
        swapped = _template(columns, varying, at, device)
        evidence = f"{_levels(columns, at)}, which are taken for channels"
        return [Naming(first, "", evidence, f'topic = "{swapped}"' if varying else "")]
    device = max(others, key=lambda i: (len(columns[i]), i))
    evidence = f"{_levels(columns, device)} (devices), {_levels(columns, at)} (channels)"
    swapped = _template(columns, varying, at, device)
    found = _named(rows, columns, varying, device, at, evidence)
    return [Naming(found.topic, found.device, evidence, f'topic = "{swapped}"')]


def _without(rows: list[list[str]], columns: list[list[str]], varying: list[int]) -> list[Naming]:
    if not varying:
        levels = [i for i, column in enumerate(columns) if column[0].lower() not in _GENERIC] or [0]
        device = levels[-1]
        others = [i for i in range(len(columns)) if i != device]
        other = f'topic = "{_template(columns, varying, others[-1], None)}"' if others else ""
        return [Naming(_template(columns, varying, device, None), "", f"the only topic is {'/'.join(rows[0])}", other)]
    device = max(varying, key=lambda i: (len(columns[i]), i))
    return [_named(rows, columns, varying, device, None, f"{_levels(columns, device)} (devices)")]


def _named(
    rows: list[list[str]], columns: list[list[str]], varying: list[int], device: int, channel: int | None, evidence: str
) -> Naming:
    """With the names of further levels in that of the device, where one name stands at several places."""
    places = [i for i in varying if i not in {device, channel}]
    where: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for row in rows:
        where[row[device]].add(tuple(row[i] for i in places))
    twice = next((name for name, found in where.items() if len(found) > 1), None)
    if twice is None:
        return Naming(_template(columns, varying, device, channel), "", evidence)
    names = dict(zip(places, _PLACES, strict=False))
    topic = _template(columns, varying, device, channel, names)
    text = "-".join(f"{{{name}}}" for name in (*names.values(), "device"))
    evidence = f"{evidence}; {twice!r} stands at {len(where[twice])} places, so the place is part of the name"
    return Naming(topic, text, evidence)


def _template(
    columns: list[list[str]], varying: list[int], device: int, channel: int | None, names: dict[int, str] | None = None
) -> str:
    """A template of topics with the names of some levels."""
    names = {device: "device"} | ({} if channel is None else {channel: "channel"}) | (names or {})
    return "/".join(
        f"{{{names[i]}}}" if i in names else "+" if i in varying else column[0] for i, column in enumerate(columns)
    )


def _levels(columns: list[list[str]], at: int) -> str:
    """What a level holds, for evidence."""
    shown = ", ".join(columns[at][:_SHOWN]) + (", ..." if len(columns[at]) > _SHOWN else "")
    return f"level {at + 1} is {shown}"


def pattern(topics: Iterable[str]) -> str:
    """Topics as one filter, for the eye: levels that differ are ``+``."""
    rows = [topic.split("/") for topic in topics]
    lengths = Counter(map(len, rows))
    width = lengths.most_common(1)[0][0]
    columns = zip(*(row for row in rows if len(row) == width), strict=True)
    text = "/".join(column[0] if len(set(column)) == 1 else "+" for column in columns)
    return text if len(lengths) == 1 else f"{text} and others"
