"""The wizard in a real terminal: tables, questions, answers that stand in the file."""

import os
import pty
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

PROMPT = "leaves the key out): "
Put = Callable[..., None]


class Terminal:
    """A command in a pseudo terminal.

    Args:
        folder: where it runs.
        arguments: of ``rarefault``.
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "110", "LINES": "40"}
        command = [sys.executable, "-m", "rarefault.runtime.cli", *arguments]
        self.process = subprocess.Popen(
            command, cwd=folder, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        os.close(slave)
        self.text = ""

    def answer(self, line: str) -> None:
        """Wait for the next question, and answer it."""
        self._until(lambda: self.text.count(PROMPT) > self.text.count(f"{PROMPT}\0"))
        self.text = self.text.replace(PROMPT, f"{PROMPT}\0")
        os.write(self._master, f"{line}\n".encode())

    def end(self) -> int:
        """Wait for the end; the exit status."""
        self._until(lambda: False)
        os.close(self._master)
        return self.process.wait(timeout=10)

    def _until(self, met: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not met():
            assert time.monotonic() < deadline, self.text
            try:
                self.text += os.read(self._master, 65536).decode(errors="replace")
            except OSError:  # the other end is closed
                return


@pytest.fixture
def doubtful(put: Put) -> None:
    """Telemetry with times without a zone, codes for no value, and no machine."""
    values = [str(20 + i % 7) for i in range(48)]
    values[5] = values[9] = "-9999"
    put("line4/x.csv", "time,temp", *(f"2024-03-{1 + i // 24:02} {i % 24:02}:00:00,{v}" for i, v in enumerate(values)))


@pytest.mark.usefixtures("doubtful")
def test_answers_stand_in_the_file(tmp_path: Path) -> None:
    """A zone, a name and the answer that -9999 is none; Enter keeps what is proposed."""
    terminal = Terminal(tmp_path, "init", "line4", "--output", "plant.toml")
    terminal.answer("Europe/Zurich")
    terminal.answer('device = "press 4"')
    terminal.answer("")
    assert terminal.end() == 0
    text = (tmp_path / "plant.toml").read_text("utf-8")
    data = tomllib.loads(text)["data"]
    assert (data["time_zone"], data["device"], data["missing"]) == ("Europe/Zurich", "press 4", [-9999])
    assert text.replace("\n# ", " ").count("answered by hand") == 3
    assert "First rows as they are read" in terminal.text
    assert "Question 3 of 3" in terminal.text
    assert "\x1b[1m" in terminal.text  # it is a terminal with colours
    assert "next: rarefault describe plant.toml" in " ".join(terminal.text.split())


@pytest.mark.usefixtures("doubtful")
def test_keys_can_be_left_out(tmp_path: Path) -> None:
    """A minus leaves a key open; another key may be named in its place."""
    terminal = Terminal(tmp_path, "init", "line4", "--output", "plant.toml")
    terminal.answer("-")
    terminal.answer('device_column = ""')
    terminal.answer("[]")
    assert terminal.end() == 0
    data = tomllib.loads((tmp_path / "plant.toml").read_text("utf-8"))["data"]
    assert "time_zone" not in data
    assert "device" not in data
    assert (data["device_column"], data["missing"]) == ("", [])


@pytest.mark.usefixtures("doubtful")
def test_answers_that_cannot_be_used_are_said(tmp_path: Path) -> None:
    """In the terminal and in the file."""
    terminal = Terminal(tmp_path, "init", "line4", "--output", "plant.toml")
    for line in ("Europe/Zürich", "press 4", ""):
        terminal.answer(line)
    assert terminal.end() == 0
    assert "no time zone 'Europe/Zürich' is known" in " ".join(terminal.text.split())
    assert "no time zone 'Europe/Zürich' is known" in (tmp_path / "plant.toml").read_text("utf-8").replace("\n# ", " ")


@pytest.mark.usefixtures("doubtful")
def test_yes_asks_nothing(tmp_path: Path) -> None:
    """Not even in a terminal; the doubts stand in the file."""
    terminal = Terminal(tmp_path, "init", "line4", "--yes")
    assert terminal.end() == 0
    assert PROMPT not in terminal.text
    assert (tmp_path / "plant.toml").read_text("utf-8").count("# QUESTION: ") >= 3
