"""What plants really send is read right, by the daemon and by the trainer alike."""

import base64
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.harness.messages import CASES, CHANNELS, NOW_MS, SPECS, Case, Sample

from rarefault.runtime.daemon.config import DaemonConfig, LimitsConfig
from rarefault.runtime.daemon.devices import DeviceTable
from rarefault.runtime.daemon.telemetry.decoder import TelemetryDecoder
from rarefault.runtime.daemon.telemetry.rejections import Rejections
from rarefault.runtime.daemon.telemetry.sample_buffer import SampleBuffer
from rarefault.runtime.errors import HistoryError
from rarefault.runtime.settings import from_mapping
from rarefault.runtime.telemetry.channels import ChannelSpec
from rarefault.train.config import TrainConfig, load_train_config
from rarefault.train.history import History, read_history
from rarefault.train.history.notes import BAD_MESSAGES, BAD_QUALITY, IGNORED_MESSAGES, NO_NUMBERS

CHANNEL_SPECS = from_mapping({"channels": SPECS, "data": {"format": "recording", "recordings": "x"}}, TrainConfig, "x")


class Live:
    """The daemon's decoder by itself."""

    def __init__(self, sections: list[dict[str, Any]], channels: tuple[str, ...] = CHANNELS) -> None:
        given = [section | {"max_age_s": math.inf} for section in sections]
        config = from_mapping({"model": {"path": "m"}, "telemetry": given}, DaemonConfig, "edge.toml")
        self.channels = channels
        self.table = DeviceTable()
        self.rejections = Rejections(keep=True)
        specs: dict[str, ChannelSpec] = CHANNEL_SPECS.channels
        self.decoder = TelemetryDecoder(
            config.sources, channels, specs, self.table, LimitsConfig(), self.rejections, "edge.toml"
        )
        self.rows = SampleBuffer(20_000, len(channels))

    def read(self, topic: str, payload: bytes | str) -> None:
        raw = payload.encode() if isinstance(payload, str) else payload
        self.decoder.decode(topic, raw, NOW_MS, self.rows)

    @property
    def samples(self) -> list[Sample]:
        """All samples so far."""
        return [
            (self.table.names[slot], ms - NOW_MS, _present(self.channels, row))
            for slot, ms, row in zip(
                self.rows.device.tolist(), self.rows.time_ms.tolist(), self.rows.values.tolist(), strict=True
            )
        ]


def _present(channels: tuple[str, ...], row: list[float]) -> dict[str, float]:
    return {name: value for name, value in zip(channels, row, strict=True) if not math.isnan(value)}


def record(path: Path, messages: list[tuple[str, bytes | str]]) -> None:
    """Write messages down as they arrive."""
    lines = []
    for topic, payload in messages:
        line: dict[str, Any] = {"topic": topic, "tst_ms": NOW_MS}
        if isinstance(payload, str):
            line["payload"] = payload
        else:
            line["payload_base64"] = base64.b64encode(payload).decode()
        lines.append(json.dumps(line))
    path.write_text("\n".join(lines) + "\n")


def configure(folder: Path, sections: list[dict[str, Any]], **data: Any) -> TrainConfig:
    """The trainer's configuration for a recording, as a person would write it."""
    given = {"format": "recording", "recordings": "plant.jsonl", "telemetry": sections, "channels": list(CHANNELS)}
    return from_mapping({"data": given | data, "channels": SPECS}, TrainConfig, str(folder / "train.toml"))


def read(folder: Path, case: Case, **data: Any) -> History:
    record(folder / "plant.jsonl", case.messages)
    config = configure(folder, case.sections, **data)
    specs = {name: spec for name, spec in config.channels.items() if name in data.get("channels", CHANNELS)}
    return read_history(config.data, folder, channels=specs, allow_incomplete=True)


def merged(samples: list[Sample]) -> dict[tuple[str, int], dict[str, float]]:
    """Samples by device and time; what came later counts."""
    found: dict[tuple[str, int], dict[str, float]] = {}
    for device, ms, values in samples:
        found.setdefault((device, ms), {}).update(values)
    return found


@pytest.mark.parametrize("name", CASES)
def test_the_daemon_reads_it(name: str) -> None:
    """The right samples, and all else counted by its reason, and said."""
    case = CASES[name]
    live = Live(case.sections)
    for topic, payload in case.messages:
        live.read(topic, payload)
    assert live.samples == case.samples
    assert {str(reason): n for reason, n in live.rejections.counts.items() if n} == case.rejected
    assert {str(why): n for why, n in live.rejections.ignored.items() if n} == case.ignored
    assert {(name, str(why)): n for (name, why), n in live.rejections.dropped_values.items()} == case.dropped
    if case.says:
        assert case.says in live.rejections.take_aside()[0].detail


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].samples and "two machines" not in name])
def test_the_trainer_reads_a_recording_of_it(name: str, tmp_path: Path) -> None:
    """The same samples as the daemon, the same counts."""
    case = CASES[name]
    names = tuple(channel for channel in CHANNELS if any(channel in values for _, _, values in case.samples))
    history = read(tmp_path, case, channels=list(names))
    slots, times = history.device.tolist(), history.time_ms.tolist()
    found = [
        (history.devices[slot], ms - NOW_MS, _present(history.channels, row))
        for slot, ms, row in zip(slots, times, history.values.tolist(), strict=True)
    ]
    assert merged(found) == merged(case.samples)
    counted = {note.kind: note for note in history.notes}
    rejected = Counter({reason: n for reason, n in case.rejected.items() if reason != "bad_value"})
    bad = counted[BAD_MESSAGES].parts if BAD_MESSAGES in counted else {}
    assert {reason: n for reason, (n, _) in bad.items() if reason not in {"bad_value", "no_known_channel"}} == rejected
    ignored = counted[IGNORED_MESSAGES].parts if IGNORED_MESSAGES in counted else {}
    assert {why: n for why, (n, _) in ignored.items()} == case.ignored
    for (channel, why), n in case.dropped.items():
        if channel in names:
            kind = BAD_QUALITY if why == "bad_quality" else NO_NUMBERS
            assert counted[kind].parts[channel][0] == n


