"""SenML in JSON (RFC 8428): a pack of records, some of whose fields hold for those that follow."""

import re
from typing import Any

from rarefault.runtime.telemetry.config import MappingConfig
from rarefault.runtime.telemetry.formats.message import Message, RawSample
from rarefault.runtime.telemetry.paths import Found
from rarefault.runtime.telemetry.payload import parse_json
from rarefault.runtime.telemetry.reasons import Reason, RejectionError, quote
from rarefault.runtime.telemetry.times import TimeReader

#: A time below this many seconds is relative to now.
RELATIVE_BELOW_S = 2.0**28
#: Newest version of the format.
VERSION = 10

#: What stands between the parts of a name.
_PARTS = re.compile(r"[:/]")
_NUMBERS = ("bt", "t", "bv", "bs", "s", "v")


class SenmlPack:
    """Packs, see :class:`rarefault.runtime.telemetry.formats.Format`.

    The channel is the record's name ``n``, the device the last part of the base name ``bn``; where a name stands alone,
    its last part is the channel.
    """

    alone = False
    grouped = True

    def __init__(self, config: MappingConfig) -> None:
        self._naming = config.naming
        self._max_batch = config.max_batch
        self._reader = TimeReader("s")

    def records(self, payload: bytes, message: Message) -> list[Any]:  # noqa: ARG002 - as in Format
        """See :class:`Format`."""
        found = parse_json(payload)
        if not found:
            raise RejectionError(Reason.WRONG_SHAPE, "an empty array")
        if len(found) > self._max_batch:
            raise RejectionError(Reason.TOO_LARGE, f"a pack of {len(found)} records, the limit is {self._max_batch}")
        base: dict[str, Any] = {}
        resolved: list[Any] = []
        first: str | None = None
        for record in found:
            try:
                one = _resolve(record, base)
            except RejectionError as error:
                resolved.append(error)
                continue
            if one is None:
                continue  # base fields alone
            first = one["bn"] if first is None else first
            if one["bn"] != first and not self._naming.message_paths:
                detail = (
                    f"the names {quote(first)} and {quote(one['bn'])} are of two devices on one topic: name "
                    'telemetry.device, such as "{bn}"'
                )
                resolved.append(RejectionError(Reason.WRONG_SENDER, detail))
            else:
                resolved.append(one)
        if not resolved:
            raise RejectionError(Reason.WRONG_SHAPE, "no record has a value")
        return resolved

    def sample(self, record: Any, message: Message) -> RawSample:
        """See :class:`Format`."""
        device = self._naming.name(message.names, Found((record,), None))
        try:
            time_ms = self._time(record, message)
        except (ValueError, OverflowError) as error:
            raise RejectionError(Reason.BAD_TIME, f"'t': {error}") from None
        return device, time_ms, {record["n"]: record["value"]}

    def _time(self, record: dict[str, Any], message: Message) -> int:
        seconds = record["time"]
        if seconds >= RELATIVE_BELOW_S:
            return self._reader.read(seconds, message.arrived_ms)
        return self._reader.read(message.arrival_ms / 1000 + seconds, message.arrived_ms)


def _resolve(record: Any, base: dict[str, Any]) -> dict[str, Any] | None:
    """A record with the base fields in it, which are remembered; None for one that has nothing else."""
    if isinstance(record, RejectionError):
        raise record
    if type(record) is not dict:
        raise RejectionError(Reason.WRONG_SHAPE, f"a record must be an object, got {quote(record)}")
    for key in _NUMBERS:
        if key in record and type(record[key]) not in {int, float}:
            raise RejectionError(Reason.WRONG_SHAPE, f"{key!r} must be a number, got {quote(record[key])}")
    if type(version := record.get("bver", VERSION)) is not int or version > VERSION:
        raise RejectionError(Reason.WRONG_SHAPE, f"version {quote(version)} of SenML is not known")
    if foreign := next((key for key in record if key.endswith("_")), None):
        raise RejectionError(Reason.WRONG_SHAPE, f"{quote(foreign)} must be understood, and is not")
    base.update((key, record[key]) for key in ("bn", "bt", "bv", "bs") if key in record)
    value = next((record[key] for key in ("v", "vs", "vb") if key in record), None)
    if "v" in record:
        value = record["v"] + base.get("bv", 0)
    elif value is None and "s" in record:
        value = record["s"] + base.get("bs", 0)
    if value is None and not {"n", "t", "vd"} & record.keys():
        return None
    names = (base.get("bn", ""), record.get("n", ""))
    if any(type(name) is not str for name in names):
        raise RejectionError(Reason.WRONG_SHAPE, "a name must be text")
    device, channel = _names(*names)
    return {"bn": device, "n": channel, "value": value, "time": base.get("bt", 0) + record.get("t", 0)}


def _names(base: str, name: str) -> tuple[str, str]:
    """Device and channel of a base name and a name."""
    if not base or not name:
        whole = base + name
        cut = max(whole.rfind(":"), whole.rfind("/")) + 1
        base, name = whole[:cut], whole[cut:]
    return _PARTS.split(base.rstrip(":/._-"))[-1], name
