"""A damaged journal: it is put aside, what can be read of it is saved, the loss is said, and the daemon serves on."""

import json
import logging
import random
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from rarefault.runtime.cli import main
from rarefault.runtime.daemon.config import DaemonConfig
from rarefault.runtime.daemon.host.counts import counts
from rarefault.runtime.daemon.service import Service
from rarefault.runtime.daemon.setup import Setup
from rarefault.runtime.daemon.turns.durable import JournalledTurnStore
from rarefault.runtime.daemon.turns.opening import open_store
from rarefault.runtime.daemon.turns.work import Work
from rarefault.runtime.errors import DamagedJournalError, JournalError
from rarefault.runtime.inference.model_file import LoadedModel
from rarefault.runtime.inference.pipeline import PART
from rarefault.runtime.journal.reader import JournalReader
from rarefault.runtime.journal.records import Feedback, SetAside
from rarefault.runtime.journal.salvage import finish, salvage
from rarefault.runtime.journal.writer import Journal

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer
    from tests.harness.recording import Recording

PAGE = 4096
NAME = "edge.journal"
Files = dict[str, bytes]


@contextmanager
def daemon(folder: Path, model: LoadedModel, **journal: Any) -> Iterator[Service]:
    """A started daemon that has no broker."""
    config = msgspec.convert(
        {
            "model": {"path": str(model.path)},
            "broker": {"url": "mqtt://127.0.0.1:9"},
            "telemetry": {"max_age_s": float("inf")},
            "publish": {"runtime": "edge"},
            "journal": {"path": NAME, "snapshot_s": 3600.0} | journal,
        },
        DaemonConfig,
    )
    setup = Setup(config, model, None, folder / "edge.toml")
    service = Service(setup, open_store(setup))
    try:
        service._startup()
        yield service
    finally:
        service._shutdown()


def store_of(service: Service) -> JournalledTurnStore:
    assert isinstance(service.store, JournalledTurnStore)
    return service.store


def journal_of(service: Service) -> Journal:
    return store_of(service).journal


def feed(service: Service, messages: list[tuple[str, bytes]], together: int = 5) -> None:
    """Telemetry, a few messages a turn."""
    for first in range(0, len(messages), together):
        for topic, payload in messages[first : first + together]:
            service.intake.decoder.decode(topic, payload, 1_400_000_000_000, service.intake.samples)
        now_ms = time.time_ns() // 1_000_000
        aside = SetAside(now_ms, "telemetry/x", "bad_value", "no number " * 20, b"x" * 100)
        answer = Feedback(now_ms, "plant_1", f"alarm {first}", "confirmed", "fault_1", None, None, "seen " * 20)
        assert service._do(Work(service.intake.samples, rejected=[aside], feedback=[answer]))


def files_in(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name in (NAME, f"{NAME}-wal")}


def put(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder / NAME


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory, model: LoadedModel, recording: "Recording") -> Files:
    """A journal as a power cut leaves it in the middle of work, all in the main file; nothing has been confirmed."""
    folder = tmp_path_factory.mktemp("sound")
    with daemon(folder, model) as service:
        feed(service, recording.messages[:400])
        journal_of(service).begin()
        store_of(service)._snapshot()
        journal_of(service).commit()
        feed(service, recording.messages[400:600])
        journal_of(service)._execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        found = {NAME: (folder / NAME).read_bytes()}
    assert len(found[NAME]) > 40 * PAGE
    return found


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory, model: LoadedModel, recording: "Recording") -> Files:
    """A journal of which most is in SQLite's log."""
    folder = tmp_path_factory.mktemp("logged")
    with daemon(folder, model) as service:
        feed(service, recording.messages[100:200])
        journal_of(service)._execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        journal_of(service)._execute("PRAGMA wal_autocheckpoint = 0").fetchall()
        feed(service, recording.messages[:100])
        found = files_in(folder)
    assert len(found[f"{NAME}-wal"]) > 40 * PAGE
    return found


def contents(path: Path) -> dict[str, dict[int, tuple[Any, ...]]]:
    """All rows of a sound journal, by table and key."""
    tables = ("batch", "feedback", "alarm", "outbox", "rejected", "device")
    with closing(sqlite3.connect(path)) as db:
        return {name: {row[0]: row for row in db.execute(f"SELECT * FROM {name}")} for name in tables}


