"""``rarefault run``: what it refuses and how it says so, and its life as a process."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.harness.daemon import Daemon

from rarefault.runtime.cli import main
from rarefault.runtime.commands.run import EPILOG

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer

Start = Callable[..., Daemon]


@pytest.fixture
def write(tmp_path: Path, tiny_model: Path) -> Callable[[str], Path]:
    """Writes a configuration next to a copy of the model, ``plant.onnx``."""
    (tmp_path / "plant.onnx").write_bytes(tiny_model.read_bytes())

    def write_config(text: str) -> Path:
        path = tmp_path / "edge.toml"
        path.write_text(text)
        return path

    return write_config


MODEL = '[model]\npath = "plant.onnx"\n'


def test_check_of_a_sound_configuration(write: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """--check says that all is in order, and which model it is, without asking the broker."""
    path = write(MODEL)
    assert main(["run", str(path), "--check"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{path}: in order; model tiny@")
    assert "broker mqtt://localhost:1883 not tried" in out


def test_the_example_in_the_help_is_sound(write: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """The configuration shown by --help can be used as it stands."""
    lines = [line[2:] for line in EPILOG.splitlines() if line.startswith("  ") and "rarefault run" not in line]
    path = write("\n".join(lines))
    assert main(["run", str(path), "--check"]) == 0, capsys.readouterr().err
    uncommented = "\n".join(line.removeprefix("# ") for line in lines)
    (path.parent / "mqtt.password").write_text("secret\n")
    assert main(["run", str(write(uncommented)), "--check"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("", ["model: required, but missing"]),
        ("[model", ["not valid TOML"]),
        ("[model]\npath = 'plant.onnx'\nthreads = 0", ["model.threads: expected `int` >= 1, got 0"]),
        (
            MODEL + "[brocker]\nurl = 'mqtt://x'\n[telemetry]\nmax_futur_s = 1\nqos = 3\n[limits]\nmax_devices = 0",
            [
                "4 problem(s)",
                "brocker: unknown key; did you mean 'broker'?",
                "telemetry.max_futur_s: unknown key; did you mean 'max_future_s'?",
                "telemetry.qos: invalid enum value 3",
                "limits.max_devices: expected `int` >= 1, got 0",
            ],
        ),
        (MODEL + "[broker]\nurl = 'localhost:1883'", ["url 'localhost:1883' does not begin with mqtt://"]),
        (MODEL + "[broker]\nurl = 'mqtt://x:99999'", ["port that is no number from 1 to 65535"]),
        (MODEL + "[broker]\nurl = 'mqtt://x/path'", ["is not a host and a port; write it like mqtt://broker.local"]),
        (MODEL + "[broker]\nurl = 'mqtt://[::1'", ["Invalid IPv6 URL; write it like"]),
        (MODEL + f"[broker]\nurl = 'mqtt://{'x' * 64}.local'", ["has a host name that cannot be looked up"]),
        (MODEL + "[broker]\nurl = 'mqtt://me:secret@x'", ["use broker.username and broker.password_file"]),
        (MODEL + "[broker]\npassword = 'x'", ["broker.password: unknown key; did you mean 'password_"]),
        (MODEL + "[broker]\nprotocol = '4'", ["broker.protocol: invalid enum value '4'"]),
        (MODEL + "[broker]\npassword_env = 'X'", ["a password needs a username"]),
        (MODEL + "[broker]\nreconnect_min_s = 70", ["reconnect_min_s (70) must not exceed reconnect_max_s (60)"]),
        (
            MODEL + "[broker]\nusername = 'u'\npassword_env = 'NOT_SET_ANYWHERE'",
            ["broker.password_env: the environment variable NOT_SET_ANYWHERE is not set"],
        ),
        (
            MODEL + "[broker]\nusername = 'u'\npassword_file = 'none.txt'",
            ["broker.password_file:", "none.txt cannot be read: No such file"],
        ),
        (
            MODEL + "[telemetry]\ntopic = 'telemetry/all'",
            ["telemetry: topic 'telemetry/all' has no {device}; write it"],
        ),
        (MODEL + "[telemetry]\ntopic = 'telemetry/#'", ["has no {device}"]),
        (MODEL + "[broker]\nca_file = 'ca.pem'", ["broker: ca_file can be given with mqtts:// only, but url is"]),
        (MODEL + "[broker]\nurl = 'mqtts://x'\nkey_file = 'k'", ["certificate_file and key_file must be given both"]),
        (
            MODEL + "[broker]\nprotocol = '3.1.1'\n[telemetry]\nsender_property = 'client'",
            ["telemetry.sender_property needs MQTT 5, but broker.protocol is 3.1.1"],
        ),
        (MODEL + "[telemetry]\nmax_age_s = nan", ["max_age_s"]),
        (
            MODEL + "[telemetry]\ntopic = '+/{device}/verdict'",
            ["also matches what the daemon uses itself, such as 'rarefault/x/verdict'; change publish.prefix"],
        ),
        (
            MODEL + "[telemetry.fields]\ntemp = 'c9.S9'",
            ["telemetry.fields.temp: the model has no channel 'c9.S9', only c1.S1, c1.S2, z1.E1"],
        ),
        (MODEL + "[publish]\nprefix = 'a//b'", ["publish: prefix 'a//b': a level must not be empty"]),
        (MODEL + "[publish]\nruntime = 'a/b'", ["publish: runtime 'a/b': a level must not hold '/'"]),
        (MODEL + "[log]\nlevel = 'loud'", ["log.level: invalid enum value 'loud'"]),
    ],
)
def test_bad_configurations_are_refused(
    text: str, messages: list[str], write: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and every problem with its key's full path and what is allowed; no traceback."""
    path = write(text)
    assert main(["run", str(path), "--check"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"rarefault: {path}: ")
    assert "Traceback" not in err
    for message in messages:
        assert message in err


def test_a_configuration_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that does not exist is named."""
    assert main(["run", str(tmp_path / "none.toml")]) == 2
    assert "none.toml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "the model file cannot be read: No such file or directory"),
        (b"", "not an ONNX model, or damaged"),
        (b"\x08\x09not a model", "export it again with 'rarefault export'"),
        ("truncated", "not an ONNX model, or damaged"),
    ],
)
def test_bad_model_files_are_refused(
    content: bytes | str | None, message: str, write: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A model file that is missing or damaged ends the start with exit code 1, its name and what to do."""
    path = write(MODEL)
    model = path.parent / "plant.onnx"
    if content is None:
        model.unlink()
    else:
        model.write_bytes(content if isinstance(content, bytes) else model.read_bytes()[:-100])
    assert main(["run", str(path), "--check"]) == 1
    err = capsys.readouterr().err
    assert str(model) in err
    assert message in err


@pytest.fixture
def start(mosquitto: "Mosquitto", write: Callable[[str], Path]) -> Iterator[Start]:
    """Starts the daemon as a process of its own, with more sections of configuration."""
    started: list[Daemon] = []

    def start_daemon(more: str = "", broker: str = "", url: str = mosquitto.url) -> Daemon:
        text = f'{MODEL}[publish]\nruntime = "edge"\n[broker]\nurl = "{url}"\n{broker}\n{more}'
        started.append(Daemon(write(text), {"EDGE_PASSWORD": "wrong"}))
        started[-1].start()
        return started[-1]

    yield start_daemon
    for daemon in started:
        daemon.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_in_good_order(start: Start, peer: "Peer", number: signal.Signals) -> None:
    """SIGTERM and SIGINT: what was decided is sent, ``offline`` is said, exit code 0."""
    peer.subscribe("rarefault/#")
    daemon = start()
    peer.wait_for("rarefault/edge/status")
    now_s = time.time()
    samples: list[dict[str, Any]] = [
        {"time": now_s - 600 + 10 * i, "values": {"c1.S1": i / 10, "c1.S2": -i}} for i in range(60)
    ]
    peer.publish("telemetry/plant_1", json.dumps(samples))
    peer.wait_for("rarefault/plant_1/verdict")
    assert daemon.stop(number) == 0, daemon.text()
    assert daemon.says(f"stopping ({number.name})")
    assert peer.wait_for("rarefault/edge/status", 2) == [b"online", b"offline"]
    verdicts = [json.loads(payload) for payload in peer.payloads("rarefault/plant_1/verdict")]
    assert daemon.says(f"stopped after 1 messages, {len(verdicts)} verdicts")
    assert set(verdicts[0]) == {
        "id", "device", "start", "end", "fault", "probability", "score", "probabilities", "model", "time",
        "prediction_set", "familiarity", "unknown",
    }  # fmt: skip
    assert sum(verdicts[0]["probabilities"].values()) == pytest.approx(1)
    alarm = json.loads(peer.payloads("rarefault/plant_1/alarm")[0])
    assert set(alarm) - {"probability", "score"} == {"id", "device", "state", "since", "channels", "model"}


def test_a_signal_ends_the_wait_for_an_absent_broker(start: Start, mosquitto: "Mosquitto") -> None:
    """While the broker is away and the next attempt far, a signal ends the daemon at once."""
    mosquitto.stop()
    daemon = start(broker="reconnect_min_s = 1000\nreconnect_max_s = 1000")
    daemon.wait_for("cannot be reached (Connection refused); trying again in")
    assert daemon.stop() == 0


def test_the_last_will_of_a_killed_process(start: Start, peer: "Peer") -> None:
    """Killed, the daemon cannot say anything; the broker says ``offline`` for it."""
    peer.subscribe("rarefault/edge/status")
    daemon = start()
    peer.wait_for("rarefault/edge/status")
    daemon.kill()
    assert peer.wait_for("rarefault/edge/status", 2) == [b"online", b"offline"]


def test_bad_credentials_end_the_process(start_mosquitto: Callable[[str], "Mosquitto"], start: Start) -> None:
    """A broker that refuses the user at the start ends the daemon with exit code 1 and one clear sentence."""
    broker = start_mosquitto("allow_anonymous false")
    daemon = start(url=broker.url, broker='username = "edge"\npassword_env = "EDGE_PASSWORD"')
    assert daemon.wait() == 1
    err = daemon.text()
    assert err.splitlines()[-1] == (
        f"rarefault: broker {broker.url} refuses the connection of user 'edge': Not authorized; "
        "check broker.username and the password"
    )
    assert "wrong" not in err


def test_the_log_for_machines(start: Start, peer: "Peer") -> None:
    """With format = "json" each line of the log is one object."""
    peer.subscribe("rarefault/edge/status")
    daemon = start('[log]\nformat = "json"\nlevel = "debug"\n')
    peer.wait_for("rarefault/edge/status")
    peer.publish("telemetry/a", b"nonsense")
    daemon.wait_for("rejected telemetry")
    assert daemon.stop() == 0
    records = [json.loads(line) for line in daemon.text().splitlines()]
    assert {"time", "level", "logger", "message"} <= set(records[0])
    (rejected,) = [r for r in records if "rejected" in r["message"]]
    assert rejected["level"] == "warning"
    assert "rejected telemetry on 'telemetry/a' (not_json): " in rejected["message"]
