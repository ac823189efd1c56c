"""Who the daemon is: kept in the journal, whatever the host is called; sessions that are gone are missed."""

import json
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.harness.daemon import Daemon

from rarefault.runtime.cli import main
from rarefault.runtime.daemon.host.counts import counts

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer
    from tests.harness.recording import Recording

Serving = Callable[..., Any]
WaitUntil = Callable[[Callable[[], object], str], None]
JOURNAL = {"path": "edge.journal"}
NAMELESS = {"runtime": ""}


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Gives the host another name."""
    return lambda name: monkeypatch.setattr("socket.gethostname", lambda: name)


@pytest.fixture
def keeping(start_mosquitto: Callable[[str], "Mosquitto"]) -> "Mosquitto":
    """A broker that keeps sessions."""
    return start_mosquitto("allow_anonymous true\nmax_queued_messages 100000")


def test_a_host_that_is_renamed_stays_the_same_daemon(
    serving: Serving,
    keeping: "Mosquitto",
    new_peer: Callable[..., "Peer"],
    recording: "Recording",
    wait_until: WaitUntil,
    host: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What was sent while a container was made again arrives at its successor, and no old status stays behind."""
    peer = new_peer(keeping.port)
    peer.subscribe("rarefault/#")
    half = len(recording.messages) // 2
    host("pod-1")
    with serving(keeping.url, publish=NAMELESS, journal=JOURNAL) as service:
        assert service.identity.names.client_id == "rarefault-pod-1"
        recording.play(peer, slice(half))
        wait_until(lambda: service.intake.messages == half, "the first half")
        wait_until(lambda: service.identity.saved_session is not None, "the session in the journal")
    recording.play(peer, slice(half, None))
    peer.catch_up()
    host("pod-2")
    with serving(keeping.url, publish=NAMELESS, journal=JOURNAL) as service:
        assert service.identity.names.client_id == "rarefault-pod-1"
        wait_until(lambda: service.intake.messages == len(recording.messages) - half, "the backlog")
        wait_until(lambda: not len(service.broker_delivery.outbox), "the outbox")
        assert service.session.subscriptions.sessions_lost == 0
    peer.catch_up()
    recording.assert_equal(recording.verdicts_at(peer))
    assert peer.payloads("rarefault/pod-1/status")[-1] == b"offline"
    assert not peer.payloads("rarefault/pod-2/status")
    assert "does not have the session" not in caplog.text


