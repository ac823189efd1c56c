"""Which inputs are derived: what the rules choose, what a configuration may name."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from rarefault.runtime.errors import ConfigError, HistoryError
from rarefault.runtime.inference.manifest import Derived, GridSpec, WindowSpec
from rarefault.runtime.settings import from_mapping
from rarefault.train.config import TrainConfig, load_train_config, to_toml
from rarefault.train.dataset.derived import GridConfig, choose_derived, derived_note
from rarefault.train.dataset.unit_labels import NO_UNITS, unit_numbers
from rarefault.train.dataset.units import channels_of_units
from rarefault.train.dataset.windows import cut_windows
from rarefault.train.history import DataConfig, Events, History, ReadNotes

GRID = GridConfig(period_s=60, max_hold_s=600, max_gap_s=3600)
N = 4000


def history_of(channels: dict[str, np.ndarray], *, device: np.ndarray | None = None, every_s: int = 60) -> History:
    """Samples at regular times; those of all devices at once."""
    device = np.zeros(N, np.int32) if device is None else device.astype(np.int32)
    first = np.searchsorted(np.sort(device), device)
    order = np.argsort(device, kind="stable")
    number = np.empty(N, np.int64)
    number[order] = np.arange(N) - first[order]
    by_time = np.argsort(number, kind="stable")
    return History(
        devices=tuple(f"d{d}" for d in range(device.max() + 1)),
        channels=tuple(channels),
        classes=("normal", "fault"),
        counters=tuple(name for name in channels if name.startswith("meter")),
        device=device[by_time],
        time_ms=number[by_time] * every_s * 1000 + 10_000,
        values=np.stack(list(channels.values()), axis=1)[by_time],
        events=Events.none(),
        overlap="rarest",
        notes=ReadNotes(),
        fingerprint="",
    )


def chosen(history: History, grid: GridConfig = GRID, units: np.ndarray = NO_UNITS) -> list[str]:
    return [each.name for each in choose_derived(grid, history, units)]


def test_still_is_for_readings_whose_long_runs_are_rare() -> None:
    """A frozen sensor is worth it; a state, a set-point, coarse or slow readings and steady noise are not."""
    rng = np.random.default_rng(0)
    noise = rng.normal(50, 5, N)
    frozen = noise.copy()
    frozen[1000:1030] = frozen[1000]
    channels: dict[str, np.ndarray] = {
        "frozen": frozen,
        "rounded": np.round(frozen, 1),
        "noise": noise,
        "coarse": np.round(frozen / 4),
        "slow": np.round(np.cumsum(rng.normal(0, 0.3, N))),
        "state": rng.integers(0, 2, N).astype(float),
        "setpoint": np.repeat(rng.normal(size=N // 40), 40),
        "meter": np.cumsum(np.abs(frozen)),
    }
    assert chosen(history_of(channels)) == ["frozen~still", "rounded~still"]


def test_several_samples_in_a_bin_give_their_extent_and_uneven_ones_their_number() -> None:
    """Of channels that come together, the number is taken once."""
    rng = np.random.default_rng(0)
    channels = {"a": rng.normal(size=N), "b": rng.normal(size=N), "constant": np.full(N, 2.0)}
    steady = history_of(channels, every_s=20)
    assert chosen(steady) == ["a~spread", "a~low", "a~high", "b~spread", "b~low", "b~high"]
    uneven = replace(steady, time_ms=np.sort(rng.integers(0, N * 20_000, N)))
    assert set(chosen(uneven)) - set(chosen(steady)) == {"a~count"}


def test_age_is_for_values_that_are_held() -> None:
    """A channel that comes every fourth bin has one, a channel that comes always has none."""
    rng = np.random.default_rng(0)
    rare = np.where(np.arange(N) % 4 == 0, rng.normal(size=N), np.nan)
    assert chosen(history_of({"often": rng.normal(size=N), "rare": rare})) == ["rare~age"]


def test_deviation_is_for_fleets_whose_levels_differ() -> None:
    """More between devices than within one, and at least three of them."""
    rng = np.random.default_rng(0)
    device = np.arange(N) % 4
    channels = {"apart": rng.normal(size=N) + 10 * device, "alike": rng.normal(size=N) + 0.1 * device}
    assert chosen(history_of(channels, device=device)) == ["apart~deviation"]
    assert chosen(history_of(channels, device=device % 2)) == []


def test_units_have_the_same_inputs() -> None:
    """What is chosen at one is derived at all, belongs to the unit, and leaves the log's names of units alone."""
    rng = np.random.default_rng(0)
    frozen = rng.normal(size=N)
    frozen[1000:1030] = frozen[1000]
    history = history_of({"p1.x": frozen, "p1.y": rng.normal(size=N), "p2.x": rng.normal(size=N), "p2.y": frozen})
    prefixes, data = (
        ("p1.", "p2."),
        msgspec.convert({"format": "table", "samples": ["s.csv"], "events": "e.csv"}, DataConfig),
    )
    units = channels_of_units(prefixes, data, history.channels)
    derived = choose_derived(GRID, history, units)
    assert [each.name for each in derived] == ["p1.x~still", "p1.y~still", "p2.x~still", "p2.y~still"]
    units = channels_of_units(prefixes, data, history.channels, derived)
    assert units.tolist() == [[0, 1, 4, 5], [2, 3, 6, 7]]
    assert unit_numbers(("p1", "p2", "p3"), history.channels, units) == [0, 1, -1]


