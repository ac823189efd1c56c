"""One course of time over all stages of a training."""

from pathlib import Path

import pytest

from rarefault.runtime.cli import main
from rarefault.train.commands import progress
from rarefault.train.config import load_train_config
from rarefault.train.runs.timing.timeline import LARGEST, Timeline
from rarefault.train.runs.training import Observer, train


class Clock:
    """Seconds that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_stages_took_corrects_what_is_to_come() -> None:
    """Twice as slow so far: twice as long to go. A stage's own speed counts once it has begun."""
    clock = Clock()
    line = Timeline({"fit": 10.0, "trees": 20.0, "evaluate": 10.0}, clock)
    assert line.position() == (0.0, 40.0)
    line.begin("fit")
    clock.now += 10
    line.within(0.5)
    share, left = line.position()
    assert 0.2 < share < 0.5
    assert 30 < left < 40
    clock.now += 10
    line.end("fit")
    line.begin("trees")
    assert list(line.position()) == pytest.approx([0.25, 60.0])
    clock.now += 20
    assert line.position()[1] == pytest.approx(40.0)
    line.end("trees")
    clock.now += 1000  # nothing that was foreseen
    line.begin("evaluate")
    line.end("evaluate")
    assert line.position()[1] == pytest.approx(10.0 * 40 / 30)


def test_the_share_never_falls() -> None:
    """Even where a stage takes far longer than expected; a stage that is nowhere expected changes nothing."""
    clock = Clock()
    line = Timeline({"fit": 1.0, "trees": 100.0}, clock)
    shown = []
    for stage, seconds in (("read", 3.0), ("fit", 50.0), ("trees", 10.0), ("trees", 500.0)):
        line.begin(stage)
        for step in range(4):
            clock.now += seconds / 4
            line.within(step / 4)
            shown.append(line.position()[0])
        line.end(stage)
    assert shown == sorted(shown)
    assert 0 <= shown[0] <= shown[-1] <= 1


def test_a_wild_first_stage_moves_the_rest_by_a_bounded_factor() -> None:
    """And one that is a sliver of the whole moves nothing."""
    clock = Clock()
    line = Timeline({"fit": 10.0, "trees": 10.0}, clock)
    line.begin("fit")
    clock.now += 1000
    line.begin("trees")
    assert line.position()[1] == pytest.approx(10.0 * LARGEST)
    short = Timeline({"fit": 0.1, "trees": 10.0}, clock)
    short.begin("fit")
    clock.now += 5
    short.begin("trees")
    assert short.position()[1] == pytest.approx(10.0)


@pytest.mark.training
def test_a_training_goes_from_nothing_to_all_of_it(plant: Path, tmp_path: Path) -> None:
    """Over cross-fitting and refit, and with nothing left at its end."""
    seen: list[tuple[float, float]] = []
    changes = {"training.epochs": 2, "training.cross_fit": True, "trees.rounds": 5, "trees.extra_trees": 2}
    train(
        load_train_config(plant, changes),
        plant.parent,
        tmp_path / "run",
        observer=Observer(progress=lambda share, left: seen.append((share, left))),
    )
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert shares[0] < 0.2
    assert len(set(shares)) > 10
    assert all(left >= 0 for _, left in seen)
    assert seen[-1][0] == pytest.approx(1.0)


@pytest.mark.training
def test_without_a_terminal_a_line_tells_now_and_then(
    plant: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """How much is done, and how long it will go on."""
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    words = [word for key in ("training.epochs=2", "trees.rounds=3") for word in ("--set", key)]
    assert main(["train", str(plant), "--out", str(tmp_path / "run"), *words]) == 0
    printed = capsys.readouterr().out
    assert "% done, about " in printed
    assert " left\n" in printed
