"""Operating the daemon: systemd, health pages, reload, what it keeps for people."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tests.harness.daemon import Daemon

from rarefault.runtime.cli import main
from rarefault.runtime.daemon.host.counts import counts
from rarefault.runtime.daemon.turns.changes import Changes
from rarefault.runtime.inference.model_file import load_model
from rarefault.runtime.journal.reader import JournalReader

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer
    from tests.harness.recording import Recording

Serving = Callable[..., Any]
WaitUntil = Callable[[Callable[[], object], str], None]
UNIT = Path(__file__).parents[3] / "runtime" / "systemd" / "rarefault@.service"


class Edge(Daemon):
    """A daemon with a configuration that can be changed."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder / "edge.toml")
        self.folder, self.url = folder, url

    def configure(self, model: Path, broker: str = "", telemetry: str = "") -> None:
        self.config.write_text(
            f'[model]\npath = "{model}"\n[broker]\nurl = "{self.url}"\nreconnect_min_s = 0.05\nreconnect_max_s = 0.2\n'
            f"{broker}\n"
            f'[telemetry]\nmax_age_s = inf\n{telemetry}\n[publish]\nruntime = "edge"\n'
            '[journal]\npath = "edge.journal"\n',
            encoding="utf-8",
        )


@pytest.fixture
def daemon(tmp_path: Path, mosquitto: "Mosquitto") -> Any:
    """A daemon that is not started, and is ended after the test."""
    made = Edge(tmp_path, mosquitto.url)
    yield made
    made.kill()


