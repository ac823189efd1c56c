"""The decoder: the bytes and the topic of a message to samples of (device slot, time, channel values).

:class:`rarefault.runtime.telemetry.reader.MessageReader` takes the message apart, as the trainer does; the decoder
checks what only the daemon can: the sender, the clock, the rate and the place that a device comes from.
:class:`.rejections.Rejections` counts and logs what cannot be used. Nothing that a message may hold raises out of here,
and a bad sample of a message does not take the good ones with it.
"""

from collections.abc import Sequence

import numpy as np

from rarefault.runtime.arrays import Int64
from rarefault.runtime.daemon.config import LimitsConfig, TelemetryConfig
from rarefault.runtime.daemon.devices import DeviceTable
from rarefault.runtime.daemon.telemetry.origins import Origins
from rarefault.runtime.daemon.telemetry.rate_limit import RateLimit
from rarefault.runtime.daemon.telemetry.rejections import Rejections
from rarefault.runtime.daemon.telemetry.sample_buffer import SampleBuffer
from rarefault.runtime.telemetry.channels import ChannelSpecs, states_of
from rarefault.runtime.telemetry.columns import Cell, says_something
from rarefault.runtime.telemetry.reader import readers
from rarefault.runtime.telemetry.reasons import Reason, RejectionError, quote
from rarefault.runtime.telemetry.sparkplug import NAMESPACE, Nodes
from rarefault.runtime.telemetry.topics import topic_level_problem
from rarefault.runtime.times import format_ms

#: Devices whose samples are too new that are distinguished; two would do.
MANY = 1000


