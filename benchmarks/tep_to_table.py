"""Tennessee Eastman process files to a history in table form.

    python -m benchmarks.tep_to_table TEP_FOLDER OUT_FOLDER

reads ``dNN.dat`` (training run of fault NN, faulty throughout) and ``dNN_te.dat`` (test run, normal up to row 160) and
writes ``samples.parquet``, ``events.csv`` and ``tep.toml``, ready for ``rarefault describe`` and ``rarefault train``.

A run is a device (``train_01``, ``test_01``, ...), a sample is 3 minutes, the channels are ``xmeas_1`` ... ``xmeas_41``
and ``xmv_1`` ... ``xmv_11``. The runs have no dates; all begin at one arbitrary instant. A sample is stamped in the
middle of its interval, so that the sample and the label of its row fall into the same bin of the grid.
"""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

CHANNELS = (*(f"xmeas_{n}" for n in range(1, 42)), *(f"xmv_{n}" for n in range(1, 12)))
PERIOD_MS = 180_000
START_MS = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp() * 1000)
#: Row of a test run at which its fault begins.
TEST_FAULT_ROW = 160

CONFIG = """\
[data]
format = "table"
samples = ["samples.parquet"]
events = "events.csv"

[grid]
period_s = 180
max_hold_s = 540
max_gap_s = 900

[window]
length = 20
stride = 2

[split]
by = "time"
block_s = 21600   # a run is 24 or 48 hours: most of a fault's time trains, one block in five judges
"""

_FILE = re.compile(r"d(\d\d)(_te)?\.dat")


@dataclass(frozen=True)
class Run:
    """One simulated run.

    Attributes:
        device: ``train_NN`` or ``test_NN``.
        fault: its fault's number; 0 is normal operation.
        first_faulty: row at which the fault begins.
        values: [rows, 52].
    """

    device: str
    fault: int
    first_faulty: int
    values: NDArray[np.float64]

    def time_ms(self) -> NDArray[np.int64]:
        """The middle of each row's interval, [rows]."""
        return START_MS + PERIOD_MS * np.arange(len(self.values), dtype=np.int64) + PERIOD_MS // 2


def read_run(path: Path) -> Run:
    """Read one file; d00.dat is stored with a row per channel.

    Raises:
        ValueError: the file does not hold 52 channels.
    """
    name = _FILE.fullmatch(path.name)
    if name is None:
        raise ValueError(f"{path.name}: not named dNN.dat or dNN_te.dat")
    values = np.loadtxt(path, ndmin=2)
    if values.shape[1] != len(CHANNELS):
        values = values.T
    if values.shape[1] != len(CHANNELS):
        raise ValueError(
            f"{path}: {values.shape[1]} x {values.shape[0]} values; {len(CHANNELS)} channels were expected"
        )
    test = name[2] is not None
    device = f"{'test' if test else 'train'}_{name[1]}"
    return Run(device, int(name[1]), TEST_FAULT_ROW if test else 0, values)


def convert(source: Path, target: Path) -> list[Run]:
    """Convert a folder and return the runs found in it.

    Raises:
        ValueError: there is no run, or a file is not what its name says.
    """
    paths = sorted(path for path in source.glob("d*.dat") if _FILE.fullmatch(path.name))
    if not paths:
        raise ValueError(f"{source}: holds no dNN.dat or dNN_te.dat")
    runs = [read_run(path) for path in paths]
    faulty = [run for run in runs if run.fault and run.first_faulty < len(run.values)]
    # Until the end of the last interval, so that its bin is a faulty one, too.
    events = [
        (run.device, int(times[run.first_faulty]), int(times[-1]) + PERIOD_MS // 2, f"fault_{run.fault:02d}")
        for run in faulty
        for times in [run.time_ms()]
    ]
    write_table(target, CHANNELS, {run.device: (run.time_ms(), run.values) for run in runs}, events)
    (target / "tep.toml").write_text(CONFIG)
    return runs


def write_table(
    target: Path,
    channels: Sequence[str],
    samples: Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]],
    events: Sequence[tuple[str, int, int, str]],
) -> None:
    """Write ``samples.parquet`` and ``events.csv``.

    Args:
        target: folder, made where it is missing.
        channels: names, [C].
        samples: of each device: milliseconds since the epoch, [M], and values, [M, C].
        events: device, start and end in milliseconds since the epoch, fault.
    """
    target.mkdir(parents=True, exist_ok=True)
    frames = []
    for device, (time_ms, values) in samples.items():
        times = pl.Series(time_ms).cast(pl.Datetime("ms", "UTC"))
        columns = {name: values[:, i] for i, name in enumerate(channels)}
        frames.append(pl.DataFrame({"device": [device] * len(times), "time": times, **columns}))
    pl.concat(frames).write_parquet(target / "samples.parquet")
    schema = {"device": pl.String, "start": pl.Int64, "end": pl.Int64, "fault": pl.String}
    pl.DataFrame(list(events), schema=schema, orient="row").write_csv(target / "events.csv")


def main() -> int:
    """Convert a folder from the command line."""
    parser = argparse.ArgumentParser(description="Tennessee Eastman process files to a history in table form.")
    parser.add_argument("source", type=Path, metavar="TEP_FOLDER", help="the folder with dNN.dat and dNN_te.dat")
    parser.add_argument("target", type=Path, metavar="OUT_FOLDER", help="where to write the table")
    args = parser.parse_args()
    try:
        runs = convert(args.source, args.target)
    except (ValueError, OSError) as error:
        print(f"tep_to_table: {error}", file=sys.stderr)
        return 1
    samples = sum(len(run.values) for run in runs)
    print(f"{len(runs)} runs, {samples:,} samples; next: rarefault describe {args.target / 'tep.toml'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
