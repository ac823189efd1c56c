"""The simulator: files, shares of time, and the physics of each fault."""

import json
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from rarefault.runtime.cli import main
from rarefault.runtime.inference.manifest import GridSpec
from rarefault.train.history import Phm2015Config, label_bins, read_history
from rarefault.train.simulate import Proportions, SimulationConfig, SimulationSummary, simulate
from rarefault.train.simulate.physics import STEP_S, Traces, run_plants, weather
from rarefault.train.simulate.schedule import plan_events

CONFIG = SimulationConfig()
QUOTED = {1: 0.0483, 2: 0.0375, 3: 0.0339, 4: 0.0006, 5: 0.0065, 6: 0.1926}


@pytest.fixture(scope="module")
def plants(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SimulationSummary]:
    """The default plants."""
    folder = tmp_path_factory.mktemp("plants")
    return folder, simulate(CONFIG, folder)


def test_the_shares_of_time_are_the_quoted_ones(plants: tuple[Path, SimulationSummary]) -> None:
    """Read back, shifted and labelled as the trainer does it, each class has its share; the rarest is exact."""
    history = read_history(Phm2015Config(path=str(plants[0])), Path())
    bins = CONFIG.days * 86_400 // 900
    start = round(datetime.fromisoformat(f"{CONFIG.start}T00:00:00+00:00").timestamp()) // 900
    device = np.repeat(np.arange(CONFIG.plants), bins)
    index = np.tile(start + np.arange(bins), CONFIG.plants)
    share = np.bincount(label_bins(history, device, index, GridSpec()), minlength=7) / len(index)
    for code, wanted in QUOTED.items():
        assert share[code] == pytest.approx(wanted, abs=0.0005 if code == 4 else 0.01)
    assert share[0] == pytest.approx(1 - sum(QUOTED.values()), abs=0.02)
    assert plants[1].proportions["normal"] == pytest.approx(share[0], abs=0.002)


def test_every_fault_comes_up_all_along(plants: tuple[Path, SimulationSummary]) -> None:
    """Each fault has at least five events, spread over the plants and the time."""
    assert all(count >= 5 for count in plants[1].events.values())
    schedule = plan_events(CONFIG, np.random.default_rng([CONFIG.seed, 0]))
    when = schedule.plant * CONFIG.days * 86_400 + schedule.start_s
    for code in QUOTED:
        fifth = when[schedule.fault == code] * 5 // (CONFIG.plants * CONFIG.days * 86_400)
        assert set(fifth) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(("plants", "days"), [(1, 120), (2, 30)])
def test_small_histories_have_five_events_too(plants: int, days: int) -> None:
    """Where a fault's share is five bins or more, no long event takes the time of the others."""
    for seed in range(20):
        config = SimulationConfig(plants=plants, days=days, seed=seed)
        schedule = plan_events(config, np.random.default_rng([seed, 0]))
        for code, share in QUOTED.items():
            wanted = round(share * plants * days * 96)
            assert (schedule.fault == code).sum() >= min(5, wanted)
            assert schedule.proportions[code] * plants * days * 96 == pytest.approx(wanted, abs=1)


def test_the_week_is_that_of_the_calendar() -> None:
    """A history that starts on a Saturday starts with two days that nobody comes."""
    for start, empty in (("2024-01-01", {5, 6}), ("2024-01-06", {0, 1})):
        config = SimulationConfig(plants=1, components=1, days=7, start=start)
        steps = config.days * 86_400 // STEP_S
        outdoor = weather(config, np.random.default_rng(0))
        setpoint = run_plants(config, outdoor, np.zeros((7, steps, 1)), np.random.default_rng(1)).controls[0, :, 0]
        noon = setpoint[12 * 12 :: 24 * 12]
        assert set(np.flatnonzero(noon > noon.min() + 1).tolist()) == empty


