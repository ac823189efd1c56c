"""``rarefault replay --like``: what is played is what that daemon takes, over TLS, with its names and paths."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.harness.certificates import Authority

from rarefault.runtime.cli import main
from rarefault.runtime.daemon.config import TelemetryConfig, load_config
from rarefault.runtime.daemon.service import Service
from rarefault.runtime.daemon.setup import Setup
from rarefault.runtime.daemon.turns.opening import open_store
from rarefault.runtime.errors import BrokerError, UsageError
from rarefault.runtime.inference.model_file import LoadedModel, load_model
from rarefault.runtime.journal.reader import JournalReader
from rarefault.runtime.journal.writer import Journal
from rarefault.train.history import JournalConfig, read_history
from rarefault.train.replay.publisher import Publisher
from rarefault.train.replay.replay import play, telemetry_messages

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto

CHANNELS = ("a", "b", "c")
TELEMETRY = """
[telemetry]
topic = "plants/+/data"
device = "tags.name"
time = "meta.ts"
values = "meta.values"
max_age_s = inf
several_topics = false
[telemetry.fields]
"in.let.value" = "a"
"in.let.other" = "b"
"old" = "a"
"""


def history_of(folder: Path, begin_ms: int, n: int = 5, channels: tuple[str, ...] = CHANNELS) -> Path:
    """A journal of two pumps with awkward numbers and gaps."""
    path = folder / "source.journal"
    journal = Journal(path, channels, "normal")
    numbers = [journal.add_device(name)[0] for name in ("pump 1", "pump 2")]
    rng = np.random.default_rng(1)
    for i in range(n):
        values = rng.normal(size=(2, len(channels))) * 10.0 ** rng.integers(-30, 30, (2, len(channels)))
        values[0, i % len(channels)] = np.nan
        journal.append(np.array(numbers, np.int32), np.full(2, begin_ms + i * 60_000), values, 0)
    journal.close()
    return path


def rows_of(path: Path) -> list[tuple[str, int, list[str]]]:
    """All samples of a journal; numbers as text, so that NaN equals NaN."""
    with JournalReader(path) as reader:
        names = reader.devices()
        return sorted(
            (names[d], t, [repr(x) for x in v])
            for batch in reader.batches()
            if not batch.kind
            for d, t, v in zip(batch.device.tolist(), batch.time_ms.tolist(), batch.values.tolist(), strict=True)
        )


@pytest.fixture(scope="module")
def model(tiny_export: Path) -> LoadedModel:
    """A small model that the exporter made."""
    return load_model(tiny_export / "tiny.onnx")


def test_over_tls_to_a_daemon_with_names_of_its_own(
    start_mosquitto: Callable[[str], "Mosquitto"],
    model: LoadedModel,
    wait_until: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The daemon's journal holds the very same samples as the one that was played; nothing is rejected."""
    import threading

    authority = Authority(tmp_path, "plant-ca")
    certificate, key = authority.sign("broker", "localhost")
    subprocess.run(["mosquitto_passwd", "-b", "-c", tmp_path / "passwords", "edge", "right"], check=True)
    (tmp_path / "secret").write_text("right\n", encoding="utf-8")
    broker = start_mosquitto(
        f"allow_anonymous false\npassword_file {tmp_path / 'passwords'}\n"
        f"cafile {authority.file}\ncertfile {certificate}\nkeyfile {key}"
    )
    channels = model.manifest.channels
    config = tmp_path / "edge.toml"
    config.write_text(
        f'[model]\npath = "{model.path}"\n[broker]\nurl = "mqtts://localhost:{broker.port}"\nca_file = "plant-ca.pem"\n'
        'username = "edge"\npassword_file = "secret"\n[journal]\npath = "edge.journal"\nsync = "normal"\n'
        f'[publish]\nruntime = "edge"\n{TELEMETRY.replace(chr(34) + "a" + chr(34), json.dumps(channels[0]))}'.replace(
            '"b"', json.dumps(channels[1])
        ),
        encoding="utf-8",
    )
    source = history_of(tmp_path, 1_300_000_000_000, channels=channels)
    setup = Setup(load_config(config), model, "right", config)
    started: list[Service] = []

    def run() -> None:
        started.append(Service(setup, open_store(setup)))
        started[0].run()

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: started, "the journal")
    service = started[0]
    try:
        wait_until(lambda: service.session.ready, "the daemon to subscribe")
        assert main(["replay", str(source), "--like", str(config), "--speed", "max"]) == 0
        wait_until(lambda: service.intake.messages == 10, "all messages")
        assert service.intake.rejections.samples == 10
        assert sum(service.intake.rejections.counts.values()) == service.intake.rejections.unknown_channels == 0
    finally:
        service.stop()
        thread.join()
    assert f"10 messages of 2 device(s) played to mqtts://localhost:{broker.port}" in capsys.readouterr().out
    assert rows_of(tmp_path / "edge.journal") == rows_of(source)
    # The same broker by arguments alone, and with what is wrong.
    words = ["replay", str(source), "--broker", f"mqtts://localhost:{broker.port}", "--speed", "max"]
    assert main([*words, "--ca-file", str(authority.file)]) == 1
    assert "refuses the connection: Not authorized" in capsys.readouterr().err
    assert main(words) == 1
    assert "was not issued by an authority in the system's store" in capsys.readouterr().err
    assert main([*words, "--ca-file", str(tmp_path / "none.pem")]) == 2
    assert "none.pem cannot be read" in capsys.readouterr().err


