"""The decoder: what is read, what is rejected, and what each rejection says."""

import json
import logging
import math
import string
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rarefault.runtime.daemon.config import LimitsConfig, TelemetryConfig
from rarefault.runtime.daemon.devices import DeviceTable
from rarefault.runtime.daemon.host.sampled_log import INTERVAL_S
from rarefault.runtime.daemon.telemetry.decoder import TelemetryDecoder
from rarefault.runtime.daemon.telemetry.rejections import Rejections
from rarefault.runtime.daemon.telemetry.sample_buffer import SampleBuffer
from rarefault.runtime.errors import ConfigError
from rarefault.runtime.telemetry.columns import column_tree
from rarefault.runtime.telemetry.reasons import Reason
from rarefault.runtime.telemetry.values import LARGEST_VALUE

CHANNELS = ("c1.S1", "c1.S2", "z1.E1")
NOW_MS = 1_298_980_803_000  # 2011-03-01T12:00:03Z


class Reader:
    """A decoder, its samples and its clock."""

    def __init__(
        self, max_devices: int = 3, fields: dict[str, str] | None = None, specs: Any = None, **telemetry: Any
    ) -> None:
        config = msgspec.convert({"fields": fields or {}, **telemetry}, TelemetryConfig)
        self.now_s = 0.0
        self.table = DeviceTable()
        self.devices = self.table.names
        self.rejections = Rejections(clock=lambda: self.now_s)
        limits = LimitsConfig(max_devices=max_devices)
        self.decoder = TelemetryDecoder(
            [config], CHANNELS, specs or {}, self.table, limits, self.rejections, "test.toml"
        )
        self.rows = SampleBuffer(max(config.max_batch, 100), len(CHANNELS))

    def read(self, payload: Any, topic: str = "telemetry/a", *, retained: bool = False) -> list[tuple[int, int, Any]]:
        """Rows of one message: (slot, time_ms, values)."""
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.rows.clear()
        self.decoder.decode(topic, raw, NOW_MS, self.rows, retained=retained)
        rows = self.rows
        return [
            (int(d), int(t), [None if math.isnan(x) else x for x in v])
            for d, t, v in zip(rows.device, rows.time_ms, rows.values.tolist(), strict=True)
        ]

    @property
    def rejected(self) -> dict[str, int]:
        return {str(reason): n for reason, n in self.rejections.counts.items() if n}


def sample(**fields: Any) -> dict[str, Any]:
    return {"time": "2011-03-01T12:00:03Z", "values": {"c1.S1": 759, "c1.S2": 729.5}} | fields


def test_a_message_becomes_a_row() -> None:
    """Known channels land in their columns, Booleans as 1 and 0; what is not named is missing."""
    reader = Reader()
    assert reader.read(sample()) == [(0, NOW_MS, [759.0, 729.5, None])]
    assert reader.read(sample(values={"z1.E1": 1e-3}), "telemetry/b") == [(1, NOW_MS, [None, None, 1e-3])]
    assert reader.read(sample(values={"c1.S1": 1, "c1.S2": None})) == [(0, NOW_MS, [1.0, None, None])]
    assert reader.read(sample(values={"c1.S1": True, "c1.S2": False})) == [(0, NOW_MS, [1.0, 0.0, None])]
    assert reader.devices == ["a", "b"]
    assert reader.rejected == {}


@pytest.mark.parametrize(
    "time",
    [
        "2011-03-01T12:00:03Z",
        "2011-03-01T13:00:03+01:00",
        NOW_MS,
        NOW_MS / 1000,
        NOW_MS // 1000,
        str(NOW_MS),
        NOW_MS * 1000,
    ],
)
def test_time_is_text_or_a_number_by_its_size(time: Any) -> None:
    """All forms of a time give the same instant."""
    assert Reader().read(sample(time=time))[0][1] == NOW_MS


def test_a_message_without_its_time_is_rejected(caplog: pytest.LogCaptureFixture) -> None:
    """The keys that are there are named; the time of arrival counts where the configuration says so."""
    message = {"ts": NOW_MS - 5000, "values": {"c1.S1": 1}}
    reader = Reader()
    assert reader.read(message) == reader.read(sample(time=None)) == []
    assert reader.rejected == {"bad_time": 2}
    assert "there is no 'time'; its keys are 'ts', 'values'" in caplog.text
    assert Reader(time="ts").read(message) == [(0, NOW_MS - 5000, [1.0, None, None])]
    assert Reader(time="arrival").read(message) == [(0, NOW_MS, [1.0, None, None])]
    assert Reader(time=["ts", "arrival"]).read(message) == [(0, NOW_MS - 5000, [1.0, None, None])]
    assert Reader(time=["time", "arrival"]).read(message) == [(0, NOW_MS, [1.0, None, None])]


