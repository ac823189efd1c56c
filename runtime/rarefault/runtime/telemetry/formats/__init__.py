"""The formats of a payload: one module each, with a class of the form of :class:`Format`, listed in ``FORMATS``."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from rarefault.runtime.telemetry.config import MappingConfig
from rarefault.runtime.telemetry.formats.influx import LineProtocol
from rarefault.runtime.telemetry.formats.json_records import JsonRecords
from rarefault.runtime.telemetry.formats.json_samples import JsonSamples
from rarefault.runtime.telemetry.formats.json_values import JsonValues
from rarefault.runtime.telemetry.formats.message import Groups, Message, RawSample, Unusable
from rarefault.runtime.telemetry.formats.scalar import Scalars
from rarefault.runtime.telemetry.formats.senml import SenmlPack
from rarefault.runtime.telemetry.formats.sparkplug import Sparkplug

__all__ = ["FORMATS", "Format", "GroupedFormat", "Message", "format_of"]


class Format(Protocol):
    """One way in which messages hold samples.

    Attributes:
        alone: whether a record is a message by itself, so that it can be kept and read again without its message.
    """

    alone: bool

    def records(self, payload: bytes, message: Message, /) -> list[Any]:
        """The records of a message; in the place of one that is none, a RejectionError or an IgnoredMessage.

        Args:
            payload: inflated, not empty.
            message: what else is known of it.

        Raises:
            RejectionError: there are none, or too many.
        """

    def sample(self, record: Any, message: Message, /) -> RawSample:
        """The sample that a record is. RejectionError where it is none."""


@runtime_checkable
class GroupedFormat(Protocol):
    """One way in which messages hold single values, of which those of one device and time make a sample."""

    def groups(self, payload: bytes, message: Message, /) -> tuple[Groups, list[Unusable]]:
        """The values of a message by device and time, and what is wrong with the others.

        Args:
            payload: inflated, not empty.
            message: what else is known of it.

        Raises:
            RejectionError: there are none, or too many.
        """


#: By name. A new format is a module in this folder and an entry here.
FORMATS: dict[str, Callable[[MappingConfig], Format | GroupedFormat]] = {
    "scalar": Scalars,
    "senml": SenmlPack,
    "influx": LineProtocol,
    "sparkplug": Sparkplug,
}


def format_of(config: MappingConfig) -> Format | GroupedFormat:
    """The reader of a mapping's payloads."""
    if config.format != "json":
        return FORMATS[config.format](config)
    if config.name or config.value or config.name_pattern:
        return JsonValues(config)
    return JsonSamples(config) if config.record_paths == ("",) and not config.quality else JsonRecords(config)