def test_a_configured_name_wins_and_the_old_status_is_cleared(
    serving: Serving,
    keeping: "Mosquitto",
    new_peer: Callable[..., "Peer"],
    wait_until: WaitUntil,
    host: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The client id stays that of the session; another one that is asked for is taken, with a warning."""
    host("pod-1")
    with serving(keeping.url, publish=NAMELESS, journal=JOURNAL) as service:
        wait_until(lambda: service.health.payload is not None, "health")
    with serving(keeping.url, publish={"runtime": "north"}, journal=JOURNAL) as service:
        assert (service.identity.names.runtime, service.identity.names.client_id) == ("north", "rarefault-pod-1")
        wait_until(lambda: not len(service.broker_delivery.outbox), "the ghosts to be cleared")
    assert "the runtime is 'north' now and was 'pod-1', whose status is cleared" in caplog.text
    late = new_peer(keeping.port)
    late.subscribe("rarefault/#")
    late.catch_up()
    assert late.wait_for("rarefault/north/status") == [b"offline"]
    assert not late.payloads("rarefault/pod-1/status")
    assert not late.payloads("rarefault/pod-1/health")
    other = {"url": keeping.url, "client_id": "mine"}
    with serving(keeping.url, publish=NAMELESS, journal=JOURNAL, broker=other) as service:
        assert (service.identity.names.runtime, service.identity.names.client_id) == ("north", "mine")
    assert "the client id is 'mine' now and was 'rarefault-pod-1'" in caplog.text


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_session_that_is_gone_is_missed(
    serving: Serving,
    mosquitto: "Mosquitto",
    wait_until: WaitUntil,
    caplog: pytest.LogCaptureFixture,
    protocol: str,
) -> None:
    """A broker that was started anew without its sessions: said with the mend, in health and metrics; not at first."""
    broker = {"protocol": protocol}
    with serving(mosquitto.url, journal=JOURNAL, broker=broker) as service:
        wait_until(lambda: service.identity.saved_session is not None, "the session in the journal")
        assert service.session.subscriptions.sessions_lost == 0
    mosquitto.stop(signal.SIGKILL)  # it does not save them
    mosquitto.start()
    with serving(mosquitto.url, journal=JOURNAL, broker=broker) as service:
        wait_until(lambda: service.session.subscriptions.sessions_lost == 1, "the loss")
        assert any(
            "let the broker keep sessions (Mosquitto: persistence true)" in p.text for p in service.health.problems()
        )
        assert counts(service)["rarefault_sessions_lost_total"] == 1
    assert caplog.text.count("does not have the session of client 'rarefault-edge' any more") == 1


def has_session(service: Any) -> bool:
    """Whether the journal knows what the broker keeps."""
    return service.identity.saved_session is not None


def test_without_a_session_none_is_missed(serving: Serving, mosquitto: "Mosquitto", wait_until: WaitUntil) -> None:
    """Who asks the broker to keep nothing is not told that it kept nothing."""
    broker = {"protocol": "5", "session_expiry_s": 0}
    for _ in range(2):
        with serving(mosquitto.url, journal=JOURNAL, broker=broker) as service:
            wait_until(partial(has_session, service), "the session in the journal")
            assert service.session.subscriptions.sessions_lost == 0


@pytest.fixture
def edge(tiny_model: Path, tmp_path: Path, keeping: "Mosquitto") -> Path:
    """A configuration with a journal."""
    path = tmp_path / "edge.toml"
    path.write_text(
        f'[model]\npath = "{tiny_model}"\n[broker]\nurl = "{keeping.url}"\nreconnect_min_s = 0.2\n'
        '[publish]\nruntime = "edge"\n[journal]\npath = "edge.journal"\n',
        encoding="utf-8",
    )
    return path


@pytest.fixture
def elsewhere(edge: Path, tmp_path: Path) -> Daemon:
    """A daemon on "another gateway", not started: the same names, another journal."""
    config = tmp_path / "elsewhere" / "edge.toml"
    config.parent.mkdir()
    config.write_text(edge.read_text(encoding="utf-8"), encoding="utf-8")
    return Daemon(config)


def examine(edge: Path, tmp_path: Path) -> list[str]:
    """What the doctor says of the identity."""
    out = tmp_path / "doctor.json"
    main(["doctor", str(edge), "--seconds", "0.1", "--json", str(out)])
    found = json.loads(out.read_text(encoding="utf-8"))["findings"]
    return [f"{f['level']}: {f['text']}" for f in found if f["check"] == "identity"]


def test_doctor_finds_another_gateway_with_the_same_id(
    edge: Path,
    elsewhere: Daemon,
    peer_of_keeping: "Peer",
    tmp_path: Path,
) -> None:
    """It tries the real id, and the other one comes back for it; alone, it finds nobody and leaves nothing behind."""
    assert examine(edge, tmp_path) == ["good: nobody else uses the client id 'rarefault-edge'"]
    with elsewhere:
        peer_of_keeping.wait_for("rarefault/edge/status")
        (said,) = examine(edge, tmp_path)
        assert said.startswith("problem: another client")
        assert "give each gateway its own broker.client_id" in said
        # The session of the other one is whole: it is resumed, and nothing is missed.
        elsewhere.wait_for("as rarefault-edge (resumed its session)")


@pytest.fixture
def peer_of_keeping(keeping: "Mosquitto", new_peer: Callable[..., "Peer"]) -> "Peer":
    """A client that looks on."""
    made = new_peer(keeping.port)
    made.subscribe("rarefault/#")
    return made


def test_doctor_leaves_a_daemon_of_this_journal_alone(edge: Path, peer_of_keeping: "Peer", tmp_path: Path) -> None:
    """Whoever holds the journal may hold the id."""
    with Daemon(edge):
        peer_of_keeping.wait_for("rarefault/edge/status")
        assert examine(edge, tmp_path) == ["note: a daemon with this journal is running, as client 'rarefault-edge'"]
        time.sleep(0.2)
        assert peer_of_keeping.payloads("rarefault/edge/status") == [b"online"]
