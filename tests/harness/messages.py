"""What plants really send: made-up messages in the shape of each source, and what each must become.

A case is read by the daemon's decoder and, written down as a recording, by the trainer; both must give the same.
"""

import gzip
import json
import zlib
from dataclasses import dataclass, field
from typing import Any

#: 2026-01-02T03:04:04Z, when all messages arrive.
NOW_MS = 1_767_323_044_000
S = 1000

CHANNELS = ("temp", "rpm", "power", "pump", "mode", "spare")
SPECS = {"mode": {"states": {"AUTO": 2, "MAN": 3}}}

Message = tuple[str, bytes | str]
#: Device, milliseconds after the arrival, and values.
Sample = tuple[str, int, dict[str, float]]


@dataclass(frozen=True)
class Case:
    """Some messages of one source.

    Attributes:
        keys: of ``[telemetry]``, of one mapping or several.
        messages: topics and payloads.
        samples: what they are.
        dropped: values that are taken as missing, by channel and reason.
        rejected, ignored: messages and samples by reason.
        says: what the first rejection must say.
    """

    keys: dict[str, Any] | list[dict[str, Any]]
    messages: list[Message]
    samples: list[Sample]
    dropped: dict[tuple[str, str], int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    ignored: dict[str, int] = field(default_factory=dict)
    says: str = ""

    @property
    def sections(self) -> list[dict[str, Any]]:
        """The mappings."""
        return self.keys if isinstance(self.keys, list) else [self.keys]


def _json(**message: Any) -> str:
    return json.dumps(message)


def _time(time: Any, after_ms: int = 0, **keys: Any) -> Case:
    """A notation of the time of arrival, or some milliseconds after it."""
    return Case(keys, [("telemetry/p1", _json(time=time, values={"temp": 41.2}))], [("p1", after_ms, {"temp": 41.2})])


def _bad_time(time: Any, says: str, **keys: Any) -> Case:
    message = _json(time=time, values={"temp": 41.2})
    return Case(keys, [("telemetry/p1", message)], [], rejected={"bad_time": 1}, says=says)


SCALAR = {"format": "scalar", "topic": "plant/{device}/{channel}", "time": "arrival"}
LISTS = {"topic": "gw/{device}", "records": "metrics", "name": "name", "value": "value", "time": "timestamp"}
GOOD = _json(time="2026-01-02T03:04:04Z", values={"temp": 41.2, "rpm": 1480})
LINES = (
    "# a comment",
    'pump,device=p1 temp=41.2,rpm=1480i,pump=true,mode="AUTO" 1767323044000000000',
    "pump,device=p\\ 2 temp=39.9 1767323043",
    "",
    "no line protocol",
)
MIXED = (
    '{"time": 1767323044, "values": {"temp": 41.2, "rpm": "759", "power": NaN, "pump": true, "mode": "AUTO", '
    '"spare": "unknown"}}'
)
READ: list[Sample] = [("p1", 0, {"temp": 41.2, "rpm": 1480.0})]

CASES: dict[str, Case] = {
    "one value a topic": Case(
        SCALAR,
        [
            ("plant/p1/temp", "41.2"),
            ("plant/p1/rpm", '"1480"'),
            ("plant/p1/pump", "ON"),
            ("plant/p1/power", '{"value": 812.4, "unit": "W"}'),
            ("plant/p1/mode", "AUTO"),
            ("plant/p2/temp", "39.9"),
            ("plant/p2/rpm", "n/a"),
            ("plant/p2/spare", "41,2"),
        ],
        [
            ("p1", 0, {"temp": 41.2}),
            ("p1", 0, {"rpm": 1480.0}),
            ("p1", 0, {"pump": 1.0}),
            ("p1", 0, {"power": 812.4}),
            ("p1", 0, {"mode": 2.0}),
            ("p2", 0, {"temp": 39.9}),
        ],
        dropped={("rpm", "no_number"): 1, ("spare", "no_number"): 1},
        rejected={"bad_value": 2},
        says="'rpm' is 'n/a', not a number",
    ),
    "one value a topic, with a time in an object": Case(
        SCALAR | {"time": "ts", "value": "v"},
        [("plant/p1/temp", _json(ts=1767323040, v=41.2)), ("plant/p1/temp", "41.2")],
        [("p1", -4 * S, {"temp": 41.2})],
        rejected={"bad_time": 1},
        says='telemetry.time must be "arrival"',
    ),
    "zigbee2mqtt": Case(
        {"preset": "zigbee2mqtt", "fields": {"temperature": "temp", "state": "pump"}},
        [
            (
                "zigbee2mqtt/hall/pump 1",
                _json(temperature=41.2, state="ON", last_seen="2026-01-02T04:04:04+01:00", linkquality=90),
            ),
            ("zigbee2mqtt/bridge/state", '{"state": "online"}'),
            ("zigbee2mqtt/hall/pump 1/availability", "online"),
            ("zigbee2mqtt/hall/pump 1/set", '{"state": "ON"}'),
        ],
        [("hall.pump 1", 0, {"temp": 41.2, "pump": 1.0})],
        ignored={"topic": 3},
    ),
    "tasmota": Case(
        {"preset": "tasmota", "time_zone": "Europe/Berlin", "fields": {"ENERGY.Power": "power"}},
        [("tele/pump1/SENSOR", _json(Time="2026-01-02T04:04:04", ENERGY={"Power": 412, "Total": 3.1}))],
        [("pump1", 0, {"power": 412.0})],
    ),
    "tasmota without its zone": Case(
        {"preset": "tasmota", "fields": {"ENERGY.Power": "power"}},
        [("tele/pump1/SENSOR", _json(Time="2026-01-02T04:04:04", ENERGY={"Power": 412}))],
        [],
        rejected={"bad_time": 1},
        says="has no time zone; name it as telemetry.time_zone",
    ),
    "shelly": Case(
        {"preset": "shelly", "fields": {"em:0.total_act_power": "power"}},
        [
            (
                "shelly-1/events/rpc",
                _json(src="s", method="NotifyStatus", params={"ts": 1767323044.25, "em:0": {"total_act_power": 812.4}}),
            ),
            ("shelly-1/events/rpc", _json(src="s", method="NotifyEvent", params={"ts": 1767323044.25, "events": []})),
        ],
        [("shelly-1", 250, {"power": 812.4})],
        ignored={"content": 1},
    ),
    "chirpstack": Case(
        {"preset": "chirpstack", "fields": {"temperature": "temp"}},
        [
            (
                "application/a1/device/0101/event/up",
                _json(time="2026-01-02T03:04:04.5+00:00", deviceInfo={"deviceName": "p1"}, object={"temperature": 41}),
            )
        ],
        [("p1", 500, {"temp": 41.0})],
    ),
    "ttn": Case(
        {"preset": "ttn"},
        [
            (
                "v3/app@ttn/devices/p1/up",
                _json(
                    received_at="2026-01-02T03:04:05.123456789Z",
                    uplink_message={"received_at": "2026-01-02T03:04:04.9Z", "decoded_payload": {"temp": 41.2}},
                ),
            )
        ],
        [("p1", 900, {"temp": 41.2})],
    ),
    "aws shadow": Case(
        {"topic": "$aws/things/{device}/shadow/update/accepted", "values": "state.reported", "time": "timestamp"},
        [
            (
                "$aws/things/p1/shadow/update/accepted",
                _json(state={"reported": {"temp": 41.2}}, timestamp=1767323044, version=7),
            )
        ],
        [("p1", 0, {"temp": 41.2})],
    ),
    "telegraf": Case(
        {"preset": "telegraf", "device": "tags.device"},
        [
            (
                "telegraf/gw/pump",
                _json(
                    metrics=[
                        {"fields": {"temp": 41.2}, "tags": {"device": "p1"}, "timestamp": 1767323044},
                        {"fields": {"temp": 39.9}, "tags": {"device": "p2"}, "timestamp": 1767323044000000},
                        {"fields": {"rpm": 1480}, "tags": {"device": "p2"}, "timestamp": 1767323044000000000},
                    ]
                ),
            ),
            (
                "telegraf/gw/pump",
                _json(fields={"temp": 41.3}, tags={"device": "p1"}, timestamp=1767323044, name="pump"),
            ),
        ],
        [("p1", 0, {"temp": 41.2}), ("p2", 0, {"temp": 39.9}), ("p2", 0, {"rpm": 1480.0}), ("p1", 0, {"temp": 41.3})],
    ),
    "opc ua pubsub": Case(
        {"preset": "opcua-pubsub"},
        [
            (
                "opcua/json/data/plc",
                _json(
                    MessageType="ua-data",
                    PublisherId="plc",
                    Messages=[
                        {
                            "DataSetWriterId": 7,
                            "Timestamp": "2026-01-02T03:04:04Z",
                            "Payload": {
                                "temp": {"Value": 41.2, "SourceTimestamp": "2026-01-02T03:04:03Z"},
                                "rpm": {"Value": 1480, "SourceTimestamp": "2026-01-02T03:04:03Z"},
                                "power": 812.4,
                            },
                        }
                    ],
                ),
            ),
            ("opcua/json/data/plc", _json(MessageType="ua-metadata", MetaData={})),
        ],
        [("plc-7", -S, {"temp": 41.2, "rpm": 1480.0}), ("plc-7", 0, {"power": 812.4})],
        ignored={"content": 1},
    ),
    "a quality that is left out where it is good": Case(
        {
            "topic": "opc/{device}",
            "values": "Payload",
            "value": "Value",
            "time": "Timestamp",
            "quality": "Status.Code",
            "good": ["", 0],
        },
        [
            (
                "opc/p1",
                _json(
                    Timestamp=NOW_MS,
                    Payload={
                        "temp": {"Value": 41.2},
                        "rpm": {"Value": 1480, "Status": {"Code": 0}},
                        "power": {"Value": 9, "Status": {"Code": 2147614720}},
                    },
                ),
            )
        ],
        [("p1", 0, {"temp": 41.2, "rpm": 1480.0})],
        dropped={("power", "bad_quality"): 1},
    ),
    "list of names and values": Case(
        LISTS | {"quality": "q", "good": [192, True]},
        [
            (
                "gw/p1",
                _json(
                    timestamp=NOW_MS,
                    metrics=[
                        {"name": "temp", "timestamp": NOW_MS - S, "value": 41.2, "q": 192},
                        {"name": "rpm", "timestamp": NOW_MS - S, "value": 1480, "q": True},
                        {"name": "temp", "timestamp": NOW_MS, "value": 99, "q": 0},
                        {"name": "power", "value": 812.4, "q": 192},
                        {"name": "foreign", "value": 1, "q": 192},
                    ],
                ),
            )
        ],
        [("p1", -S, {"temp": 41.2, "rpm": 1480.0}), ("p1", 0, {"power": 812.4})],
        dropped={("temp", "bad_quality"): 1},
    ),
    "kepware": Case(
        {"preset": "kepware", "fields": {"Channel1.Pump.temp": "temp"}},
        [
            (
                "iotgateway/p1",
                _json(
                    timestamp=NOW_MS,
                    values=[
                        {"id": "Channel1.Pump.temp", "v": 41.2, "q": True, "t": NOW_MS - S},
                        {"id": "rpm", "v": 3, "q": False, "t": NOW_MS - S},
                    ],
                ),
            )
        ],
        [("p1", -S, {"temp": 41.2})],
        dropped={("rpm", "bad_quality"): 1},
    ),
    "siemens": Case(
        {"preset": "siemens", "fields": {"101": "temp"}},
        [
            (
                "ie/d/j/simatic/v1/s7c1/dp/r/plc/default",
                _json(seq=1, vals=[{"id": "101", "qc": 3, "ts": "2026-01-02T03:04:04.1234567Z", "val": "41.2"}]),
            )
        ],
        [("s7c1", 123, {"temp": 41.2})],
    ),
    "devices as keys": Case(
        {"preset": "thingsboard"},
        [
            (
                "v1/gateway/telemetry",
                _json(
                    **{
                        "Pump A": [
                            {"ts": NOW_MS, "values": {"temp": 41.2}},
                            {"ts": NOW_MS + S, "values": {"temp": 41.3}},
                        ],
                        "Pump B": [{"ts": NOW_MS, "values": {"temp": 39.9}}],
                    }
                ),
            )
        ],
        [("Pump A", 0, {"temp": 41.2}), ("Pump A", S, {"temp": 41.3}), ("Pump B", 0, {"temp": 39.9})],
    ),
    "senml": Case(
        {"preset": "senml"},
        [
            (
                "senml/gw",
                json.dumps(
                    [
                        {"bn": "urn:dev:ow:p1:", "bt": 1767323044, "n": "temp", "v": 41.2},
                        {"n": "rpm", "t": -1, "v": 1480},
                        {"n": "pump", "vb": True},
                        {"n": "mode", "vs": "MAN"},
                        {"n": "spare", "vs": "unknown"},
                        {"bn": "urn:dev:ow:p2:", "n": "temp", "v": 39.9},
                    ]
                ),
            )
        ],
        [
            ("p1", 0, {"temp": 41.2, "pump": 1.0, "mode": 3.0}),
            ("p1", -S, {"rpm": 1480.0}),
            ("p2", 0, {"temp": 39.9}),
        ],
        dropped={("spare", "no_number"): 1},
    ),
    "influx": Case(
        {"preset": "influx"},
        [
            (
                "influx/gw",
                "\n".join(LINES),
            )
        ],
        [
            ("p1", 0, {"temp": 41.2, "rpm": 1480.0, "pump": 1.0, "mode": 2.0}),
            ("p 2", -S, {"temp": 39.9}),
        ],
        rejected={"not_json": 1},
        says="no line protocol",
    ),
    "influx, two measurements of one field": Case(
        {"preset": "influx"},
        [("influx/gw", "pump,device=p1 temp=41.2 1767323044\nmotor,device=p1 temp=80 1767323044")],
        [("p1", 0, {"temp": 41.2})],
        rejected={"wrong_shape": 1},
        says="'temp' of the measurements 'pump' and 'motor'",
    ),
    "influx, measurements named": Case(
        {"preset": "influx", "fields": {"m1.temp": "temp", "m2.temp": "power"}},
        [("influx/gw", "m1,device=p1 temp=41.2 1767323044\nm2,device=p1 temp=80 1767323044")],
        [("p1", 0, {"temp": 41.2, "power": 80.0})],
    ),
    "gzip, zlib, a mark, NULs and lines": Case(
        {},
        [
            ("telemetry/p1", gzip.compress(GOOD.encode())),
            ("telemetry/p1", zlib.compress(GOOD.encode())),
            ("telemetry/p1", b"\xef\xbb\xbf" + GOOD.encode()),
            ("telemetry/p1", GOOD.encode() + b"\0\0"),
            ("telemetry/p1", f"{GOOD}\n{GOOD}\n"),
            ("telemetry/p1", f"{GOOD}\nnonsense\r\n{GOOD}"),
            ("telemetry/p1", b""),
            ("telemetry/p1", b" \n"),
        ],
        READ * 8,
        rejected={"not_json": 1},
        ignored={"empty": 2},
    ),
    "numbers as ids, parts of a name": Case(
        {"topic": "{site}/+/{device}/data", "device": "{site}-{tags.id}-{device}"},
        [
            ("north/x/p1/data", _json(time=NOW_MS, tags={"id": 7}, values={"temp": 41.2})),
            ("south/x/p1/data", _json(time=NOW_MS, tags={"id": 7}, values={"temp": 12.0})),
        ],
        [("north-7-p1", 0, {"temp": 41.2}), ("south-7-p1", 0, {"temp": 12.0})],
    ),
    "two machines whose parts make one name": Case(
        {"topic": "all", "device": "{site}-{id}"},
        [
            ("all", _json(time=NOW_MS, site="a-b", id="c", values={"temp": 1})),
            ("all", _json(time=NOW_MS, site="a", id="b-c", values={"temp": 2})),
        ],
        [("a-b-c", 0, {"temp": 1.0})],
        rejected={"two_topics": 1},
        says="'a-b' and 'c' give the name 'a-b-c', and so do 'a' and 'b-c'",
    ),
    "another key for the time": Case(
        {},
        [("telemetry/p1", _json(ts=1767319444, values={"temp": 40}))],
        [],
        rejected={"bad_time": 1},
        says="there is no 'time'; its keys are 'ts', 'values'",
    ),
    "bad values among good ones": Case(
        {},
        [
            (
                "telemetry/p1",
                MIXED,
            ),
            ("telemetry/p1", _json(time=NOW_MS, values={"temp": None, "rpm": {"v": 1}, "power": 1e300, "pump": "off"})),
        ],
        [
            ("p1", 0, {"temp": 41.2, "rpm": 759.0, "pump": 1.0, "mode": 2.0}),
            ("p1", 0, {"pump": 0.0}),
        ],
        dropped={
            ("power", "not_finite"): 2,
            ("spare", "no_number"): 1,
            ("rpm", "no_number"): 1,
        },
    ),
    "channels by topic, samples in the message": Case(
        {"topic": "plant/{device}/{channel}", "fields": {"motor.heat": "temp", "gear.heat": "power"}},
        [
            ("plant/p1/motor", _json(time=NOW_MS, values={"heat": 41.2})),
            ("plant/p1/gear", _json(time=NOW_MS, values={"heat": 60})),
        ],
        [("p1", 0, {"temp": 41.2}), ("p1", 0, {"power": 60.0})],
    ),
    "devices in the names of values": Case(
        {"topic": "gw", "records": "metrics", "name": "n", "value": "v", "name_pattern": "{device}.{channel}"},
        [
            (
                "gw",
                _json(
                    time=NOW_MS,
                    metrics=[
                        {"n": "p1.temp", "v": 41.2},
                        {"n": "p2.temp", "v": 40},
                        {"n": "p1.rpm", "v": 1480},
                        {"n": "uptime", "v": 7},
                        {"n": "p1.motor.temp", "v": 90},
                    ],
                ),
            ),
            ("gw", _json(time=NOW_MS + S, metrics=[{"n": "uptime", "v": 8}])),
            (
                "gw",
                _json(
                    time=NOW_MS + S,
                    metrics=[
                        {"n": "p2.temp", "v": 42},
                        {"n": "p1.temp", "v": 43, "time": NOW_MS + 2 * S},
                        {"n": "p2.rpm", "v": 5},
                    ],
                ),
            ),
        ],
        [
            ("p1", 0, {"temp": 41.2, "rpm": 1480.0}),
            ("p2", 0, {"temp": 40.0}),
            ("p2", S, {"temp": 42.0, "rpm": 5.0}),
            ("p1", 2 * S, {"temp": 43.0}),
        ],
        rejected={"wrong_shape": 1},
        ignored={"name": 2},
        says="no name of its 1 values fits '{device}.{channel}': 'uptime'",
    ),
    "lines and machines in the keys of values": Case(
        {
            "topic": "{site}/tags",
            "device": "{site}-{line}-{device}",
            "name_pattern": ["Line {line}/{device}/{channel}", "L{line}.{device}.{channel+}"],
        },
        [
            (
                "north/tags",
                _json(time=NOW_MS, values={"Line 3/A 1/temp": 41.2, "L4.A 1.power": 3, "Line 3/A 1/rpm": 2}),
            ),
            ("south/tags", _json(time=NOW_MS + S, values={"Line 3/A 1/temp": 20})),
        ],
        [
            ("north-3-A 1", 0, {"temp": 41.2, "rpm": 2.0}),
            ("north-4-A 1", 0, {"power": 3.0}),
            ("south-3-A 1", S, {"temp": 20.0}),
        ],
    ),
    "two machines that differ in what a pattern skips": Case(
        {"topic": "tags", "name_pattern": "*/{device}/{channel}"},
        [("tags", _json(time=NOW_MS, values={"hall 1/p1/temp": 41.2, "hall 2/p1/temp": 50}))],
        [("p1", 0, {"temp": 41.2})],
        rejected={"two_topics": 1},
        says="'hall 1/p1/temp' and 'hall 2/p1/temp' have the same parts",
    ),
    "two kinds of messages": Case(
        [SCALAR, LISTS],
        [
            ("plant/p1/temp", "41.2"),
            ("gw/p1", _json(timestamp=NOW_MS, metrics=[{"name": "rpm", "value": 1480}])),
        ],
        [("p1", 0, {"temp": 41.2}), ("p1", 0, {"rpm": 1480.0})],
    ),
    "time: text with an offset": _time("2026-01-02T04:04:04+01:00"),
    "time: small letters": _time("2026-01-02t03:04:04z"),
    "time: UTC in words": _time("2026-01-02 03:04:04 UTC"),
    "time: a comma before the fraction": _time("2026-01-02T03:04:04,250Z", 250),
    "time: nine digits of a fraction": _time("2026-01-02T03:04:04.250999999Z", 250),
    "time: compact": _time("20260102T030404Z"),
    "time: seconds": _time(1767323044),
    "time: seconds with a fraction": _time(1767323044.25, 250),
    "time: milliseconds": _time(NOW_MS),
    "time: microseconds": _time(NOW_MS * 1000),
    "time: nanoseconds": _time(NOW_MS * 1000 * 1000),
    "time: seconds in text": _time("1767323044"),
    "time: milliseconds in text": _time("1767323044000"),
    "time: text with a unit": _time("1767323044.5", 500, time_unit="s"),
    "time: local": _time("2026-01-02T04:04:04", time_zone="Europe/Berlin"),
    "time: local without a T": _time("2026-01-02 04:04:04", time_zone="Europe/Berlin"),
    "time: day first": _time("02.01.2026 04:04:04", time_format="%d.%m.%Y %H:%M:%S", time_zone="Europe/Berlin"),
    "time: month first with am": _time("01/02/2026 03:04:04 AM", time_format="%m/%d/%Y %I:%M:%S %p", time_zone="UTC"),
    "time: a format for digits": _time(20260102030404, time_format="%Y%m%d%H%M%S", time_zone="UTC"),
    "time: of arrival": Case(
        {"time": "arrival"}, [("telemetry/p1", _json(time="never", values={"temp": 1}))], [("p1", 0, {"temp": 1.0})]
    ),
    "time: local without a zone": _bad_time("2026-01-02T04:04:04", "telemetry.time_zone"),
    "time: day first without a format": _bad_time("03.04.2026 05:06:07", "telemetry.time_format"),
    "time: digits of a date": _bad_time(20260102, "may be a date and may be a number"),
    "time: digits of a date and a clock": _bad_time(202601020304, "may be a date and may be a number"),
    "time: digits of a date in text": _bad_time("20260102", "may be a date and may be a number"),
    "time: a day alone": _bad_time("2026-01-02", "is a day without a time", time_zone="UTC"),
    "time: true": _bad_time(True, "true is no time"),
    "time: none": _bad_time(None, "'time' is null"),
}
