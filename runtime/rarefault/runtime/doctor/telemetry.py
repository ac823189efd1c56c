"""Checks of the telemetry that came in some seconds against the model and the clock."""

import difflib
import math
import statistics
from collections import Counter, defaultdict

import msgspec
import numpy as np

from rarefault.runtime.daemon.devices import DeviceTable
from rarefault.runtime.daemon.mqtt.inbox import Message
from rarefault.runtime.daemon.setup import Setup
from rarefault.runtime.daemon.telemetry.decoder import TelemetryDecoder
from rarefault.runtime.daemon.telemetry.rejections import Rejections
from rarefault.runtime.daemon.telemetry.sample_buffer import SampleBuffer
from rarefault.runtime.doctor.findings import Findings
from rarefault.runtime.doctor.shapes import shape_hint
from rarefault.runtime.doctor.sparkplug import check_sparkplug, known_nodes
from rarefault.runtime.telemetry.config import ARRIVAL
from rarefault.runtime.telemetry.reasons import REMEDY, Reason, ValueReason, quote

#: A clock that is off by less is no matter to bins of minutes.
CLOCK_S = 60.0
#: Clocks that are off by whole half hours have a wrong time zone, or summer time.
ZONE_S = 1800.0
#: Devices and channels that a finding names; of more it says how many.
NAMED = 5
#: Unknown channels that are told from each other.
MOST_NAMES = 1000
#: Those of them that are compared with the model's, the most frequent ones.
MOST_COMPARED = 200
#: Characters of a name that are kept, and parts of a path that are compared.
LONGEST, PARTS = 200, 8


#: What to do about values that cost themselves.
VALUE_REMEDY = {
    ValueReason.NO_NUMBER: '; name its words in the training\'s [channels."NAME"] states, or the path of its number',
    ValueReason.BAD_QUALITY: "; see the devices, or telemetry.good",
}


class _Rejections(Rejections):
    """Also keeps the names of unknown channels, and how often each came.

    Attributes:
        names: values by name.
        others: values of names beyond the most that are kept.
    """

    def __init__(self) -> None:
        super().__init__(keep=True)
        self.names: Counter[str] = Counter()
        self.others = 0

    def add_unknown_channels(self, device: str, names: list[str]) -> None:
        """As in the base, and keep the names."""
        super().add_unknown_channels(device, names)
        for name in (name[:LONGEST] for name in names):
            if name in self.names or len(self.names) < MOST_NAMES:
                self.names[name] += 1
            else:
                self.others += 1


def check_telemetry(setup: Setup, messages: list[Message], seconds: float, found: Findings) -> None:
    """What came, whether it can be used, what is missing, and whether clocks agree."""
    config, channels = setup.config, setup.model.manifest.channels
    if not messages:
        user = config.broker.username
        who = f"user {user!r}" if user else "clients without a user name"
        found.problem(
            "telemetry",
            f"nothing came on {config.topics} within {seconds:g} s: no device sends, telemetry.topic is not "
            f"theirs, or the broker's access rules (ACL) do not let {who} read it; --seconds listens longer",
        )
        return
    # The clock is examined below; here it must not keep samples out.
    first, *others = config.foreign_sources
    sources = (msgspec.structs.replace(first, max_future_s=1e12, max_age_s=float("inf")), *others)
    rejections = _Rejections()
    table = DeviceTable()
    nodes = known_nodes(setup)
    specs = setup.model.manifest.channel_specs
    decoder = TelemetryDecoder(sources, channels, specs, table, config.limits, rejections, str(setup.source), nodes)
    samples = SampleBuffer(max(config.max_batch, 1000), len(channels))
    seen: dict[int, set[int]] = defaultdict(set)
    offsets: dict[int, list[float]] = defaultdict(list)
    examples: dict[str, str] = {}
    for message in messages:
        decoder.decode(
            message.topic,
            message.payload,
            message.arrived_ms,
            samples,
            retained=message.retained,
            sender=message.sender,
        )
        for aside in rejections.take_aside():
            examples.setdefault(aside.reason, f"{quote(aside.topic)}: {aside.detail}")
        for device, time_ms, values in zip(
            samples.device.tolist(), samples.time_ms.tolist(), samples.values, strict=True
        ):
            seen[device] |= set(np.flatnonzero(np.isfinite(values)).tolist())
            offsets[device].append((message.arrived_ms - time_ms) / 1000)
        samples.clear()
    devices = table.names
    if rejections.samples:
        found.good("telemetry", f"{rejections.samples} samples of {_some(devices, 'device')} within {seconds:g} s")
    for reason, count in rejections.counts.items():
        if count:
            example = f", such as {examples[reason]}" if reason in examples else ""
            tell = found.problem if count >= rejections.samples or reason == Reason.TWO_TOPICS else found.warning
            tell(
                "telemetry", f"{count} messages or samples cannot be used ({reason}){example}; {REMEDY[Reason(reason)]}"
            )
    check_sparkplug(setup, nodes, found)
    _values(rejections, found)
    if hint := shape_hint(setup, messages):
        found.problem("telemetry", f"the messages do not fit [telemetry]: {hint}")
    _unknown(setup, rejections, {channels[i] for columns in seen.values() for i in columns}, found)
    _channels(setup, devices, seen, found)
    medians = {device: statistics.median(values) for device, values in offsets.items()}
    if all(source.times == (ARRIVAL,) for source in config.sources):
        found.note("clock", "samples have the time of their arrival: of the devices' own clocks nothing is known")
    else:
        _clocks(devices, medians, found, history=math.isinf(config.telemetry.max_age_s))


