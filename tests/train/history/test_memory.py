"""Memory of reading: that of the history itself, and little more."""

import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

#: What the program and one block of a file take, MB, and how many bytes of memory a byte of the file may take.
FIXED, SHARE = 220, 1.4

READ = """
import sys
from pathlib import Path
from rarefault.train.history import TableConfig, read_history
history = read_history(TableConfig(samples=("samples.csv",)), Path(sys.argv[1]))
status = Path("/proc/self/status").read_text()  # of this program alone, unlike what getrusage says after an exec
print(len(history), int(status.split("VmHWM:")[1].split()[0]) / 1000)
"""


@pytest.mark.slow
@pytest.mark.parametrize("by", ["time", "device"])
def test_a_file_takes_little_more_than_its_history(tmp_path: Path, by: str) -> None:
    """Rows of four devices with ten channels, in order of time or device after device, none of which is held twice."""
    start, n, rng = datetime(2020, 1, 1), 150_000, np.random.default_rng(0)  # noqa: DTZ001 - written with a Z
    columns = {f"c{i}": rng.integers(10_000, 99_999, 4 * n) / 1000 for i in range(10)}
    time = pl.datetime_range(start, start + timedelta(seconds=n - 1), "1s", eager=True).dt.strftime(
        "%Y-%m-%dT%H:%M:%SZ"
    )
    rows = pl.DataFrame({"device": ["p1", "p2", "p3", "p4"]}).join(pl.DataFrame({"time": time}), how="cross")
    frame = rows.with_columns(**columns).sort(by, maintain_order=True)
    frame.write_csv(tmp_path / "samples.csv", float_precision=3)
    size = (tmp_path / "samples.csv").stat().st_size / 1e6
    result = subprocess.run([sys.executable, "-c", READ, str(tmp_path)], capture_output=True, text=True, check=True)
    samples, peak = result.stdout.split()
    assert int(samples) == 4 * n
    assert float(peak) < FIXED + SHARE * size
