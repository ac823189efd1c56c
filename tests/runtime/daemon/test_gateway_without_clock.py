"""A gateway without a clock: nothing is taken until its clock can be right, and what was set aside comes back."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from benchmarks.faults.fake_clock import FakeClock
from tests.harness.daemon import Daemon

from rarefault.runtime.cli import main
from rarefault.runtime.daemon.host.clock import RELEASED_MS, ClockTrust, WallClock, trained_ms
from rarefault.runtime.daemon.mqtt.inbox import Inbox, Message
from rarefault.runtime.inference.manifest import Manifest
from rarefault.runtime.inference.model_file import LoadedModel
from rarefault.runtime.journal.reader import JournalReader
from rarefault.runtime.journal.writer import Journal
from rarefault.runtime.times import format_ms

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer

WaitUntil = Callable[[Callable[[], object], str], None]
HOUR_MS = 3_600_000


class Hands:
    """A wall clock and a monotonic one that the test moves."""

    def __init__(self, wall_ms: int) -> None:
        self.wall_ms, self.monotonic_s = wall_ms, 1000.0

    def trust(self, folder: Path, **settings: Any) -> ClockTrust:
        given = {"tolerance_s": 300.0, "wait_s": 600.0} | settings
        clock = WallClock(lambda: self.wall_ms, lambda: self.monotonic_s)
        return ClockTrust(clock, **given, monotonic=lambda: self.monotonic_s, time_sync=folder)

    def pass_(self, seconds: float) -> None:
        self.monotonic_s += seconds
        self.wall_ms += round(seconds * 1000)


def test_a_clock_cannot_be_right_before_the_model(tmp_path: Path, tiny_manifest: Manifest) -> None:
    """Before the release or the training it waits for ever; the manifest says when that was, or nothing."""
    hands = Hands(RELEASED_MS - HOUR_MS)
    trust = hands.trust(tmp_path / "none")
    assert "this release was made at" in trust.problem()
    hands.wall_ms = RELEASED_MS
    assert trust.problem() == ""
    trained = msgspec.structs.replace(tiny_manifest, training={"created": format_ms(RELEASED_MS + HOUR_MS)})
    trust.trained_ms = trained_ms(trained)
    assert "the model was trained at" in trust.problem()
    hands.pass_(3000)
    assert trust.problem()
    hands.pass_(400)  # within the tolerance
    assert trust.problem() == ""
    for text in ({}, {"created": "last summer"}, {"created": 7}):
        assert trained_ms(msgspec.structs.replace(tiny_manifest, training=text)) == 0


def test_a_clock_behind_the_journal_is_waited_for_with_patience(tmp_path: Path) -> None:
    """The journal may have been written under a clock that was ahead; it cannot stop the daemon for good."""
    hands = Hands(RELEASED_MS + 100 * HOUR_MS)
    trust = hands.trust(tmp_path / "none")
    trust.received_ms = hands.wall_ms + 2 * HOUR_MS
    assert "the journal's samples were received at" in trust.problem()
    hands.pass_(601)
    assert trust.problem() == ""
    # systemd-timesyncd is there, and has not set the time; a machine that has run for long is not waited for.
    hands = Hands(RELEASED_MS + 100 * HOUR_MS)
    hands.monotonic_s = 20.0
    assert "systemd-timesyncd has not set the time" in hands.trust(tmp_path).problem()
    (tmp_path / "synchronized").touch()
    assert hands.trust(tmp_path).problem() == ""
    (tmp_path / "synchronized").unlink()
    hands.monotonic_s = 4000.0
    assert hands.trust(tmp_path).problem() == ""


def test_one_moment_ahead_does_not_make_the_journal_new(tmp_path: Path) -> None:
    """When samples were received is said by nine in ten of the last, not by the newest."""
    journal = Journal(tmp_path / "j", ("a",))
    assert journal.received() == (0, 0)
    for i in range(100):
        ahead = 24 * HOUR_MS if 60 <= i < 90 else 0
        journal.append(np.array([1], np.int32), np.array([5]), np.ones((1, 1)), 1000 + i + ahead)
    assert journal.received() == (1010, 1050)
    journal.close()


def test_what_came_before_the_clock_was_set_has_its_right_arrival() -> None:
    """Messages that wait are moved with the clock, those that came after it was set are not."""
    hands = Hands(RELEASED_MS)
    clock = WallClock(lambda: hands.wall_ms, lambda: hands.monotonic_s)
    hands.pass_(100)
    assert clock.step_ms() == 0
    for step_ms in (2 * HOUR_MS, -2 * HOUR_MS):
        inbox = Inbox(10)
        inbox.append(Message("old", b"", hands.wall_ms - 5000, retained=False, qos=1, mid=1, connection=1))
        hands.wall_ms += step_ms
        assert clock.step_ms() == step_ms
        inbox.append(Message("new", b"", hands.wall_ms, retained=False, qos=1, mid=2, connection=1))
        inbox.shift(step_ms, hands.wall_ms)
        first, second = inbox.next(), inbox.next()
        assert first is not None
        assert second is not None
        assert (first.arrived_ms, second.arrived_ms) == (hands.wall_ms - 5000, hands.wall_ms)


class Gateway(Daemon):
    """A daemon whose clock can be set."""

    def __init__(self, folder: Path, url: str, model: Path) -> None:
        self.clock = FakeClock(folder / "faketime")
        super().__init__(folder / "edge.toml", self.clock.environment)
        self.url, self.model, self.journal = url, model, folder / "edge.journal"

    def start(self, telemetry: str = "") -> None:
        self.config.write_text(
            f'[model]\npath = "{self.model}"\n[broker]\nurl = "{self.url}"\nreconnect_min_s = 0.05\n'
            f'[telemetry]\n{telemetry}\n[publish]\nruntime = "edge"\n[journal]\npath = "edge.journal"\n',
            encoding="utf-8",
        )
        super().start()

    def samples(self) -> int:
        with JournalReader(self.journal) as reader:
            return reader.samples()[0]

    def rejected(self) -> dict[str, int]:
        found: dict[str, int] = {}
        with JournalReader(self.journal) as reader:
            for aside in reader.set_aside():
                found[aside.reason] = found.get(aside.reason, 0) + 1
        return found


@pytest.fixture
def gateway(tmp_path: Path, mosquitto: "Mosquitto", model: LoadedModel) -> Iterator[Gateway]:
    """A gateway whose daemon is not started."""
    made = Gateway(tmp_path, mosquitto.url, model.path)
    yield made
    made.kill()


def health(peer: "Peer") -> dict[str, Any]:
    found = peer.payloads("rarefault/edge/health")
    return json.loads(found[-1]) if found else {"problems": [], "status": ""}


def sample(seconds_ahead: float = 0.0) -> bytes:
    return json.dumps({"time": time.time() + seconds_ahead, "values": {"c1.S1": 1}}).encode()


def test_fresh_telemetry_waits_for_the_clock(gateway: Gateway, peer: "Peer", wait_until: WaitUntil) -> None:
    """Two hours behind: all devices send from the future. Nothing is taken until the clock is set, and then all is."""
    peer.subscribe("rarefault/#")
    gateway.clock.set(-7200)
    gateway.start()
    wait_until(lambda: peer.payloads("rarefault/edge/status") == [b"online"], "the daemon")
    # One device alone may be wrong itself, but it is the only one that is known.
    for _ in range(3):
        for device in "abc":
            peer.publish(f"telemetry/{device}", sample())
    wait_until(lambda: peer.payloads("rarefault/edge/status")[-1] == b"impaired", "the status")
    wait_until(lambda: health(peer)["status"] == "impaired", "the health")
    (problem,) = health(peer)["problems"]
    assert "this machine's clock cannot be right" in problem
    assert "send from the future" in problem
    assert (gateway.samples(), gateway.rejected()) == (0, {})
    gateway.clock.set(0)
    wait_until(lambda: gateway.samples() == 9, "all samples")
    wait_until(lambda: peer.payloads("rarefault/edge/status")[-1] == b"online", "the status")
    assert gateway.rejected() == {}
    # A single absurd stamp is the device's fault, once others are known to agree with the clock.
    peer.publish("telemetry/a", sample(86_400))
    wait_until(lambda: gateway.rejected() == {"too_new": 1}, "the rejection")
    peer.publish("telemetry/b", sample())
    wait_until(lambda: gateway.samples() == 10, "the next sample")
    assert gateway.stop() == 0


def test_a_clock_before_the_journal_holds_telemetry(gateway: Gateway, peer: "Peer", wait_until: WaitUntil) -> None:
    """Restarted with the clock behind what the journal knows, the daemon says so before anything has come."""
    peer.subscribe("rarefault/#")
    gateway.start("max_age_s = inf")
    wait_until(lambda: peer.payloads("rarefault/edge/status") == [b"online"], "the daemon")
    for i in range(10):
        peer.publish("telemetry/a", sample())
        wait_until(lambda i=i: gateway.samples() == i + 1, "the sample")  # type: ignore[misc]
    assert gateway.stop() == 0
    gateway.clock.set(-7200)
    gateway.start("max_age_s = inf")
    wait_until(lambda: health(peer)["status"] == "impaired", "the health")
    assert "the journal's samples were received at" in health(peer)["problems"][0]
    old = json.dumps({"time": 1_300_000_000, "values": {"c1.S1": 1}})
    peer.publish("telemetry/a", old)  # not too new, and not taken all the same
    time.sleep(1.0)
    assert gateway.samples() == 10
    gateway.clock.set(0)
    wait_until(lambda: gateway.samples() == 11, "the sample that waited")
    assert gateway.stop() == 0


def test_what_was_set_aside_comes_back(
    gateway: Gateway, peer: "Peer", wait_until: WaitUntil, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """`rarefault retake` publishes it again; what was cut cannot be taken back, and stays."""
    gateway.clock.set(-7200)
    gateway.start("clock_wait_s = 0")
    peer.subscribe("rarefault/edge/status")
    peer.wait_for("rarefault/edge/status")
    for _ in range(3):
        for device in "ab":
            peer.publish(f"telemetry/{device}", sample())
    peer.publish("telemetry/a", b"[" + b",".join([sample(), sample(1)]) + b"]")
    peer.publish("telemetry/a", json.dumps({"time": time.time(), "note": "x" * 20_000, "values": {"c1.S1": 1}}))
    wait_until(lambda: gateway.journal.exists() and gateway.rejected() == {"too_new": 9}, "the rejections")
    gateway.clock.set(0)
    command = ["retake", str(gateway.journal), "--reason", "too_new"]
    assert main([*command, "--dry-run"]) == 0
    assert "8 would be published again" in capsys.readouterr().out
    assert gateway.rejected() == {"too_new": 9}
    assert main([*command, "--json", str(tmp_path / "r.json")]) == 0
    said = capsys.readouterr().out
    assert "1 were too long to be kept whole, and stay" in said
    result = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert result == {"found": 9, "cut": 1, "sparkplug": 0, "late": 0, "sent": 8, "refused": 0}
    wait_until(lambda: gateway.samples() == 8, "the samples")
    assert gateway.rejected() == {"too_new": 1}
    assert gateway.stop() == 0
    # Samples that are older than what has come meanwhile are told of; the daemon need not run.
    assert main([*command, "--since", "2100-01-01T00:00:00Z"]) == 0
    assert "0 messages set aside" in capsys.readouterr().out


def test_retake_says_what_it_needs(tmp_path: Path, model: LoadedModel, capsys: pytest.CaptureFixture[str]) -> None:
    """A journal that no configuration names, an unknown reason, a time that is none, a broker that is away."""
    path = tmp_path / "edge.journal"
    journal = Journal(path, model.manifest.channels)
    journal.close()
    assert main(["retake", str(path), "--reason", "too_new"]) == 2
    assert "no configuration beside it names it; name the daemon's with --config" in capsys.readouterr().err
    assert main(["retake", str(path), "--reason", "too_late"]) == 2
    assert "there is no reason 'too_late'" in capsys.readouterr().err
    assert main(["retake", str(path), "--reason", "too_new", "--since", "noon"]) == 2
    config = tmp_path / "edge.toml"
    text = f'[model]\npath = "{model.path}"\n[journal]\npath = "edge.journal"\n'
    config.write_text(text + '[telemetry]\nsender_property = "client"\n', encoding="utf-8")
    assert main(["retake", str(path), "--reason", "too_new"]) == 2
    assert "telemetry.sender_property" in capsys.readouterr().err
