"""The follower: the fleet is that of the journal, whatever becomes of the file."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from tests.harness.page import Plant
from tests.page.conftest import START_MS

from rarefault.page.journal.fleet import FleetTable, Question, kind_of
from rarefault.page.journal.follower import Follower
from rarefault.page.journal.history import sample_history, verdict_history
from rarefault.page.journal.queries import PageJournal
from rarefault.runtime.journal.reader import JournalReader


def state_of(follower: Follower) -> str:
    return follower.state.state


def facts(fleet: FleetTable) -> dict[str, tuple[object, ...]]:
    rows = fleet.page(Question(limit=200)).rows
    return {row.device: (row.state, row.since_ms, row.probability, row.sample_ms) for row in rows}


def expected(plant: Plant) -> dict[str, tuple[object, ...]]:
    """The same from reading the whole journal with the runtime's own reader."""
    with JournalReader(plant.journal) as journal:
        names, alarms = journal.devices(), {alarm.device: alarm for alarm in journal.alarms()}
        newest: dict[str, int] = {}
        for batch in journal.batches():
            if batch.kind == 0:
                for device, time_ms in zip(batch.device.tolist(), batch.time_ms.tolist(), strict=True):
                    newest[names[device]] = max(newest.get(names[device], 0), time_ms)
        probability: dict[str, float | None] = {}
        for verdicts in journal.verdicts():
            classes = journal.classes(verdicts.model)
            for device, posterior in zip(verdicts.device.tolist(), verdicts.posterior, strict=True):
                state = alarms[names[device]].state
                at = classes.index(state) if state in classes else None
                probability[names[device]] = None if at is None else round(float(posterior[at]), 3)
    return {
        name: (alarms[name].state, alarms[name].since_ms, probability[name], newest[name]) for name in names.values()
    }


def test_it_has_what_the_journal_has(plant: Plant) -> None:
    """At the start from snapshot and last rows, later from new rows only; both ways the same."""
    followed, known = Follower(plant.journal), len(plant.alarms)
    assert followed.look()
    assert facts(followed.fleet) == expected(plant)
    for step in range(4):
        plant.run(["pump-1", "pump-2", "Fan-3", f"new-{step}"], START_MS + 600_000 * (step + 1), 60)
        before = followed.revision
        assert followed.look()
        assert followed.revision > before
        assert facts(followed.fleet) == expected(plant)
        fresh = Follower(plant.journal)
        fresh.look()
        assert facts(fresh.fleet) == facts(followed.fleet)
    raised = [alarm for alarm in plant.alarms[known:] if kind_of(alarm.state) in ("fault", "unknown")]
    assert followed.alarms == len(raised) > 0
    plant.store.close()  # a snapshot, and no log any more
    fresh = Follower(plant.journal)
    fresh.look()
    assert facts(fresh.fleet) == expected(plant)


