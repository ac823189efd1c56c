"""A clock that was wrong once: the device, or the gateway, is served again by itself, and no window is judged twice."""

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from rarefault.runtime.cli import main
from rarefault.runtime.daemon.config import JournalConfig
from rarefault.runtime.daemon.host.counts import counts
from rarefault.runtime.daemon.publishing.announcer import Announcer
from rarefault.runtime.daemon.publishing.sink import Route
from rarefault.runtime.daemon.turns.durable import JournalledTurnStore
from rarefault.runtime.doctor.files import check_files
from rarefault.runtime.doctor.findings import Finding, Findings
from rarefault.runtime.inference.decision import STATE_NO_DATA
from rarefault.runtime.inference.model_file import LoadedModel
from rarefault.runtime.inference.pipeline import Pipeline, Verdicts, verdict_id
from rarefault.runtime.inference.slots import Slots
from rarefault.runtime.journal.writer import Journal

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer

Serving = Callable[..., Any]
WaitUntil = Callable[[Callable[[], object], str], None]

BEGIN_MS = 1_300_000_000_000
DAY_MS = 86_400_000
Row = tuple[int, int, list[float]]


def stream(n: int, seed: int = 0, step_ms: int = 5_000) -> list[Row]:
    """Samples of two devices that report every five seconds."""
    rng = np.random.default_rng(seed)
    return [
        (device, BEGIN_MS + i * step_ms + device * 100, [*rng.normal(size=2).tolist(), float(i)])
        for i in range(n)
        for device in range(2)
    ]


def push(pipeline: Pipeline, rows: list[Row], size: int = 0) -> list[Verdicts]:
    slots = [pipeline.slot(name) for name in ("a", "b")]
    parts = [rows[i : i + size] for i in range(0, len(rows), size)] if size else [rows]
    return [pipeline.push([slots[d] for d, _, _ in p], [t for _, t, _ in p], [v for _, _, v in p]) for p in parts]


def contents(found: list[Verdicts], model: LoadedModel) -> dict[str, tuple[float, ...]]:
    """Verdicts by id; none may be said twice."""
    said = {}
    for verdicts in found:
        for device, end_ms, posterior in zip(verdicts.device, verdicts.end_ms, verdicts.posterior, strict=True):
            key = verdict_id("ab"[device], int(end_ms), model.model_id)
            assert key not in said, "a window was judged twice"
            said[key] = tuple(np.round(posterior, 5).tolist())
    return said


def new_pipeline(model: LoadedModel) -> Pipeline:
    return Pipeline(model.manifest, model.step, model.model_id)


@pytest.mark.parametrize("ahead_ms", [290_000, DAY_MS, 20 * 365 * DAY_MS])
def test_single_absurd_stamps_change_no_verdict(model: LoadedModel, ahead_ms: int) -> None:
    """Stamps far ahead, here and there, even doubled: the verdicts of the other samples are those without them."""
    rows = stream(300)
    whole = contents(push(new_pipeline(model), rows), model)
    disturbed = list(rows)
    for at in (501, 400, 250, 249, 100, 3):
        device, time_ms, _ = disturbed[at]
        disturbed[at:at] = [(device, time_ms + ahead_ms, [99.0, 99.0, 0.0])] * (1 + at % 2)
    pipeline = new_pipeline(model)
    assert contents(push(pipeline, disturbed, size=7), model) == whole
    assert pipeline.grid.distrusted == len(disturbed) - len(rows)
    assert pipeline.grid.late == 0


