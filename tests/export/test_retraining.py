"""From the demo's journal back to training, and a new model into the running daemon."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.harness.daemon import Daemon

from rarefault.export.exporter import export_run
from rarefault.runtime.cli import main
from rarefault.runtime.errors import RarefaultError
from rarefault.runtime.inference.model_file import load_model
from rarefault.runtime.inference.pipeline import Pipeline
from rarefault.runtime.journal.reader import JournalReader
from rarefault.runtime.journal.records import SAMPLES
from rarefault.runtime.times import format_ms
from rarefault.train.history import History, Phm2015Config, read_history
from rarefault.train.replay.replay import telemetry_messages
from rarefault.train.runs.run_directory import RunDirectory

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer


def write_log(history: History, known: tuple[str, ...], path: Path) -> None:
    """The fault log of a history as people keep it."""
    events = history.events
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("device", "start", "end", "fault"))
        for i in range(len(events)):
            if history.classes[events.fault[i]] in known:
                times = format_ms(int(events.start_ms[i])), format_ms(int(events.end_ms[i]))
                writer.writerow((history.devices[events.device[i]], *times, history.classes[events.fault[i]]))


def windows(journal: Path, model: Path, until_seq: int | None = None) -> set[tuple[str, str]]:
    """Device and end of every window that the samples of a journal bring about."""
    loaded = load_model(model)
    pipeline = Pipeline(loaded.manifest, loaded.step, loaded.model_id)
    found: set[tuple[str, str]] = set()
    with JournalReader(journal) as reader:
        names = reader.devices()
        for batch in reader.batches():
            if batch.kind != SAMPLES or (until_seq is not None and batch.seq > until_seq):
                continue
            slots = [pipeline.slot(names[number]) for number in batch.device.tolist()]
            verdicts = pipeline.push(slots, batch.time_ms, batch.values)
            for slot, end_ms in zip(verdicts.device.tolist(), verdicts.end_ms.tolist(), strict=True):
                found.add((pipeline.devices[slot], format_ms(end_ms)))
    return found


def test_what_the_edge_saw_comes_back_as_a_new_model(
    tmp_path: Path,
    demo: tuple[int, dict[str, object], Path],
    mosquitto: "Mosquitto",
    peer: "Peer",
    wait_until: Callable[[Callable[[], object], str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The demo's journal grows, is labelled and learnt from, and the daemon takes the new file over without a gap."""
    out = shutil.copytree(demo[2], tmp_path / "demo")
    simulated = ["simulate", str(tmp_path / "later"), "--plants", "2", "--days", "10", "--start", "2024-02-15"]
    assert main([*simulated, "--seed", "5"]) == 0
    later = read_history(Phm2015Config(path=str(tmp_path / "later")), tmp_path)
    messages = list(telemetry_messages(later, "telemetry/{device}"))
    journal, served = out / "edge.journal", out / "served.onnx"
    served.write_bytes((out / "plant.onnx").read_bytes())
    with JournalReader(journal) as reader:
        before_seq = reader.newest_seq()
    config = tmp_path / "edge.toml"
    config.write_text(
        f'[model]\npath = "{served}"\n[broker]\nurl = "{mosquitto.url}"\n[telemetry]\nmax_age_s = inf\n'
        f'[publish]\nruntime = "edge"\n[journal]\npath = "{journal}"\n',
        encoding="utf-8",
    )
    peer.subscribe("rarefault/#")

    def play(part: slice) -> None:
        sent = [peer._client.publish(m.topic, m.payload, 1) for m in messages[part]]
        sent[-1].wait_for_publish(60)

    def verdicts() -> list[dict[str, Any]]:
        return [json.loads(p) for device in later.devices for p in peer.payloads(f"rarefault/{device}/verdict")]

    half = len(messages) // 2
    with Daemon(config) as daemon:
        peer.wait_for("rarefault/edge/status")
        play(slice(0, half))
        answer = {
            "answer": "confirmed",
            "fault": "fault_1",
            "start": "2024-02-16T02:00:00Z",
            "end": "2024-02-16T05:00:00Z",
        }
        peer.publish("rarefault/plant_1/feedback", json.dumps(answer))
        wait_until(lambda: _feedback(journal) == 1, "the answer in the journal")

        # The daemon runs on while its journal is labelled and learnt from.
        known = load_model(served).manifest.classes
        write_log(later, known, tmp_path / "faults.csv")
        labels, retrain = tmp_path / "labels.csv", tmp_path / "retrain.toml"
        words = ["label", str(journal), "--log", str(tmp_path / "faults.csv"), "--since", "2024-02-15T00:00:00Z"]
        assert main([*words, "-o", str(labels)]) == 0
        assert "2024-02-16T02:00:00" in labels.read_text(encoding="utf-8")
        retrain.write_text(
            f'[data]\nformat = "journal"\npath = "{journal}"\nevents = "labels.csv"\nstart = 2024-02-15T00:00:00Z\n'
            "[training]\nepochs = 2\nretrain_tolerance = 0.5\n[trees]\nrounds = 10\n",
            encoding="utf-8",
        )
        again = tmp_path / "again"
        code = main(["train", str(retrain), "--from", str(out / "run"), "--out", str(again)])
        assert code == 0, capsys.readouterr().err
        metrics = json.loads((again / "metrics.json").read_text(encoding="utf-8"))
        assert metrics["retraining"]["accepted"]
        assert main(["export", str(again), "-o", str(served)]) == 0
        new = load_model(served)
        assert new.manifest.classes == known
        daemon.wait_for(f"model {new.model_id}")

        play(slice(half, None))
        wait_until(lambda: _samples(journal) >= len(messages), "all telemetry in the journal")
        expected = windows(journal, served) - windows(journal, served, before_seq)
        wait_until(lambda: len(verdicts()) >= len(expected), "all verdicts")
    live = verdicts()
    assert {(v["device"], v["end"]) for v in live} == expected
    assert len(live) == len(expected) > 300
    old = load_model(out / "plant.onnx").model_id
    assert {v["model"] for v in live} == {old, new.model_id}


def _feedback(journal: Path) -> int:
    with JournalReader(journal) as reader:
        return len(list(reader.feedback()))


def _samples(journal: Path) -> int:
    """Samples from the later plants."""
    with JournalReader(journal) as reader:
        return sum(int((b.time_ms >= 1_707_900_000_000).sum()) for b in reader.batches() if b.kind == SAMPLES)


def test_a_model_that_was_not_accepted_is_not_exported(tiny_export: Path, tmp_path: Path) -> None:
    """A retraining that made things worse leaves a run that nobody can put on a gateway by mistake."""
    copy = tmp_path / "run"
    copy.mkdir()
    for file in (tiny_export / "run").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "metrics.json").write_text('{"retraining": {"accepted": false}}', encoding="utf-8")
    with pytest.raises(RarefaultError, match="was not accepted when it was retrained"):
        export_run(RunDirectory(copy), tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()
