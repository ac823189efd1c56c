"""Replay: exact numbers on the wire, in order, through real brokers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rarefault.runtime.cli import main
from rarefault.runtime.errors import BrokerError, UsageError
from rarefault.runtime.journal.writer import Journal
from rarefault.runtime.times import parse_time_ms
from rarefault.train.config import load_train_config
from rarefault.train.history import History, read_history
from rarefault.train.replay.publisher import Publisher
from rarefault.train.replay.replay import play, telemetry_messages


@pytest.fixture(scope="module")
def history(plant: Path) -> History:
    """The first thousand samples of the small plant, with awkward values put in."""
    whole = read_history(load_train_config(plant).data, plant.parent)
    part = whole.select(np.arange(len(whole)) < 1000)
    rng = np.random.default_rng(0)
    part.values[:, 0] = rng.normal(size=1000) * 10.0 ** rng.integers(-300, 300, 1000)
    part.values[rng.random(part.values.shape) < 0.2] = np.nan
    return part


def test_values_read_back_as_the_very_same_numbers(history: History) -> None:
    """JSON and back gives every double bit for bit; what is missing is not sent; times are exact."""
    messages = list(telemetry_messages(history, "site/{device}/raw"))
    assert len(messages) == len(history)
    for i, message in enumerate(messages):
        found = json.loads(message.payload)
        row = history.values[i]
        expected = {name: row[c] for c, name in enumerate(history.channels) if not np.isnan(row[c])}
        assert found["values"] == expected
        assert parse_time_ms(found["time"]) == history.time_ms[i] == message.time_ms
        assert message.topic == f"site/{history.devices[history.device[i]]}/raw"


def test_a_real_broker_receives_all_in_order(history: History, mosquitto: Any, peer: Any, wait_until: Any) -> None:
    """Through Mosquitto every message arrives once, each device's in order of time."""
    peer.subscribe("telemetry/#")
    with Publisher(mosquitto.url, window=7) as publisher:
        assert play(telemetry_messages(history, "telemetry/{device}"), publisher) == len(history)
    wait_until(lambda: len(peer.messages) >= len(history), "all messages")
    expected = [(m.topic, m.payload) for m in telemetry_messages(history, "telemetry/{device}")]
    assert [(m.topic, bytes(m.payload)) for m in peer.messages] == expected


def test_a_broker_without_mqtt_5(history: History) -> None:
    """The embedded broker speaks 3.1.1 only; the publisher falls back to it."""
    from rarefault.export.demo.broker import EmbeddedBroker

    with EmbeddedBroker() as broker, Publisher(broker.url) as publisher:
        assert play(telemetry_messages(history, "telemetry/{device}"), publisher) == len(history)


def test_no_broker_is_one_clear_sentence(history: History) -> None:
    """Nobody listens there, or the address is none."""
    with pytest.raises(BrokerError, match=r"no MQTT broker answers at mqtt://127.0.0.1:1"):
        Publisher("mqtt://127.0.0.1:1").connect()
    with pytest.raises(UsageError, match=r"write it like mqtt://broker\.local:1883"):
        Publisher("localhost:1883")


def test_speed_is_a_multiple_of_real_time(plant: Path, mosquitto: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Two hours at ten thousandfold speed take the better part of a second, and the command says what it did."""
    import time

    words = ["replay", str(plant), "--broker", mosquitto.url, "--end", "2024-01-01T02:00:00Z"]
    started = time.monotonic()
    assert main([*words, "--speed", "10000"]) == 0
    assert time.monotonic() - started >= 6500 / 10000
    assert "24 messages of 2 device(s)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--topic", "telemetry/all"], "has no {device}"),
        (["--password-env", "RAREFAULT_NOT_SET"], "a password needs a username"),
        (["--broker", "http://localhost"], "does not begin with mqtt:// or mqtts://"),
        (
            ["--username", "u", "--password-env", "HOME", "--password-file", "p"],
            "give the password in password_file or in password_env, not in both",
        ),
        (["--ca-file", "plant.pem"], "ca_file can be given with mqtts:// only"),
        (["--end", "1990-01-01T00:00:00Z"], "nothing to play"),
        (["--username", "u", "--password-env", "RAREFAULT_NOT_SET"], "is not set"),
    ],
)
def test_bad_usage_is_said(plant: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot work is refused with exit code 2."""
    assert main(["replay", str(plant), *words]) == 2
    assert sentence in capsys.readouterr().err


def test_only_the_held_out_blocks(
    plant: Path, mosquitto: Any, peer: Any, wait_until: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """``--part test`` plays the samples of the test blocks and no other."""
    from rarefault.train.dataset.split import split_history

    config = load_train_config(plant)
    whole = read_history(config.data, plant.parent)
    held_out = split_history(whole, config.split, config.grid).select(whole, "test")
    peer.subscribe("telemetry/#")
    assert main(["replay", str(plant), "--broker", mosquitto.url, "--speed", "max", "--part", "test"]) == 0
    wait_until(lambda: len(peer.messages) >= len(held_out), "all messages")
    times = [parse_time_ms(json.loads(m.payload)["time"]) for m in peer.messages]
    assert times == held_out.time_ms.tolist()
    assert f"{len(held_out)} messages" in capsys.readouterr().out


def test_a_journal_is_played(
    mosquitto: Any, peer: Any, wait_until: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a daemon has received can be sent to another one."""
    journal = Journal(tmp_path / "edge.journal", ("flow",), "normal")
    journal.begin()
    number, _ = journal.add_device("p")
    journal.append(np.full(2, number, np.int32), np.array([2_000, 1_000]), np.array([[2.0], [1.0]]), 0)
    journal.commit()
    journal.close()
    peer.subscribe("telemetry/#")
    assert main(["replay", str(tmp_path / "edge.journal"), "--broker", mosquitto.url, "--speed", "max"]) == 0
    wait_until(lambda: len(peer.messages) >= 2, "both messages")
    assert [json.loads(m.payload)["values"] for m in peer.messages] == [{"flow": 1.0}, {"flow": 2.0}]
    assert "2 messages of 1 device(s)" in capsys.readouterr().out
