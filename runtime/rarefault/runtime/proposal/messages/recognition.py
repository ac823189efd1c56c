"""Recognition: the mappings that messages of a broker, or of a recording, need.

Presets are tried on topics of theirs. Of the other topics, groups are made, and for each the keys that its payloads may
need; the reader of the daemon tries them, and the keys with which it reads most are proposed.
"""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rarefault.runtime.proposal.finding import Finding
from rarefault.runtime.proposal.messages import payloads
from rarefault.runtime.proposal.messages.payloads import TimePath
from rarefault.runtime.proposal.messages.topics import Naming, clusters, namings, pattern
from rarefault.runtime.proposal.messages.trial import Heard, Trial, try_mapping
from rarefault.runtime.proposal.messages.zones import zone_finding
from rarefault.runtime.telemetry.config import ARRIVAL
from rarefault.runtime.telemetry.paths import at_path
from rarefault.runtime.telemetry.presets import PRESETS
from rarefault.runtime.telemetry.topics import Template

#: Messages that a trial is made with, and those whose payloads are taken apart.
MOST_TRIED, MOST_SEEN = 400, 40
#: First levels of topics that get a mapping each, where one for all would take messages of others.
MOST_APART = 8
#: Bytes of the messages that a mapping reads in the end: what it makes of them takes several times as much memory.
MOST_BYTES = 32 << 20
#: Devices that a question names.
MOST_NAMED = 8
#: A mapping reads at least such a share of the messages that it is for.
FEWEST = 0.5
#: Topics that are never telemetry of machines: discovery, bridges, availability, commands.
NOISE = re.compile(
    r"^\$|^homeassistant/|^zigbee2mqtt/bridge/|/(availability|LWT|lwt|set|get|cmnd|\$[a-z]+)$|/(config|rpc/command)$"
)
#: Names that hardly are those of channels.
_NO_CHANNELS = frozenset({"ts", "time", "timestamp", "seq", "quality", "q", "qc", "value", "v", "val"})
#: Keys of a preset that say where its sender publishes, and not what.
PLACE = ("topic", "ignore_topics", "several_topics")
Keys = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """Messages that one mapping reads.

    Attributes:
        findings: the keys of ``[[telemetry]]``.
        trial: what they make of the messages.
        topics: of the messages.
    """

    findings: tuple[Finding, ...]
    trial: Trial
    topics: tuple[str, ...]


@dataclass(frozen=True)
class Recognised:
    """What was recognised.

    Attributes:
        sources: in the order of their sections.
        noise: number of messages that are no telemetry, by topic.
        unread: topics that nothing was found for, each with an example.
    """

    sources: tuple[Source, ...]
    noise: Mapping[str, int]
    unread: Mapping[str, str]


def recognise(messages: Sequence[Heard], own: str = "rarefault") -> Recognised:
    """The mappings that read most of some messages.

    Args:
        messages: in their order of arrival.
        own: first level of the topics that daemons publish on themselves.
    """
    noise: Counter[str] = Counter()
    by_topic: dict[str, list[Heard]] = defaultdict(list)
    for message in messages:
        if NOISE.search(message.topic) or message.topic.startswith(f"{own}/"):
            noise[message.topic] += 1
        elif message.payload:
            by_topic[message.topic].append(message)
    sources = list(_presets(by_topic))
    unread: dict[str, str] = {}
    looks = [(topic, _look(heard), payloads.keys_of(heard[:2])) for topic, heard in by_topic.items()]
    every = {message.topic for message in messages}
    groups = [(group, False) for group in clusters(looks)]
    generic: list[tuple[int, Source]] = []
    while groups:
        group, is_place = groups.pop(0)
        heard = [message for topic in group for message in by_topic[topic]]
        found = _generic(heard, group)
        if found is not None:
            others = _others(found, every)
            if others and 1 < len(apart := _by_first_level(group)) <= MOST_APART:
                is_place = _has_places(found)
                groups = [*((one, is_place) for one in apart), *groups]
            else:
                found = _placed(found, heard) if is_place else found
                generic.append((others, _without_own(found, own)))
        else:
            payload = bytes(by_topic[group[0]][0].payload[:80])
            unread[pattern(group)] = payload.decode("utf-8", "replace")
    # The first whose topic fits reads a message: a mapping whose topic also fits others' messages comes behind theirs.
    sources += [source for _, source in sorted(generic, key=lambda one: one[0])]
    return Recognised(tuple(sources), noise, unread)


