"""How much history does a model need? Network alone, trees alone and both, by the days of history.

    RAREFAULT_DATA=... python -m benchmarks.learning_curve

holds a fifth of plant 31's days out (of the simulated Tennessee Eastman plants a fifth of the plants), gives
``rarefault train`` a sixteenth, an eighth, a quarter, half and all of the others, and scores each model on what is held
out with ``rarefault evaluate``. Smaller histories are parts of the larger ones. The seed of a training also draws which
days or plants come first, so a range over the seeds is one over histories, too. As in every training, a fifth of a
history validates and a fifth is its own test.

What is complete is kept in ``benchmarks/.cache/learning_curve``, so this may be interrupted; after a change of the code
run it with ``--fresh``. Writes ``benchmarks/results/learning_curve.json``: rows of ``{data, experts, history, days,
seed, windows, macro_f1, log_loss, f1, seconds, commit}``. Rows there that are not run now stay.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import polars as pl
from benchmarks.harness.machine import RESULTS, THREADS, cache, commit, data_folder, origin, write
from benchmarks.quality import tep_simulated
from benchmarks.quality.protocol import PROBLEMS, config_of
from benchmarks.tep_to_table import START_MS

from rarefault.train.config import TrainConfig, to_toml
from rarefault.train.dataset.split import Block, split_history
from rarefault.train.history import read_history

#: Parts of the history that is not held out; each doubles.
PARTS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
#: What each model has, by the settings that leave the other out.
EXPERTS: dict[str, tuple[str, ...]] = {
    "network": ("trees.rounds=0",),
    "trees": ("model.network=false",),
    "both": (),
}
DATA = ("plant31", "tep-simulated")
DAY_MS = 86_400_000
RESULT = RESULTS / "learning_curve.json"
Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """One training.

    Attributes:
        data: of which.
        experts: key of ``EXPERTS``.
        history: part of it, of ``PARTS``.
        seed: of the training, and of the order in which the history grows.
        settings: further ones, as ``rarefault train --set`` takes them.
    """

    data: str
    experts: str
    history: float
    seed: int
    settings: tuple[str, ...] = ()

    def file(self, folder: Path) -> Path:
        """Where its row is kept."""
        digest = hashlib.sha256(json.dumps([self.settings, EXPERTS[self.experts]]).encode()).hexdigest()[:8]
        return folder / f"{self.data}-{self.experts}-{self.history:g}-seed{self.seed}-{digest}.json"


def main() -> int:
    """Train what is missing, write all rows."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.learning_curve",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", nargs="+", choices=DATA, default=DATA)
    parser.add_argument("--experts", nargs="+", choices=tuple(EXPERTS), default=tuple(EXPERTS))
    parser.add_argument("--sizes", type=int, default=len(PARTS), help="the smallest so many (default: all)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each (default 3)")
    parser.add_argument("--fresh", action="store_true", help="run again what is kept")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE",
                        help="a setting of all trainings; what they give is printed and not written")  # fmt: skip
    args = parser.parse_args()
    os.environ.update(dict.fromkeys(THREADS, "1"))
    tasks = [
        Task(data, experts, part, seed, tuple(args.settings))
        for data in args.data
        for seed in range(args.seeds)
        for part in PARTS[: args.sizes]
        for experts in args.experts
    ]
    rows = [run(task, fresh=args.fresh) for task in tasks]
    if args.settings:
        return 0
    earlier = json.loads(RESULT.read_text(encoding="utf-8"))["rows"] if RESULT.exists() else []
    write(RESULT, {"rows": merged(earlier, rows), **origin()})
    print(f"{RESULT} is written; python -m benchmarks.pages brings it into docs/results")
    return 0


def merged(earlier: Iterable[Row], fresh: Iterable[Row]) -> list[Row]:
    """The fresh rows and those of the earlier ones that are not among them, in order."""
    found = {(row["data"], row["experts"], row["history"], row["seed"]): row for row in (*earlier, *fresh)}
    names = list(EXPERTS)
    return [found[key] for key in sorted(found, key=lambda key: (key[0], names.index(key[1]), *key[2:]))]


def run(task: Task, *, fresh: bool = False, folder: Path | None = None) -> Row:
    """The row of a training that is kept, or that is made now."""
    file = task.file(folder or cache("learning_curve"))
    if file.exists() and not fresh:
        row: Row = json.loads(file.read_text(encoding="utf-8"))
    else:
        with TemporaryDirectory(prefix="rarefault-curve-") as name:
            row = _measure(task, Path(name))
        half = file.with_suffix(".tmp")
        half.write_text(json.dumps(row), encoding="utf-8")
        half.replace(file)
    print(
        f"{task.data}, {row['days']:.1f} days, {task.experts}, seed {task.seed}: "
        f"macro-F1 {row['macro_f1']:.3f}, log loss {row['log_loss']:.3f}, {row['seconds']:.0f} s",
        flush=True,
    )
    return row