def test_units_keep_the_differences_of_their_pairs() -> None:
    """Of more than twelve inputs of a unit there are none, so that the rules then leave its channels as they are."""
    rng = np.random.default_rng(0)
    values = {f"{p}.x{i}": rng.normal(size=N) for p in ("p1", "p2") for i in range(9)} | {"other": rng.normal(size=N)}
    for name in ("p1.x0", "p1.x1", "p2.x2", "other"):
        values[name][1000:1030] = 1.0
    history = history_of(values)
    units = np.arange(18).reshape(2, 9)
    named = ["p1.x0~still", "p1.x1~still", "p1.x2~still", "p2.x0~still", "p2.x1~still", "p2.x2~still", "other~still"]
    assert chosen(history, GRID, units) == named
    values["p2.x3"][1000:1030] = 1.0
    history = history_of(values)
    assert chosen(history, GRID, units) == ["other~still"]
    assert len(chosen(history, GridConfig(derived=("p1.*~still",)), units)) == 18


def test_names_and_patterns() -> None:
    """A configuration may name inputs itself; in the order of the channels, whatever its own."""
    history = history_of({"flow": np.arange(N) * 1.0, "flow[2]": np.arange(N) * 1.0, "meter": np.arange(N) * 1.0})
    grid = GridConfig(derived=("*~age", "flow[2]~low", "flow~still"))
    assert chosen(history, grid) == ["flow~still", "flow~age", "flow[2]~age", "flow[2]~low", "meter~age"]
    assert chosen(history, GridConfig(derived="none")) == chosen(history, GridConfig(derived=())) == []
    with pytest.raises(HistoryError, match=r"grid.derived: 'level~still' fits no channel; there are flow, flow\[2\]"):
        chosen(history, GridConfig(derived=("level~still",)))
    with pytest.raises(HistoryError, match=r"grid\.derived: meter~low: of a counter the model reads the increase"):
        chosen(history, GridConfig(derived=("meter~low",)))
    assert chosen(history, GridConfig(derived=("*~low",))) == ["flow~low", "flow[2]~low"]


def test_what_is_no_name_is_refused_with_the_statistics(tmp_path: Path) -> None:
    """The whole name and what may stand there."""
    data = {"format": "table", "samples": ["s.csv"], "events": "e.csv"}
    for name in ("flow", "flow~median", "~still"):
        with pytest.raises(ConfigError, match=rf"'{name}' is not channel~statistic; the statistics are still, age"):
            from_mapping({"data": data, "grid": {"derived": [name]}}, TrainConfig, "a.toml")
    resolved = from_mapping({"data": data, "grid": {"derived": ["flow~still"]}}, TrainConfig, "a.toml")
    (tmp_path / "config.toml").write_text(to_toml(resolved), encoding="utf-8")
    assert load_train_config(tmp_path / "config.toml").grid == resolved.grid
    assert resolved.grid.chosen == (Derived("flow", "still"),)
    assert type(resolved.grid.spec()) is GridSpec


def test_windows_have_the_derived_columns() -> None:
    """After the channels; a plain grid has none."""
    history = history_of({"x": np.repeat(np.arange(N // 4) * 1.0, 4), "y": np.arange(N) * 1.0})
    grid = GRID.with_chosen([Derived("x", "still"), Derived("y", "age")])
    cut = cut_windows(history, grid, WindowSpec(length=4, stride=4)).windows.gather([5])[0]
    assert cut[:, 2].tolist() == [0, 1, 2, 3]
    assert cut[:, 3].tolist() == [0, 0, 0, 0]
    assert cut_windows(history, GRID.spec(), WindowSpec(length=4, stride=4)).windows.rows.shape[1] == 2
    assert derived_note(grid.chosen) == ["derived inputs beside the channels (grid.derived): still of x; age of y"]
    assert derived_note(()) == []