class TelemetryDecoder:
    """Reads telemetry messages.

    Args:
        sources: what messages look like; the keys of the clock and of the sender are those of the first.
        channels: names of the model's, [C].
        specs: what they are, by name.
        devices: gives a device its slot.
        limits: most devices that are given one, and how fast each may be.
        rejections: counts what can be used and what cannot.
        file: that ``sources`` are from, for messages.
        nodes: edge nodes of Sparkplug; None for none that are known before.

    Attributes:
        too_new: devices whose samples were too new, since the last sample that was taken.
        died: slots of devices that have died since they were taken last.
        nodes: edge nodes of Sparkplug.

    Raises:
        ConfigError: fields name no channel of the model, or contradict each other.
    """

    def __init__(
        self,
        sources: Sequence[TelemetryConfig],
        channels: Sequence[str],
        specs: ChannelSpecs,
        devices: DeviceTable,
        limits: LimitsConfig,
        rejections: Rejections,
        file: str,
        nodes: Nodes | None = None,
    ) -> None:
        self.nodes = Nodes() if nodes is None else nodes
        self.died: list[int] = []
        self.rejections = rejections
        self.rejections.channels = tuple(channels)
        self.too_new: set[str] = set()
        self._config = sources[0]
        self._reader = readers(sources, channels, states_of(specs, channels), rejections, file, self.nodes)
        self._only = self._reader.only
        self._origins = {
            source: Origins(devices, source.place, several=source.config.from_anywhere)
            for source in self._reader.sources
        }
        self._devices = devices
        self._slots = devices.by_name
        self._max_devices = limits.max_devices
        self._rates = RateLimit(devices, limits)
        self._max_future_ms = self._config.max_future_s * 1000
        self._max_age_ms = self._config.max_age_s * 1000

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
            arrived_ms: when it arrived.
            samples: where they go.
            retained: whether the broker had kept the message, so that its time of arrival means nothing.
            sender: who sent it, where the broker names the sender.
        """
        source = self._only
        if source is None:
            source = self._reader.source(topic)
            if source is None:
                return
        origins, take, rejections = self._origins[source], self._take, self.rejections
        kept: object = payload
        for device, time_ms, cells, alone in source.read(topic, payload, arrived_ms, retained=retained):
            try:
                take(origins, topic, device, time_ms, cells, arrived_ms, samples, sender)
            except RejectionError as error:
                rejections.add(topic, error, arrived_ms, kept if alone is None else alone)
                kept = None
            else:
                rejections.samples += 1
        if self.nodes.events:
            self._note_lives()

    def _note_lives(self) -> None:
        """Devices that were born need not be heard of; those that died are without data at once."""
        for device, alive in self.nodes.take_events():
            slot = self._slots.get(device)
            if slot is None:
                continue  # the model has none of its channels
            self._devices.born[slot] = alive is True
            if alive is False:
                self.died.append(slot)

    def mark_born(self) -> None:
        """Devices that were born in an earlier turn, or an earlier process, need not be heard of."""
        for node in self.nodes:
            topic = f"{NAMESPACE}/{node.state.group}/NBIRTH/{node.state.edge}"
            for source in self._reader.sources:
                if source.fits(topic) and not source.ignores(topic):
                    for name in source.born_of(node):
                        if (slot := self._slots.get(name)) is not None:
                            self._devices.born[slot] = True
                    break

    def distrust_births(self) -> None:
        """The broker has kept no messages: who died meanwhile is not known, and has to be asked."""
        self._devices.born[:] = False
        for node in self.nodes:
            topic = f"{NAMESPACE}/{node.state.group}/NBIRTH/{node.state.edge}"
            asks = any(source.config.rebirth and source.fits(topic) for source in self._reader.sources)
            if node.state.alive and asks:
                self.nodes.want((node.state.group, node.state.edge), "it may have died while nobody listened")

    def take_died(self) -> Int64:
        """Slots of devices that have died since the last call, each once."""
        died, self.died = self.died, []
        return np.unique(np.array(died, np.int64))

    def _take(
        self,
        origins: Origins,
        topic: str,
        device: str,
        time_ms: int,
        cells: list[Cell],
        arrived_ms: int,
        samples: SampleBuffer,
        sender: str | None,
    ) -> None:
        """Append one sample, or raise RejectionError."""
        config = self._config
        if config.sender_property and sender != device:
            raise RejectionError(
                Reason.WRONG_SENDER,
                f"the user property {config.sender_property!r} is {quote(sender)} on a message of {quote(device)}",
            )
        if not -self._max_age_ms <= time_ms - arrived_ms <= self._max_future_ms:
            raise self._out_of_time(device, time_ms, arrived_ms)
        first = origins.watching and origins.check(device, topic)
        slot = self._slots.get(device)
        if slot is None:
            if not says_something(cells):
                self.rejections.samples -= 1  # no device, and so no sample
                return
            slot = self._new_slot(device)
        if first:
            origins.remember(slot, topic)
        # What says that a device lives, or that its values end, must not be missed.
        if not self._rates.allow(slot, time_ms, arrived_ms) and says_something(cells):
            raise RejectionError(
                Reason.TOO_FAST, f"device {quote(device)} sends more than {self._rates.per_s:g} samples a second"
            )
        samples.append(slot, time_ms, cells)
        if self.too_new:
            self.too_new.clear()

    def _out_of_time(self, device: str, time_ms: int, arrived_ms: int) -> RejectionError:
        """What is wrong with a sample from the future or the far past."""
        if time_ms > arrived_ms:
            if len(self.too_new) < MANY:
                self.too_new.add(device)
            return RejectionError(
                Reason.TOO_NEW,
                f"its time {format_ms(time_ms)} is {(time_ms - arrived_ms) / 1000:.0f} s ahead of this clock, "
                f"{self._config.max_future_s:g} s are allowed",
            )
        return RejectionError(
            Reason.TOO_OLD,
            f"its time {format_ms(time_ms)} is {(arrived_ms - time_ms) / 1000:.0f} s ago, "
            f"{self._config.max_age_s:g} s are allowed",
        )

    def _new_slot(self, device: str) -> int:
        if problem := topic_level_problem(device):
            raise RejectionError(Reason.BAD_DEVICE, f"device {quote(device)}: {problem}")
        if len(self._slots) >= self._max_devices:
            raise RejectionError(
                Reason.TOO_MANY_DEVICES, f"device {quote(device)} would be one more than {self._max_devices}"
            )
        return self._devices.slot(device)