def test_a_real_gap_is_one_with_its_second_sample(model: LoadedModel) -> None:
    """After a gap the first sample counts as ever: the same bins, with the first sample's values in them."""
    rows = [row for row in stream(200) if not 60 <= (row[1] - BEGIN_MS) // 5_000 < 120]
    pipeline = new_pipeline(model)
    push(pipeline, rows, size=1)
    assert (pipeline.grid.accepted, pipeline.grid.distrusted) == (len(rows), 0)


def test_a_clock_that_was_ahead_for_a_while(model: LoadedModel) -> None:
    """A day ahead for some minutes: `no data`, a new start at the present time, and a day later no window again."""
    rows = stream(17_600)  # a day and some minutes
    wrong = [(d, t + DAY_MS if d == 0 and 100 <= (t - BEGIN_MS) // 5_000 < 160 else t, v) for d, t, v in rows]
    pipeline = new_pipeline(model)
    found = push(pipeline, wrong[:400], size=11)
    (said,) = (a for verdicts in found for a in verdicts.alarms if a.silent)
    # Twenty late samples in a row, at 5 s each.
    assert (said.device, said.state, said.since_ms) == (0, STATE_NO_DATA, BEGIN_MS + (160 + 19) * 5_000)
    assert pipeline.grid.restarts == 1
    assert pipeline.grid.late == 19
    found += push(pipeline, wrong[400:])
    judged = contents(found, model)  # no window twice, although the device has been a day ahead
    undisturbed = contents(push(new_pipeline(model), rows), model)
    assert len(judged) > 0.99 * len(undisturbed)
    # All cut alike: one push, and many.
    assert contents(push(new_pipeline(model), wrong), model) == judged


def test_an_old_backlog_moves_nothing(model: LoadedModel) -> None:
    """What was judged comes again, a hundred in a row: it is late, and the device goes on where it was."""
    rows = stream(300)
    whole = contents(push(new_pipeline(model), rows), model)
    pipeline = new_pipeline(model)
    found = push(pipeline, [*rows[:400], *rows[100:400], *rows[400:]], size=13)
    assert contents(found, model) == whole
    assert pipeline.grid.restarts == 0


@pytest.mark.parametrize("at", [210, 215, 331, 345, 362, 375])
def test_what_comes_again_changes_nothing(model: LoadedModel, at: int) -> None:
    """A broker's death in the middle of it, after which the last samples are sent again: the same verdicts."""
    rows = [(d, t + DAY_MS if d == 0 and 100 <= (t - BEGIN_MS) // 5_000 < 160 else t, v) for d, t, v in stream(300)]
    rows = [row for row in rows if not 168 <= (row[1] - BEGIN_MS) // 5_000 < 200]  # a gap while it is late
    plain, again = new_pipeline(model), new_pipeline(model)
    whole = contents(push(plain, rows), model)
    assert plain.grid.restarts == 1
    assert contents(push(again, [*rows[:at], *rows[at - 150 : at], *rows[at:]], size=9), model) == whole
    assert again.grid.restarts == 1


def payload(row: Row) -> bytes:
    _, time_ms, values = row
    return json.dumps({"time": time_ms, "values": dict(zip(("c1.S1", "c1.S2", "z1.E1"), values, strict=True))}).encode()


def last(peer: "Peer", topic: str) -> Any:
    found = peer.payloads(topic)
    return json.loads(found[-1]) if found else None


def test_a_daemon_says_so_and_remembers(
    mosquitto: "Mosquitto",
    peer: "Peer",
    serving: Serving,
    wait_until: WaitUntil,
    model: LoadedModel,
    free_port: int,
    tmp_path: Path,
) -> None:
    """Over MQTT, killed in between: the verdicts are those of the offline pipeline, restarts and all."""
    rows = [(d, t + DAY_MS if d == 0 and 100 <= (t - BEGIN_MS) // 5_000 < 160 else t, v) for d, t, v in stream(240)]
    expected = contents(push(new_pipeline(model), rows), model)
    peer.subscribe("rarefault/#")
    sections = {"journal": {"path": "edge.journal", "snapshot_s": 3600}, "metrics": {"port": free_port}}

    def play(part: list[Row]) -> None:
        for device in range(2):
            peer.publish_all(f"telemetry/{'ab'[device]}", [payload(row) for row in part if row[0] == device])

    with serving(mosquitto.url, **sections) as service:
        play(rows[:340])  # ten late ones
        wait_until(lambda: service.intake.rejections.samples == 340, "the first part")
        service.store.close = service.store.journal.close  # as a kill: no snapshot
    with serving(mosquitto.url, **sections) as service:
        assert service.store.pipeline.grid.late == 10
        assert counts(service)["rarefault_devices_muted"] == 1
        wait_until(lambda: (last(peer, "rarefault/edge/health") or {}).get("muted") == 1, "the health")
        play(rows[340:])
        wait_until(lambda: service.intake.rejections.samples == len(rows) - 340, "the rest")
        with urllib.request.urlopen(f"http://127.0.0.1:{free_port}/metrics", timeout=10) as answer:
            page = answer.read().decode()
        assert "rarefault_device_restarts_total 1.0" in page
        assert "rarefault_devices_muted 0.0" in page
    peer.catch_up()
    live = [json.loads(p) for d in "ab" for p in peer.payloads(f"rarefault/{d}/verdict")]
    assert {verdict["id"] for verdict in live} == set(expected)
    states = [json.loads(p)["state"] for p in peer.payloads("rarefault/a/alarm")]
    assert "no data" in states
    assert states[-1] != "no data"
    assert last(peer, "rarefault/edge/health")["status"] == "offline"


def test_a_muted_device_is_shown(
    mosquitto: "Mosquitto",
    peer: "Peer",
    serving: Serving,
    wait_until: WaitUntil,
    model: LoadedModel,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A device whose clock went back two hours has `no data`, and health, inspect and doctor name it."""
    peer.subscribe("rarefault/#")
    telemetry = {"max_age_s": float("inf"), "silent_after_s": 1.0}
    rows = [row for row in stream(1500) if row[0] == 0]
    with serving(mosquitto.url, telemetry=telemetry, journal={"path": "edge.journal"}) as service:
        peer.publish_all("telemetry/a", [payload(row) for row in rows])
        wait_until(lambda: service.intake.rejections.samples == len(rows), "the samples")
        back = iter(rows[50:])

        def silent() -> bool:
            # It goes on sending: what is late is no sign of life.
            peer.publish("telemetry/a", payload(next(back)))
            return (last(peer, "rarefault/a/alarm") or {}).get("state") == "no data"

        for _ in range(25):
            silent()
        wait_until(silent, "no data")
        wait_until(lambda: last(peer, "rarefault/edge/health")["muted"] == 1, "the health topic")
        health = last(peer, "rarefault/edge/health")
        assert (health["status"], health["problems"], health["devices"]) == ("online", [], 1)
        assert health["model"] == model.model_id
    journal = tmp_path / "edge.journal"
    assert main(["inspect", str(journal)]) == 0
    assert "muted      a (" in capsys.readouterr().out
    config = tmp_path / "edge.toml"
    config.write_text(f'[model]\npath = "{model.path}"\n[journal]\npath = "edge.journal"\n', encoding="utf-8")
    told: list[Finding] = []
    check_files(config, Findings(told.append))
    assert any("all samples of 1 device(s) are late (a)" in finding.text for finding in told)


def test_a_clock_years_ahead_deletes_nothing(
    model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention goes by the journal's own newest samples; as new ones come, the old ones go."""
    path = tmp_path / "edge.journal"
    journal = Journal(path, model.manifest.channels)
    slot = journal.add_device("a")[0]
    for day in range(40):
        now_ms = BEGIN_MS + day * DAY_MS
        for i in range(5):
            time_ms = np.array([now_ms + i])
            journal.append(np.array([slot], np.int32), time_ms, np.ones((1, 3)), now_ms + i)
    journal.close()
    config = msgspec.convert({"path": "edge.journal", "keep_days": 60.0}, JournalConfig)

    def days_kept(wall_ms: int, keep_days: float) -> int:
        monkeypatch.setattr("time.time_ns", lambda: wall_ms * 1_000_000)
        settings = msgspec.structs.replace(config, keep_days=keep_days)

        def new(slots: Slots) -> Pipeline:
            return Pipeline(model.manifest, model.step, model.model_id, slots)

        JournalledTurnStore(settings, tmp_path, new, Announcer("x", [Route("broker")])).close()
        journal = Journal(path, model.manifest.channels)
        kept = len({batch.received_ms // DAY_MS for batch in journal.batches()})
        journal.close()
        return kept

    right = BEGIN_MS + 40 * DAY_MS
    assert days_kept(right + 10 * 365 * DAY_MS, 60) == 40
    assert days_kept(right, 60) == 40
    assert 20 <= days_kept(right, 10) <= 31
