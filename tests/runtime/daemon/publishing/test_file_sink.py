"""A file as a sink: whole lines, at least once, whatever ends the daemon, and no trouble for the broker."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from rarefault.runtime.cli import main
from rarefault.runtime.daemon.config import FileSinkConfig
from rarefault.runtime.daemon.host.counts import counts
from rarefault.runtime.daemon.publishing import file_sink
from rarefault.runtime.daemon.publishing.delivery import Delivery
from rarefault.runtime.daemon.publishing.file_sink import FileSink
from rarefault.runtime.daemon.publishing.outbox import MemoryOutbox
from rarefault.runtime.daemon.setup import load_setup, reload_setup
from rarefault.runtime.errors import ConfigError
from rarefault.runtime.inference.model_file import LoadedModel
from rarefault.runtime.journal.records import Entry
from rarefault.runtime.journal.writer import Journal

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer
    from tests.harness.recording import Recording

Serving = Callable[..., Any]
WaitUntil = Callable[[Callable[[], object], str], None]
NAME = "verdicts.jsonl"


def entry(number: int, *, size: int = 10, retain: bool = False) -> Entry:
    payload = json.dumps({"id": str(number), "filler": "x" * size}).encode()
    return Entry(number, f"p/d/{'alarm' if retain else 'verdict'}", payload, retain, NAME)


def lines_of(*paths: Path) -> list[dict[str, Any]]:
    """All lines, each of which must be whole."""
    text = b"".join(path.read_bytes() for path in paths)
    assert not text or text.endswith(b"\n")
    return [json.loads(line) for line in text.splitlines()]


def new_sink(folder: Path, **options: Any) -> FileSink:
    return FileSink(msgspec.convert({"kind": "file", "path": NAME} | options, FileSinkConfig), folder)


def write(sink: FileSink, entries: list[Entry]) -> list[int]:
    """Publish all at once; ids that were confirmed."""
    for one in entries:
        sink.publish(one)
    return sink.confirmations()


def test_lines_are_the_payloads_with_their_kind(tmp_path: Path) -> None:
    """Nothing is written before it is asked for, and what is confirmed is in the file."""
    sink = new_sink(tmp_path)
    ids = [sink.publish(entry(1)), sink.publish(entry(2, retain=True))]
    assert lines_of(tmp_path / NAME) == []
    assert sink.confirmations() == ids
    assert sink.confirmations() == []
    assert [(line["kind"], line["id"]) for line in lines_of(tmp_path / NAME)] == [("verdict", "1"), ("alarm", "2")]
    sink.close()
    again = new_sink(tmp_path)
    write(again, [entry(3)])
    assert [line["id"] for line in lines_of(tmp_path / NAME)] == ["1", "2", "3"]
    again.close()


def test_files_are_rotated_and_the_oldest_goes(tmp_path: Path) -> None:
    """No file grows beyond the limit, their lines follow each other, and too long a line has a file of its own."""
    sink = new_sink(tmp_path, max_bytes=1 << 16, keep=2)
    for first in range(0, 400, 40):
        assert len(write(sink, [entry(first + i, size=1000) for i in range(40)])) == 40
    files = [tmp_path / f"{NAME}.2", tmp_path / f"{NAME}.1", tmp_path / NAME]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert all(path.stat().st_size <= 1 << 16 for path in files)
    numbers = [int(line["id"]) for line in lines_of(*files)]
    assert numbers == list(range(numbers[0], 400))
    assert numbers[0] > 100
    write(sink, [entry(400, size=1 << 17), entry(401)])
    assert [[line["id"] for line in lines_of(path)] for path in (files[1], files[2])] == [["400"], ["401"]]
    assert sink.written == 402
    sink.close()


@pytest.mark.parametrize(
    "torn", [b"{", b'{"kind":"verd', b'{"kind":"verdict","id":"9"}', b"\0" * 100, b'{"k' + b"\0" * 9]
)
def test_a_torn_line_is_cut(tmp_path: Path, torn: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A crash leaves the beginning of a line, or zeros: it is cut, so that no line is merged with another."""
    (tmp_path / NAME).write_bytes(b'{"kind":"verdict","id":"1"}\n' + torn)
    sink = new_sink(tmp_path)
    assert f"cut off {len(torn)} bytes" in caplog.text
    write(sink, [entry(2)])
    assert [line["id"] for line in lines_of(tmp_path / NAME)] == ["1", "2"]
    sink.close()


