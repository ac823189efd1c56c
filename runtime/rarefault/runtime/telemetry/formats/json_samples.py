"""JSON whose records are samples: an object with a time and an object of values, or an array or lines of such."""

from typing import Any

import msgspec

from rarefault.runtime.telemetry.config import MappingConfig
from rarefault.runtime.telemetry.formats.message import IgnoredMessage, IgnoreRule, Message, RawSample, SampleTime
from rarefault.runtime.telemetry.paths import Found, at_path
from rarefault.runtime.telemetry.payload import parse_json
from rarefault.runtime.telemetry.reasons import Ignored, Reason, RejectionError, keys_of, quote
from rarefault.runtime.telemetry.topics import DEVICE


class JsonSamples:
    """The shape that most senders have, see :class:`rarefault.runtime.telemetry.formats.Format`."""

    alone = True

    def __init__(self, config: MappingConfig) -> None:
        self._values = config.values
        self._time = SampleTime(config)
        self._ignore = IgnoreRule(config.ignore) if config.ignore else None
        self._decode = msgspec.json.Decoder().decode
        self._naming = config.naming
        self._by_topic = self._naming.by_topic_alone
        self._max_batch = config.max_batch

    def records(self, payload: bytes, message: Message) -> list[Any]:  # noqa: ARG002 - as in Format
        """See :class:`Format`."""
        try:
            found = self._decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            found = parse_json(payload)  # slower, and forgiving
        if type(found) is not list:
            found = [found]
        if self._ignore:
            found = [IgnoredMessage(Ignored.CONTENT) if self._ignore.fits(record) else record for record in found]
        if not found:
            raise RejectionError(Reason.WRONG_SHAPE, "an empty array")
        if len(found) > self._max_batch:
            raise RejectionError(Reason.TOO_LARGE, f"an array of {len(found)} samples, the limit is {self._max_batch}")
        return found

    def sample(self, record: Any, message: Message) -> RawSample:
        """See :class:`Format`."""
        if type(record) is not dict:
            raise RejectionError(Reason.WRONG_SHAPE, f"a sample must be an object, got {quote(record)}")
        names = message.names
        device = names[DEVICE] if self._by_topic else self._naming.name(names, Found((record,), None))
        path = self._values
        values = record if not path else record[path] if path in record else at_path(record, path)
        if type(values) is not dict:
            raise no_values(path, values, record)
        return device, self._time.of_sample(record, message), values


def no_values(path: str, values: Any, record: Any) -> RejectionError:
    """Why a record without an object of values cannot be used."""
    if values is None:
        return RejectionError(Reason.WRONG_SHAPE, f"there is no {path!r} with the values; {keys_of(record)}")
    return RejectionError(Reason.WRONG_SHAPE, f"{path!r} must be an object, got {quote(values)}")