def _measure(task: Task, folder: Path) -> Row:
    days = SOURCES[task.data](task, folder)
    began = time.monotonic()
    settings = (f"training.seed={task.seed}", *EXPERTS[task.experts], *task.settings)
    _rarefault("train", folder / "train.toml", "--out", folder / "run", *(w for s in settings for w in ("--set", s)))
    seconds = time.monotonic() - began
    scores = folder / "scores.json"
    _rarefault("evaluate", folder / "run", "--data", folder / "test.toml", "--part", "all", "--json", scores)
    found = json.loads(scores.read_text(encoding="utf-8"))
    return {
        "data": task.data,
        "experts": task.experts,
        "history": task.history,
        "days": round(days, 2),
        "seed": task.seed,
        "windows": sum(of["support"] for of in found["classes"].values()),
        "macro_f1": round(found["macro_f1"], 4),
        "log_loss": round(found["log_loss"], 4),
        "f1": {name: None if of["f1"] is None else round(of["f1"], 3) for name, of in found["classes"].items()},
        "seconds": round(seconds, 1),
        "commit": commit("train", "runtime"),
    }


def _rarefault(*words: str | Path) -> None:
    """Run a command of the project; ends the program where it fails."""
    command = [sys.executable, "-m", "rarefault.runtime.cli", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")


def _plant31(task: Task, folder: Path) -> float:
    """Write the files of some days, and those of the days that are held out; days of history."""
    source = data_folder()
    problem = PROBLEMS["plant31-day"]
    config = config_of(problem, source, {})
    history = read_history(config.data, Path())
    split = split_history(history, config.split, config.grid)  # cuts no event
    held_out = [block for block in split.blocks if block.part == "test"]
    others = [block for block in split.blocks if block.part != "test"]
    chosen = grown(others, task.history, task.seed)
    for name, blocks in (("train", chosen), ("test", held_out)):
        _write_blocks(source / "phm2015", blocks, folder / name)
        _write_config(config, {"path": str(folder / name)}, folder / f"{name}.toml")
    return sum(block.end_ms - block.start_ms for block in chosen) / DAY_MS


def grown(blocks: list[Block], part: float, seed: int) -> list[Block]:
    """The first of the blocks in an order that the seed draws; what a smaller part has, a larger one has, too."""
    order = np.random.default_rng(seed).permutation(len(blocks))
    return [blocks[number] for number in sorted(order[: max(1, round(part * len(blocks)))].tolist())]


def _write_blocks(source: Path, blocks: list[Block], target: Path) -> None:
    """The lines of plant 31's sensor files whose times lie in the blocks, and its whole fault log."""
    target.mkdir()
    starts = np.array([block.start_ms for block in blocks])
    ends = np.array([block.end_ms for block in blocks])
    for letter in "ab":
        lines = (source / f"plant_31{letter}.csv").read_text(encoding="utf-8").splitlines(keepends=True)
        times = np.array([_ms(line.split(",")[1]) for line in lines])
        at = np.searchsorted(starts, times, "right") - 1
        inside = (at >= 0) & (times < ends[at])
        chosen = [line for line, there in zip(lines, inside.tolist(), strict=True) if there]
        (target / f"plant_31{letter}.csv").write_text("".join(chosen), encoding="utf-8")
    (target / "plant_31c.csv").write_bytes((source / "plant_31c.csv").read_bytes())


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def _tep_simulated(task: Task, folder: Path) -> float:
    """Write the tables of some plants, and of those that are held out; days of history."""
    files = tep_simulated.prepare()
    held_out, others = files[::5], [file for number, file in enumerate(files) if number % 5]
    order = np.random.default_rng(task.seed).permutation(len(others))
    chosen = [others[number] for number in order[: round(task.history * len(others))].tolist()]
    config = config_of(PROBLEMS["tep-simulated-plants"], Path(), {})
    # One plant has no other to hold out.
    by_time = msgspec.structs.replace(config.split, by="time", block_s=21600.0)
    config = msgspec.structs.replace(config, split=by_time)
    for name, some in (("train", chosen), ("test", held_out)):
        tep_simulated.to_table(some, folder / name)
        _know_all_faults(folder / name)
        changes = {"samples": (f"{name}/samples.parquet",), "events": f"{name}/events.csv"}
        _write_config(config, changes, folder / f"{name}.toml")
    return len(chosen) * tep_simulated.FLEET.hours / 24


def _know_all_faults(folder: Path) -> None:
    """Add an event of each fault to the log, long before the samples: a model knows the faults of its log alone."""
    file = folder / "events.csv"
    log = pl.read_csv(file)
    before = [
        (log["device"][0], START_MS - DAY_MS, START_MS - DAY_MS + 1, f"fault_{number:02d}")
        for number in range(1, tep_simulated.N_FAULTS + 1)
    ]
    pl.concat([pl.DataFrame(before, schema=log.schema, orient="row"), log]).write_csv(file)


def _write_config(config: TrainConfig, data: dict[str, Any], path: Path) -> None:
    changed = msgspec.structs.replace(config, data=msgspec.structs.replace(config.data, **data))
    path.write_text(to_toml(changed), encoding="utf-8")


#: What writes ``train.toml``, ``test.toml`` and their data for a task, and gives the days of history.
SOURCES: dict[str, Callable[[Task, Path], float]] = {"plant31": _plant31, "tep-simulated": _tep_simulated}


if __name__ == "__main__":
    sys.exit(main())
