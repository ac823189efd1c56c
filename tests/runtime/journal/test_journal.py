"""The journal: nothing accepted is lost, nothing is said twice, whatever ends the daemon."""

import json
import random
import sqlite3
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.daemon import Daemon

from rarefault.runtime.errors import JournalError
from rarefault.runtime.inference.model_file import LoadedModel
from rarefault.runtime.inference.pipeline import PART, Pipeline, verdict_id
from rarefault.runtime.journal.reader import JournalReader
from rarefault.runtime.journal.records import Entry, pack, unpack
from rarefault.runtime.journal.writer import Journal
from rarefault.runtime.times import parse_time_ms

CHANNELS = ("c1.S1", "c1.S2", "z1.E1")


def samples(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 3))
    values[rng.random((n, 3)) < 0.3] = np.nan
    return rng.integers(0, 4, n).astype(np.int32), np.sort(rng.integers(0, 3_000_000, n)), values


@given(st.integers(0, 40), st.integers(0, 99))
def test_samples_come_back_bit_for_bit(n: int, seed: int) -> None:
    """Packed and unpacked, slots, times and values are the same; too short data is noticed."""
    device, time_ms, values = samples(n, seed)
    data = pack(device, time_ms, values)
    for there, back in zip((device, time_ms, values), unpack(data, n, 3), strict=True):
        np.testing.assert_array_equal(there, back)
    if n:
        with pytest.raises(ValueError, match="bytes are too few"):
            unpack(data[: 12 * n], n, 3)


def test_a_pipeline_goes_on_from_its_snapshot(model: LoadedModel) -> None:
    """Snapshot anywhere, restore into a new pipeline: the rest gives the same verdicts, alarms and counts."""
    device, time_ms, values = samples(900)

    def fresh() -> Pipeline:
        pipeline = Pipeline(model.manifest, model.step, model.model_id)
        for name in "abcd":
            pipeline.slot(name)
        return pipeline

    for at in (0, 1, 450, 899):
        whole, first = fresh(), fresh()
        for pipeline in (whole, first):
            pipeline.push(device[:at], time_ms[:at], values[:at])
        second = Pipeline(model.manifest, model.step, model.model_id)
        second.restore(first.snapshot())
        expected = whole.push(device[at:], time_ms[at:], values[at:])
        got = second.push(device[at:], time_ms[at:], values[at:])
        np.testing.assert_array_equal(got.posterior, expected.posterior)
        np.testing.assert_array_equal(got.end_ms, expected.end_ms)
        assert got.alarms == expected.alarms
        assert (second.grid.accepted, second.grid.late) == (whole.grid.accepted, whole.grid.late)
        assert second.devices == ["a", "b", "c", "d"]
    with pytest.raises(ValueError, match="not a snapshot"):
        fresh().restore(b"PK\x03\x04 no")


def test_a_fleet_has_a_snapshot_in_parts(model: LoadedModel, tmp_path: Path) -> None:
    """Through the journal and back; with a part missing it is refused; a smaller snapshot leaves no parts behind."""
    n = 2 * PART + 7
    fleet = Pipeline(model.manifest, model.step, model.model_id)
    device = np.array([fleet.slot(f"pump_{i}") for i in range(n)])
    rng = np.random.default_rng(3)
    for minute in range(4):
        fleet.push(device[minute:], np.full(n - minute, 1000 + 60_000 * minute), rng.normal(size=(n - minute, 3)))
    journal = Journal(tmp_path / "j", CHANNELS)
    journal.begin()
    size = journal.save_snapshot("m", fleet.snapshot_parts())
    journal.commit()
    parts = list(journal.snapshot_parts())
    assert (len(parts), sum(map(len, parts))) == (3, size)
    assert all(b"part_devices" in part for part in parts)  # earlier releases refuse them
    second = Pipeline(model.manifest, model.step, model.model_id)
    second.restore(journal.snapshot_parts())
    assert second.snapshot() == fleet.snapshot()
    with JournalReader(tmp_path / "j") as reader:
        assert {name: clock.newest_ms for name, clock in reader.clocks().items()} == dict.fromkeys(
            fleet.devices, 181_000
        ) | {"pump_0": 1000, "pump_1": 61_000, "pump_2": 121_000}
    for some in (parts[:2], parts[1:], [parts[0], parts[2]]):
        with pytest.raises(ValueError, match="not a whole snapshot"):
            Pipeline(model.manifest, model.step, model.model_id).restore(some)
    one = Pipeline(model.manifest, model.step, model.model_id)
    one.slot("pump_1")
    journal.save_snapshot("m", one.snapshot_parts())
    assert len(list(journal.snapshot_parts())) == 1
    second.restore([*journal.snapshot_parts(), *parts[1:]])
    assert second.devices == ["pump_1"]
    journal.close()


