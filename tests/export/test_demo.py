"""The whole demo, small: simulated plants, training, export, daemon process, embedded broker, comparison."""

import json
from pathlib import Path

import msgspec
import pytest

from rarefault.export.demo.collector import Collector
from rarefault.export.demo.compare import compare
from rarefault.runtime.cli import main
from rarefault.runtime.daemon.publishing.payloads import VerdictPayload


def test_every_live_verdict_is_the_offline_one(demo: tuple[int, dict[str, object], Path]) -> None:
    """All expected verdicts come over MQTT, none other, with the same ids, classes and probabilities."""
    code, result, _ = demo
    assert result["mismatches"] == 0, result["first_mismatch"]
    assert result["verdicts"] == result["expected"]
    assert int(str(result["verdicts"])) > 100
    assert float(str(result["largest_difference"])) <= 1e-5
    assert code == 0


def test_the_summary_has_what_people_ask_for(demo: tuple[int, dict[str, object], Path]) -> None:
    """Scores, recall per fault, latency and seconds per stage are in the JSON."""
    _, result, _ = demo
    assert {"macro_f1", "recall", "latency_ms", "seconds", "messages", "model", "false_alarms_per_device_day"} <= set(
        result
    )
    recall, seconds, latency = result["recall"], result["seconds"], result["latency_ms"]
    assert isinstance(recall, dict)
    assert isinstance(seconds, dict)
    assert isinstance(latency, dict)
    assert "normal" in recall
    assert {"simulate", "train", "export", "evaluate", "serve"} <= set(seconds)
    assert 0 < latency["p50"] <= latency["p99"]


def test_what_it_made_can_be_used(
    demo: tuple[int, dict[str, object], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The model file and the daemon's configuration are there to go on with."""
    _, _, out = demo
    assert (out / "run" / "report.html").is_file()
    assert main(["inspect", str(out / "plant.onnx")]) == 0
    assert "normal" in capsys.readouterr().out
    assert main(["run", str(out / "daemon.toml"), "--check"]) == 0
    assert main(["inspect", str(out / "edge.journal")]) == 0
    said = capsys.readouterr().out
    assert "of 2 devices" in said


def test_a_taken_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The demo never writes into a folder that holds something."""
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err


def payload(**changes: object) -> VerdictPayload:
    base = VerdictPayload("i", "d", "s", "e", "normal", 0.9, 0.9, {"normal": 0.9, "a": 0.1}, "m@1", "t")
    return msgspec.structs.replace(base, **changes)


@pytest.mark.parametrize(
    ("live", "kind"),
    [
        ([], "missing"),
        ([payload(), payload(id="j")], "extra"),
        ([payload(fault="a")], "different"),
        ([payload(probabilities={"normal": 0.89, "a": 0.11})], "different"),
        ([payload(end="f")], "different"),
    ],
)
def test_the_comparison_sees_every_kind_of_mismatch(live: list[VerdictPayload], kind: str) -> None:
    """A comparison that cannot fail proves nothing: each kind of difference is counted and put into words."""
    collector = Collector(port=1)
    collector.verdicts = {verdict.id: verdict for verdict in live}
    found = compare(collector, {"i": payload()})
    assert found.mismatches == getattr(found, kind) == 1
    assert found.first
    collector.verdicts = {"i": payload(probabilities={"normal": 0.900001, "a": 0.099999})}
    assert compare(collector, {"i": payload()}).mismatches == 0


@pytest.mark.training
@pytest.mark.broker
def test_a_real_plant(data_dir: Path, tmp_path: Path) -> None:
    """Plant 31 of PHM 2015, barely trained: more than a thousand verdicts over MQTT, each the offline one."""
    words = ["--data", str(data_dir / "phm2015"), "--epochs", "1", "--rounds", "5", "--out", str(tmp_path / "out")]
    assert main(["demo", *words, "--json", str(tmp_path / "demo.json")]) == 0
    result = json.loads((tmp_path / "demo.json").read_text(encoding="utf-8"))
    assert result["mismatches"] == 0, result["first_mismatch"]
    assert result["verdicts"] == result["expected"] > 1000
