"""``rarefault doctor`` against real brokers: every ill has its name."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rarefault.runtime.cli import main
from rarefault.runtime.inference.model_file import LoadedModel
from rarefault.runtime.journal.writer import Journal
from rarefault.runtime.times import format_ms

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.certificates import Authority
    from tests.harness.client import Peer

Examine = Callable[..., tuple[int, str]]
CHANNELS = ("c1.S1", "c1.S2", "z1.E1")
Broker = Callable[..., tuple[str, "Mosquitto"]]


@pytest.fixture
def examine(tmp_path: Path, model: LoadedModel, capsys: pytest.CaptureFixture[str]) -> Examine:
    """Writes a configuration and runs the doctor on it; gives the exit code and what it says."""

    def run(url: str, broker: str = "", telemetry: str = "", journal: str = "") -> tuple[int, str]:
        config = tmp_path / "edge.toml"
        config.write_text(
            f'[model]\npath = "{model.path}"\n[broker]\nurl = "{url}"\n{broker}\n[publish]\nruntime = "edge"\n'
            f"[telemetry]\n{telemetry}\n[journal]\nmax_bytes = 1_048_576\n{journal}\n",
            encoding="utf-8",
        )
        code = main(["doctor", str(config), "--seconds", "1", "--json", str(tmp_path / "doctor.json")])
        return code, capsys.readouterr().out

    return run


@contextmanager
def sending(
    peer: "Peer", *, off_s: float = 0.0, channels: tuple[str, ...] = ("c1.S1", "c1.S2", "z1.E1")
) -> Iterator[None]:
    """Two devices that report ten times a second, with clocks that are off."""
    over = threading.Event()

    def send() -> None:
        while not over.wait(0.1):
            now = format_ms(round((time.time() + off_s) * 1000))
            for device in ("plant_1", "plant_2"):
                peer.publish(f"telemetry/{device}", json.dumps({"time": now, "values": dict.fromkeys(channels, 1.0)}))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_all_in_order(mosquitto: "Mosquitto", peer: "Peer", examine: Examine, tmp_path: Path) -> None:
    """Exit code 0, every check said, and the same as JSON."""
    with sending(peer):
        code, said = examine(mosquitto.url, journal='path = "edge.journal"')
    assert code == 0, said
    for sentence in (
        "[ok] config:",
        "[ok] model:       tiny@",
        "edge.journal will be made",
        "over MQTT 5",
        "[ok] publish:",
        "samples of 2 devices (plant_1, plant_2)",
        "all 3 channels of the model are there",
        "this machine's clock differ by",
        "all in order: rarefault run",
    ):
        assert sentence in said
    result = json.loads((tmp_path / "doctor.json").read_text())
    assert result["healthy"]
    assert {f["level"] for f in result["findings"]} == {"good"}
    assert not (tmp_path / "edge.journal").exists()


def test_the_running_daemon_is_not_disturbed(
    mosquitto: "Mosquitto", peer: "Peer", examine: Examine, serving: Callable[..., object], tmp_path: Path
) -> None:
    """While the daemon serves, the doctor reads its journal and its topics, and the daemon stays connected."""
    with serving(mosquitto.url, journal={"path": "edge.journal"}) as service, sending(peer):  # type: ignore[attr-defined]
        code, said = examine(mosquitto.url, journal='path = "edge.journal"')
        assert service.session.connections == 1
        assert service.session.connected
    assert code == 0, said
    assert "a daemon is using it" in said


def test_a_broker_that_scatters_a_device_is_told(mosquitto: "Mosquitto", peer: "Peer", examine: Examine) -> None:
    """Mosquitto deals shared messages one by one, so a group of daemons cannot share a fleet there."""
    with sending(peer):
        code, said = examine(mosquitto.url, telemetry='share = "site"')
    assert code == 1
    assert "deals the messages of one topic to all members of a group (10 and 10 of 20)" in said.replace("\n", " ")
    assert "telemetry.topic instead of telemetry.share" in said


def test_channels_and_clocks(mosquitto: "Mosquitto", peer: "Peer", examine: Examine) -> None:
    """A channel that nobody sends, and clocks an hour off, are named."""
    with sending(peer, off_s=-3600, channels=("c1.S1", "z1.E1", "other")):
        code, said = examine(mosquitto.url)
    assert code == 1
    assert "[XX] channels:    no telemetry has channel c1.S2 of the model" in said
    assert "values are of 1 channel that the model does not have: 'other' (" in said
    assert "[XX] clock:" in said
    assert "behind this machine's clock, just 1 h: its time zone or summer time is wrong" in said
    with sending(peer, off_s=600):
        code, said = examine(mosquitto.url)
    assert code == 1
    assert "ahead of this machine's clock: set the clocks by NTP" in said


def test_history_is_no_wrong_clock(mosquitto: "Mosquitto", peer: "Peer", examine: Examine) -> None:
    """Where the daemon is to take history, samples of the past are no problem; those of the future still are."""
    with sending(peer, off_s=-5e6):
        code, said = examine(mosquitto.url, telemetry="max_age_s = inf")
    assert code == 0, said
    assert "[--] clock:       samples of " in said
    assert "telemetry.max_age_s = inf takes them as history" in said
    with sending(peer, off_s=600):
        code, said = examine(mosquitto.url, telemetry="max_age_s = inf")
    assert code == 1
    assert "ahead of this machine's clock" in said


def test_certificates(
    tls_broker: Broker, new_authority: Callable[[str], "Authority"], examine: Examine, mosquitto: "Mosquitto"
) -> None:
    """The wrong authority, the wrong host name, a missing client certificate, a port without TLS: each is named."""
    url, broker = tls_broker(settings="require_certificate true")
    new_authority("other-ca")
    code, said = examine(url, 'ca_file = "other-ca.pem"')
    assert code == 1
    assert "[XX] tls:" in said
    assert "its certificate was not issued by an authority in other-ca.pem" in said
    code, said = examine(f"mqtts://127.0.0.1:{broker.port}", 'ca_file = "plant-ca.pem"')
    assert code == 1
    assert "its certificate is not made out to '127.0.0.1'" in said
    code, said = examine(url, 'ca_file = "plant-ca.pem"')
    assert code == 1
    assert "does not accept this client's certificate" in said
    code, said = examine(f"mqtts://localhost:{mosquitto.port}", 'ca_file = "plant-ca.pem"\nconnect_timeout_s = 3')
    assert code == 1
    assert "does not speak TLS" in said


def test_passwords_and_rights(start_mosquitto: Callable[[str], "Mosquitto"], examine: Examine, tmp_path: Path) -> None:
    """A wrong password, a denied publication and telemetry that nobody may read are told from each other."""
    subprocess.run(["mosquitto_passwd", "-b", "-c", tmp_path / "passwords", "edge", "right"], check=True)
    (tmp_path / "acl").write_text("user edge\ntopic read nothing/#\n")
    broker = start_mosquitto(
        f"allow_anonymous false\npassword_file {tmp_path / 'passwords'}\nacl_file {tmp_path / 'acl'}"
    )
    (tmp_path / "secret").write_text("wrong\n")
    (tmp_path / "secret").chmod(0o644)
    login = 'username = "edge"\npassword_file = "secret"'
    code, said = examine(broker.url, login)
    assert code == 1
    assert "refuses user 'edge': Not authorized; check broker.username and the password" in said
    assert f"others can read {tmp_path / 'secret'}; chmod 600" in said
    (tmp_path / "secret").write_text("right\n")
    code, said = examine(broker.url, login)
    assert code == 1
    assert (
        "[XX] publish:     the broker does not allow user 'edge' to publish on rarefault/rarefault-doctor/verdict"
        in said
    )
    assert "the broker's access rules (ACL) do not let user 'edge' read it" in said
    assert "the password goes over the network in clear text" in said


def test_files(examine: Examine, tmp_path: Path, mosquitto: "Mosquitto") -> None:
    """Files that cannot be read, or that are not what they should be, are named; the broker is not asked then."""
    code, said = examine(mosquitto.url, 'username = "u"\npassword_file = "none"')
    assert code == 1
    assert "[XX] secrets:" in said
    assert "none cannot be read: No such file or directory" in said
    assert "[ok] broker" not in said
    Journal(tmp_path / "edge.journal", ("other",)).close()
    _, said = examine("mqtt://127.0.0.1:9", journal='path = "edge.journal"')
    assert "is that of a model with other channels" in said
    assert "nothing answers at 127.0.0.1:9 (Connection refused)" in said
    _, said = examine("mqtt://nowhere.invalid", journal='path = "gone/edge.journal"')
    assert f"there is no folder {tmp_path / 'gone'}; make it" in said
    assert "the name nowhere.invalid cannot be looked up" in said
    config = tmp_path / "edge.toml"
    config.write_text('[model]\npath = "none.onnx"\n[telemetry.fields]\n"a" = "b"\n')
    assert main(["doctor", str(config)]) == 1
    config.write_text("[modell]\n")
    assert main(["doctor", str(config)]) == 1
