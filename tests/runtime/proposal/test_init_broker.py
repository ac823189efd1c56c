"""``rarefault init`` at a broker: topics of several vendors become a configuration that reads them."""

import json
import threading
import time
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rarefault.runtime.cli import main
from rarefault.runtime.daemon.config import BrokerConfig, DaemonConfig, load_config
from rarefault.runtime.proposal.broker import proposal_of
from rarefault.runtime.proposal.messages.recognition import recognise
from rarefault.runtime.proposal.messages.trial import Heard, try_mapping

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer

Send = Callable[[str, Any], None]


def now() -> datetime:
    return datetime.now(UTC)


def iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def vendors(i: int) -> dict[str, tuple[str, Any, str, dict[str, float]]]:
    """Messages of forty topics; each with topic, payload, and the device and values that are right."""
    t, x = now(), 20 + i / 10
    ms = int(t.timestamp() * 1000)
    found: dict[str, tuple[str, Any, str, dict[str, float]]] = {}
    for n in range(6):
        topic, device = (f"zigbee2mqtt/hall/probe {n}", f"hall.probe {n}") if n % 2 else (f"zigbee2mqtt/p{n}", f"p{n}")
        payload = {"temperature": x, "humidity": 40 + n, "battery": 90, "last_seen": iso(t), "state": "ON"}
        found[f"z{n}"] = (topic, payload, device, {"temperature": x, "humidity": 40.0 + n})
    for n in range(5):
        local = (t + timedelta(hours=2)).isoformat(timespec="seconds").replace("+00:00", "")
        payload = {"Time": local, "ENERGY": {"Power": 400 + n, "Voltage": 231.5}}
        values = {"ENERGY.Power": 400.0 + n, "ENERGY.Voltage": 231.5}
        found[f"t{n}"] = (f"tele/plug{n}/SENSOR", payload, f"plug{n}", values)
    for n in range(4):
        params = {"ts": ms / 1000, "em:0": {"total_act_power": 800.5 + n}}
        payload = {"src": f"s{n}", "method": "NotifyStatus", "params": params}
        found[f"s{n}"] = (
            f"shellypro3em-{n}/events/rpc",
            payload,
            f"shellypro3em-{n}",
            {"em:0.total_act_power": 800.5 + n},
        )
    for n in range(4):
        payload = {
            "time": iso(t),
            "deviceInfo": {"deviceName": f"node {n}", "devEui": f"00{n}"},
            "fPort": 2,
            "object": {"pressure": x, "valve": True},
            "rxInfo": [{"rssi": -57}],
        }
        found[f"c{n}"] = (f"application/7/device/00{n}/event/up", payload, f"node {n}", {"pressure": x, "valve": 1.0})
    for machine in ("press1", "press2", "press3"):
        for n, channel in enumerate(("temp", "rpm", "load", "flow")):
            found[f"{machine}{channel}"] = (f"plant/{machine}/{channel}", str(x + n), machine, {channel: x + n})
    for n in range(3):
        metrics = [{"fields": {"cpu": x, "mem": 3}, "tags": {"host": f"gw{n}", "dc": "a"}, "timestamp": ms // 1000}]
        found[f"m{n}"] = (f"telegraf/gw{n}/cpu", {"metrics": metrics}, f"gw{n}", {"cpu": x, "mem": 3.0})
    for n in range(6):
        listed = [
            {"id": "Line.Temp", "v": x, "q": True, "t": ms},
            {"id": "Line.Speed", "v": 1480, "q": True, "t": ms},
        ]
        payload = {"timestamp": ms, "values": listed}
        found[f"k{n}"] = (f"iotgateway/mixer{n}", payload, f"mixer{n}", {"Line.Temp": x, "Line.Speed": 1480.0})
    return found


NOISE = [
    ("homeassistant/sensor/p1/config", {"name": "p1"}),
    ("zigbee2mqtt/bridge/state", {"state": "online"}),
    ("zigbee2mqtt/p1/availability", {"state": "online"}),
    ("tele/plug1/LWT", "Online"),
]


@pytest.fixture
def busy(mosquitto: "Mosquitto", peer: "Peer") -> Any:
    """A broker on which all vendors publish, until the test ends."""
    ended = threading.Event()

    def send() -> None:
        for topic, payload in NOISE:
            peer.publish(topic, payload if isinstance(payload, str) else json.dumps(payload), retain=True)
        i = 0
        while not ended.is_set():
            for topic, payload, _, _ in vendors(i).values():
                peer.publish(topic, payload if isinstance(payload, str) else json.dumps(payload), 0)
            i += 1
            ended.wait(0.3)

    thread = threading.Thread(target=send)
    thread.start()
    time.sleep(0.5)
    yield mosquitto
    ended.set()
    thread.join()


def read_by(config: DaemonConfig, topic: str, payload: Any) -> list[tuple[str, int, dict[str, float]]]:
    """What the sources of a configuration make of one message."""
    raw = payload.encode() if isinstance(payload, str) else json.dumps(payload).encode()
    found = []
    for source in config.sources:
        if source.template.matches(topic):
            keys = {name: getattr(source, name) for name in source.__struct_fields__ if hasattr(source, name)}
            from rarefault.runtime.telemetry.config import MappingConfig

            own = {name: value for name, value in keys.items() if name in MappingConfig.__struct_fields__}
            trial = try_mapping(own, [Heard(topic, raw, int(time.time() * 1000))])
            assert trial is not None
            found += [(sample.device, sample.time_ms, sample.values) for sample in trial.samples]
    return found


def test_forty_topics_of_seven_vendors(
    busy: "Mosquitto", tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One command; each vendor's messages give the right device, time and values, once."""
    monkeypatch.chdir(tmp_path)
    messages = vendors(3)
    assert len({topic for topic, _, _, _ in messages.values()}) == 40
    assert main(["init", busy.url, "--seconds", "3", "--yes"]) == 0
    text = Path("edge.toml").read_text()
    config = load_config(Path("edge.toml"))
    for key, (topic, payload, device, values) in messages.items():
        found = read_by(config, topic, payload)
        assert len(found) == 1, (key, topic, found, text)
        name, time_ms, read = found[0]
        assert name == device, (key, text)
        assert abs(time_ms - time.time() * 1000) < 60_000, (key, text)
        assert {channel: read.get(channel) for channel in values} == values, (key, text)
    for topic, payload in NOISE:
        assert not any(s.template.matches(topic) and read_by(config, topic, payload) for s in config.sources), topic
    shown = capsys.readouterr().out
    assert "What would be read:" in shown
    assert "QUESTION: No model was named" in text
    assert "no offset; when they arrive, they are 2 h ahead of UTC" in text


def test_paths_are_those_of_the_file_that_is_written(
    busy: "Mosquitto", tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Path
) -> None:
    """Paths in a configuration are relative to its folder, those of a command to where it runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.txt").write_text("word\n")
    model = Path("models/tiny.onnx")
    model.parent.mkdir()
    model.symlink_to(tiny_model)
    (tmp_path / "edge").mkdir()
    options = ["--model", str(model), "--username", "edge", "--password-file", "secret.txt"]
    assert main(["init", busy.url, "--seconds", "2", "--yes", "-o", "edge/edge.toml", *options]) == 0
    written = tomllib.loads(Path("edge/edge.toml").read_text())
    assert written["model"]["path"] == "../models/tiny.onnx"
    assert written["broker"]["password_file"] == "../secret.txt"
    assert main(["init", busy.url, "--seconds", "2", "--yes", *options]) == 0
    assert tomllib.loads(Path("edge.toml").read_text())["model"]["path"] == "models/tiny.onnx"


def test_devices_that_sections_name_alike_are_asked_about() -> None:
    """What several sections read of one name becomes one machine; whether it is one, only people know."""
    now_ms = int(time.time() * 1000)
    state, value = b'{"t": %d, "load": 1.5}' % now_ms, b'{"value": 2.5}'
    states = [Heard(f"tele/p{n}/STATE", state, now_ms) for n in (1, 2)]
    values = [Heard(f"plant/p{n}/{channel}", value, now_ms) for n in (2, 3) for channel in ("temp", "rpm")]
    questions = {
        name: proposal_of(recognise(messages), BrokerConfig(url="mqtt://x"), None, 1).questions
        for name, messages in {"one": states, "both": [*states, *values]}.items()
    }
    assert not questions["one"]
    assert questions["both"][0].startswith("p2 send on topics of several sections, such as tele/+/STATE, plant/+/+")


@pytest.mark.parametrize("text", ["a/#/b", "a+/b", "#x", ""])
def test_a_topic_filter_is_checked(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One that no broker takes is named before anything is asked of a broker."""
    assert main(["init", "mqtt://127.0.0.1:1", "--topics", text]) == 2
    assert "is no topic filter" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("hosts", "options", "sentence"),
    [
        (("localhost",), [], "its certificate was not issued by an authority in the system's store"),
        (("elsewhere",), ["--ca-file", "plant-ca.pem"], "its certificate is not made out to 'localhost'"),
        (None, [], "does not speak TLS; use mqtt:// there"),
    ],
)
def test_what_is_wrong_with_tls_is_said(
    hosts: tuple[str, ...] | None,
    options: list[str],
    sentence: str,
    tls_broker: Callable[..., tuple[str, "Mosquitto"]],
    free_port: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With what mends it, and not as if nobody were there."""
    monkeypatch.chdir(tmp_path)
    url, _ = tls_broker(*(hosts or ()))
    assert main(["init", url if hosts else f"mqtts://localhost:{free_port}", "--seconds", "1", "--yes", *options]) != 0
    said = capsys.readouterr().err
    assert sentence in said
    assert "is the broker running" not in said
