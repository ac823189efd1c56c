"""An edge node of Sparkplug B, whose payloads protobuf itself makes: an oracle that shares nothing with our reader."""

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "u32": _FIELD.TYPE_UINT32,
    "u64": _FIELD.TYPE_UINT64,
    "float": _FIELD.TYPE_FLOAT,
    "double": _FIELD.TYPE_DOUBLE,
    "bool": _FIELD.TYPE_BOOL,
    "string": _FIELD.TYPE_STRING,
    "bytes": _FIELD.TYPE_BYTES,
}
#: Fields of the messages: name, number, type (``*`` repeated; else one of the messages), as in sparkplug_b.proto.
_MESSAGES: dict[str, list[tuple[str, int, str]]] = {
    "Payload": [
        ("timestamp", 1, "u64"),
        ("metrics", 2, "*Metric"),
        ("seq", 3, "u64"),
        ("uuid", 4, "string"),
        ("body", 5, "bytes"),
    ],
    "Metric": [
        ("name", 1, "string"),
        ("alias", 2, "u64"),
        ("timestamp", 3, "u64"),
        ("datatype", 4, "u32"),
        ("is_historical", 5, "bool"),
        ("is_transient", 6, "bool"),
        ("is_null", 7, "bool"),
        ("metadata", 8, "MetaData"),
        ("properties", 9, "PropertySet"),
        ("int_value", 10, "u32"),
        ("long_value", 11, "u64"),
        ("float_value", 12, "float"),
        ("double_value", 13, "double"),
        ("boolean_value", 14, "bool"),
        ("string_value", 15, "string"),
        ("bytes_value", 16, "bytes"),
        ("dataset_value", 17, "DataSet"),
        ("template_value", 18, "Template"),
    ],
    "MetaData": [("is_multi_part", 1, "bool"), ("content_type", 2, "string"), ("size", 3, "u64"), ("seq", 4, "u64")],
    "PropertySet": [("keys", 1, "*string"), ("values", 2, "*PropertyValue")],
    "PropertyValue": [
        ("type", 1, "u32"),
        ("is_null", 2, "bool"),
        ("int_value", 3, "u32"),
        ("long_value", 4, "u64"),
        ("float_value", 5, "float"),
        ("double_value", 6, "double"),
        ("boolean_value", 7, "bool"),
        ("string_value", 8, "string"),
        ("propertyset_value", 9, "PropertySet"),
    ],
    "DataSet": [("num_of_columns", 1, "u64"), ("columns", 2, "*string")],
    "Template": [("version", 1, "string"), ("metrics", 2, "*Metric")],
}


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug_b.proto", package="sparkplug", syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, type_ in fields:
            label = _FIELD.LABEL_REPEATED if type_.startswith("*") else _FIELD.LABEL_OPTIONAL
            kind = type_.removeprefix("*")
            if kind in _TYPES:
                message.field.add(name=field, number=number, label=label, type=_TYPES[kind])
            else:
                named = f".sparkplug.{kind}"
                message.field.add(name=field, number=number, label=label, type=_FIELD.TYPE_MESSAGE, type_name=named)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = message_factory.GetMessageClassesForFiles(["sparkplug_b.proto"], pool)
    return {name: found[f"sparkplug.{name}"] for name in _MESSAGES}


CLASSES = _classes()
Payload, Metric = CLASSES["Payload"], CLASSES["Metric"]

INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, FLOAT, DOUBLE, BOOLEAN, STRING, DATETIME = range(1, 14)
TEMPLATE = 19
_BITS = {INT8: 32, INT16: 32, INT32: 32, INT64: 64}


def metric(
    name: str | None = None,
    value: Any = None,
    datatype: int = DOUBLE,
    *,
    alias: int | None = None,
    time_ms: int | None = None,
    historical: bool = False,
    null: bool = False,
    quality: int | None = None,
    typed: bool = True,
) -> Any:
    """A metric; ``typed``: with its datatype, as in births."""
    made = Metric()
    if name is not None:
        made.name = name
    if alias is not None:
        made.alias = alias
    if time_ms is not None:
        made.timestamp = time_ms
    if typed:
        made.datatype = datatype
    if historical:
        made.is_historical = True
    if quality is not None:
        made.properties.keys.append("unit")
        made.properties.values.add(type=STRING, string_value="bar")
        made.properties.keys.append("Quality")
        made.properties.values.add(type=INT32, int_value=quality)
    if null:
        made.is_null = True
    elif value is not None:
        _set(made, value, datatype)
    return made


