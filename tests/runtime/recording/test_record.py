"""``rarefault record`` as a process, at a real broker: killed, short of room, restarted, stopped."""

import base64
import gzip
import json
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.harness.broker import Mosquitto
from tests.harness.client import Peer
from tests.harness.daemon import Daemon
from tests.harness.waiting import wait_until

CONFIG = """
[broker]
url = "{url}"
reconnect_min_s = 0.05
reconnect_max_s = 0.2

[telemetry]
topic = "plant/{{device}}/#"
ignore_topics = ["plant/+/status"]
"""


@pytest.fixture
def config(tmp_path: Path, mosquitto: Mosquitto) -> Path:
    """A configuration without a model."""
    path = tmp_path / "edge.toml"
    path.write_text(CONFIG.format(url=mosquitto.url), "utf-8")
    return path


def recorder(config: Path, *options: str) -> Daemon:
    """A process that records into the folder ``recording`` beside the configuration."""
    return Daemon(config, command=("record", "-o", config.parent / "recording", *options))


def listening(config: Path, *options: str) -> Daemon:
    """One that is started and subscribed."""
    made = recorder(config, *options)
    state = config.parent / "recording/recorder.json"
    seen = made.text().count("connected to broker") if made.log.exists() else 0
    made.start()
    wait_until(lambda: made.text().count("connected to broker") > seen, "the recorder to connect")
    wait_until(lambda: "filters" in state.read_text("utf-8"), "the recorder to subscribe")
    return made