def test_a_file_that_rests_is_not_opened(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quiet plant costs two looks at the folder."""
    followed = Follower(plant.journal)
    followed.look()
    time.sleep(0.3)
    followed.look()
    opened: list[Path] = []
    init = PageJournal.__init__

    def counted(self: PageJournal, path: Path) -> None:
        opened.append(path)
        init(self, path)

    monkeypatch.setattr(PageJournal, "__init__", counted)
    assert not followed.look()
    assert opened == []
    plant.run(["pump-1"], START_MS + 900_000, 2)
    assert followed.look()
    assert opened == [plant.journal]


def test_missing_damaged_foreign_and_replaced(plant: Plant, tmp_path: Path) -> None:
    """Each is said, the last fleet stays in view, and another journal in its place is read anew."""
    plant.store.close()
    path = tmp_path / "moved" / "edge.journal"
    followed = Follower(path)
    followed.look()
    assert (state_of(followed), len(followed.fleet)) == ("missing", 0)
    assert "no such journal" in followed.state.sentence
    path.parent.mkdir()
    shutil.copy(plant.journal, path)
    assert followed.look()
    assert (state_of(followed), len(followed.fleet)) == ("ok", 3)
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    followed.look()
    assert state_of(followed) == "damaged"
    assert len(followed.fleet) == 3
    path.write_bytes(b"SQLite format 3\0" + bytes(5000))
    followed.look()
    assert state_of(followed) in ("damaged", "unreadable")
    path.unlink()
    (tmp_path / "other").mkdir()
    other = Plant(tmp_path / "other")
    other.run(["only-one"], START_MS, 30)
    other.store.close()
    shutil.copy(other.journal, path)
    assert followed.look()
    assert state_of(followed) == "ok"
    assert list(facts(followed.fleet)) == ["only-one"]


def test_a_journal_that_its_daemon_salvages_is_read_anew(plant: Plant) -> None:
    """The daemon puts the damaged file aside; what it could save is what the page shows, and what comes after it."""
    followed = Follower(plant.journal)
    plant.store.close()
    followed.look()
    with plant.journal.open("r+b") as file:
        file.seek(plant.journal.stat().st_size // 2)
        file.write(b"\xff" * 20_000)
    followed.look()
    assert len(followed.fleet) == 3
    plant.store = plant.open()
    assert plant.store.damaged == 1
    plant.run(["pump-1", "pump-2", "Fan-3", "after"], START_MS + 900_000, 40)
    assert followed.look()
    assert state_of(followed) == "ok"
    assert facts(followed.fleet) == expected(plant)


def test_orders_filters_and_pages(plant: Plant) -> None:
    """Worst first; each order turned round is the same from behind but for what is missing; pages are disjoint."""
    names = [f"m{i}" for i in range(40)]
    plant.run(names, START_MS + 600_000, 30)
    plant.silence("m3", "m4")
    followed = Follower(plant.journal)
    followed.look()
    fleet = followed.fleet
    rows = fleet.page(Question(limit=200)).rows
    ranks = ["fault", "unknown", "silent", "none", "normal"]
    assert [ranks.index(row.kind) for row in rows] == sorted(ranks.index(row.kind) for row in rows)
    assert fleet.page(Question()).counts == {kind: sum(row.kind == kind for row in rows) for kind in ranks}
    faults = [row.probability for row in rows if row.kind == "fault"]
    assert faults == sorted(faults, key=lambda p: -(p or 0))
    up = [row.device for row in fleet.page(Question(sort="device", limit=200)).rows]
    assert up == sorted(up, key=str.casefold)
    down = [row.device for row in fleet.page(Question(sort="device", descending=True, limit=200)).rows]
    assert down == up[::-1]
    found = fleet.page(Question(text="FAN"))
    assert [row.device for row in found.rows] == ["Fan-3"]
    assert found.found == 1
    silent = fleet.page(Question(kinds=("silent",)))
    assert {row.device for row in silent.rows} == {"m3", "m4"}
    paged = [row.device for offset in range(0, 43, 10) for row in fleet.page(Question(offset=offset, limit=10)).rows]
    assert paged == [row.device for row in rows]


def test_ranges_of_the_past(plant: Plant) -> None:
    """Verdicts and samples of a range are those of the journal, thinned or not; values are as they were received."""
    from_ms, to_ms = START_MS + 100_000, START_MS + 400_000
    with JournalReader(plant.journal) as journal:
        (number,) = (number for number, name in journal.devices().items() if name == "pump-2")
        ends, faults, posteriors = [], [], []
        for batch in journal.verdicts():
            own = (batch.device == number) & (batch.end_ms >= from_ms) & (batch.end_ms <= to_ms)
            ends += batch.end_ms[own].tolist()
            faults += batch.fault[own].tolist()
            posteriors += list(batch.posterior[own])
        times, values = [], []
        for samples in journal.batches():
            if samples.kind == 0:
                own = (samples.device == number) & (samples.time_ms >= from_ms) & (samples.time_ms <= to_ms)
                times += samples.time_ms[own].tolist()
                values += samples.values[own][:, 1].tolist()
    assert len(ends) > 10
    history = verdict_history(plant.journal, number, from_ms, to_ms)
    assert (history.time_ms, history.fault, history.verdicts, history.reached_ms) == (ends, faults, len(ends), None)
    np.testing.assert_allclose(np.array(history.probabilities, float).T, posteriors, atol=6e-4)
    found = sample_history(plant.journal, number, from_ms, to_ms, ["c1.S2", "not there"])
    assert (found.channels, found.time_ms, found.values) == (["c1.S2"], times, [values])


def test_peaks_stay_where_points_are_fewer_than_verdicts(plant: Plant) -> None:
    """Of many verdicts the highest of a fault is shown, and each point is at the end of its last window."""
    plant.run(["long"], START_MS, 3000)
    followed = Follower(plant.journal)
    followed.look()
    number = followed.fleet.number("long")
    assert number is not None
    history = verdict_history(plant.journal, number, START_MS, START_MS + 40_000_000)
    assert 300 < len(history.time_ms) <= 600 < history.verdicts
    best = [0.0, 0.0, 0.0]
    with JournalReader(plant.journal) as journal:
        for batch in journal.verdicts():
            for posterior in batch.posterior[batch.device == number]:
                best = np.maximum(best, posterior).tolist()
    assert [max(p or 0 for p in line) for line in history.probabilities[1:]] == pytest.approx(best[1:], abs=6e-4)
    samples = sample_history(plant.journal, number, START_MS, START_MS + 40_000_000, ["c1.S1"])
    assert samples.thinned
    assert samples.samples == 3000
