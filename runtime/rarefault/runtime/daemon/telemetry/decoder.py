"""The decoder: the bytes and the topic of a message to samples of (device slot, time, channel values).

A shape takes the message apart, see :mod:`rarefault.runtime.daemon.telemetry.shapes`; the decoder checks what is in it.
:class:`.rejections.Rejections` counts and logs what cannot be used. Nothing that a message may hold raises out of here,
and a bad sample of a message does not take the good ones with it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rarefault.runtime.daemon.config import LimitsConfig, TelemetryConfig
from rarefault.runtime.daemon.devices import DeviceTable
from rarefault.runtime.daemon.telemetry.origins import Origins
from rarefault.runtime.daemon.telemetry.rate_limit import RateLimit
from rarefault.runtime.daemon.telemetry.rejections import Reason, RejectionError, Rejections, quote
from rarefault.runtime.daemon.telemetry.sample_buffer import SampleBuffer
from rarefault.runtime.daemon.telemetry.shapes import SHAPES, Shape
from rarefault.runtime.daemon.topics import Template, topic_level_problem
from rarefault.runtime.errors import ConfigError
from rarefault.runtime.times import format_ms, parse_time_ms

#: The grid keeps float32; a larger value would become infinite there.
LARGEST_VALUE = float(np.finfo(np.float32).max)

#: How deep unknown objects are looked into for the names that are in them.
NAMED_LEVELS = 8
#: Devices whose samples are too new that are distinguished; two would do.
MANY = 1000

#: Where a channel stands in a message: names to columns, or to what is inside the object of that name.
Columns = dict[str, "int | Columns"]


class TelemetryDecoder:
    """Reads telemetry messages.

    Args:
        config: what messages look like.
        columns: where channels stand in a message; see :func:`column_tree`.
        devices: gives a device its slot.
        limits: most devices that are given one, and how fast each may be.
        rejections: counts what can be used and what cannot.

    Attributes:
        too_new: devices whose samples were too new, since the last sample that was taken.
    """

    def __init__(
        self,
        config: TelemetryConfig,
        columns: Columns,
        devices: DeviceTable,
        limits: LimitsConfig,
        rejections: Rejections,
    ) -> None:
        self.rejections = rejections
        self.too_new: set[str] = set()
        self._config = config
        self._template = Template(config.topic)
        self._origins = Origins(devices, self._template, several=config.several_topics)
        self._columns = columns
        self._devices = devices
        self._slots = devices.by_name
        self._max_devices = limits.max_devices
        self._rates = RateLimit(devices, limits)
        self._shape: Shape = SHAPES["json"](config)
        # Beside the values, where these are the message itself.
        self._not_channels = {path for path in (config.time, config.device) if path and not config.values}
        self._max_future_ms = config.max_future_s * 1000
        self._max_age_ms = config.max_age_s * 1000

    def decode(
        self,
        topic: str,
        payload: bytes,
        arrived_ms: int,
        samples: SampleBuffer,
        *,
        retained: bool = False,
        sender: str | None = None,
    ) -> None:
        """Append the samples of a message to ``samples``, which must have room for ``max_batch`` of them.

        Args:
            topic: of the message.
            payload: of the message.
            arrived_ms: when it arrived; the time of samples without one.
            samples: where they go.
            retained: whether the broker had kept the message, so that its time of arrival means nothing.
            sender: who sent it, where the broker names the sender.
        """
        try:
            device = self._device(topic)
            found = self._parse(payload)
        except RejectionError as error:
            self.rejections.add(topic, error, arrived_ms, payload)
            return
        for sample in found:
            try:
                self._take(topic, device, sample, arrived_ms, samples, retained=retained, sender=sender)
            except RejectionError as error:
                self.rejections.add(topic, error, arrived_ms, sample)
            else:
                self.rejections.samples += 1

    def _device(self, topic: str) -> str:
        device = self._template.device(topic)
        if device is None:
            raise RejectionError(Reason.UNKNOWN_TOPIC, f"the topic does not fit {self._template.text!r}")
        return device

    def _parse(self, payload: bytes) -> list[Any]:
        """The samples of a message, in the message's own form."""
        if len(payload) > self._config.max_payload_bytes:
            raise RejectionError(
                Reason.TOO_LARGE, f"{len(payload)} bytes, the limit is {self._config.max_payload_bytes}"
            )
        found = self._shape.parse(payload)
        if len(found) > self._config.max_batch:
            raise RejectionError(
                Reason.TOO_LARGE, f"an array of {len(found)} samples, the limit is {self._config.max_batch}"
            )
        return found

    def _take(
        self,
        topic: str,
        device: str,
        sample: Any,
        arrived_ms: int,
        samples: SampleBuffer,
        *,
        retained: bool,
        sender: str | None,
    ) -> None:
        """Append one sample, or raise RejectionError."""
        config = self._config
        name, time, values = self._shape.sample(sample)
        if config.device:
            if not isinstance(name, str):
                raise RejectionError(Reason.BAD_DEVICE, f"{config.device!r} must be text, got {quote(name)}")
            if device and name != device:
                raise RejectionError(
                    Reason.WRONG_SENDER, f"{config.device!r} is {quote(name)} on a topic of {quote(device)}"
                )
            device = name
        if config.sender_property and sender != device:
            raise RejectionError(
                Reason.WRONG_SENDER,
                f"the user property {config.sender_property!r} is {quote(sender)} on a message of {quote(device)}",
            )
        if not isinstance(values, dict):
            raise RejectionError(Reason.WRONG_SHAPE, f"{config.values!r} must be an object, got {quote(values)}")
        if len(values) > config.max_values:
            raise RejectionError(
                Reason.TOO_LARGE, f"a sample of {len(values)} values, the limit is {config.max_values}"
            )
        time_ms = self._time(time, arrived_ms, device, retained=retained)
        cells: list[tuple[int, float]] = []
        unknown: list[str] = []
        _collect(values, self._columns, cells, unknown)
        if self._not_channels:
            unknown = [name for name in unknown if name not in self._not_channels]
        if unknown:
            self.rejections.add_unknown_channels(device, unknown)
        if not cells:
            names = f"only unknown ones such as {quote(unknown[0])}" if unknown else "none at all"
            raise RejectionError(Reason.NO_KNOWN_CHANNEL, f"no value of a channel of the model, {names}")
        first = self._origins.watching and self._origins.check(device, topic)
        slot = self._slot(device)
        if first:
            self._origins.remember(slot, topic)
        if not self._rates.allow(slot, time_ms, arrived_ms):
            raise RejectionError(
                Reason.TOO_FAST, f"device {quote(device)} sends more than {self._rates.per_s:g} samples a second"
            )
        samples.append(slot, time_ms, cells)
        self.too_new.clear()

    def _time(self, value: Any, arrived_ms: int, device: str, *, retained: bool) -> int:
        if value is None:
            if retained:
                raise RejectionError(Reason.BAD_TIME, "a retained message without a time may be of any age")
            return arrived_ms
        if not isinstance(value, (str, int, float)):
            raise RejectionError(Reason.BAD_TIME, f"{self._config.time!r} is {quote(value)}")
        try:
            time_ms = parse_time_ms(value)
        except (ValueError, OverflowError):
            raise RejectionError(Reason.BAD_TIME, f"{self._config.time!r} is {quote(value)}") from None
        if time_ms - arrived_ms > self._max_future_ms:
            if len(self.too_new) < MANY:
                self.too_new.add(device)
            raise RejectionError(
                Reason.TOO_NEW,
                f"its time {format_ms(time_ms)} is {(time_ms - arrived_ms) / 1000:.0f} s ahead of this clock, "
                f"{self._config.max_future_s:g} s are allowed",
            )
        if arrived_ms - time_ms > self._max_age_ms:
            raise RejectionError(
                Reason.TOO_OLD,
                f"its time {format_ms(time_ms)} is {(arrived_ms - time_ms) / 1000:.0f} s ago, "
                f"{self._config.max_age_s:g} s are allowed",
            )
        return time_ms

    def _slot(self, device: str) -> int:
        slot = self._slots.get(device)
        if slot is None:
            if problem := topic_level_problem(device):
                raise RejectionError(Reason.BAD_DEVICE, f"device {quote(device)}: {problem}")
            if len(self._slots) >= self._max_devices:
                raise RejectionError(
                    Reason.TOO_MANY_DEVICES, f"device {quote(device)} would be one more than {self._max_devices}"
                )
            slot = self._devices.slot(device)
        return slot


