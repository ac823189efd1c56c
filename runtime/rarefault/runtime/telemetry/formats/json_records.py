"""JSON whose records lie somewhere in the message: samples in arrays under keys, or lists of single values."""

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
)
from rarefault.runtime.telemetry.paths import Found, at_path, find_records
from rarefault.runtime.telemetry.payload import parse_json
from rarefault.runtime.telemetry.reasons import Ignored, Reason, RejectionError, keys_of, quote
from rarefault.runtime.telemetry.values import BadQuality


class JsonRecords:
    """Records at a path, see :class:`rarefault.runtime.telemetry.formats.Format`."""

    alone = False

    def __init__(self, config: MappingConfig) -> None:
        self._config = config
        self._time = SampleTime(config)
        self._ignore = IgnoreRule(config.ignore)
        self._naming = config.naming
        self._good = frozenset(map(distinct, config.good))
        self.grouped = bool(config.name or config.value)

    def records(self, payload: bytes, message: Message) -> list[Any]:  # noqa: ARG002 - as in Format
        """See :class:`Format`."""
        found: list[Any] = []
        most = self._config.max_batch
        for root in parse_json(payload):
            if isinstance(root, RejectionError):
                found.append(root)
            elif self._ignore and self._ignore.fits(root):
                found.append(IgnoredMessage(Ignored.CONTENT))
            else:
                for record in islice(self._of_root(root), most + 1):
                    if self._ignore and self._ignore.fits(record.chain[0]):
                        found.append(IgnoredMessage(Ignored.CONTENT))
                    else:
                        found += self._expanded(record)
                    if len(found) > most:
                        raise RejectionError(Reason.TOO_LARGE, f"more than {most} samples or values")
        if not found:
            raise RejectionError(Reason.WRONG_SHAPE, "an empty array")
        return found

    def _of_root(self, root: Any) -> Any:
        """The records of one value of the message, by the first path that is there."""
        for path in self._config.record_paths:
            records = find_records(root, path)
            if records is not None:
                return records
        names = " or ".join(map(repr, self._config.record_paths))
        raise RejectionError(Reason.WRONG_SHAPE, f"there is no {names} with the records; {keys_of(root)}")

    def _expanded(self, found: Found) -> list[Any]:
        """A record; or, where each of its values is an object, a record for each of these."""
        config, record = self._config, found.chain[0]
        if config.name or not config.value or type(record) is not dict:
            return [found]
        values = at_path(record, config.values) if config.values else record
        if type(values) is not dict:
            return [no_values(config.values, values, record)]
        if len(values) > config.max_values:
            return [
                RejectionError(Reason.TOO_LARGE, f"a sample of {len(values)} values, the limit is {config.max_values}")
            ]
        return [_Named(name, (item, *found.chain), found.key) for name, item in values.items()]

    def sample(self, record: Any, message: Message) -> RawSample:
        """See :class:`Format`."""
        item, config = record.chain[0], self._config
        if type(record) is _Named:
            values = {record.name: self._value_of(item, record)}
        elif type(item) is not dict:
            raise RejectionError(Reason.WRONG_SHAPE, f"a record must be an object, got {quote(item)}")
        elif config.name:
            name = at_path(item, config.name)
            if type(name) is int:
                name = str(name) if name.bit_length() <= 64 else None
            if type(name) is not str:
                raise RejectionError(
                    Reason.WRONG_SHAPE,
                    f"{config.name!r} must be the channel's name, got {quote(name)}; {keys_of(item)}",
                )
            values = {name: self._value_of(item, record)}
        else:
            found = at_path(item, config.values) if config.values else item
            if type(found) is not dict:
                raise no_values(config.values, found, item)
            bad = None if self._is_good(record) else BadQuality(record.get(config.quality))
            values = found if bad is None else dict.fromkeys(found, bad)
        keys = record.chain[1] if type(record) is _Named else item
        return self._naming.name(message.names, record), self._time.of(record.get, keys, message), values

    def _value_of(self, item: Any, record: Found) -> Any:
        """The value of a single-value record."""
        if type(item) is not dict:
            value = item  # an object without the details that others of them have
        else:
            value = at_path(item, self._config.value)
            if value is None and self._config.value not in item:
                raise RejectionError(
                    Reason.WRONG_SHAPE, f"there is no {self._config.value!r} with the value; {keys_of(item)}"
                )
        return value if self._is_good(record) else BadQuality(record.get(self._config.quality))

    def _is_good(self, record: Found) -> bool:
        if not self._config.quality:
            return True
        return distinct(record.get(self._config.quality)) in self._good


class _Named(Found):
    """A single value with its name, in the objects around it."""

    __slots__ = ("name",)

    def __init__(self, name: str, chain: tuple[Any, ...], key: str | None) -> None:
        super().__init__(chain, key)
        self.name = name