def lines(folder: Path) -> list[dict[str, Any]]:
    """All lines of a recording, also while it goes on."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for path in sorted(folder.glob("*.jsonl")) + sorted(folder.glob("*.gz")):
        with suppress(FileNotFoundError):  # its compressed form has taken its place
            data = path.read_bytes()
            whole = gzip.decompress(data) if path.suffix == ".gz" else data[: data.rfind(b"\n") + 1]
            name = path.name.removesuffix(".gz")  # both forms may be there for a moment
            found |= {(name, i): json.loads(text) for i, text in enumerate(whole.splitlines())}
    return [found[place] for place in sorted(found)]


def wait_for_lines(folder: Path, count: int) -> list[dict[str, Any]]:
    """All lines of a recording, as soon as there are so many."""
    wait_until(lambda: folder.exists() and len(lines(folder)) >= count, f"{count} line(s) in {folder}")
    return lines(folder)


def test_messages_are_kept_as_they_came(config: Path, peer: Peer, tmp_path: Path) -> None:
    """Text and bytes, with topic and arrival; topics to be ignored are left out; the end says what to do with it."""
    peer.publish("plant/p0/kept", b"1", retain=True)
    payloads = [b'{"values": {"a": 1}}', b"\x00\xff\x01", b"", "ü\n".encode()]
    before_ms = time.time() * 1000
    daemon = listening(config)
    for payload in payloads:
        peer.publish("plant/p1/data", payload)
    peer.publish("plant/p1/status", b"on")
    peer.publish("other/p1", b"1")
    peer.publish("plant/p2/last", b"2")
    folder = tmp_path / "recording"
    wait_for_lines(folder, 6)
    assert daemon.stop() == 0, daemon.text()
    first, *rest, last = lines(folder)
    assert (first["topic"], first["payload"], first["retain"]) == ("plant/p0/kept", "1", True)
    assert last["topic"] == "plant/p2/last"
    assert [found["topic"] for found in rest] == ["plant/p1/data"] * 4
    given = [
        base64.b64decode(found["payload_base64"]) if "payload_base64" in found else found["payload"].encode()
        for found in rest
    ]
    assert given == payloads
    assert "payload_base64" in rest[1]
    assert "retain" not in rest[0]
    assert all(before_ms - 1 <= found["tst_ms"] <= time.time() * 1000 for found in rest)
    text = daemon.text()
    assert "stopping (SIGTERM)" in text
    assert "6 message(s) of 3 topic(s)" in text
    assert "1 left out" in text
    assert 'format = "recording"' in text
    assert f'recordings = "{folder}/*.jsonl*"' in text
    assert f'daemon = "{config}"' in text


def test_killed_again_and_again_it_loses_nothing(config: Path, peer: Peer, mosquitto: Mosquitto) -> None:
    """Kill -9 while messages come: the broker sends again what was not on the disk; few come twice."""
    with config.open("a", encoding="utf-8") as file:
        file.write("[record]\nfile_bytes = 65536\nmax_bytes = 100_000_000\n")
    daemon = listening(config)
    count = 0
    for _ in range(6):
        payloads = [json.dumps({"n": count + i, "filler": "x" * 200}).encode() for i in range(500)]
        count += 500
        peer.publish_all("plant/p1/data", payloads)
        daemon.kill()
        daemon.start()
    folder = config.parent / "recording"

    def seen() -> list[int]:
        return [json.loads(found["payload"])["n"] for found in lines(folder)]

    wait_until(lambda: len(set(seen())) >= count, "all messages")
    assert daemon.stop() == 0
    numbers = seen()
    assert set(numbers) == set(range(count))
    assert len(numbers) - count <= 6 * 40, "more came twice than the broker sends unacknowledged"
    assert len(list(folder.glob("*.gz"))) >= 3


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_what_comes_while_it_is_away_is_recorded_later(
    protocol: str, config: Path, peer: Peer, mosquitto: Mosquitto, new_peer: Callable[..., Peer]
) -> None:
    """Over a restart of the broker, too; the end says that the broker keeps it, and --forget ends that."""
    text = config.read_text("utf-8").replace("[broker]", f'[broker]\nprotocol = "{protocol}"')
    config.write_text(text, "utf-8")
    daemon = listening(config)
    assert daemon.stop(signal.SIGINT) == 0
    assert "The broker keeps what comes from now on for client rarefault-" in daemon.text()
    peer.publish_all("plant/p1/data", [b"%d" % i for i in range(100)])
    mosquitto.stop()
    mosquitto.start()
    daemon = listening(config, "--forget")
    folder = config.parent / "recording"
    wait_for_lines(folder, 100)
    assert daemon.stop() == 0
    assert [found["payload"] for found in lines(folder)] == [str(i) for i in range(100)]
    assert "with --forget, it keeps no more" in daemon.text()
    new_peer(mosquitto.port).publish("plant/p1/data", b"nobody wants it")
    daemon = listening(config, "--seconds", "2")
    assert daemon.wait() == 0
    assert len(lines(folder)) == 100
    assert "stopping (the time is over)" in daemon.text()
    assert "(new session)" in daemon.text().split("stopping (SIGTERM)")[-1]


def test_without_room_messages_wait_at_the_broker(config: Path, peer: Peer, tmp_path: Path) -> None:
    """It says so, acknowledges nothing, and goes on by itself; each message is there once."""
    daemon = listening(config)
    peer.publish("plant/p1/data", b"first")
    folder = tmp_path / "recording"
    wait_for_lines(folder, 1)
    assert daemon._process is not None
    pid = daemon._process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (3000, before[1]))
    peer.publish_all("plant/p1/data", [b"x" * 100 + b"%d" % i for i in range(300)])
    daemon.wait_for("cannot be written: File too large; messages wait at the broker")
    held = lines(folder)
    assert 1 <= len(held) < 60
    resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    daemon.wait_for("is written again")
    wait_for_lines(folder, 301)
    assert daemon.stop() == 0
    assert [found["payload"].lstrip("x") for found in lines(folder)] == ["first", *map(str, range(300))]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte, where recordings go."""
    folder = tmp_path / "recording"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk can be mounted by root only")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_outlasts_a_restart(config: Path, peer: Peer, small_disk: Path) -> None:
    """Killed while the disk is full and started again, it waits on, and has everything in the end."""
    daemon = listening(config)
    peer.publish("plant/p1/data", b"first")
    wait_for_lines(small_disk, 1)
    fill = subprocess.run(["dd", "if=/dev/zero", f"of={small_disk / 'filler'}"], capture_output=True, check=False)
    assert b"No space left" in fill.stderr
    peer.publish_all("plant/p1/data", [b"x" * 1000 + b"%d" % i for i in range(300)])
    full = "No space left on device; messages wait at the broker, next attempt every 5 s; free some room"
    daemon.wait_for(full)
    daemon.kill()
    daemon.start()
    wait_until(lambda: daemon.text().count(full) == 2, "the second process to find the disk full")
    (small_disk / "filler").unlink()
    found = wait_for_lines(small_disk, 301)
    assert daemon.stop() == 0
    assert [line["payload"].lstrip("x") for line in found] == ["first", *map(str, range(300))]


def test_retained_messages_may_be_left_out(config: Path, peer: Peer, tmp_path: Path) -> None:
    """With record.retained = false."""
    with config.open("a", encoding="utf-8") as file:
        file.write("[record]\nretained = false\n")
    peer.publish("plant/p0/kept", b"1", retain=True)
    daemon = listening(config)
    peer.publish("plant/p0/kept", b"2", retain=True)
    wait_for_lines(tmp_path / "recording", 1)
    assert daemon.stop() == 0
    assert [found["payload"] for found in lines(tmp_path / "recording")] == ["2"]


