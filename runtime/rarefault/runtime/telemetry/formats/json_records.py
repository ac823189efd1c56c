"""JSON whose records are samples that lie somewhere in the message: in arrays under keys, or with devices as keys."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from rarefault.runtime.telemetry.config import MappingConfig
from rarefault.runtime.telemetry.formats.json_samples import no_values
from rarefault.runtime.telemetry.formats.message import (
    IgnoredMessage,
    IgnoreRule,
    Message,
    RawSample,
    SampleTime,
    distinct,
    good_qualities,
)
from rarefault.runtime.telemetry.paths import Found, at_path, find_records
from rarefault.runtime.telemetry.payload import parse_json
from rarefault.runtime.telemetry.reasons import Ignored, Reason, RejectionError, keys_of, quote
from rarefault.runtime.telemetry.values import BadQuality


class RecordPaths:
    """Finds the records of a message, by the first path that is there.

    Args:
        paths: of ``telemetry.records``.
    """

    def __init__(self, paths: tuple[str, ...]) -> None:
        self._paths = paths

    def find(self, root: Any) -> Iterator[Found]:
        """The records of one value of the message; RejectionError where no path is there."""
        for path in self._paths:
            records = find_records(root, path)
            if records is not None:
                return records
        names = " or ".join(map(repr, self._paths))
        raise RejectionError(Reason.WRONG_SHAPE, f"there is no {names} with the records; {keys_of(root)}")


class JsonRecords:
    """Samples at a path, see :class:`rarefault.runtime.telemetry.formats.Format`."""

    alone = False

    def __init__(self, config: MappingConfig) -> None:
        self._config = config
        self._records = RecordPaths(config.record_paths)
        self._time = SampleTime(config)
        self._ignore = IgnoreRule(config.ignore) if config.ignore else None
        self._naming = config.naming
        self._good = good_qualities(config.good)

    def records(self, payload: bytes, message: Message) -> list[Any]:  # noqa: ARG002 - as in Format
        """See :class:`Format`."""
        found: list[Any] = []
        most = self._config.max_batch
        for root in parse_json(payload):
            if isinstance(root, RejectionError):
                found.append(root)
            elif self._ignore is not None and self._ignore.fits(root):
                found.append(IgnoredMessage(Ignored.CONTENT))
            else:
                found += islice(self._records.find(root), most + 1)
            if len(found) > most:
                raise RejectionError(Reason.TOO_LARGE, f"more than {most} samples")
        if not found:
            raise RejectionError(Reason.WRONG_SHAPE, "an empty array")
        if self._ignore is not None:
            return [
                IgnoredMessage(Ignored.CONTENT) if type(one) is Found and self._ignore.fits(one.chain[0]) else one
                for one in found
            ]
        return found

    def sample(self, record: Any, message: Message) -> RawSample:
        """See :class:`Format`."""
        item, config = record.chain[0], self._config
        if type(item) is not dict:
            raise RejectionError(Reason.WRONG_SHAPE, f"a record must be an object, got {quote(item)}")
        values = at_path(item, config.values) if config.values else item
        if type(values) is not dict:
            raise no_values(config.values, values, item)
        if config.quality and distinct(quality := record.get(config.quality)) not in self._good:
            values = dict.fromkeys(values, BadQuality(quality))
        return self._naming.name(message.names, record), self._time.of(record.get, item, message), values
