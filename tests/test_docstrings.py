"""The examples in docstrings run, with a small real model as ``plant.onnx``, and print what they say."""

import doctest
import importlib
import shutil
from pathlib import Path

import pytest

#: Modules with examples.
MODULES = (
    "rarefault.runtime.arrays",
    "rarefault.runtime.times",
    "rarefault.runtime.inference.embedding",
    "rarefault.runtime.inference.decision.belief",
    "rarefault.runtime.inference.decision.decision",
    "rarefault.runtime.inference.decision.pool",
    "rarefault.runtime.inference.manifest",
    "rarefault.runtime.inference.model_file",
    "rarefault.runtime.inference.pipeline",
    "rarefault.train.calibration.conformal",
    "rarefault.train.dataset.unit_labels",
    "rarefault.train.fitting.edges",
    "rarefault.train.fitting.epochs",
    "rarefault.train.fitting.imbalance",
    "rarefault.train.runs.timing.timeline",
)
#: More lines of output than this explain nothing.
LINES = 6


def examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for name in MODULES for test in finder.find(importlib.import_module(name), name)]
    return [test for test in found if test.examples]


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_the_example_runs(
    example: doctest.DocTest, tiny_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It prints what the docstring says, which is short."""
    shutil.copy(tiny_export / "tiny.onnx", tmp_path / "plant.onnx")
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    result = runner.run(example, out=said.append)
    assert not result.failed, "".join(said)
    assert all(len(one.want.splitlines()) <= LINES for one in example.examples)


def test_every_module_of_the_list_has_an_example() -> None:
    """A module whose examples went away leaves the list, too."""
    names = {name for example in examples() for name in MODULES if example.name.startswith(name)}
    assert names == set(MODULES)