@pytest.fixture
def other_model(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model with other weights: other verdicts, and another id."""
    model = onnx.load(tiny_model)
    for tensor in model.graph.initializer:
        if tensor.name == "C":
            tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), "C"))
    path = tmp_path / "other.onnx"
    onnx.save(model, path)
    return path


def test_systemd_is_told(daemon: Edge, tiny_model: Path, tmp_path: Path) -> None:
    """READY, STATUS and WATCHDOG while it runs, RELOADING around a reload, STOPPING at the end, which comes soon."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(address)
        notify.settimeout(20)
        daemon.environment |= {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "10000000"}
        daemon.configure(tiny_model)
        daemon.start()
        heard = ""

        def hear(text: str) -> None:
            nonlocal heard
            while text not in heard:
                heard += notify.recv(4096).decode() + "\n"

        hear("READY=1")
        hear("STATUS=serving tiny@")
        hear("WATCHDOG=1")
        heard = ""
        daemon.send(signal.SIGHUP)
        hear("RELOADING=1\nMONOTONIC_USEC=")
        hear("READY=1")
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < 5
        hear("STOPPING=1")


def test_a_stop_is_quick_although_the_broker_is_frozen(
    daemon: Edge,
    tiny_model: Path,
    mosquitto: "Mosquitto",
    peer: "Peer",
    recording: "Recording",
    wait_until: WaitUntil,
) -> None:
    """With verdicts that nobody confirms the daemon ends within five seconds, and the journal keeps them."""
    daemon.configure(tiny_model)
    peer.subscribe("rarefault/edge/status")
    daemon.start()
    peer.wait_for("rarefault/edge/status")
    recording.play(peer, slice(0, 200))
    with mosquitto.frozen():
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < 5


def test_a_stop_does_not_wait_for_a_connection(tmp_path: Path, tiny_model: Path, wait_until: WaitUntil) -> None:
    """A broker that takes the connection and never answers the TLS handshake does not hold up the end."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        daemon = Edge(tmp_path, f"mqtts://127.0.0.1:{silent.getsockname()[1]}")
        daemon.configure(tiny_model, broker="connect_timeout_s = 60")
        daemon.start()
        silent.settimeout(20)
        accepted, _ = silent.accept()
        with accepted:
            assert accepted.recv(1)  # the handshake has begun
            began = time.monotonic()
            assert daemon.stop() == 0
            assert time.monotonic() - began < 5
    assert daemon.says("the daemon is to stop")


def test_health_pages(
    mosquitto: "Mosquitto", serving: Serving, free_port: int, wait_until: WaitUntil, peer: "Peer"
) -> None:
    """/readyz follows the broker, /healthz the daemon, /metrics has units in its names."""

    def page(name: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{free_port}{name}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    with serving(mosquitto.url, metrics={"port": free_port}, journal={"path": "edge.journal"}) as service:
        peer.publish("telemetry/a", json.dumps({"time": time.time(), "values": {"c1.S1": 1}}))
        wait_until(lambda: service.intake.messages == 1, "a message")
        assert page("/healthz") == (200, '{"ok":true,"problems":[]}\n')
        assert page("/readyz")[0] == 200
        assert page("/nothing")[0] == 404
        text = page("/metrics")[1]
        for line in (
            f'rarefault_info{{model="{service.setup.model.model_id}",precision="float32",version=',
            "rarefault_latency_seconds_count 1.0",
            "rarefault_turn_messages_sum 1.0",
            "rarefault_devices_silent 0.0",
            'rarefault_reloads_total{outcome="done"} 0.0',
            'rarefault_rejected_total{reason="too_fast"} 0.0',
        ):
            assert line in text
        journal_bytes = next(x for x in text.splitlines() if x.startswith("rarefault_journal_bytes "))
        assert float(journal_bytes.split()[1]) > 4096
        mosquitto.stop()
        wait_until(lambda: page("/readyz")[0] == 503, "not to be ready")
        assert f"no connection to broker {mosquitto.url}" in page("/readyz")[1]
        assert page("/healthz")[0] == 200
        mosquitto.start()
        wait_until(lambda: page("/readyz")[0] == 200, "to be ready again")


def window_of(verdict: dict[str, Any]) -> str:
    return f"{verdict['device']} {verdict['end']}"


def test_a_new_model_takes_over_without_losing_a_verdict(
    daemon: Edge,
    tiny_model: Path,
    other_model: Path,
    peer: "Peer",
    recording: "Recording",
    wait_until: WaitUntil,
    tmp_path: Path,
) -> None:
    """The model file is replaced while telemetry flows: each window has one verdict, of the old or the new model."""
    served = tmp_path / "served.onnx"
    shutil.copy(tiny_model, served)
    old, new = load_model(tiny_model), load_model(other_model)
    daemon.configure(served)
    peer.subscribe("rarefault/#")
    daemon.start()
    peer.wait_for("rarefault/edge/status")
    half = len(recording.messages) // 2
    recording.play(peer, slice(0, half))
    # A file that is no model, first: the old one goes on.
    served.write_bytes(b"no model")
    wait_until(lambda: daemon.says("not reloaded, going on with model"), "the refusal")
    recording.play(peer, slice(half, half + 50))
    copy = tmp_path / "copy"
    shutil.copy(other_model, copy)
    copy.replace(served)
    wait_until(lambda: daemon.says(f"reloaded {daemon.config}: model {new.model_id}"), "the reload")
    recording.play(peer, slice(half + 50, None))
    wait_until(lambda: len(recording.verdicts_at(peer)) >= len(recording.expected), "all verdicts")
    assert daemon.stop() == 0
    live = recording.verdicts_at(peer)
    assert len(live) == len(recording.expected)
    assert {window_of(v) for v in live} == {window_of(v) for v in recording.expected.values()}
    assert {v["model"] for v in live} == {old.model_id, new.model_id}
    for device in recording.devices:
        models = [v["model"] for v in live if v["device"] == device]
        assert models == sorted(models, key=(old.model_id, new.model_id).index)
    # The state was carried: the new model says what it would have said had it been there all the time.
    expected = {window_of(v): v for v in type(recording)(new).expected.values()}
    for verdict in live:
        if verdict["model"] == new.model_id:
            alone = expected[window_of(verdict)]
            assert verdict["probabilities"] == pytest.approx(alone["probabilities"], abs=1e-5)
    # And so does a restart with the old one.
    served.write_bytes(tiny_model.read_bytes())
    daemon.start()
    wait_until(lambda: daemon.says(f"the journal's snapshot is of model {new.model_id}"), "the start")
    assert daemon.stop() == 0


def test_a_configuration_is_reloaded_as_a_whole_or_not_at_all(
    daemon: Edge, tiny_model: Path, peer: "Peer", wait_until: WaitUntil
) -> None:
    """What needs a restart, or is wrong, is refused with its key; what can change does."""
    daemon.configure(tiny_model)
    peer.subscribe("rarefault/#")
    daemon.start()
    peer.wait_for("rarefault/edge/status")
    daemon.configure(tiny_model, telemetry='topic = "other/{device}"')
    wait_until(lambda: daemon.says("telemetry.topic: changed; this needs a restart of the daemon"), "a refusal")
    daemon.configure(tiny_model, telemetry="max_futur_s = 3")
    wait_until(lambda: daemon.says("telemetry.max_futur_s: unknown key"), "another refusal")
    daemon.configure(tiny_model, telemetry='[telemetry.fields]\n"foreign" = "c1.S1"')
    daemon.send(signal.SIGHUP)
    wait_until(lambda: daemon.says(f"reloaded {daemon.config}"), "the reload")
    peer.publish("telemetry/a", json.dumps({"time": 1_300_000_000, "values": {"foreign": 1}}))

    def kept() -> list[np.ndarray]:
        with JournalReader(daemon.folder / "edge.journal") as reader:
            return [batch.values for batch in reader.batches()]

    wait_until(kept, "the sample")
    np.testing.assert_array_equal(kept(), [[[1.0, np.nan, np.nan]]])
    assert daemon.stop() == 0


def test_files_that_are_being_written_are_not_read(tmp_path: Path) -> None:
    """A change is told when the file has come to rest, once; a file that is gone is waited for."""
    path = tmp_path / "f"
    path.write_text("1")
    changes = Changes([path])
    assert not changes.look()
    path.write_text("22")
    assert not changes.look()
    path.write_text("333")
    assert not changes.look()
    assert changes.look()
    assert not changes.look()
    path.unlink()
    assert not changes.look()
    assert not changes.look()
    path.write_text("4444")
    assert not changes.look()
    assert changes.look()


def test_what_is_rejected_and_what_people_say_is_kept(
    mosquitto: "Mosquitto",
    peer: "Peer",
    serving: Serving,
    wait_until: WaitUntil,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Rejected telemetry is in the journal with its reason, and so are answers to alarms."""
    with serving(mosquitto.url, journal={"path": "edge.journal"}) as service:
        peer.publish("telemetry/a", b"{no json")
        peer.publish(
            "telemetry/a", json.dumps([{"time": 1_700_000_000, "values": {"c1.S1": word}} for word in ("hot", 1)])
        )
        peer.publish("telemetry/a", b"\xff\xfe" * 20_000)
        peer.publish(
            "rarefault/a/feedback",
            json.dumps({"answer": "refuted", "start": 1_300_000_000, "end": 1_300_000_900, "note": "a drill"}),
        )
        peer.publish(
            "rarefault/a/feedback",
            json.dumps({"answer": "confirmed", "fault": "fault_2", "start": 1_300_000_000, "end": 1_300_000_900}),
        )
        peer.publish("rarefault/a/feedback", json.dumps({"answer": "perhaps", "alarm": "abc"}))
        peer.publish("rarefault/a/feedback", json.dumps({"answer": "confirmed"}))
        wait_until(lambda: service.intake.messages == 7, "all messages")
        assert counts(service)["rarefault_feedback_total"] == 2
        # It can be read while the daemon runs.
        with JournalReader(tmp_path / "edge.journal") as reader:
            aside = [(r.topic, r.reason, r.payload) for r in reader.set_aside()]
            assert aside[0] == ("telemetry/a", "not_json", b"{no json")
            assert aside[1] == ("telemetry/a", "bad_value", b'{"time": 1700000000, "values": {"c1.S1": "hot"}}')
            assert aside[2][:2] == ("telemetry/a", "not_utf8")
            assert len(aside[2][2]) == 16_384
            assert [r[1] for r in aside[3:]] == ["bad_feedback", "bad_feedback"]
            refuted, confirmed = reader.feedback()
            assert (refuted.alarm, refuted.answer, refuted.note) == ("", "refuted", "a drill")
            assert (confirmed.fault, confirmed.start_ms) == ("fault_2", 1_300_000_000_000)
            assert sum(b.kind == 0 for b in reader.batches()) >= 1
        assert main(["inspect", str(tmp_path / "edge.journal")]) == 0
        said = capsys.readouterr().out
        assert "1 of 1 devices" in said
        assert "1 refuted, 1 confirmed" in said
        assert "1 not_json, 1 bad_value, 1 not_utf8, 2 bad_feedback" in said
        assert "'telemetry/a' bad_value: channel 'c1.S1' is 'hot', not a number" in said


def test_the_unit_is_what_systemd_takes(tmp_path: Path) -> None:
    """Systemd itself finds no fault with the unit file."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze here")
    text = UNIT.read_text(encoding="utf-8")
    for setting in ("Type=notify", "WatchdogSec=", "Restart=", "NoNewPrivileges=yes", "ProtectSystem=strict"):
        assert setting in text
    unit = tmp_path / "rarefault@.service"
    unit.write_text(text.replace("/opt/rarefault/bin/rarefault", sys.executable), encoding="utf-8")
    done = subprocess.run([analyze, "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "rarefault" in line]
    assert ours == []