def _values(rejections: Rejections, found: Findings) -> None:
    """Values that cost themselves, by channel and reason, and messages that are no telemetry."""
    for (channel, why), count in rejections.dropped_values.most_common(NAMED):
        remedy = VALUE_REMEDY.get(why, "")
        found.warning("channels", f"{count} values of channel {quote(channel)} are missing ({why}){remedy}")
    ignored = [f"{count} ({why})" for why, count in rejections.ignored.items() if count]
    if ignored:
        found.note("telemetry", f"messages that are no telemetry: {', '.join(ignored)}")


def _unknown(setup: Setup, rejections: _Rejections, seen: set[str], found: Findings) -> None:
    """Channels that came and that the model does not have, and which of its own that did not come they may be."""
    if not rejections.names:
        return
    lacking = [name for name in setup.model.manifest.channels if name not in seen]
    near = {name: match for name, _ in rejections.names.most_common(MOST_COMPARED) if (match := _near(name, lacking))}
    # Those that may be a channel of the model first, then the most frequent.
    order = sorted(rejections.names, key=lambda name: (name not in near, -rejections.names[name], name))
    named = ", ".join(f"{quote(name)} ({rejections.names[name]})" for name in order[:NAMED])
    more = ", ..." if len(order) > NAMED else ""
    many = f"{len(order)} or more channels" if rejections.others else _count(len(order), "channel")
    remedy = [f"{_toml(name)} = {_toml(near[name])}" for name in order[:NAMED] if name in near]
    hint = f"; if it is the same, write into [telemetry.fields]: {', '.join(remedy)}" if remedy else ""
    found.note(
        "channels",
        f"{rejections.unknown_channels} values are of {many} that the model does not have: {named}{more}{hint}",
    )


def _near(name: str, channels: list[str]) -> str:
    """The channel that a name, or the end of a path, looks most like; empty where it looks like none."""
    parts = name.casefold().split(".")
    folded = {channel.casefold(): channel for channel in channels}
    best: tuple[float, str] = (0.0, "")
    for begin in range(max(0, len(parts) - PARTS), len(parts)):
        end = ".".join(parts[begin:])
        for match in difflib.get_close_matches(end, folded, n=1):
            best = max(best, (difflib.SequenceMatcher(None, end, match).ratio(), folded[match]))
    return best[1]


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' if n > 1 else ''}"


def _toml(name: str) -> str:
    """A name as TOML has it in quotes."""
    return msgspec.json.encode(name.encode("utf-8", "replace").decode()).decode()


def _channels(setup: Setup, devices: list[str], seen: dict[int, set[int]], found: Findings) -> None:
    """Channels of the model that no device, or some devices, did not send."""
    channels = setup.model.manifest.channels
    if not seen:
        return
    without: Counter[int] = Counter()
    example: dict[int, str] = {}
    for device, columns in seen.items():
        for column in set(range(len(channels))) - columns:
            without[column] += 1
            example.setdefault(column, devices[device])
    never = [channels[i] for i, n in without.items() if n == len(seen)]
    if never:
        found.problem(
            "channels",
            f"no telemetry has {_some(never, 'channel')} of the model; have the devices send it, map it in "
            "[telemetry.fields] if it has another name there, or listen longer if it is sent rarely",
        )
    partly = [f"{channels[i]} (not from {example[i]})" for i, n in without.items() if n < len(seen)]
    if partly:
        found.warning("channels", f"not all devices send {_some(partly, 'channel')}")
    if not without:
        found.good("channels", f"all {len(channels)} channels of the model are there")


def _clocks(devices: list[str], offsets: dict[int, float], found: Findings, *, history: bool) -> None:
    """Devices whose times are far from this machine's; with ``history`` those of the past are meant to be."""
    off = {devices[i]: offset for i, offset in offsets.items() if abs(offset) > CLOCK_S}
    if not off:
        if offsets:
            worst = max(offsets.values(), key=abs)
            found.good("clock", f"times of the samples and this machine's clock differ by {abs(worst):.1f} s at most")
        return
    device, offset = max(off.items(), key=lambda item: abs(item[1]))
    zones = round(offset / ZONE_S)
    way = "behind" if offset > 0 else "ahead of"
    if history and min(off.values()) > 0:
        text = f"samples of {_some(list(off), 'device')} are of the past, those of {device} by {abs(offset):.0f} s"
        found.note("clock", f"{text}; telemetry.max_age_s = inf takes them as history")
        return
    if zones and abs(offset - zones * ZONE_S) < CLOCK_S:
        hours = abs(zones) / 2
        cause = f", just {hours:g} h: its time zone or summer time is wrong, here or there"
    else:
        cause = ": set the clocks by NTP; or the telemetry is history, then set telemetry.max_age_s = inf"
    found.problem(
        "clock",
        f"samples of {_some(list(off), 'device')} are off: those of {device} are {abs(offset):.0f} s {way} this "
        f"machine's clock{cause}",
    )


def _some(names: list[str], what: str) -> str:
    """``channel c1.S1``, or ``3 channels (a, b, c)``."""
    if len(names) == 1:
        return f"{what} {names[0]}"
    more = ", ..." if len(names) > NAMED else ""
    return f"{len(names)} {what}s ({', '.join(names[:NAMED])}{more})"