def test_an_array_is_a_batch() -> None:
    """A JSON array holds several samples; partial updates stay partial."""
    rows = Reader().read([sample(time=NOW_MS - 1), sample(values={"z1.E1": 4})])
    assert rows == [(0, NOW_MS - 1, [759.0, 729.5, None]), (0, NOW_MS, [None, None, 4.0])]


def test_a_bad_sample_of_a_batch_leaves_the_good_ones() -> None:
    """Each bad element is counted by its own reason, and the others are read, NaN literals included."""
    reader = Reader()
    good = json.dumps(sample()).encode()
    nan = b'{"time": 1298980803, "values": {"c1.S1": NaN}}'
    text = b'{"time": 1298980803, "values": {"c1.S1": "seven"}}'
    rows = reader.read(b"[" + b",".join((good, nan, b"7", text, good)) + b"]")
    assert len(rows) == 2
    assert reader.rejected == {"bad_value": 2, "wrong_shape": 1}


def test_foreign_names_and_paths_are_mapped() -> None:
    """Fields map foreign names, and paths into nested objects, to channels; the model's own names still work."""
    reader = Reader(
        fields={"inlet": "c1.S1", "sensors.outlet.value": "c1.S2", "sensors.meter": "z1.E1"},
        time="meta.ts",
        values="",
    )
    message = {"meta": {"ts": NOW_MS}, "inlet": 1, "sensors": {"outlet": {"value": 2, "unit": "C"}, "meter": 3}}
    assert reader.read(message) == [(0, NOW_MS, [1.0, 2.0, 3.0])]
    assert reader.rejections.unknown_channels == 1  # the unit; the time is known to be none
    assert reader.read({"meta.ts": NOW_MS, "c1.S1": 5, "sensors.meter": 6}) == [(0, NOW_MS, [5.0, None, 6.0])]
    assert reader.read({"meta.ts": NOW_MS, "sensors": 4, "inlet": 1}) == [(0, NOW_MS, [1.0, None, None])]
    assert reader.rejections.unknown_channels == 2
    assert reader.rejected == {}


def test_the_device_may_be_named_in_the_message() -> None:
    """Where topics do not name the device, the message does."""
    reader = Reader(topic="all", device="tags.plant")
    assert reader.read(sample(tags={"plant": "p7"}), "all") == [(0, NOW_MS, [759.0, 729.5, None])]
    assert reader.devices == ["p7"]
    assert reader.read(sample(tags={"plant": 7}), "all") == [(1, NOW_MS, [759.0, 729.5, None])]
    assert reader.devices == ["p7", "7"]
    assert reader.read(sample(tags={"plant": 7.5}), "all") == []
    assert reader.read(sample(tags={"plant": "a/b"}), "all") == []
    assert reader.rejected == {"bad_device": 2}


def test_fields_that_do_not_fit_are_all_named() -> None:
    """A field of an unknown channel and a contradiction are both reported."""
    with pytest.raises(ConfigError) as caught:
        column_tree(CHANNELS, {"x": "c9.S9", "a": "c1.S1", "a.b": "c1.S2"}, "edge.toml")
    assert len(caught.value.problems) == 2
    assert "telemetry.fields.x: the model has no channel 'c9.S9', only c1.S1" in str(caught.value)
    assert "telemetry.fields.a.b" in str(caught.value)