def test_over_tls_by_arguments_alone(
    start_mosquitto: Callable[[str], "Mosquitto"], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A broker that asks for a certificate and a password gets both; without the certificate it is said what lacks."""
    authority = Authority(tmp_path, "plant-ca")
    certificate, key = authority.sign("broker", "localhost")
    own, own_key = authority.sign("replayer", client=True)
    subprocess.run(["mosquitto_passwd", "-b", "-c", tmp_path / "passwords", "player", "right"], check=True)
    (tmp_path / "secret").write_text("right\n", encoding="utf-8")
    broker = start_mosquitto(
        f"allow_anonymous false\npassword_file {tmp_path / 'passwords'}\nrequire_certificate true\n"
        f"cafile {authority.file}\ncertfile {certificate}\nkeyfile {key}"
    )
    source = history_of(tmp_path, 1_300_000_000_000)
    words = ["replay", str(source), "--broker", f"mqtts://localhost:{broker.port}", "--speed", "max"]
    words += ["--ca-file", str(authority.file), "--username", "player", "--password-file", str(tmp_path / "secret")]
    assert main([*words, "--certificate-file", str(own), "--key-file", str(own_key)]) == 0
    assert f"10 messages of 2 device(s) played to mqtts://localhost:{broker.port}" in capsys.readouterr().out
    assert main(words) == 1
    assert "as brokers do that want a client certificate (broker.certificate_file)" in capsys.readouterr().err


def _config(folder: Path, url: str, telemetry: str = "", broker: str = "") -> Path:
    config = folder / "edge.toml"
    config.write_text(
        f'[model]\npath = "none.onnx"\n[broker]\nurl = "{url}"\n{broker}\n[telemetry]\n{telemetry}\n', encoding="utf-8"
    )
    return config


def test_the_sender_property_and_a_name_in_topic_and_message(mosquitto: "Mosquitto", peer: Any, tmp_path: Path) -> None:
    """The broker's clients see the user property; values may stand in the message itself."""
    source = history_of(tmp_path, round(time.time() * 1000) - 600_000)
    keys = 'topic = "x/{device}/+"\ndevice = "id"\nvalues = ""\nsender_property = "from"'
    peer.subscribe("x/#")
    assert main(["replay", str(source), "--like", str(_config(tmp_path, mosquitto.url, keys)), "--speed", "max"]) == 0
    first = peer.wait_for("x/pump 2/replay", 5)[0]
    message = json.loads(first)
    assert message["id"] == "pump 2"
    assert set(message) == {"id", "time", *CHANNELS}
    sent = next(m for m in peer.messages if m.topic == "x/pump 2/replay")
    assert sent.properties.UserProperty == [("from", "pump 2")]


@pytest.mark.parametrize(
    ("telemetry", "sentence"),
    [
        ({"values": "", "fields": {"time.x": "a"}}, "channel 'a' and the time would both be at 'time'"),
        ({"values": "", "time": "t.x", "fields": {"t": "b"}}, "channel 'b' and the time would both be at 't'"),
        ({"fields": {"b": "a"}}, "channel 'b' and channel 'a' would|would take channel 'b' for 'a'"),
        ({"fields": {"b": "a", "x": "b"}}, ""),
        ({"values": "meta", "time": "meta.ts"}, ""),
        ({"fields": {"x": "a", "x.y": "b"}}, "would both be at 'values.x'"),
    ],
)
def test_what_the_daemon_could_not_tell_apart_is_refused(
    telemetry: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    """Two things at one place of a message; what only looks like it is played."""
    history = read_history(JournalConfig(path=str(history_of(tmp_path, 1_300_000_000_000))), tmp_path)
    if sentence:
        with pytest.raises(UsageError, match=sentence):
            telemetry_messages(history, TelemetryConfig(**telemetry))
    else:
        assert len(list(telemetry_messages(history, TelemetryConfig(**telemetry)))) == 10


@pytest.mark.parametrize(
    ("telemetry", "words", "sentence"),
    [
        ("", [], "10 of 10 samples are older than the daemon takes; set telemetry.max_age_s = inf"),
        ("max_age_s = inf", ["--topic", "t/{device}"], "the topic is that of --like"),
        ("max_age = 1", [], "unknown key; did you mean 'max_age_s'?"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_sent(
    telemetry: str, words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With exit code 2: nobody answers at that port, and nobody is asked."""
    source = history_of(tmp_path, 1_300_000_000_000)
    config = _config(tmp_path, "mqtt://127.0.0.1:1", telemetry)
    assert main(["replay", str(source), "--like", str(config), "--speed", "max", *words]) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_arguments_replace_what_the_configuration_says(
    mosquitto: "Mosquitto", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A copy of the daemon's settings on another broker, without TLS; samples that are partly too old are counted."""
    source = history_of(tmp_path, round(time.time() * 1000) - 180_000)
    keys = 'ca_file = "gone.pem"\ncheck_host_name = false'
    config = _config(tmp_path, "mqtts://127.0.0.1:1", "max_age_s = 90.0", keys)
    words = ["replay", str(source), "--like", str(config), "--speed", "max"]
    assert main([*words, "--broker", mosquitto.url]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "note: 4 of 10 samples are older than the daemon takes" in said
    assert "10 messages of 2 device(s)" in said


def test_a_user_who_may_not_write_there_is_told(start_mosquitto: Callable[[str], "Mosquitto"], tmp_path: Path) -> None:
    """The broker's refusal is no success."""
    (tmp_path / "acl").write_text("topic read telemetry/#\n", encoding="utf-8")
    broker = start_mosquitto(f"allow_anonymous true\nacl_file {tmp_path / 'acl'}")
    history = read_history(JournalConfig(path=str(history_of(tmp_path, 1_300_000_000_000))), tmp_path)
    with (
        Publisher(broker.url) as publisher,
        pytest.raises(BrokerError, match=r"Not authorized.*allow clients without a user name to write"),
    ):
        play(telemetry_messages(history, "telemetry/{device}"), publisher)
