"""One value a message: a bare number, a word, or an object with the value; the topic names the channel."""

from typing import Any

import msgspec

from rarefault.runtime.telemetry.config import MappingConfig
from rarefault.runtime.telemetry.formats.message import IgnoredMessage, IgnoreRule, Message, RawSample, SampleTime
from rarefault.runtime.telemetry.paths import Found, at_path
from rarefault.runtime.telemetry.payload import parse_text
from rarefault.runtime.telemetry.reasons import Ignored, Reason, RejectionError, keys_of, quote
from rarefault.runtime.telemetry.topics import CHANNEL


class Scalars:
    """Values by topic, see :class:`rarefault.runtime.telemetry.formats.Format`."""

    alone = False

    def __init__(self, config: MappingConfig) -> None:
        self._path = config.value or "value"
        self._time = SampleTime(config)
        self._ignore = IgnoreRule(config.ignore)
        self._naming = config.naming
        self._decoder = msgspec.json.Decoder()

    def records(self, payload: bytes, message: Message) -> list[Any]:  # noqa: ARG002 - as in Format
        """See :class:`Format`."""
        try:
            value = self._decoder.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            value = parse_text(payload)  # ON, or NaN
        except RecursionError:
            raise RejectionError(Reason.WRONG_SHAPE, "objects or arrays are nested too deep") from None
        if type(value) is dict:
            return [IgnoredMessage(Ignored.CONTENT) if self._ignore and self._ignore.fits(value) else value]
        if type(value) is list:
            raise RejectionError(Reason.WRONG_SHAPE, "a payload must be one value, got an array")
        return [value]

    def sample(self, record: Any, message: Message) -> RawSample:
        """See :class:`Format`."""
        names = message.names
        device = self._naming.name(names, Found((record,), None))
        if type(record) is not dict:
            try:
                time_ms = self._time.without(record, message)
            except RejectionError as error:
                if message.retained:
                    raise
                raise RejectionError(
                    error.reason, f'a bare value ({quote(record)}) has no time: telemetry.time must be "arrival"'
                ) from None
            return device, time_ms, {names[CHANNEL]: record}
        value = at_path(record, self._path)
        if value is None and self._path not in record:
            raise RejectionError(Reason.WRONG_SHAPE, f"there is no {self._path!r} with the value; {keys_of(record)}")
        return device, self._time.of_sample(record, message), {names[CHANNEL]: value}
