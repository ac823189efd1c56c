"""The tiny model of the tests, made by the real exporter."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness.machine import ROOT

SCRIPT = ROOT / "tests" / "make_tiny_model.py"
#: The same script with other channels.
_OTHER_CHANNELS = f"""
import sys
from pathlib import Path
import numpy as np
import {SCRIPT.stem} as tiny
n = len(sys.argv) - 2
tiny.CHANNELS = tuple(sys.argv[2:])
tiny.CENTER, tiny.SCALE = np.full(n, 700, np.float32), np.full(n, 20, np.float32)
tiny.make(Path(sys.argv[1]))
"""


def make_tiny_model(folder: Path, channels: Sequence[str] = ()) -> Path:
    """Make ``tiny.onnx`` in a folder, with the channels of the script or with others; returns its path."""
    command = ["-c", _OTHER_CHANNELS, str(folder), *channels] if channels else [str(SCRIPT), str(folder)]
    subprocess.run([sys.executable, *command], cwd=SCRIPT.parent, check=True, stdout=sys.stderr)
    return folder / "tiny.onnx"