def garbage(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def over(data: bytes, at: int, what: bytes) -> bytes:
    return data[:at] + what + data[at + len(what) :]


def aside_of(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if ".damaged-" in p.name and not p.name.endswith(("-wal", "-shm")))


def test_damage_in_the_middle(
    tmp_path: Path, model: LoadedModel, recording: "Recording", sound: Files, caplog: pytest.LogCaptureFixture
) -> None:
    """Random bytes over pages, at many places: whatever is saved is what was there, and all is accounted for."""
    whole = contents(put(tmp_path, sound))
    pages = len(sound[NAME]) // PAGE
    salvaged = saved_at_all = 0
    for seed in range(12):
        chance = random.Random(seed)
        folder = tmp_path / str(seed)
        folder.mkdir()
        data = sound[NAME]
        for _ in range(chance.choice([1, 1, 3])):
            size = chance.choice([64, PAGE, 3 * PAGE])
            data = over(data, chance.randrange(PAGE, (pages - 3) * PAGE), garbage(size, seed))
        put(folder, {NAME: data})
        caplog.clear()
        with daemon(folder, model) as service:
            if not service.store.damaged:
                continue  # it is where nothing is, or in a batch that is not needed any more
            assert any(NAME in problem.text and "put aside" in problem.text for problem in service.health.problems())
            assert counts(service)["rarefault_journal_damaged_total"] == 1
            now = contents(folder / NAME)
            feed(service, recording.messages[600:])
        assert [r for r in caplog.records if r.levelno == logging.ERROR and "put aside as" in r.message]
        (aside,) = aside_of(folder)
        assert (folder / aside).read_bytes() == data
        with JournalReader(folder / NAME) as reader:
            assert reader.channels == model.manifest.channels
            damage = json.loads(reader.meta["damage"])
        assert damage["aside"] == aside
        for name, rows in whole.items():
            old = now[name]
            if name in ("feedback", "alarm", "outbox"):
                assert old.items() <= rows.items()
            if name in ("batch", "feedback", "rejected"):
                saved, lost = damage["tables"][name]["saved"], damage["tables"][name]["lost"]
                first, last = min(old, default=1), max(old, default=0)
                assert saved + lost >= last - first + 1
                assert len(old) == saved
            saved_at_all += len(old)
        salvaged += 1
        for seq, row in now["batch"].items():
            assert whole["batch"][seq][4] == row[4] or row[3] < whole["batch"][seq][3]
    assert salvaged >= 6
    assert saved_at_all > 2000


def test_most_is_saved_around_a_lost_page(tmp_path: Path, model: LoadedModel, sound: Files) -> None:
    """Every leaf of the tables but the one that is lost is in the new journal, bit for bit."""
    whole = contents(put(tmp_path, sound))
    data = sound[NAME]
    # A leaf of the samples: the page that holds the middle one.
    middle = sorted(whole["batch"])[len(whole["batch"]) // 2]
    at = data.index(whole["batch"][middle][4][:60])
    put(tmp_path, {NAME: over(data, at // PAGE * PAGE, garbage(PAGE, 1))})
    with daemon(tmp_path, model) as service:
        assert service.store.damaged == 1
        now = contents(tmp_path / NAME)
    lost = set(whole["batch"]) - set(now["batch"])
    assert middle in lost
    assert len(lost) < 0.3 * len(whole["batch"])
    for name, rows in whole.items():
        for key, row in rows.items():
            if name != "batch" or key not in lost:
                assert now[name][key] == row
    with JournalReader(tmp_path / NAME) as reader:
        damage = json.loads(reader.meta["damage"])
    assert damage["tables"]["batch"] == {"saved": len(now["batch"]), "lost": len(lost), "more": False}


def test_nothing_is_said_twice(
    tmp_path: Path, model: LoadedModel, recording: "Recording", sound: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last samples and the snapshot lost: no window is judged again, and no alarm said again."""
    whole = contents(put(tmp_path, sound))
    data = sound[NAME]
    with closing(sqlite3.connect(tmp_path / NAME)) as db:
        state = db.execute("SELECT state FROM snapshot").fetchone()[0]
    data = over(data, data.index(state[:40]), garbage(40, 2))
    keys = sorted(whole["batch"])
    for key in keys[-30:]:
        data = over(data, data.index(whole["batch"][key][4][:50]), garbage(50, key))
    put(tmp_path, {NAME: data})
    owed = {row[2] for row in whole["outbox"].values()}
    with daemon(tmp_path, model) as service:
        assert service.store.damaged == 1
        assert {row[2] for row in contents(tmp_path / NAME)["outbox"].values()} == owed
        feed(service, recording.messages[600:])
        new = [json.loads(row[2]) for row in contents(tmp_path / NAME)["outbox"].values() if row[2] not in owed]
    ids = {json.loads(payload)["id"] for payload in owed}
    assert new
    assert not ids & {said["id"] for said in new}
    assert {said["id"] for said in new if "fault" in said} <= set(recording.expected)
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / NAME)]) == 0
    assert "damaged    the one before, found 20" in (shown := capsys.readouterr().out)
    assert f"{len(keys) - 30} batches of samples" in shown
    assert main(["inspect", str(tmp_path / NAME), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["damage"]["tables"]["batch"]["lost"] == 30


def test_a_fleet_with_a_damaged_part_of_its_snapshot(
    tmp_path: Path, model: LoadedModel, caplog: pytest.LogCaptureFixture
) -> None:
    """All samples are processed again, to the same state; a salvage counts the part as lost."""
    messages = [
        (f"telemetry/pump_{i:03d}", f'{{"time": {60_000 * minute}, "values": {{"c1.S1": {i + minute}}}}}'.encode())
        for minute in range(2, 5)
        for i in range(PART + 50)
    ]
    with daemon(tmp_path, model) as service:
        feed(service, messages, together=len(messages))
        before = service.store.pipeline.snapshot()
    with closing(sqlite3.connect(tmp_path / NAME)) as db:
        ((state,),) = db.execute("SELECT state FROM snapshot_part").fetchall()
        db.execute("UPDATE snapshot_part SET state = ?", (over(state, len(state) // 2, garbage(9, 1)),))
        db.commit()
    (tmp_path / "again").mkdir()
    shutil.copy(tmp_path / NAME, again := tmp_path / "again" / NAME)
    with daemon(tmp_path, model) as service:
        assert service.store.pipeline.snapshot() == before
    assert "processing all samples of the journal again" in caplog.text
    found = salvage(again, model.manifest.channels, model.model_id, "it was damaged by a test").damage.tables
    assert (found["snapshot"].saved, found["snapshot_part"].saved, found["snapshot_part"].lost) == (1, 0, 1)


def test_a_restart_after_a_salvage_is_as_any_other(tmp_path: Path, model: LoadedModel, sound: Files) -> None:
    """The new journal is sound, and its next daemon has nothing to say of damage, but the file has."""
    put(tmp_path, {NAME: over(sound[NAME], 20 * PAGE, garbage(PAGE, 3))})
    with daemon(tmp_path, model) as service:
        assert service.store.damaged == 1
    with closing(sqlite3.connect(tmp_path / NAME)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with daemon(tmp_path, model) as service:
        assert (service.store.damaged, service.store.loss) == (0, "")
        assert "damage" in journal_of(service).meta
    assert len(aside_of(tmp_path)) == 1


@pytest.mark.parametrize(
    ("harm", "least"),
    [
        pytest.param(lambda data: bytes(100) + data[100:], 100, id="header"),
        pytest.param(lambda data: bytes(PAGE) + data[PAGE:], 100, id="first page"),
        pytest.param(lambda data: data[: len(data) // 2], 10, id="truncated"),
        pytest.param(lambda data: data[: 30 * PAGE + 100], 1, id="truncated within a page"),
        pytest.param(lambda data: garbage(len(data), 4), 0, id="garbage"),
        pytest.param(lambda _: b"no database, " * 10, 0, id="short garbage"),
    ],
)
def test_whole_files(
    tmp_path: Path, model: LoadedModel, sound: Files, recording: "Recording", harm: Callable[[bytes], bytes], least: int
) -> None:
    """A lost beginning costs nothing where it can be made anew; in any case the daemon serves."""
    whole = contents(put(tmp_path, sound))
    harmed = harm(sound[NAME])
    put(tmp_path, {NAME: harmed})
    with daemon(tmp_path, model) as service:
        assert service.store.damaged == 1
        feed(service, recording.messages[600:])
        now = contents(tmp_path / NAME)
    same = [key for key, row in now["batch"].items() if whole["batch"].get(key) == row]
    assert len(same) >= least
    assert (tmp_path / aside_of(tmp_path)[0]).read_bytes() == harmed
    assert sorted(p.name for p in tmp_path.iterdir() if "partial" in p.name or p.name.endswith(".new")) == []


@pytest.mark.parametrize("part", [0, 1 / 2, 0.9])
def test_a_damaged_log(tmp_path: Path, model: LoadedModel, logged: Files, part: float) -> None:
    """SQLite takes what comes before the damage in its log for all that there was: the loss is noticed and said."""
    whole = contents(put(tmp_path, logged))
    (tmp_path / f"{NAME}-wal").unlink(missing_ok=True)
    (tmp_path / f"{NAME}-shm").unlink(missing_ok=True)
    log = logged[f"{NAME}-wal"]
    put(tmp_path, logged | {f"{NAME}-wal": over(log, int(part * len(log)), garbage(64, 5))})
    with daemon(tmp_path, model) as service:
        assert service.store.damaged == 1
        assert "log" in service.store.loss
        now = contents(tmp_path / NAME)
    assert all(whole["batch"][key] == row for key, row in now["batch"].items())
    assert 20 <= len(now["batch"]) < len(whole["batch"])
    assert len(now["batch"]) >= 20 + int(0.8 * part * 20)


def test_a_torn_last_turn_is_no_damage(tmp_path: Path, model: LoadedModel, logged: Files) -> None:
    """What a power cut leaves of a turn that was not acknowledged is no loss."""
    log = logged[f"{NAME}-wal"]
    put(tmp_path, logged | {f"{NAME}-wal": over(log, len(log) - 2000, garbage(500, 6))})
    with daemon(tmp_path, model) as service:
        assert service.store.damaged == 0
        assert journal_of(service).last_seq >= 18


def test_it_can_stop_instead(tmp_path: Path, model: LoadedModel, sound: Files) -> None:
    """With on_damage = "stop" a person decides; nothing is touched."""
    harmed = over(sound[NAME], 20 * PAGE, garbage(PAGE, 7))
    put(tmp_path, {NAME: harmed})
    with (
        pytest.raises(DamagedJournalError, match=r"damaged (?s:.*)on_damage is .stop"),
        daemon(tmp_path, model, on_damage="stop"),
    ):
        pass
    assert (tmp_path / NAME).read_bytes() == harmed
    assert aside_of(tmp_path) == []


def test_what_is_no_damage_is_refused_as_ever(tmp_path: Path, model: LoadedModel) -> None:
    """Other channels, another form, another daemon: the file stays where it is."""
    path = tmp_path / NAME
    Journal(path, ("other",)).close()
    before = path.read_bytes()
    with pytest.raises(JournalError, match="other channels"), daemon(tmp_path, model):
        pass
    assert path.read_bytes() == before
    path.unlink()
    held = Journal(path, model.manifest.channels)
    with pytest.raises(JournalError, match="another daemon"), daemon(tmp_path, model):
        pass
    held.note("schema", "99")
    held.close()
    with pytest.raises(JournalError, match="form 99"), daemon(tmp_path, model):
        pass
    assert aside_of(tmp_path) == []


def test_a_damaged_journal_of_other_channels_stays(tmp_path: Path, model: LoadedModel, sound: Files) -> None:
    """It is not this daemon's to salvage, even where its first page must be made anew to see that."""
    path = put(tmp_path, sound)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("""UPDATE meta SET value = '["a","b","c"]' WHERE name = 'channels'""")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    harmed = over(path.read_bytes(), 0, bytes(100))
    for suffix in ("-wal", "-shm"):
        path.with_name(NAME + suffix).unlink(missing_ok=True)
    path.write_bytes(harmed)
    sentence = "cannot be put aside: it is that of a model with other channels"
    with pytest.raises(JournalError, match=sentence), daemon(tmp_path, model):
        pass
    assert path.read_bytes() == harmed
    assert aside_of(tmp_path) == []


def test_interrupted_between_two_files(tmp_path: Path, model: LoadedModel, sound: Files) -> None:
    """Killed when the new journal is complete and the log of the damaged one moved, the next start goes on."""
    path = tmp_path / NAME
    new = tmp_path / f"{NAME}.damaged-20261127T173000Z.new"
    Journal(new, model.manifest.channels).close()
    new.with_name(f"{new.name}.lock").unlink()
    path.write_bytes(sound[NAME][: 10 * PAGE])
    (tmp_path / f"{NAME}.damaged-20261127T173000Z-wal").write_bytes(b"log")
    with daemon(tmp_path, model) as service:
        assert service.store.damaged == 0
        assert journal_of(service).last_seq == 0
    assert aside_of(tmp_path) == [f"{NAME}.damaged-20261127T173000Z"]
    finish(path)  # again, with nothing to do
    assert len(aside_of(tmp_path)) == 1


def test_damage_while_running(
    tmp_path: Path,
    mosquitto: "Mosquitto",
    peer: "Peer",
    serving: Callable[..., Any],
    recording: "Recording",
    wait_until: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Zeros over most of the file under a running daemon: it serves on, and each verdict has one content."""
    peer.subscribe("rarefault/#")
    with serving(mosquitto.url, journal={"path": NAME, "snapshot_s": 0.1}) as service:
        recording.play(peer, slice(0, 300))
        wait_until(lambda: service.intake.messages >= 300, "the first messages")
        wait_until(lambda: len(service.broker_delivery.outbox) == 0, "confirmations")
        with sqlite3.connect(tmp_path / NAME) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        db.close()
        with (tmp_path / NAME).open("r+b") as file:
            size = file.seek(0, 2)
            file.seek(PAGE)
            file.write(garbage(size - PAGE, 8))
        recording.play(peer, slice(300, None))
        wait_until(lambda: service.store.damaged == 1, "the damage to be found")
        wait_until(lambda: service.intake.messages >= len(recording.messages), "the other messages")
        wait_until(lambda: len(service.broker_delivery.outbox) == 0, "confirmations")
        assert service.store.trouble == ""
    peer.catch_up()
    live = recording.verdicts_at(peer)
    said = {json.dumps({k: v for k, v in verdict.items() if k != "time"}, sort_keys=True) for verdict in live}
    assert len(said) == len({verdict["id"] for verdict in live})
    assert len(live) > 100
    assert "put aside as" in caplog.text
    assert len(aside_of(tmp_path)) == 1


def test_no_room_to_put_it_aside(tmp_path: Path, model: LoadedModel, sound: Files) -> None:
    """Where no new file can be written, the daemon says so and leaves the damaged one as it is."""
    harmed = over(sound[NAME], 20 * PAGE, garbage(PAGE, 9))
    put(tmp_path, {NAME: harmed})
    (tmp_path / f"{NAME}.partial").mkdir()  # even root cannot write there
    with pytest.raises(JournalError, match="cannot be put aside"), daemon(tmp_path, model):
        pass
    assert (tmp_path / NAME).read_bytes() == harmed


@pytest.mark.parametrize("on_damage", ["salvage", "stop"])
def test_the_end_of_a_daemon_that_cannot_go_on(
    tmp_path: Path, model: LoadedModel, sound: Files, recording: "Recording", on_damage: str
) -> None:
    """Damaged while it runs, and not to be put aside: it ends with a sentence, and in good order."""
    put(tmp_path, sound)
    with pytest.raises(JournalError) as ended, daemon(tmp_path, model, on_damage=on_damage) as service:  # noqa: PT012
        (tmp_path / f"{NAME}.partial").mkdir()
        (tmp_path / NAME).write_bytes(garbage(len(sound[NAME]), 10))
        journal_of(service)._execute("PRAGMA shrink_memory")  # what SQLite remembers of the file
        feed(service, recording.messages[600:])
    assert ("cannot be put aside" if on_damage == "salvage" else 'on_damage is "stop"') in str(ended.value)
    assert aside_of(tmp_path) == []