def test_only_whole_turns_are_kept(tmp_path: Path) -> None:
    """What was not committed is gone after a restart, what was is there, in order; the file is private."""
    path = tmp_path / "journal.sqlite"
    journal = Journal(path, CHANNELS)
    for turn in range(3):
        journal.begin()
        journal.append(*samples(5, turn), 1000 + turn)
        journal.put(Entry(turn + 1, f"t{turn}", b"x", retain=False))
        journal.commit() if turn < 2 else journal.rollback()
    assert journal.last_seq == 2
    journal.close()
    again = Journal(path, CHANNELS)
    assert [batch.seq for batch in again.batches()] == [1, 2]
    np.testing.assert_array_equal(next(again.batches()).values, samples(5, 0)[2])
    assert [entry.topic for entry in again.owed()] == ["t0", "t1"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again.close()


def test_retention_keeps_what_a_restart_needs(tmp_path: Path) -> None:
    """By age and by size, but never a batch that the snapshot does not cover."""
    journal = Journal(tmp_path / "j", CHANNELS)
    for turn in range(10):
        journal.append(*samples(100, turn), received_ms=1000 * turn)
        if turn == 7:
            journal.save_snapshot("m", [b"state"])
    assert journal.clean_up(before_ms=3000, most_bytes=1 << 30, most_rejected_bytes=0, most_verdict_bytes=0) == 3
    assert [b.seq for b in journal.batches()] == [4, 5, 6, 7, 8, 9, 10]
    journal.clean_up(before_ms=0, most_bytes=1, most_rejected_bytes=0, most_verdict_bytes=0)
    assert [b.seq for b in journal.batches()] == [9, 10]
    journal.close()


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (lambda path: path.write_bytes(b"no database, " * 500), "damaged"),
        (lambda path: sqlite3.connect(path).execute("CREATE TABLE mine (a)").connection.commit(), "no journal of rare"),
        (lambda path: Journal(path, ("other",)).close(), "other channels"),
    ],
)
def test_files_that_are_no_journal_of_ours(tmp_path: Path, prepare: Callable[[Path], Any], sentence: str) -> None:
    """Each is refused with a sentence, and left as it is."""
    path = tmp_path / "journal.sqlite"
    prepare(path)
    with pytest.raises(JournalError, match=sentence):
        Journal(path, CHANNELS)
    assert path.exists()


def test_a_second_daemon_is_told(tmp_path: Path) -> None:
    """Two daemons on one journal would each undo the other's work."""
    first = Journal(tmp_path / "j", CHANNELS)
    first.begin()
    first.commit()
    with pytest.raises(JournalError, match="another daemon has it open"):
        Journal(tmp_path / "j", CHANNELS)
    first.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk can be mounted by root only")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_loses_nothing(
    small_disk: Path, recording: Any, serving: Callable[..., Any], mosquitto: Any, peer: Any, wait_until: Any
) -> None:
    """While the journal cannot be written nothing is acknowledged; with room again, every verdict comes."""
    peer.subscribe("rarefault/#")
    filler = small_disk / "filler"
    with serving(mosquitto.url, journal={"path": str(small_disk / "j")}) as service:
        recording.play(peer, slice(0, 300))
        wait_until(lambda: service.intake.messages >= 300, "the first messages")
        fill = subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=512"], capture_output=True, check=False)
        assert b"No space left" in fill.stderr
        recording.play(peer, slice(300, None))
        wait_until(lambda: service.store.failures >= 1, "the disk to be full")
        filler.unlink()
        wait_until(lambda: len({v["id"] for v in recording.verdicts_at(peer)}) >= len(recording.expected), "verdicts")
        assert service.store.failures >= 1
    recording.assert_equal(list({v["id"]: v for v in recording.verdicts_at(peer)}.values()))


def test_killed_at_random_points_it_says_what_an_undisturbed_one_says(
    tmp_path: Path, model: LoadedModel, recording: Any, mosquitto: Any, peer: Any, wait_until: Any
) -> None:
    """Kill -9 again and again, and the broker restarted in between: no verdict lost, none with two contents."""
    config = tmp_path / "edge.toml"
    config.write_text(
        f'[model]\npath = "{model.path}"\n[broker]\nurl = "{mosquitto.url}"\nclient_id = "edge"\n'
        'reconnect_min_s = 0.05\nreconnect_max_s = 0.2\n[telemetry]\nmax_age_s = inf\n[publish]\nruntime = "edge"\n'
        '[journal]\npath = "edge.journal"\nsnapshot_s = 0.2\n',
        encoding="utf-8",
    )
    peer.subscribe("rarefault/#")
    chance = random.Random(5)
    daemon = Daemon(config)
    daemon.start()
    peer.wait_for("rarefault/edge/status")
    size = len(recording.messages) // 8 + 1
    for first in range(0, len(recording.messages), size):
        recording.play(peer, slice(first, first + size))
        time.sleep(chance.uniform(0, 0.3))
        daemon.kill()
        daemon.start()
    try:
        wait_until(lambda: len({v["id"] for v in recording.verdicts_at(peer)}) >= len(recording.expected), "verdicts")
    finally:
        assert daemon.stop() == 0
    peer.catch_up()
    live = recording.verdicts_at(peer)
    contents = {json.dumps({k: v for k, v in verdict.items() if k != "time"}, sort_keys=True) for verdict in live}
    assert len(contents) == len({verdict["id"] for verdict in live}), "one id with two contents"
    recording.assert_equal(list({verdict["id"]: verdict for verdict in live}.values()))
    last = {a["device"]: a for a in recording.alarms}
    for device in recording.devices:
        assert json.loads(peer.payloads(f"rarefault/{device}/alarm")[-1]) == last[device]
    sample = live[0]
    assert sample["id"] == verdict_id(sample["device"], parse_time_ms(sample["end"]), model.model_id)
