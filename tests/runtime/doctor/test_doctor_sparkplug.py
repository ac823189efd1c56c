"""What ``rarefault doctor`` says of edge nodes of Sparkplug."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.harness.daemon import Daemon
from tests.harness.sparkplug import EdgeNode

from rarefault.runtime.cli import main
from rarefault.runtime.inference.model_file import LoadedModel

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer

FIELDS = '[telemetry.fields]\n"S1" = "c1.S1"\n"S2" = "c1.S2"\n"E" = "z1.E1"\n'
VALUES = {"S1": 1.0, "S2": 2.0, "E": 3.0}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@contextmanager
def sending(peer: "Peer", node: EdgeNode) -> Iterator[None]:
    """Data of p1, ten times a second."""
    over = threading.Event()

    def send() -> None:
        while not over.wait(0.1):
            peer.publish(*node.data("p1", now_ms(), VALUES))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def config_of(folder: Path, url: str, model: LoadedModel, telemetry: str) -> Path:
    """A configuration."""
    path = folder / "edge.toml"
    path.write_text(
        f'[model]\npath = "{model.path}"\n[broker]\nurl = "{url}"\n[publish]\nruntime = "edge"\n'
        f'[telemetry]\n{telemetry}\n[journal]\npath = "journal"\nmax_bytes = 1_048_576\n'
    )
    return path


def test_data_without_births_is_told_and_births_of_the_journal_are_used(
    mosquitto: "Mosquitto",
    peer: "Peer",
    model: LoadedModel,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    wait_until: Callable[..., None],
) -> None:
    """Before a birth nothing has a name; once the daemon has one, the doctor reads by it."""
    config = config_of(tmp_path, mosquitto.url, model, f'preset = "sparkplug"\n{FIELDS}')
    node = EdgeNode()
    node.node_birth(now_ms())
    node.birth("p1", now_ms(), VALUES)
    with sending(peer, node):
        assert main(["doctor", str(config), "--seconds", "1"]) == 1
    said = capsys.readouterr().out
    assert "1 edge nodes have to be born again ('hall/gw'; nothing is known of it)" in said
    assert "no_birth" in said
    assert "have the shape of the preset" not in said
    peer.subscribe("rarefault/edge/status")
    with Daemon(config) as daemon:
        peer.wait_for("rarefault/edge/status")
        peer.publish(*node.node_birth(now_ms()))
        peer.publish(*node.birth("p1", now_ms(), VALUES))
        peer.publish(*node.data("p1", now_ms() + 1, VALUES))
        wait_until(lambda: b"hall" in (tmp_path / "journal-wal").read_bytes(), "a birth in the journal")
        assert daemon.running
    with sending(peer, node):
        main(["doctor", str(config), "--seconds", "1"])
    said = capsys.readouterr().out
    assert "1 edge nodes with 1 devices are born: 'hall/gw'" in said
    assert "all 3 channels of the model are there" in said
    assert 'train with grid.hold = "until death"' in said
    assert "have to be born again" not in said


def test_a_configuration_for_json_is_told_of_sparkplug(
    mosquitto: "Mosquitto", peer: "Peer", model: LoadedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the topics."""
    config = config_of(tmp_path, mosquitto.url, model, 'topic = "spBv1.0/+/+/{device}/#"')
    node = EdgeNode()
    node.birth("p1", now_ms(), VALUES)
    with sending(peer, node):
        assert main(["doctor", str(config), "--seconds", "1"]) == 1
    assert "'rarefault presets sparkplug' prints the keys" in capsys.readouterr().out
