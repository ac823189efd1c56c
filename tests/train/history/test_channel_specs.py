"""What a channel is: said once, applied to a history and to live telemetry alike."""

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.tiny_model import MANIFEST, save_tiny_model

from rarefault.runtime.errors import ConfigError, HistoryError
from rarefault.runtime.inference.manifest import Manifest
from rarefault.runtime.inference.model_file import load_model
from rarefault.runtime.inference.pipeline import Pipeline
from rarefault.runtime.telemetry.channels import ChannelMeaning, ChannelSpec
from rarefault.runtime.telemetry.reasons import ValueReason
from rarefault.runtime.telemetry.values import number_of
from rarefault.train.config import TrainConfig, load_train_config, to_toml
from rarefault.train.evaluation.evaluate import run_pipeline
from rarefault.train.history import History, TableConfig, read_history
from rarefault.train.history.channel_specs import with_specs, words_only
from rarefault.train.history.notes import CHANNEL_MISSING, OUT_OF_RANGE
from rarefault.train.history.parsing.cells import parse_numbers

CONFIG = """
[data]
format = "table"
samples = "samples.csv"
missing = [-9999]

[channels."c1.S1"]
scale = 0.1
offset = -5
missing = 65535
valid = [-40, 150]
unit = "bar"

[channels."c1.S2"]
states = { AUTO = 1, MAN = 2 }
"""
ROWS = "device,time,c1.S1,c1.S2,z1.E1\n" + "".join(
    f"p,{1_700_000_000 + 10 * i},{text},{word},{i}\n"
    for i, (text, word) in enumerate(
        [("100", "AUTO"), ("65535", "MAN"), ("-9999", "2"), ("5000", "AUTO"), ("412", "off"), ("", "")] * 12
    )
)


def read(folder: Path) -> tuple[TrainConfig, History]:
    (folder / "samples.csv").write_text(ROWS)
    (folder / "train.toml").write_text(CONFIG)
    config = load_train_config(folder / "train.toml")
    return config, read_history(config.data, folder, channels=config.channels)


def test_a_history_is_in_the_units_of_its_channels(tmp_path: Path) -> None:
    """Words are numbers, scaled values have their range, and what was dropped is counted by channel."""
    _, history = read(tmp_path)
    nan, none = math.nan, -math.inf  # a number that means none
    np.testing.assert_allclose(history.values[:6, 0], [5.0, none, none, none, 36.2, nan], rtol=1e-12)
    np.testing.assert_array_equal(history.values[:6, 1], [1, 2, 2, 1, nan, nan])
    counted = {note.kind: note for note in history.notes}
    assert counted[CHANNEL_MISSING].parts == {"c1.S1": (12, "65535")}
    assert counted[OUT_OF_RANGE].parts == {"c1.S1": (12, "5000")}
    assert history.notes.count("values that data.missing names, taken as missing") == 12


def test_both_sides_give_the_same_verdicts(tmp_path: Path) -> None:
    """What the daemon's pipeline makes of what devices send, and the trainer of a history of it."""
    config, history = read(tmp_path)
    manifest = msgspec.structs.replace(MANIFEST, channel_specs=config.channels, missing=(-9999.0,))
    save_tiny_model(tmp_path / "tiny.onnx", manifest)
    model = load_model(tmp_path / "tiny.onnx")
    assert model.manifest == manifest == Manifest.from_json(manifest.to_json())
    sent = [[100, 1], [65535, 2], [-9999, 2], [5000, 1], [412, math.nan], [math.nan, math.nan]] * 12
    raw = np.column_stack([np.array(sent), np.arange(72.0)])
    pipeline = Pipeline(model.manifest, model.step, model.model_id)
    live = pipeline.push(np.full(72, pipeline.slot("p")), history.time_ms, raw)
    offline = run_pipeline(history, model.manifest, model.step, model.model_id)
    assert len(live.posterior) > 20
    np.testing.assert_array_equal(live.posterior, offline.posterior)
    assert pipeline.dropped_values == {
        ("c1.S1", ValueReason.NAMED_MISSING): 12,
        ("c1.S1", ValueReason.OUT_OF_RANGE): 12,
    }
    # A history that was read without them, as when a model file is judged on plain files, gets those of the model.
    bare = read_history(config.data, tmp_path, channels=words_only(config.channels))
    plain = msgspec.structs.replace(manifest, channel_specs={})
    again = run_pipeline(
        with_specs(History(**{**_fields(bare), "channel_specs": {}}), manifest.channel_specs),
        manifest,
        model.step,
        model.model_id,
    )
    np.testing.assert_array_equal(again.posterior, live.posterior)
    with pytest.raises(HistoryError, match=r"read by other \[channels\]"):
        run_pipeline(history, plain, model.step, model.model_id)