def column_tree(channels: Sequence[str], fields: dict[str, str], source: str) -> Columns:
    """Where each channel is found: under its own name, and under the foreign names and paths of ``fields``.

    Raises:
        ConfigError: fields of ``source`` name no channel of the model, or contradict each other.
    """
    column = {name: i for i, name in enumerate(channels)}
    tree: Columns = dict(column)
    problems: list[str] = []
    for field, channel in fields.items():
        if channel not in column:
            problems.append(
                f"telemetry.fields.{field}: the model has no channel {channel!r}, only {', '.join(channels)}"
            )
            continue
        *outer, last = field.split(".")
        place: int | Columns = tree
        for name in outer:
            place = place.setdefault(name, {}) if isinstance(place, dict) else place
        if not isinstance(place, dict) or isinstance(place.get(last), dict):
            problems.append(f"telemetry.fields.{field}: a name on this path is a channel by another entry")
            continue
        place[last] = tree[field] = column[channel]
    if problems:
        raise ConfigError(source, problems)
    return tree


def _collect(
    values: dict[str, Any], columns: Columns, cells: list[tuple[int, float]], unknown: list[str], path: str = ""
) -> None:
    """Sort the values of an object, which is at ``path``, into cells (column, value) and names that are not known."""
    for name, value in values.items():
        place = columns.get(name)
        if place is None:
            _name(path + name, value, unknown)
        elif isinstance(place, dict):
            if isinstance(value, dict):
                _collect(value, place, cells, unknown, f"{path}{name}.")
            elif value is not None:
                raise RejectionError(Reason.BAD_VALUE, f"{quote(name)} must be an object, got {quote(value)}")
        elif value is not None:
            kind = type(value)  # a Boolean is 1 or 0, as in a history
            if kind is not float and kind is not int and kind is not bool:
                raise RejectionError(Reason.BAD_VALUE, f"channel {quote(name)} is {quote(value)}, not a number")
            # Written so that NaN fails it, too; an integer of any size compares exactly.
            if not -LARGEST_VALUE <= value <= LARGEST_VALUE:
                raise RejectionError(Reason.BAD_VALUE, f"channel {quote(name)} is {quote(value)}, not a finite number")
            cells.append((place, float(value)))


def _name(path: str, value: Any, names: list[str], levels: int = NAMED_LEVELS) -> None:
    """Add the paths of all values at a path, some levels down."""
    if levels and isinstance(value, dict) and value:
        for name, inner in value.items():
            _name(f"{path}.{name}", inner, names, levels - 1)
    else:
        names.append(path)