def _set(made: Any, value: Any, datatype: int) -> None:
    if datatype in _BITS:
        value &= (1 << _BITS[datatype]) - 1
    if datatype in {INT8, INT16, INT32, UINT8, UINT16}:
        made.int_value = value
    elif datatype in {INT64, UINT32, UINT64, DATETIME}:
        made.long_value = value
    elif datatype == FLOAT:
        made.float_value = value
    elif datatype == DOUBLE:
        made.double_value = value
    elif datatype == BOOLEAN:
        made.boolean_value = value
    elif datatype == STRING:
        made.string_value = value
    else:
        made.template_value.version = "1"


class EdgeNode:
    """An edge node and its devices.

    Every method returns a topic and a payload, which the caller publishes.

    Attributes:
        seq, bd_seq: numbers of the next message and of the session.
        values: present values of each device by metric.
        aliases: of each metric of each device.
    """

    def __init__(self, group: str = "hall", edge: str = "gw", *, bd_seq: int = 0) -> None:
        self.group, self.edge = group, edge
        self.seq, self.bd_seq = 0, bd_seq
        self.values: dict[str, dict[str, Any]] = {}
        self.aliases: dict[tuple[str, str], int] = {}

    def topic(self, type_: str, device: str = "") -> str:
        return "/".join(part for part in ("spBv1.0", self.group, type_, self.edge, device) if part)

    def _payload(self, time_ms: int, metrics: Sequence[Any], *, seq: bool = True) -> bytes:
        made = Payload(timestamp=time_ms, metrics=metrics)
        if seq:
            made.seq = self.seq
            self.seq = (self.seq + 1) % 256
        return bytes(made.SerializeToString())

    def _alias(self, device: str, name: str) -> int:
        return self.aliases.setdefault((device, name), len(self.aliases) + 1)

    def node_birth(self, time_ms: int, values: Mapping[str, Any] | None = None) -> tuple[str, bytes]:
        """NBIRTH; numbers begin anew."""
        self.seq = 0
        own = self.values[""] = {**self.values.get("", {}), **(values or {})}
        metrics = [metric("bdSeq", self.bd_seq, INT64), metric("Node Control/Rebirth", False, BOOLEAN)]
        metrics += [metric(name, value, alias=self._alias("", name), time_ms=time_ms) for name, value in own.items()]
        return self.topic("NBIRTH"), self._payload(time_ms, metrics)

    def birth(
        self, device: str, time_ms: int, values: Mapping[str, Any] | None = None, *, value_ms: int | None = None
    ) -> tuple[str, bytes]:
        """DBIRTH with all values that the device has."""
        own = self.values[device] = {**self.values.get(device, {}), **(values or {})}
        at = value_ms if value_ms is not None else time_ms
        metrics = [metric(name, value, alias=self._alias(device, name), time_ms=at) for name, value in own.items()]
        return self.topic("DBIRTH", device), self._payload(time_ms, metrics)

    def data(
        self, device: str, time_ms: int, values: Mapping[str, Any], *, historical: bool = False, **extra: Any
    ) -> tuple[str, bytes]:
        """DDATA, or NDATA for no device, by alias and without datatypes."""
        self.values.setdefault(device, {}).update(values)
        metrics = [
            metric(
                None,
                value,
                alias=self._alias(device, name),
                time_ms=time_ms,
                historical=historical,
                typed=False,
                **extra,
            )
            for name, value in values.items()
        ]
        return self.raw("DDATA" if device else "NDATA", time_ms, metrics, device)

    def raw(self, type_: str, time_ms: int, metrics: Sequence[Any], device: str = "") -> tuple[str, bytes]:
        """A message of these metrics."""
        return self.topic(type_, device), self._payload(time_ms, metrics)

    def death(self, device: str, time_ms: int) -> tuple[str, bytes]:
        """DDEATH."""
        return self.topic("DDEATH", device), self._payload(time_ms, [])

    def node_death(self, connected_ms: int = 1_000) -> tuple[str, bytes]:
        """NDEATH of this session, as it was given to the broker at the connection."""
        payload = self._payload(connected_ms, [metric("bdSeq", self.bd_seq, INT64)], seq=False)
        return self.topic("NDEATH"), payload

    def connect(self) -> None:
        """Begin another session."""
        self.bd_seq = (self.bd_seq + 1) % 256