def test_lines_of_others_are_not_cut(tmp_path: Path) -> None:
    """A file that another program has begun is gone on with on a line of its own."""
    (tmp_path / NAME).write_bytes(b"a header of mine")
    sink = new_sink(tmp_path)
    write(sink, [entry(1)])
    sink.close()
    first, second = (tmp_path / NAME).read_bytes().splitlines()
    assert (first, json.loads(second)["id"]) == (b"a header of mine", "1")


def test_a_file_that_is_moved_away_is_made_again(tmp_path: Path) -> None:
    """Another program may rotate it: what comes later is in a new file."""
    sink = new_sink(tmp_path)
    write(sink, [entry(1)])
    (tmp_path / NAME).rename(tmp_path / "moved")
    write(sink, [entry(2)])
    sink.close()
    assert [line["id"] for line in lines_of(tmp_path / "moved", tmp_path / NAME)] == ["1", "2"]


def test_two_daemons_do_not_share_a_file(tmp_path: Path) -> None:
    """The second one does not write between the lines of the first, and takes over when that is gone."""
    first, second = new_sink(tmp_path), new_sink(tmp_path)
    assert "another process has it locked; give each daemon a path of its own" in second.problem
    assert second.room == 0
    first.close()
    second._retry_at = 0.0
    assert len(write(second, [entry(1)])) == 1
    assert second.problem == ""
    second.close()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process may grow beyond a size: as a full disk, with another word for it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_lines_that_do_not_fit_are_not_confirmed_and_not_torn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What was begun is taken back; with room again all is written once, in order; the log is bounded."""
    sink = new_sink(tmp_path)
    write(sink, [entry(0)])
    with largest_file(5000):
        for attempt in range(1, 4):
            sink._retry_at = 0.0
            assert write(sink, [entry(i, size=200) for i in range(1, 41)]) == []
            assert (sink.room, sink.generation, sink.failures) == (0, attempt, attempt)
        assert f"{tmp_path / NAME} cannot be written: File too large; free some room" in sink.problem
        assert [line["id"] for line in lines_of(tmp_path / NAME)] == ["0"]
    assert len(caplog.records) == 1
    sink._retry_at = 0.0
    assert len(write(sink, [entry(i, size=200) for i in range(1, 41)])) == 40
    assert sink.problem == ""
    assert [line["id"] for line in lines_of(tmp_path / NAME)] == [str(i) for i in range(41)]
    sink.close()


def test_what_each_file_wants(
    mosquitto: "Mosquitto",
    peer: "Peer",
    serving: Serving,
    recording: "Recording",
    wait_until: WaitUntil,
    tmp_path: Path,
) -> None:
    """One file has all, one verdicts, one alarms; the lines are what the broker gets, and metrics count them."""
    peer.subscribe("rarefault/+/verdict")
    peer.subscribe("rarefault/+/alarm")
    sinks = [{"kind": "file", "path": f"{what}.jsonl", "what": what} for what in ("all", "verdicts", "alarms")]
    with serving(mosquitto.url, sink=sinks) as service:
        recording.play(peer)
        wait_until(lambda: service.intake.messages >= len(recording.messages), "all telemetry")
        wait_until(lambda: len(recording.verdicts_at(peer)) >= len(recording.expected), "all verdicts")
    numbers = counts(service)  # the files are written once the daemon has stopped
    peer.catch_up()
    lines = {what: lines_of(tmp_path / f"{what}.jsonl") for what in ("all", "verdicts", "alarms")}
    without_kind = [{k: v for k, v in line.items() if k != "kind"} for line in lines["verdicts"]]
    assert sorted(without_kind, key=str) == sorted(recording.verdicts_at(peer), key=str)
    assert [line for line in lines["all"] if line["kind"] == "verdict"] == lines["verdicts"]
    assert [line for line in lines["all"] if line["kind"] == "alarm"] == lines["alarms"]
    for device in recording.devices:
        published = [json.loads(payload) for payload in peer.payloads(f"rarefault/{device}/alarm")]
        assert [line for line in lines["alarms"] if line["device"] == device] == [
            {"kind": "alarm"} | alarm for alarm in published
        ]
    assert numbers["rarefault_sink_written_total"] == {f"{what}.jsonl": len(found) for what, found in lines.items()}
    assert numbers["rarefault_sink_messages"] == dict.fromkeys(numbers["rarefault_sink_written_total"], 0)


class Daemon:
    """The daemon as a process of its own, with a file as a sink."""

    def __init__(self, folder: Path, model: LoadedModel, url: str, more: str) -> None:
        self.config = folder / "edge.toml"
        self.config.write_text(
            f'[model]\npath = "{model.path}"\n[broker]\nurl = "{url}"\nclient_id = "edge"\nreconnect_min_s = 0.05\n'
            'reconnect_max_s = 0.2\n[telemetry]\nmax_age_s = inf\n[publish]\nruntime = "edge"\n'
            f'[[sink]]\nkind = "file"\npath = "{NAME}"\n{more}',
            encoding="utf-8",
        )
        self.log = folder / "edge.log"
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "rarefault.runtime.cli", "run", str(self.config)]
            self.process = subprocess.Popen(command, stderr=log)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(60) == 0


@pytest.fixture
def daemon(tmp_path: Path, model: LoadedModel, mosquitto: "Mosquitto") -> Iterator[Callable[[str], Daemon]]:
    made: list[Daemon] = []

    def start(more: str) -> Daemon:
        made.append(Daemon(tmp_path, model, mosquitto.url, more))
        return made[-1]

    yield start
    for one in made:
        one.process.kill()
        one.process.wait()


def content(verdict: dict[str, Any]) -> str:
    return json.dumps({k: v for k, v in verdict.items() if k not in ("time", "kind")}, sort_keys=True)


def test_killed_at_random_points_the_file_has_all(
    daemon: Callable[[str], Daemon],
    recording: "Recording",
    peer: "Peer",
    wait_until: WaitUntil,
    tmp_path: Path,
) -> None:
    """Kill -9 again and again: each line parses, and what the broker got is in the file, with the same content."""
    peer.subscribe("rarefault/#")
    chance = random.Random(3)
    edge = daemon('max_bytes = 65536\nkeep = 100\n[journal]\npath = "edge.journal"\nsnapshot_s = 0.2\n')
    peer.wait_for("rarefault/edge/status")
    size = len(recording.messages) // 6 + 1
    for first in range(0, len(recording.messages), size):
        recording.play(peer, slice(first, first + size))
        time.sleep(chance.uniform(0.0, 0.4))
        edge.kill()
        edge.start()
    wait_until(lambda: len({v["id"] for v in recording.verdicts_at(peer)}) >= len(recording.expected), "verdicts")
    edge.stop()
    peer.catch_up()
    lines = lines_of(*tmp_path.glob(f"{NAME}*"))
    assert len(list(tmp_path.glob(f"{NAME}*"))) > 1
    written = {content(line) for line in lines if line["kind"] == "verdict"}
    assert len(written) == len({line["id"] for line in lines if line["kind"] == "verdict"}) == len(recording.expected)
    assert {content(verdict) for verdict in recording.verdicts_at(peer)} == written
    alarms = {content(line) for line in lines if line["kind"] == "alarm"}
    assert alarms == {content(alarm) for alarm in recording.alarms}


def test_a_full_disk_does_not_stop_the_broker(
    daemon: Callable[[str], Daemon],
    recording: "Recording",
    peer: "Peer",
    wait_until: WaitUntil,
    tmp_path: Path,
) -> None:
    """Verdicts reach the broker, health says what is wrong and what to do, and with room again the file has all."""
    peer.subscribe("rarefault/#")
    edge = daemon("")
    peer.wait_for("rarefault/edge/status")
    before = resource.prlimit(edge.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(edge.process.pid, resource.RLIMIT_FSIZE, (20_000, before[1]))
    recording.play(peer)
    wait_until(lambda: len(recording.verdicts_at(peer)) >= len(recording.expected), "all verdicts")

    def problems() -> str:
        payloads = peer.payloads("rarefault/edge/health")
        return str(json.loads(payloads[-1])["problems"]) if payloads else ""

    wait_until(lambda: f"sink {NAME}: " in problems() and "File too large; free some room" in problems(), "health")
    assert len(lines_of(tmp_path / NAME)) < len(recording.expected)
    resource.prlimit(edge.process.pid, resource.RLIMIT_FSIZE, before)
    wait_until(lambda: problems() == "[]", "the file to be written again")
    edge.stop()
    lines = lines_of(tmp_path / NAME)
    assert {line["id"] for line in lines if line["kind"] == "verdict"} == set(recording.expected)
    assert len([line for line in lines if line["kind"] == "verdict"]) == len(recording.expected)
    assert "its lines wait, next attempt in 5 s" in edge.log.read_text(encoding="utf-8")


def test_a_broker_that_is_away_does_not_stop_the_file(
    mosquitto: "Mosquitto",
    peer: "Peer",
    serving: Serving,
    recording: "Recording",
    wait_until: WaitUntil,
    tmp_path: Path,
) -> None:
    """What was decided is in the file, while the broker's outbox waits."""
    with serving(mosquitto.url, sink=[{"kind": "file", "path": NAME}]) as service:
        # As a broker that sends and takes nothing.
        service.session._connection._window = 0
        recording.play(peer, slice(0, 200))
        wait_until(lambda: service.intake.messages == 200, "telemetry")
        wait_until(lambda: not len(service.store.outboxes[NAME]), "the file")
        verdicts = [line for line in lines_of(tmp_path / NAME) if line["kind"] == "verdict"]
        assert len(verdicts) == service.totals.verdicts.total() > 5
        assert len(service.broker_delivery.outbox) >= len(verdicts)


