"""Checks of the telemetry that came in some seconds against the model and the clock."""

import statistics
from collections import Counter, defaultdict

import msgspec
import numpy as np

from rarefault.runtime.daemon.codec import Codec, column_tree
from rarefault.runtime.daemon.inbox import Message
from rarefault.runtime.daemon.rejections import MEND, Reason, Rejections, quote
from rarefault.runtime.daemon.rows import Rows
from rarefault.runtime.daemon.setup import Setup
from rarefault.runtime.doctor.findings import Findings

#: A clock that is off by less is no matter to bins of minutes.
CLOCK_S = 60.0
#: Clocks that are off by whole half hours have a wrong time zone, or summer time.
ZONE_S = 1800.0
#: Devices and channels that a finding names; of more it says how many.
NAMED = 5


def check_telemetry(setup: Setup, messages: list[Message], seconds: float, found: Findings) -> None:
    """What came, whether it can be used, what is missing, and whether clocks agree."""
    config, channels = setup.config, setup.model.manifest.channels
    if not messages:
        user = config.broker.username
        who = f"user {user!r}" if user else "clients without a user name"
        found.problem(
            "telemetry",
            f"nothing came on {config.telemetry.topic} within {seconds:g} s: no device sends, telemetry.topic is not "
            f"theirs, or the broker's access rules (ACL) do not let {who} read it; --seconds listens longer",
        )
        return
    # The clock is examined below; here it must not keep samples out.
    telemetry = msgspec.structs.replace(config.telemetry, max_future_s=1e12, max_age_s=float("inf"))
    rejections = Rejections(keep=True)
    devices: list[str] = []

    def slot(name: str) -> int:
        devices.append(name)
        return len(devices) - 1

    columns = column_tree(channels, telemetry.fields, str(setup.source))
    codec = Codec(telemetry, columns, slot, config.limits, rejections)
    rows = Rows(max(telemetry.max_batch, 1000), len(channels))
    seen: dict[int, set[int]] = defaultdict(set)
    offsets: dict[int, list[float]] = defaultdict(list)
    examples: dict[str, str] = {}
    for message in messages:
        codec.decode(
            message.topic,
            message.payload,
            message.arrived_ms,
            rows,
            retained=message.retained,
            sender=message.sender,
        )
        for aside in rejections.take_aside():
            examples.setdefault(aside.reason, f"{quote(aside.topic)}: {aside.detail}")
        for device, time_ms, values in zip(rows.device.tolist(), rows.time_ms.tolist(), rows.values, strict=True):
            seen[device] |= set(np.flatnonzero(~np.isnan(values)).tolist())
            offsets[device].append((message.arrived_ms - time_ms) / 1000)
        rows.clear()
    if codec.samples:
        found.good("telemetry", f"{codec.samples} samples of {_some(devices, 'device')} within {seconds:g} s")
    for reason, count in rejections.counts.items():
        if count:
            example = f", such as {examples[reason]}" if reason in examples else ""
            tell = found.problem if count >= codec.samples else found.warning
            tell("telemetry", f"{count} messages or samples cannot be used ({reason}){example}; {MEND[Reason(reason)]}")
    if rejections.unknown_channels:
        found.note("channels", f"{rejections.unknown_channels} values are of channels that the model does not have")
    _channels(setup, devices, seen, found)
    _clocks(devices, {device: statistics.median(values) for device, values in offsets.items()}, found)


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


def _clocks(devices: list[str], offsets: dict[int, float], found: Findings) -> None:
    """Devices whose times are far from this machine's."""
    off = {devices[i]: offset for i, offset in offsets.items() if abs(offset) > CLOCK_S}
    if not off:
        if offsets:
            worst = max(offsets.values(), key=abs)
            found.good("clock", f"times of the samples and this machine's clock differ by {abs(worst):.1f} s at most")
        return
    device, offset = max(off.items(), key=lambda item: abs(item[1]))
    zones = round(offset / ZONE_S)
    way = "behind" if offset > 0 else "ahead of"
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