@pytest.mark.parametrize("name", [name for name in CASES if not CASES[name].samples])
def test_the_trainer_refuses_it(name: str, tmp_path: Path) -> None:
    """What the daemon takes nothing of is no history, and the reason is said."""
    with pytest.raises(HistoryError, match="no usable message in 'plant") as caught:
        read(tmp_path, CASES[name])
    assert CASES[name].says in str(caught.value)


def test_channels_are_found_without_being_named(tmp_path: Path) -> None:
    """Every name that holds a number is a channel, also in nested objects; the daemon finds it by that name."""
    messages: list[tuple[str, bytes | str]] = [
        ("telemetry/p1", json.dumps({"time": NOW_MS, "values": {"temp": 41.2, "em": {"power": 7, "phase": "L1"}}})),
        ("telemetry/p1", json.dumps({"time": NOW_MS + 1, "values": {"pump": "ON", "note": "ok", "temp": None}})),
    ]
    record(tmp_path / "plant.jsonl", messages)
    config = from_mapping({"data": {"format": "recording", "recordings": "plant.jsonl"}}, TrainConfig, "train.toml")
    history = read_history(config.data, tmp_path)
    assert history.channels == ("temp", "em.power", "pump")
    live = Live([{}], history.channels)
    for topic, payload in messages:
        live.read(topic, payload)
    np.testing.assert_array_equal(live.rows.values, history.values)
    assert [note.kind for note in history.notes] == ["values of names that never hold a number, left out"]


def test_the_daemons_configuration_says_what_messages_look_like(tmp_path: Path) -> None:
    """Its [telemetry] is read, keys of the daemon alone included, and its other sections need not be sound."""
    (tmp_path / "edge.toml").write_text(
        '[model]\npath = "none.onnx"\n[telemetry]\npreset = "thingsboard"\nmax_age_s = inf\nqos = 0\n'
    )
    case = CASES["devices as keys"]
    record(tmp_path / "plant.jsonl", case.messages)
    (tmp_path / "train.toml").write_text(
        '[data]\nformat = "recording"\nrecordings = "plant.jsonl"\ndaemon = "edge.toml"\n'
    )
    history = read_history(load_train_config(tmp_path / "train.toml").data, tmp_path)
    assert history.devices == ("Pump A", "Pump B")
    assert history.values[:, 0].tolist() == [41.2, 39.9, 41.3]


def test_two_sites_are_refused_with_both_topics(tmp_path: Path) -> None:
    """As the daemon does, which takes the first; a name from both levels tells them apart."""
    messages: list[tuple[str, bytes | str]] = [
        (f"{site}/pump1/data", json.dumps({"time": NOW_MS, "values": {"temp": temp}}))
        for site, temp in (("siteA", 41.2), ("siteB", 12.0))
    ]
    with pytest.raises(HistoryError, match=r"comes on 'siteB/pump1/data', and came on 'siteA/pump1/data' before"):
        read(tmp_path, Case({"topic": "+/{device}/data"}, messages, []))
    keys = {"topic": "{site}/{device}/data", "device": "{site}-{device}"}
    assert read(tmp_path, Case(keys, messages, []), channels=["temp"]).devices == ("siteA-pump1", "siteB-pump1")


def test_bad_lines_are_counted(tmp_path: Path) -> None:
    """A line that is no message costs itself."""
    good = {
        "topic": "telemetry/p1",
        "tst": "2026-01-02T03:04:04.000000Z+0000",
        "payload": {"time": NOW_MS, "values": {"a": 1}},
    }
    lines = [
        "nonsense",
        "7",
        "{}",
        json.dumps(good | {"tst": "x"}),
        json.dumps({"topic": "a", "tst_ms": 1}),
        json.dumps(good),
    ]
    (tmp_path / "plant.jsonl").write_text("\n".join(lines))
    config = from_mapping({"data": {"format": "recording", "recordings": "plant.jsonl"}}, TrainConfig, "train.toml")
    history = read_history(config.data, tmp_path)
    assert history.values.tolist() == [[1.0]]
    assert history.notes.count("bad lines, skipped") == 5