def test_the_files_have_the_form_of_the_challenge(plants: tuple[Path, SimulationSummary]) -> None:
    """Ten, four and three columns, no header, times to the second, integer sensors, a meter that only rises."""
    folder, summary = plants
    a, b, c = (pl.read_csv(folder / f"plant_1{kind}.csv", has_header=False) for kind in "abc")
    assert (a.width, b.width, c.width) == (10, 4, 3)
    assert set(a[:, 0].unique()) == {1, 2, 3}
    assert all(dtype == pl.Int64 for dtype in a.dtypes[2:])
    assert set(c[:, 2].unique()) <= set(QUOTED)
    datetime.strptime(a[0, 1], "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - the files have no zone
    for zone in (1, 2):
        meter = b.filter(pl.col(b.columns[0]) == zone)[:, 2].to_numpy()
        assert (np.diff(meter) >= 0).all()
    per_day = a.height / CONFIG.days / CONFIG.components
    assert 80 < per_day <= 96.5
    assert summary.samples > 200_000


def test_the_log_runs_an_hour_behind(plants: tuple[Path, SimulationSummary]) -> None:
    """With the reader's shift of an hour no sample lies inside lost communication; without it many do."""
    inside = {}
    for shift in (3600.0, 0.0):
        history = read_history(Phm2015Config(path=str(plants[0]), plants=(1,), time_shift_s=shift), Path())
        lost = history.events.fault == history.classes.index("fault_6")
        heard = ~np.isnan(history.values[:, [history.channels.index(f"c{c}.S1") for c in (1, 2, 3)]])
        silent = 0
        for s, e in zip(history.events.start_ms[lost], history.events.end_ms[lost], strict=True):
            during = (history.time_ms > s + 300_000) & (history.time_ms < e - 300_000)
            silent += bool((~heard[during].any(axis=0)).any())
        inside[shift] = silent / int(lost.sum())
    assert inside[3600.0] == 1.0
    assert inside[0.0] < 0.9


def test_same_seed_same_files(tmp_path: Path) -> None:
    """Byte for byte; another seed gives others."""
    config = SimulationConfig(plants=1, days=6, seed=3)
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        simulate(msgspec.structs.replace(config, seed=seed), tmp_path / name)
    for file in ("plant_1a.csv", "plant_1b.csv", "plant_1c.csv"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
        assert (tmp_path / "a" / file).read_bytes() != (tmp_path / "c" / file).read_bytes()


def traces_with(fault: int | None) -> tuple[Traces, slice]:
    """One unit over ten days; the fault acts on the afternoon of the fifth day, a Friday."""
    config = SimulationConfig(plants=1, components=1, days=10)
    steps = config.days * 86_400 // STEP_S
    severity = np.zeros((7, steps, 1))
    when = slice((4 * 24 + 12) * 12, (4 * 24 + 17) * 12)
    if fault is not None:
        severity[fault, when] = 1.0
    outdoor = weather(config, np.random.default_rng(0))
    return run_plants(config, outdoor, severity, np.random.default_rng(1)), when


def test_each_fault_acts_on_its_physics() -> None:
    """Against the same days without it: what each fault does, a technician would recognise."""
    sound, when = traces_with(None)
    zone, supply, back, valve = (sound.sensors[i][when].mean() for i in range(4))
    stuck = traces_with(1)[0]
    assert np.ptp(stuck.sensors[3][when]) < 1e-9
    assert abs(stuck.controls[2][when] - stuck.sensors[3][when]).mean() > 0.2
    drift = traces_with(2)[0]
    assert drift.sensors[3][when].mean() > valve + 0.05  # it cools against warmth that is not there
    fouled = traces_with(3)[0]
    assert (fouled.sensors[2] - fouled.sensors[1])[when].mean() < back - supply
    assert fouled.sensors[3][when].mean() > valve
    conflict = traces_with(4)[0]
    assert conflict.controls[3][when].mean() >= 0.7
    assert conflict.power[when].mean() > sound.power[when].mean() + 3
    cold = traces_with(5)[0]
    assert cold.sensors[1][when].mean() < supply - 4
    assert 20 < zone < 26
    before = slice(0, when.start)
    for other in (stuck, drift, fouled, conflict, cold):
        np.testing.assert_array_equal(other.sensors[:, before], sound.sensors[:, before])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Options reach the simulation, the summary names each cause, and nothing of anybody's is overwritten."""
    out = tmp_path / "plants"
    words = ["simulate", str(out), "--plants", "2", "--days", "10", "--proportion", "fault_4=0.02"]
    assert main([*words, "--json", str(tmp_path / "s.json")]) == 0
    summary = json.loads((tmp_path / "s.json").read_text())
    assert summary["plants"] == 2
    assert summary["proportions"]["fault_4"] == pytest.approx(0.02, abs=0.003)
    assert "heating and cooling at once" in capsys.readouterr().out
    assert main(words) == 2
    assert "--force" in capsys.readouterr().err
    assert main([*words, "--force"]) == 0
    (out / "diary.txt").write_text("mine", encoding="utf-8")
    assert main([*words, "--force"]) == 2
    assert "does not remove it" in capsys.readouterr().err


def test_impossible_wishes_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Unknown faults, absurd shares and no plants at all are named with their keys."""
    for words, sentence in (
        (["--proportion", "fault_9=0.1"], "proportions.fault_9: unknown key"),
        (["--proportion", "fault_1=0.9"], "proportions.fault_1"),
        (["--proportion", "fault_1=x"], "write it like"),
        (["--plants", "0"], "plants"),
        (["--start", "2024-13-45"], "start must be a day"),
    ):
        assert main(["simulate", str(tmp_path / "x"), *words]) == 2
        assert sentence in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"must not exceed 0\.6"):
        Proportions(fault_1=0.4, fault_2=0.3)
