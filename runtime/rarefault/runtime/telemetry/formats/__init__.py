"""The formats of a payload: one module each, with a class of the form of :class:`Format`, listed in ``FORMATS``."""

from collections.abc import Callable
from typing import Any, Protocol

from rarefault.runtime.telemetry.config import MappingConfig
from rarefault.runtime.telemetry.formats.influx import LineProtocol
from rarefault.runtime.telemetry.formats.json_records import JsonRecords
from rarefault.runtime.telemetry.formats.json_samples import JsonSamples
from rarefault.runtime.telemetry.formats.message import Message, RawSample
from rarefault.runtime.telemetry.formats.scalar import Scalars
from rarefault.runtime.telemetry.formats.senml import SenmlPack

__all__ = ["FORMATS", "Format", "JsonRecords", "JsonSamples", "Message", "RawSample", "format_of"]


class Format(Protocol):
    """One way in which messages hold samples.

    Attributes:
        alone: whether a record is a message by itself, so that it can be kept and read again without its message.
        grouped: whether the values of one device and time may be spread over several records.
    """

    alone: bool
    grouped: bool

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


#: By name. A new format is a module in this folder and an entry here.
FORMATS: dict[str, Callable[[MappingConfig], Format]] = {
    "scalar": Scalars,
    "senml": SenmlPack,
    "influx": LineProtocol,
}


def format_of(config: MappingConfig) -> Format:
    """The reader of a mapping's payloads."""
    if config.format != "json":
        return FORMATS[config.format](config)
    plain = config.record_paths == ("",) and not (config.name or config.value or config.quality)
    return JsonSamples(config) if plain else JsonRecords(config)
