"""``describe`` where no terminal bounds its tables, and of a fleet."""

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
LONG = "AccelerationOfTheSecondBearingOfTheMainDriveInMetresPerSecondSquared"
DEVICES = 300


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 machines with a channel of a long name, and many channels that are never reported."""
    folder = tmp_path_factory.mktemp("fleet")
    empty = [f"spare{i}" for i in range(30)]
    rows = [f"device,time,{LONG},{','.join(empty)}"]
    for device in range(DEVICES):
        rows += [f"machine {device} of the works in the north,{1709251200 + 900 * i},{i}{',' * 30}" for i in range(4)]
    (folder / "samples.csv").write_text("\n".join(rows) + "\n")
    events = "".join(f"ghost {i},1709251200,1709252100,leak\n" for i in range(40))
    (folder / "events.csv").write_text("device,start,end,fault\n" + events)
    (folder / "fleet.toml").write_text('[data]\nformat = "table"\nsamples = "samples.csv"\nevents = "events.csv"\n')
    return folder / "fleet.toml"


def described(config: Path, *arguments: str, columns: str | None = None) -> str:
    """What goes into a pipe."""
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    if columns is not None:
        environment["COLUMNS"] = columns
    command = [sys.executable, "-m", "rarefault.runtime.cli", "describe", str(config), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_names_are_whole_and_devices_are_summed_up(fleet: Path) -> None:
    """Tables are as wide as what they hold; of hundreds of devices twenty are shown and the others summed up."""
    said = described(fleet, "--json", str(fleet.with_suffix(".json")))
    lines = said.splitlines()
    assert f" {LONG} " in said
    assert "…" not in said
    assert sum("of the works in the north" in line for line in lines) == 20
    (rest,) = [line for line in lines if "and 280 more (--all)" in line]
    assert "1,120" in rest
    assert max(map(len, lines)) < 400
    assert len(json.loads(fleet.with_suffix(".json").read_text())["devices"]) == DEVICES


def test_lists_are_summed_up(fleet: Path) -> None:
    """Channels and devices without samples are named in part, with the number of the others."""
    said = described(fleet)
    assert "30 channels are never reported: spare0, spare1" in said
    assert "22 more: they carry no information" in said
    assert sum("ghost" in line for line in said.splitlines()) == 8
    assert "32 others" in said


def test_all_devices(fleet: Path) -> None:
    """``--all`` shows each."""
    assert sum("of the works in the north" in line for line in described(fleet, "--all").splitlines()) == DEVICES


def test_a_width_that_is_asked_for(fleet: Path) -> None:
    """COLUMNS bounds the tables; what does not fit is folded, not cut."""
    lines = described(fleet, columns="100").splitlines()
    assert max(len(line) for line in lines if "machine" in line) <= 100


def test_a_terminal_bounds_the_tables(fleet: Path) -> None:
    """On a terminal they keep to its width."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 90, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in {"COLUMNS", "LINES"}}
    command = [sys.executable, "-m", "rarefault.runtime.cli", "describe", str(fleet)]
    with subprocess.Popen(command, env={**environment, "TERM": "dumb"}, stdout=child, stdin=child) as process:
        os.close(child)
        said = b""
        try:
            while chunk := os.read(parent, 65536):
                said += chunk
        except OSError:
            pass  # the terminal has gone with the process
        process.wait()
    os.close(parent)
    tables = [line for line in said.decode().replace("\r", "").splitlines() if "machine" in line or "───" in line]
    assert tables
    assert max(map(len, tables)) <= 90