def _fields(history: History) -> dict[str, Any]:
    return {name: getattr(history, name) for name in History.__dataclass_fields__}


def test_the_configuration_keeps_them_and_refuses_what_cannot_be(tmp_path: Path) -> None:
    """They survive being written; all that is wrong is said at once, with its key."""
    config, _ = read(tmp_path)
    (tmp_path / "again.toml").write_text(to_toml(config))
    assert load_train_config(tmp_path / "again.toml") == config
    (tmp_path / "bad.toml").write_text(
        CONFIG + '[channels.x]\nscale = 0\nvalid = [3, 1]\nstates = {" on" = 1}\n[channels.y]\nmising = 4\n'
    )
    with pytest.raises(ConfigError) as caught:
        load_train_config(tmp_path / "bad.toml")
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["channels.x"] * 3 + [
        "channels.y.mising"
    ]
    (tmp_path / "foreign.toml").write_text(CONFIG + '[channels."c9"]\nscale = 2\n')
    foreign = load_train_config(tmp_path / "foreign.toml")
    with pytest.raises(HistoryError, match=r"channels\.c9: the history has no such channel, only c1\.S1"):
        read_history(foreign.data, tmp_path, channels=foreign.channels)


WORDS = ["", "AUTO", "MAN", "on", "OFF", "true", "False", "1", "-2.5e3", ".5", "7.", "nan", "inf", "x", "1 000", "0x1"]


@given(words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=8), named=st.booleans())
def test_a_cell_of_a_table_is_read_as_a_live_value(words: list[str], named: bool) -> None:
    """The same text gives the same number, or none, in a CSV file and in a message."""
    states = {"AUTO": 1.0, "OFF": 7.0} if named else None
    values, bad = parse_numbers(pl.Series(words, dtype=pl.String), states=states)
    for word, value, wrong in zip(words, values.tolist(), bad.tolist(), strict=True):
        live = number_of(word, states)
        if isinstance(live, ValueReason):
            assert math.isnan(value)
            assert wrong or word in {"", "nan"}  # in a table these are empty cells
        else:
            assert value == live
            assert not wrong


@given(
    values=st.lists(st.floats(allow_nan=True, allow_infinity=False), min_size=1, max_size=6),
    scale=st.sampled_from([1.0, 0.1, -2.0, 1e30]),
    offset=st.sampled_from([0.0, -273.15]),
    valid=st.sampled_from([None, (-40.0, 150.0)]),
)
def test_it_is_the_same_for_one_value_and_for_many(
    values: list[float], scale: float, offset: float, valid: tuple[float, float] | None
) -> None:
    """A matrix gives what its rows give one by one; nothing that is left is outside of the range."""
    meaning = ChannelMeaning({"a": ChannelSpec(scale=scale, offset=offset, valid=valid, missing=(0.0,))}, ["a"])
    if not meaning:
        return
    column = np.array(values)[:, None]
    together, dropped = meaning.apply(column)
    one_by_one = np.concatenate([meaning.apply(row[None])[0] for row in column])
    np.testing.assert_array_equal(together, one_by_one)
    left = together[np.isfinite(together)]
    assert (np.abs(left) <= np.finfo(np.float32).max).all() or (scale, offset, valid) == (1.0, 0.0, None)
    if valid is not None:
        assert ((left >= valid[0]) & (left <= valid[1])).all()
    assert sum(int(which.sum()) for _, _, which in dropped) == int(np.isneginf(together).sum())


def test_a_boolean_column_of_a_history_is_taken_live(tmp_path: Path) -> None:
    """A Boolean Parquet column is 0 and 1, as JSON's true and false are; a channel's states hold for both."""
    pl.DataFrame(
        {"device": ["p"] * 2, "time": [1_700_000_000, 1_700_000_010], "on": [True, False], "a": [1.0, 2.0]}
    ).write_parquet(tmp_path / "samples.parquet")
    config = TableConfig(samples=("samples.parquet",))
    assert read_history(config, tmp_path).values[:, 0].tolist() == [1, 0] == [number_of(True), number_of(False)]
    turned = {"on": ChannelSpec(states={"true": 0, "false": 1})}
    assert read_history(config, tmp_path, channels=turned).values[:, 0].tolist() == [0, 1]
    assert number_of(json.loads("true"), turned["on"].states) == 0