def _others(source: Source, topics: Collection[str]) -> int:
    """How many topics of other messages a mapping would take."""
    template = Template(source.trial.mapping.topic)
    return sum(template.matches(topic) for topic in topics) - len(source.topics)


def _by_first_level(topics: Sequence[str]) -> list[list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for topic in topics:
        groups[topic.partition("/")[0]].append(topic)
    return list(groups.values())


def _has_places(source: Source) -> bool:
    """Whether levels of the topics beside the device's are part of its name."""
    return any(finding.key == "device" and "{device}" in str(finding.value) for finding in source.findings)


def _placed(source: Source, heard: Sequence[Heard]) -> Source:
    """With the first level of the topics in the names of devices: other mappings have devices of the same names."""
    first = source.topics[0].partition("/")[0]
    if "{" in first or "{device}" not in source.trial.mapping.topic or source.trial.mapping.device:
        return source
    device = Finding("device", f"{first}-{{device}}", "there are devices of these names elsewhere")
    trial = try_mapping(_keys([*source.findings, device]), heard)
    usable = trial is not None and trial.share >= FEWEST
    return replace(source, findings=(*source.findings, device), trial=trial) if trial and usable else source


def _without_own(source: Source, own: str) -> Source:
    """Without the daemon's own topics, where the mapping would take them."""
    template = Template(source.trial.mapping.topic)
    if not any(template.matches(f"{own}/x/{leaf}") for leaf in ("status", "feedback/result")):
        return source
    return replace(source, findings=(*source.findings, Finding("ignore_topics", [f"{own}/#"], "the daemon's own")))


def shared_names(sources: Sequence[Source]) -> list[str]:
    """Questions about devices that several mappings name alike: what they send becomes one machine's."""
    sections: dict[str, list[str]] = defaultdict(list)
    for source in sources:
        topics = pattern(source.topics)
        for device in source.trial.topics:
            sections[device].append(topics)
    shared = {device: own for device, own in sections.items() if len(own) > 1}
    if not shared:
        return []
    topics = ", ".join(next(iter(shared.values()))[:4])
    more = f" and {len(shared) - MOST_NAMED} more" if len(shared) > MOST_NAMED else ""
    names = ", ".join(list(shared)[:MOST_NAMED]) + more
    question = f"{names} send on topics of several sections, such as {topics}, and count as one machine each."
    return [f'{question} If they are several, give each section names of its own, such as device = "hall-{{device}}".']


def _look(heard: Sequence[Heard]) -> payloads.Kind:
    kinds: Counter[payloads.Kind] = Counter(payloads.kind_of(message) for message in heard[:5])
    return kinds.most_common(1)[0][0]


def _some(messages: Sequence[Heard], most: int) -> Sequence[Heard]:
    """Messages from all over them; at random, as what takes turns would be left out at even distances."""
    if len(messages) <= most:
        return messages
    drawn = random.Random(len(messages)).sample(range(len(messages)), most)  # noqa: S311 - the same each time
    return [messages[at] for at in sorted(drawn)]


# -- presets


def _presets(by_topic: dict[str, list[Heard]]) -> Iterator[Source]:
    """Mappings by presets; the topics that they read are taken out."""
    for name, preset in PRESETS.items():
        template = Template(preset.keys["topic"])
        topics = [topic for topic in by_topic if template.matches(topic)]
        heard = [message for topic in topics for message in by_topic[topic]]
        if not heard:
            continue
        found = _best_preset(name, _some(heard, MOST_TRIED))
        if found is None:
            continue
        yield _whole(replace(found, topics=tuple(topics)), heard)
        for topic in topics:
            del by_topic[topic]


def _best_preset(name: str, heard: Sequence[Heard]) -> Source | None:
    """A preset with what its sender's messages need besides: a zone, or the time of arrival."""
    about = f"{len({message.topic for message in heard})} topic(s) of its kind"
    first = Finding("preset", name, about)
    trial = try_mapping({"preset": name}, heard)
    if trial is not None and trial.share >= FEWEST:
        return Source((first,), trial, ())
    if trial is None or trial.rejected.most_common(1)[0][0] != "bad_time":
        return None
    naive = _times(heard, PRESETS[name].keys)
    if naive is not None and not naive.zoned:
        zone = zone_finding(naive)
        trial = try_mapping({"preset": name, "time_zone": zone.value}, heard)
        if trial is not None and trial.share >= FEWEST:
            return Source((first, zone), trial, ())
    trial = try_mapping({"preset": name, "time": ARRIVAL}, heard)
    if trial is not None and trial.share >= FEWEST:
        why = f"the messages have no time at {PRESETS[name].keys.get('time')!r}"
        return Source((first, Finding("time", ARRIVAL, why)), trial, ())
    return None


def _times(heard: Sequence[Heard], keys: Mapping[str, Any]) -> TimePath | None:
    """The times of messages, at one of the paths of some keys."""
    wanted = keys.get("time", "time")
    paths = {wanted} if isinstance(wanted, str) else set(wanted)
    values = [(one, message.arrived_ms) for message in heard for one in payloads.values_of(message) or ()]
    return next((one for one in payloads.time_paths(values[:MOST_SEEN]) if one.path in paths), None)


# -- other messages


def _generic(heard: Sequence[Heard], topics: Sequence[str]) -> Source | None:
    """The mapping that reads most of the messages of a group of topics."""
    kind = _look(_some(heard, MOST_SEEN))
    tried = _some(heard, MOST_TRIED)
    best: tuple[tuple[float, ...], Source] | None = None
    for keys, findings in _candidates(kind, _some(heard, MOST_SEEN), topics):
        trial = try_mapping(keys, tried)
        if trial is None or trial.share < FEWEST or not trial.channels:
            continue
        cells = sum(len(sample.values) for sample in trial.samples)
        sound = (round(trial.share, 1), trial.has_times, -_oddness(trial), bool(trial.mapping.quality))
        rank = (*sound, cells, len(trial.topics), -len(keys))
        if best is None or rank > best[0]:
            best = rank, Source(tuple(findings), trial, tuple(topics))
    return None if best is None else _whole(best[1], heard)


def _whole(source: Source, heard: Sequence[Heard]) -> Source:
    """A source with what its keys make of all messages, so that no device and no channel is left out."""
    size = sum(len(message.payload) for message in heard)
    number = len(heard) if size <= MOST_BYTES else len(heard) * MOST_BYTES // size
    if number <= MOST_TRIED:
        return source
    trial = try_mapping(_keys(source.findings), _some(heard, number))
    return source if trial is None else replace(source, trial=trial)


def _oddness(trial: Trial) -> int:
    """How many channels look like what they are not: times, ids and places in arrays."""
    odd = 0
    for name in trial.channels:
        last = name.rpartition(".")[2].lower()
        odd += last in _NO_CHANNELS or last.isdecimal() or last.endswith(("_id", "id"))
    return odd


def _candidates(
    kind: payloads.Kind, heard: Sequence[Heard], topics: Sequence[str]
) -> Iterator[tuple[Keys, list[Finding]]]:
    """Keys to try, with the evidence for each."""
    if kind == "scalar":
        yield from _scalars(topics, {})
    elif kind in {"senml", "influx"}:
        yield from _self_naming(kind, heard, topics)
    elif kind in {"object", "array"}:
        yield from _json(heard, topics)
        yield from _elsewhere(topics)


def _elsewhere(topics: Sequence[str]) -> Iterator[tuple[Keys, list[Finding]]]:
    """Presets whose senders publish on other topics here."""
    for name, preset in PRESETS.items():
        if preset.keys.get("format", "json") != "json":
            continue
        first = Finding("preset", name, "the messages have its shape, on other topics")
        if "device" in preset.keys or preset.keys.get("records") == "*":
            several = [Finding("several_topics", True, "")] if len(topics) > 1 else []
            findings = [first, Finding("topic", _any(topics), f"{len(topics)} topic(s)"), *several]
            yield _keys(findings), findings
        else:
            for naming in namings(topics, channel=False):
                findings = [first, *_topic(naming)]
                yield _keys(findings), findings


def _scalars(topics: Sequence[str], more: Mapping[str, Finding]) -> Iterator[tuple[Keys, list[Finding]]]:
    """One value a topic."""
    for naming in namings(topics, channel=True):
        findings = [
            *_topic(naming),
            Finding("format", "scalar", "each payload is one value"),
            *more.values(),
        ]
        if "time" not in more:
            findings.append(Finding("time", ARRIVAL, "the payloads have no time"))
        yield _keys(findings), findings


def _self_naming(
    kind: payloads.Kind, heard: Sequence[Heard], topics: Sequence[str]
) -> Iterator[tuple[Keys, list[Finding]]]:
    """Formats whose messages name the device."""
    what = "SenML (RFC 8428)" if kind == "senml" else "lines of InfluxDB's line protocol"
    topic = Finding("topic", _any(topics), f"{len(topics)} topic(s)")
    several = [Finding("several_topics", True, "devices stand in the messages, not in the topics")]
    form = Finding("format", kind, f"the payloads are {what}")
    findings = [topic, form, *(several if len(topics) > 1 else [])]
    yield _keys(findings), findings
    tags = _tags(heard) if kind == "influx" else {}
    for tag in tags:
        named = [*findings, Finding("device", tag, f"the tag {tag!r} has {tags[tag]} value(s)")]
        yield _keys(named), named
    if kind == "influx" and max(tags.values(), default=0) < len(topics):
        for naming in namings(topics, channel=False):
            named = [*_topic(naming), form]
            yield _keys(named), named


def _any(topics: Sequence[str]) -> str:
    """A template that fits all topics and names nothing."""
    columns = zip(*(topic.split("/") for topic in topics), strict=True)
    return "/".join(column[0] if len(set(column)) == 1 else "+" for column in columns)


def _tags(heard: Sequence[Heard]) -> dict[str, int]:
    """Tags of lines that may name the device, with the number of their values, those with most first."""
    values: dict[str, set[bytes]] = defaultdict(set)
    for message in heard:
        for line in (payloads.text_of(message) or b"").splitlines():
            for tag in line.split(b" ", 1)[0].split(b",")[1:]:
                name, _, value = tag.partition(b"=")
                values[name.decode("utf-8", "replace")].add(value)
    most = sorted(values, key=lambda name: -len(values[name]))[:4]
    return {name: len(values[name]) for name in most}


def _json(heard: Sequence[Heard], topics: Sequence[str]) -> Iterator[tuple[Keys, list[Finding]]]:
    """Objects and arrays."""
    messages = [
        (one, message.arrived_ms) for message in heard for one in payloads.values_of(message) or () if type(one) is dict
    ]
    if not messages:
        return
    plain = [message for message, _ in messages]
    for path in payloads.record_paths(plain):
        records = payloads.records_at(messages, path)
        if not records:
            continue
        first = [] if not path else [Finding("records", path, _of_records(path))]
        time = _time(records) or _time(messages)
        for findings in _contents([record for record, _ in records]):
            inner = [record for record, _ in records] if path not in {"", "*"} else []
            own = {finding.value for finding in findings if finding.key in {"name", "value"}}
            for device in [*_devices(plain, topics, keyed=path == "*"), *_devices_within(inner, topics, own)]:
                every = [*device, *first, *findings, *(time or [])]
                if _keys(device).get("device") == _keys(findings).get("name", ""):
                    continue  # one name is not both
                yield _keys(every), every
                if not time:
                    late = [*every, Finding("time", ARRIVAL, "no key of the messages is a time")]
                    yield _keys(late), late
    yield from _wrapped(messages, topics)


def _of_records(path: str) -> str:
    return "the keys of the messages are devices" if path == "*" else f"samples stand in the array {path!r}"


def _contents(records: Sequence[Any]) -> Iterator[list[Finding]]:
    """Keys for what stands in records: names and values, or an object of values."""
    for keys in payloads.name_value_keys(records):
        name = at_path(records[0], keys["name"])
        yield [
            Finding("name", keys["name"], f"records are single values, such as of {name!r}"),
            Finding("value", keys["value"], ""),
            *_quality(records),
        ]
    paths = payloads.value_paths(records)
    for path in paths[:4]:
        inner = payloads.inner_value_key(records, path)
        findings = [Finding("values", path, "values stand in the message itself" if not path else "")]
        if inner:
            findings.append(Finding("value", inner, f"each value is an object with {inner!r}"))
        yield findings


def _quality(records: Sequence[Any]) -> list[Finding]:
    found = payloads.quality_keys(records)
    if not found:
        return []
    seen = found["seen"].most_common(6)
    shown = ", ".join(f"{value!r} ({n})" for value, n in seen)
    good = [value for value, _ in seen if value in {192, True} or (type(value) is str and value.lower() == "good")]
    path = Finding("quality", found["quality"], f"qualities are {shown}")
    if good:
        return [path, Finding("good", good, "")] if len(seen) > len(good) else [path]
    most = seen[0][0]
    return [path, Finding("good", [most], f"the most frequent quality is {most!r}", "good = [...] with others of them")]


def _time(records: Sequence[tuple[Any, int]]) -> list[Finding]:
    """Keys for the likeliest times."""
    times = payloads.time_paths(records[:MOST_SEEN])
    if not times:
        return []
    best = times[0]
    near = f"such as {best.example!r}, {abs(best.offset_ms) / 1000:.0f} s from their arrival"
    others = [one.path for one in times[1:3] if one.zoned == best.zoned]
    other = f'time = "{others[0]}"' if others and others[0].count(".") == best.path.count(".") else ""
    findings = [Finding("time", best.path, f"holds times, {near}", other)]
    if best.format:
        findings.append(Finding("time_format", best.format, "the times are so written"))
    return findings if best.zoned else [*findings, zone_finding(best)]


def _devices(messages: Sequence[Any], topics: Sequence[str], *, keyed: bool) -> Iterator[list[Finding]]:
    """Keys for where devices are named."""
    if keyed:
        several = [Finding("several_topics", True, "")] if len(topics) > 1 else []
        yield [Finding("topic", _any(topics), f"{len(topics)} topic(s)"), *several]
        return
    paths = payloads.device_paths(messages)
    if len(topics) == 1:
        for path in paths[:2]:
            names = list(dict.fromkeys(str(at_path(message, path)) for message in messages))
            shown = ", ".join(names[:4])
            yield [Finding("topic", topics[0], "the only topic"), Finding("device", path, f"names {shown}")]
        if paths:
            return
    for naming in namings(topics, channel=False):
        yield _topic(naming)


def _devices_within(records: Sequence[Any], topics: Sequence[str], own: Collection[object]) -> Iterator[list[Finding]]:
    """Keys for devices that are named in each record of a message; ``own`` are paths of names and values."""
    for path in [path for path in payloads.device_paths(records) if path not in own][:2]:
        names = list(dict.fromkeys(str(at_path(record, path)) for record in records))
        if len(names) < 2:
            continue
        several = [Finding("several_topics", True, "")] if len(topics) > 1 else []
        about = f"names {', '.join(names[:4])}"
        yield [Finding("topic", _any(topics), f"{len(topics)} topic(s)"), *several, Finding("device", path, about)]


def _wrapped(messages: Sequence[tuple[Any, int]], topics: Sequence[str]) -> Iterator[tuple[Keys, list[Finding]]]:
    """One value a topic, in an object such as ``{"value": 41.2}``."""
    plain = [message for message, _ in messages]
    numbers = Counter(key for message in plain for key, value in message.items() if type(value) in {int, float, bool})
    values = [key for key in numbers if key in {"value", "v", "val", "Value"}]
    if len(values) != 1 or len(topics) < 2:
        return
    more = {"value": Finding("value", values[0], f"each payload is an object with one value, {values[0]!r}")}
    for finding in _time(messages):
        more[finding.key] = finding
    yield from _scalars(topics, more)


def _topic(naming: Naming) -> list[Finding]:
    findings = [Finding("topic", naming.topic, naming.evidence, naming.other)]
    return [*findings, Finding("device", naming.device, "")] if naming.device else findings


def _keys(findings: Sequence[Finding]) -> Keys:
    return {finding.key: finding.value for finding in findings}