BAD = [
    (b'{"values": {"c1.S1": "\xff"}}', Reason.NOT_UTF8, "send text in UTF-8"),
    (b"\xff\xfe{\x00", Reason.NOT_UTF8, "byte 0 is not UTF-8"),
    (b"?", Reason.NOT_JSON, "JSON: an object, an array, or one object a line"),
    (b'{"values": {"c1.S1": 1}', Reason.NOT_JSON, "truncated"),
    (b"time=7", Reason.NOT_JSON, "malformed"),
    (b'{"values": {"c1.S1": 1' + b"0" * 5000 + b"}}", Reason.NOT_JSON, "out of range"),
    (b'{"values": {"c1.S1": 1}}' + b" " * 2000, Reason.TOO_LARGE, "2024 bytes, the limit is 2000"),
    ([sample()] * 6, Reason.TOO_LARGE, "an array of 6 samples, the limit is 5"),
    (7, Reason.WRONG_SHAPE, "a sample must be an object, got 7"),
    ([], Reason.WRONG_SHAPE, "an empty array"),
    ([[sample()]], Reason.WRONG_SHAPE, "got an array"),
    ({"c1.S1": 1}, Reason.WRONG_SHAPE, "there is no 'values' with the values; its keys are 'c1.S1'"),
    ({"values": [1, 2]}, Reason.WRONG_SHAPE, "or say in [telemetry] where they stand"),
    (b"[" * 1900, Reason.WRONG_SHAPE, "nested too deep"),
    (b'{"time": 1298980803, "values": {"c1.S1": NaN}}', Reason.BAD_VALUE, "'c1.S1' is nan, not a finite number"),
    (b'{"time": 1298980803, "values": {"c1.S1": -Infinity}}', Reason.BAD_VALUE, "send finite numbers"),
    (b'{"time": 1298980803, "values": {"c1.S1": 1e999}}', Reason.BAD_VALUE, "not a finite number"),
    (sample(values={"c1.S1": 1e39}), Reason.BAD_VALUE, "1e+39"),
    (sample(values={"c1.S1": 10**400}), Reason.BAD_VALUE, "an integer of 1329 bits"),
    (sample(values={"c1.S1": "7_59"}), Reason.BAD_VALUE, "channel 'c1.S1' is '7_59', not a number"),
    (sample(values={"c1.S1": {"v": 1}}), Reason.BAD_VALUE, "is an object, not a number"),
    (sample(time="yesterday"), Reason.BAD_TIME, "'time': 'yesterday' is no ISO 8601 time"),
    (sample(time="2011-03-01T12:00:03"), Reason.BAD_TIME, "time zone"),
    (sample(time=-1), Reason.BAD_TIME, "'time': -1 is outside of 1970 to 2109"),
    (sample(time=10**400), Reason.BAD_TIME, "an integer of 1329 bits"),
    (sample(time=True), Reason.BAD_TIME, "true is no time"),
    (sample(time=[1]), Reason.BAD_TIME, "an array"),
    (sample(time=NOW_MS + 301_000), Reason.TOO_NEW, "301 s ahead of this clock, 300 s are allowed; check the sender's"),
    (sample(time=NOW_MS - 604_801_000), Reason.TOO_OLD, "raise telemetry.max_age_s"),
    (sample(values={}), Reason.NO_KNOWN_CHANNEL, "none at all"),
    (sample(values={"temp": 4}), Reason.NO_KNOWN_CHANNEL, "'temp'; name channels as the model does"),
    (sample(values={"c1.S1": None}), Reason.NO_KNOWN_CHANNEL, "[telemetry.fields]"),
]


