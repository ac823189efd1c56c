"""SenML in JSON (RFC 8428): a pack of records, some of whose fields hold for those that follow."""

import re
from typing import Any

from rarefault.runtime.telemetry.config import MappingConfig
from rarefault.runtime.telemetry.formats.message import Groups, Message, Unusable
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
#: Fields of a record that needs no more than its base.
_PLAIN = frozenset({"n", "v", "u"})


class SenmlPack:
    """Packs, see :class:`rarefault.runtime.telemetry.formats.GroupedFormat`.

    The channel is the record's name ``n``, the device the last part of the base name ``bn``; where a name stands alone,
    its last part is the channel.
    """

    def __init__(self, config: MappingConfig) -> None:
        self._naming = config.naming
        self._max_batch = config.max_batch
        self._reader = TimeReader("s")

    def groups(self, payload: bytes, message: Message) -> tuple[Groups, list[Unusable]]:
        """See :class:`rarefault.runtime.telemetry.formats.GroupedFormat`."""
        found = parse_json(payload)
        if len(found) > self._max_batch:
            raise RejectionError(Reason.TOO_LARGE, f"a pack of {len(found)} records, the limit is {self._max_batch}")
        groups: Groups = {}
        bad: list[Unusable] = []
        pack = _Pack()
        first: str | None = None
        group: dict[str, Any] | None = None  # of the records before, if what they have from the base is the same
        for record in found:
            if group is not None and type(record) is dict and record.keys() <= _PLAIN:
                name, value = record.get("n"), record.get("v")
                if type(name) is str and name and (type(value) is float or type(value) is int) and not pack.bv:
                    group[name] = value
                    continue
            try:
                one = pack.resolve(record)
                if one is None:
                    group = None
                    continue  # base fields alone
                device_name, name, value, seconds = one
                first = device_name if first is None else first
                if device_name != first and not self._naming.message_paths:
                    raise _two_devices(first, device_name)
                device = self._naming.name(message.names, Found(({"bn": device_name},), None))
                own = groups.setdefault((device, self._time(seconds, message)), {})
            except RejectionError as error:
                bad.append(error)
                group = None
                continue
            own[name] = value
            group = own if record.keys().isdisjoint({"t"}) and pack.bn else None
        if not groups and not bad:
            raise RejectionError(Reason.WRONG_SHAPE, "no record has a value")
        return groups, bad

    def _time(self, seconds: float, message: Message) -> int:
        try:
            if seconds >= RELATIVE_BELOW_S:
                return self._reader.read(seconds, message.arrived_ms)
            return self._reader.read(message.arrival_ms / 1000 + seconds, message.arrived_ms)
        except (ValueError, OverflowError) as error:
            raise RejectionError(Reason.BAD_TIME, f"'t': {error}") from None


class _Pack:
    """The base fields so far.

    Attributes:
        bn: name.
        bt: time, seconds.
        bv, bs: value and sum.
    """

    def __init__(self) -> None:
        self.bn: Any = ""
        self.bt: float = 0
        self.bv: float = 0
        self.bs: float = 0

    def resolve(self, record: Any) -> tuple[str, str, Any, float] | None:
        """Device, channel, value and time of a record; None for one that only has base fields.

        Raises:
            RejectionError: it is none that can be understood.
        """
        _check(record)
        for key in ("bn", "bt", "bv", "bs"):
            if key in record:
                setattr(self, key, record[key])
        value = next((record[key] for key in ("v", "vs", "vb") if key in record), None)
        if "v" in record:
            value = record["v"] + self.bv
        elif value is None and "s" in record:
            value = record["s"] + self.bs
        if value is None and not {"n", "t", "vd"} & record.keys():
            return None
        names = (self.bn, record.get("n", ""))
        if any(type(name) is not str for name in names):
            raise RejectionError(Reason.WRONG_SHAPE, "a name must be text")
        return *_names(*names), value, self.bt + record.get("t", 0)


def _check(record: Any) -> None:
    """RejectionError for what is no record, or has fields of a wrong type or that must be understood."""
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


def _two_devices(first: str, second: str) -> RejectionError:
    return RejectionError(
        Reason.WRONG_SENDER,
        f"the names {quote(first)} and {quote(second)} are of two devices on one topic: name telemetry.device, such as "
        '"{bn}"',
    )


def _names(base: str, name: str) -> tuple[str, str]:
    """Device and channel of a base name and a name."""
    if not base or not name:
        whole = base + name
        cut = max(whole.rfind(":"), whole.rfind("/")) + 1
        base, name = whole[:cut], whole[cut:]
    return _PARTS.split(base.rstrip(":/._-"))[-1], name