def test_it_stands_beside_a_daemon(
    mosquitto: Mosquitto, peer: Peer, recording: Any, model: Any, tmp_path: Path
) -> None:
    """One configuration for both, with a model and a share: daemon and recorder get all, and the recorder is silent."""
    config = tmp_path / "edge.toml"
    config.write_text(
        f'[model]\npath = "{model.path}"\n[broker]\nurl = "{mosquitto.url}"\n[telemetry]\nmax_age_s = inf\n'
        'share = "group"\n[publish]\nruntime = "edge"\n[record]\nretained = false\n',
        "utf-8",
    )
    peer.subscribe("rarefault/#")
    daemon = Daemon(config)
    daemon.start()
    peer.wait_for("rarefault/edge/status")
    other = Daemon(config, command=("record", "-o", tmp_path / "recording"))
    log = tmp_path / "recorder.log"
    other.log = log
    other.start()
    other.wait_for("connected to broker")
    state = tmp_path / "recording/recorder.json"
    wait_until(lambda: "filters" in state.read_text("utf-8"), "the recorder to subscribe")
    recording.play(peer)
    wait_until(lambda: len({v["id"] for v in recording.verdicts_at(peer)}) >= len(recording.expected), "verdicts")
    wait_for_lines(tmp_path / "recording", len(recording.messages))
    assert other.stop() == 0
    assert daemon.running
    assert [
        (found["topic"], found["payload"].encode()) for found in lines(tmp_path / "recording")
    ] == recording.messages
    assert peer.payloads("rarefault/edge/status") == [b"online"]
    assert "connection" not in log.read_text("utf-8").replace("connected", "")
    assert daemon.stop() == 0


def test_two_recordings_of_one_host_do_not_disturb_each_other(config: Path, peer: Peer, tmp_path: Path) -> None:
    """Each folder has a session of its own, which stays its own; a client id may be given."""
    first = listening(config)
    second = Daemon(config, command=("record", "-o", tmp_path / "second"))
    second.log = tmp_path / "second.log"
    second.start()
    second.wait_for("connected to broker")
    state = tmp_path / "second/recorder.json"
    wait_until(lambda: "filters" in state.read_text("utf-8"), "the second recorder to subscribe")
    peer.publish_all("plant/p1/data", [b"%d" % i for i in range(50)])
    for folder in (tmp_path / "recording", tmp_path / "second"):
        assert [found["payload"] for found in wait_for_lines(folder, 50)] == [str(i) for i in range(50)]
    assert first.stop() == 0
    assert second.stop() == 0
    ids = [
        json.loads((tmp_path / name / "recorder.json").read_text("utf-8"))["client_id"]
        for name in ("recording", "second")
    ]
    assert ids[0] != ids[1]
    with config.open("a", encoding="utf-8") as file:
        file.write('[record]\nclient_id = "given"\n')
    third = listening(config)
    third.wait_for(f"the client id is 'given' now and was '{ids[0]}'")
    third.wait_for("as given (new session)")
    assert third.stop() == 0


def test_systemd_hears_of_it(config: Path, peer: Peer, tmp_path: Path) -> None:
    """Ready, alive, how much has come, and stopping."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        daemon = recorder(config, "--seconds", "2")
        daemon.environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        daemon.start()
        heard = ""
        while "STATUS=0 message(s)" not in heard:
            heard += manager.recv(4096).decode() + "\n"
        assert daemon.wait() == 0
    assert heard.startswith("READY=1\n")
    assert "WATCHDOG=1" in heard
    assert "STOPPING=1" in heard


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command, to its end."""
    command = [sys.executable, "-m", "rarefault.runtime.cli", "record", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[telemetri]\n", "telemetri: unknown key; did you mean 'telemetry'?"),
        ("[record]\nfile_bytes = 1000\n", "record.file_bytes"),
        (
            "[record]\nfile_bytes = 1000000\nmax_bytes = 1500000\n",
            "max_bytes (1500000) must be at least twice file_bytes",
        ),
        ('[record]\nclient_id = "me"\n[broker]\nclient_id = "me"\n', "record.client_id: 'me' is the daemon's"),
        ('[broker]\nusername = "edge"\npassword_env = "NOT_THERE"\n', "broker.password_env"),
        ('[telemetry]\ntopic = "{device}/#"\n', "also matches what the daemon uses itself"),
    ],
)
def test_a_bad_configuration_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """With the key, the file and the mend, before anything is written."""
    config = tmp_path / "edge.toml"
    config.write_text(text, "utf-8")
    done = run(config, "-o", tmp_path / "recording")
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "edge.toml" in done.stderr
    assert not (tmp_path / "recording").exists()


def test_bad_usage_and_a_broker_that_refuses(tmp_path: Path, start_mosquitto: Callable[[str], Mosquitto]) -> None:
    """An impossible time; a broker that wants a password; nothing recorded."""
    config = tmp_path / "edge.toml"
    config.write_text(f'[broker]\nurl = "{start_mosquitto("allow_anonymous false").url}"\n', "utf-8")
    done = run(config, "-o", tmp_path / "recording", "--seconds", "0")
    assert done.returncode == 2
    assert "--seconds 0: must be a number above 0" in done.stderr
    done = run(config, "-o", tmp_path / "recording", "--seconds", "20")
    assert done.returncode == 1
    assert "refuses the connection of client 'rarefault-" in done.stderr
    config.write_text(f'[broker]\nurl = "{start_mosquitto("allow_anonymous true").url}"\n', "utf-8")
    done = run(config, "-o", tmp_path / "recording", "--seconds", "1", "--forget")
    assert done.returncode == 0
    assert "Nothing was recorded: no message came on telemetry/{device}" in done.stdout