@pytest.mark.parametrize(
    ("sinks", "sentence"),
    [
        ('[[sink]]\nkind = "file"\npath = "none/x.jsonl"', "sink[0].path: there is no folder {folder}/none; make it"),
        ('[[sink]]\nkind = "file"\npath = "folder"', "sink[0].path: {folder}/folder is no regular file; name a file"),
        ('[[sink]]\nkind = "file"\npath = "/dev/full"', "sink[0].path: /dev/full is no regular file; name a file"),
        (
            '[[sink]]\nkind = "file"\npath = "a"\n[[sink]]\nkind = "file"\npath = "folder/../a"',
            "sink[1].path: 'folder/../a' is the file of sink[0].path; name another one",
        ),
        (
            '[journal]\npath = "j"\n[[sink]]\nkind = "file"\npath = "j-wal"',
            "sink[0].path: 'j-wal' is the file of journal.path; name another one",
        ),
        ('[[sink]]\nkind = "file"\npath = "edge.toml"', "'edge.toml' is the file of the configuration"),
        ('[[sink]]\nkind = "file"\npath = "broker"', "sink[0].path: 'broker' names the broker itself"),
        ('[[sink]]\nkind = "kafka"\npath = "x"', "sink[0].kind: "),
        ('[[sink]]\npath = "x"', "sink[0].kind: "),
        ('[[sink]]\nkind = "file"\npath = "x"\nwhat = "some"', "sink[0].what: invalid enum value 'some'"),
        ('[[sink]]\nkind = "file"\npath = "x"\nmax_bytes = 10', "sink[0].max_bytes: expected `int` >= 65536"),
    ],
)
def test_sinks_that_cannot_be_used_are_refused(
    sinks: str, sentence: str, tmp_path: Path, model: LoadedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 with the key and what to do, at the start and by the doctor."""
    (tmp_path / "folder").mkdir()
    config = tmp_path / "edge.toml"
    config.write_text(f'[model]\npath = "{model.path}"\n[broker]\nurl = "mqtt://127.0.0.1:9"\n{sinks}\n')
    assert main(["run", str(config), "--check"]) == 2
    assert sentence.format(folder=tmp_path) in capsys.readouterr().err
    assert main(["doctor", str(config), "--seconds", "0.1"]) == 1
    assert sentence.format(folder=tmp_path) in capsys.readouterr().out


def test_other_sinks_need_a_restart(tmp_path: Path, model: LoadedModel) -> None:
    """A reload that changes them is refused, and says so."""
    config = tmp_path / "edge.toml"
    config.write_text(f'[model]\npath = "{model.path}"\n')
    before = load_setup(config)
    config.write_text(f'[model]\npath = "{model.path}"\n[[sink]]\nkind = "file"\npath = "x"\n')
    with pytest.raises(ConfigError, match="sink: changed; this needs a restart of the daemon"):
        reload_setup(lambda: load_setup(config), before)


def test_a_backlog_is_written_at_once(tmp_path: Path) -> None:
    """Thousands of lines that have waited leave in one go, in order."""

    class Store:
        def __init__(self) -> None:
            self.outboxes = {NAME: MemoryOutbox(10_000, NAME)}

    store = Store()
    sink = new_sink(tmp_path)
    for number in range(3500):
        store.outboxes[NAME].put("p/d/verdict", entry(number).payload, retain=False)
    Delivery(sink, store).run()
    assert len(store.outboxes[NAME]) == 0
    assert [int(line["id"]) for line in lines_of(tmp_path / NAME)] == list(range(3500))
    sink.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(
    tmp_path: Path, model: LoadedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the right to, the start is refused."""
    (tmp_path / "folder").mkdir(mode=0o500)
    config = tmp_path / "edge.toml"
    config.write_text(f'[model]\npath = "{model.path}"\n[[sink]]\nkind = "file"\npath = "folder/x"\n')
    assert main(["run", str(config), "--check"]) == 2
    assert "sink[0].path: " in capsys.readouterr().err


def test_what_a_sink_that_is_gone_is_owed_stays(
    mosquitto: "Mosquitto",
    peer: "Peer",
    serving: Serving,
    recording: "Recording",
    wait_until: WaitUntil,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without its section nothing is lost or given to another; with it again, all lines come."""
    monkeypatch.setattr(file_sink, "RETRY_S", 0.0)
    journal, sink = {"path": "edge.journal"}, [{"kind": "file", "path": NAME}]
    with serving(mosquitto.url, journal=journal, sink=sink) as service:
        service.sinks[0]._retry_at = float("inf")  # as a disk that is full all the time
        recording.play(peer, slice(0, 300))
        wait_until(lambda: service.intake.messages == 300, "telemetry")
        wait_until(lambda: not len(service.broker_delivery.outbox), "the broker")
        owed = len(service.store.outboxes[NAME])
        assert owed >= service.totals.verdicts.total() > 20
    assert f"stopped with {owed} lines not written to {NAME}; the journal keeps them" in caplog.text
    with serving(mosquitto.url, journal=journal) as service:
        assert len(service.broker_delivery.outbox) == 0
    assert f"the journal keeps {owed} messages for the sink {NAME}, which is not configured any more" in caplog.text
    assert lines_of(tmp_path / NAME) == []
    with serving(mosquitto.url, journal=journal, sink=sink) as service:
        wait_until(lambda: not len(service.store.outboxes[NAME]), "the file")
    assert len(lines_of(tmp_path / NAME)) == owed
    journal_file = Journal(tmp_path / "edge.journal", ("c1.S1", "c1.S2", "z1.E1"))
    assert list(journal_file.owed()) == []
    journal_file.close()