@pytest.mark.parametrize(("payload", "reason", "message"), BAD, ids=lambda x: str(x)[:40])
def test_bad_payloads_are_counted_and_said(
    payload: Any, reason: Reason, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each kind of bad telemetry is counted by reason, said with its topic and the mend, and harms no other."""
    reader = Reader(max_payload_bytes=20_000 if payload != BAD[6][0] else 2000, max_batch=5)
    assert reader.read(payload) == []
    assert reader.rejected == {str(reason): 1}
    (record,) = [record for record in caplog.records if record.message.startswith("rejected")]
    assert f"rejected telemetry on 'telemetry/a' ({reason})" in record.message
    assert message in record.message
    assert reader.read(sample()) == [(0, NOW_MS, [759.0, 729.5, None])]


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ("elsewhere/a", Reason.UNKNOWN_TOPIC),
        ("", Reason.UNKNOWN_TOPIC),
        ("telemetry/", Reason.BAD_DEVICE),
        ("telemetry/a\nb", Reason.BAD_DEVICE),
        ("telemetry/" + "x" * 200, Reason.BAD_DEVICE),
        ("telemetry/a#", Reason.BAD_DEVICE),
    ],
)
def test_bad_topics_are_counted_and_said(topic: str, reason: Reason, caplog: pytest.LogCaptureFixture) -> None:
    """A topic that does not fit, or a device whose name could not be published to, is set aside."""
    reader = Reader()
    assert reader.read(sample(), topic) == []
    assert reader.rejected == {str(reason): 1}
    assert reader.devices == []
    assert "\n" not in caplog.records[0].message


def test_no_more_devices_than_allowed(caplog: pytest.LogCaptureFixture) -> None:
    """The device beyond the limit is rejected, those known are still served, and bad messages take no place."""
    reader = Reader(max_devices=2)
    reader.read(sample(values={"c1.S1": "x"}), "telemetry/never")
    for name in "abc":
        reader.read(sample(), f"telemetry/{name}")
    assert reader.devices == ["a", "b"]
    assert reader.rejected == {"bad_value": 1, "too_many_devices": 1}
    assert "raise limits.max_devices" in caplog.records[-1].message
    assert len(reader.read(sample(), "telemetry/b")) == 1


def test_unknown_channels_are_ignored_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """Unknown channels of any type beside known ones do not spoil the sample."""
    caplog.set_level(logging.INFO)
    reader = Reader()
    assert reader.read(sample(values={"c1.S1": 1, "status": "ok", "extra": [1]})) == [(0, NOW_MS, [1.0, None, None])]
    assert reader.rejections.unknown_channels == 2
    assert reader.rejected == {}
    assert "such as 'status' (ignored)" in caplog.text


def test_a_retained_message_needs_a_time() -> None:
    """What the broker kept is of unknown age, so its time of arrival does not stand in for its time."""
    reader = Reader()
    assert len(reader.read(sample(), retained=True)) == 1
    assert reader.read(sample(time=None), retained=True) == []
    assert reader.rejected == {"bad_time": 1}
    arrival = Reader(time="arrival")
    assert arrival.read(sample(), retained=True) == []
    assert len(arrival.read(sample())) == 1
    assert arrival.rejected == {"bad_time": 1}


def test_any_age_may_be_allowed() -> None:
    """With max_age_s = inf, history can be played back."""
    assert len(Reader(max_age_s=math.inf).read(sample(time="1999-01-01T00:00:00Z"))) == 1


def test_the_log_is_written_at_a_bounded_rate(caplog: pytest.LogCaptureFixture) -> None:
    """Of many rejections for one reason one line is written per interval, with the number of those unsaid."""
    reader = Reader()
    for _ in range(100):
        reader.read(b"nonsense")
        reader.read(sample(time="never"))
    assert len(caplog.records) == 2
    reader.now_s = INTERVAL_S
    reader.read(b"nonsense")
    assert "[and 99 more since the last such line]" in caplog.records[-1].message
    assert reader.rejected == {"not_json": 101, "bad_time": 100}


def test_rows_are_clean_after_clearing() -> None:
    """Values of a turn do not show through in the next, and rows can be filled to the last."""
    rows = SampleBuffer(2, 3)
    rows.append(5, 7, [(0, 1.0), (2, 3.0)])
    rows.append(6, 8, [(1, 2.0)])
    assert rows.free == 0
    np.testing.assert_array_equal(rows.values, [[1, np.nan, 3], [np.nan, 2, np.nan]])
    assert (rows.device.tolist(), rows.time_ms.tolist()) == ([5, 6], [7, 8])
    rows.clear()
    rows.append(1, 1, [(1, 9.0)])
    np.testing.assert_array_equal(rows.values, [[np.nan, 9, np.nan]])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([10**400, NOW_MS, 1e308]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text() | st.sampled_from(["time", "values", "c1", *CHANNELS]), inner, max_size=4)
    ),
    max_leaves=12,
)
SAMPLE_LIKE = st.fixed_dictionaries(
    {}, optional={"time": JSON, "values": st.dictionaries(st.sampled_from(["x", *CHANNELS]), JSON) | JSON}
)
PAYLOAD = (
    st.binary(max_size=200)
    | JSON.map(lambda x: json.dumps(x).encode())
    | (SAMPLE_LIKE | st.lists(SAMPLE_LIKE, max_size=4)).map(lambda x: json.dumps(x).encode())
    | st.text(alphabet='{}[]":,.0123456789eE+-NaInfity' + string.whitespace, max_size=60).map(str.encode)
)
TOPIC = st.text(max_size=30) | st.text(max_size=200).map("telemetry/{}".format)


@given(messages=st.lists(st.tuples(TOPIC, PAYLOAD, st.booleans()), max_size=6))
def test_nothing_that_arrives_raises(messages: list[tuple[str, bytes, bool]]) -> None:
    """Whatever arrives is either read into sound rows or counted, and a good message after it is read."""
    reader = Reader(max_devices=2, fields={"c1.x.y": "z1.E1"})
    for topic, payload, retained in messages:
        before = reader.rejections.unused
        rows = reader.read(payload, topic, retained=retained)
        assert rows or reader.rejections.unused > before
        for slot, time_ms, values in rows:
            assert 0 <= slot < 2
            assert NOW_MS - 604_800_000 <= time_ms <= NOW_MS + 300_000
            assert any(x is not None for x in values)
            assert all(x is None or abs(x) <= LARGEST_VALUE for x in values)
    if len(reader.devices) < 2 or "good" in reader.devices:
        assert reader.read(sample(), "telemetry/good")[0][2] == [759.0, 729.5, None]
