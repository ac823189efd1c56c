"""The tutorial's commands do what the tutorial says: run in order, as they stand there, with a real Mosquitto."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.md"
#: How long what a terminal is to print may take, seconds; generous, because machines are shared.
PATIENCE_S = 60.0
FENCE = re.compile(
    r"^(?P<byhand><!-- by hand -->\n)?```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$"
    r"|^<!-- (?:(?P<terminal>terminal \d) )?prints: (?P<prints>.*?) -->$",
    re.DOTALL | re.MULTILINE,
)


class Reader:
    """Somebody who follows the tutorial: one terminal for the commands, others for what goes on."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.said = ""
        self._transcript = folder / "transcript.txt"
        self._port = port
        self._terminals: dict[str, subprocess.Popen[bytes]] = {}
        path = (str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")
        self._environment = {**os.environ, "PATH": os.pathsep.join(path), "COLUMNS": "160"}
        self._last = ""

    def follow(self, block: re.Match[str]) -> None:
        """Write the file, enter the commands, or look for what must have been printed."""
        text, title = block["text"], block["title"] or ""
        if block["prints"]:
            self._look(block["terminal"] or self._last, block["prints"])
        elif block["byhand"]:
            return
        elif block["language"] == "sh" and title:
            self._open(title, self._here(text))
        elif block["language"] == "sh":
            self._enter(self._here(text))
        elif block["language"] in {"toml", "ini"}:
            (self.folder / title).write_text(self._here(text), encoding="utf-8")

    def close(self) -> None:
        """Leave all terminals with Ctrl-C."""
        for process in reversed(self._terminals.values()):
            os.killpg(process.pid, signal.SIGINT)
            process.wait(PATIENCE_S)

    def _here(self, text: str) -> str:
        return text.replace("1883", str(self._port))

    def _enter(self, commands: str) -> None:
        """Enter commands in the first terminal; each must end well."""
        script = f"set -e\n{commands}\npwd > {self.folder}/.pwd\n"
        result = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self._environment, capture_output=True, text=True, check=False
        )
        self.said, self._last = result.stdout + result.stderr, ""
        with self._transcript.open("a", encoding="utf-8") as transcript:
            transcript.write(f"{commands}{self.said}\n")
        assert result.returncode == 0, f"{commands}\n{self.said}"
        self.folder = Path((self.folder / ".pwd").read_text(encoding="utf-8").strip())

    def _open(self, terminal: str, command: str) -> None:
        with (self.folder / f"{terminal}.log").open("wb") as log:
            self._terminals[terminal] = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.folder,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._last = terminal

    def _look(self, terminal: str, text: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while text not in (said := self._said(terminal)):
            if not terminal or time.monotonic() > deadline:
                pytest.fail(f"{terminal or 'the command'} did not print {text!r}, but:\n{said}")
            time.sleep(0.05)

    def _said(self, terminal: str) -> str:
        if not terminal:
            return self.said
        assert self._terminals[terminal].poll() is None, f"{terminal} has ended"
        return (self.folder / f"{terminal}.log").read_text(encoding="utf-8")


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """Somebody in a checkout, with a port that nobody uses."""
    if shutil.which("mosquitto_sub") is None:
        pytest.fail("the tutorial needs Mosquitto's clients: apt-get install mosquitto-clients")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    person = Reader(tmp_path, port)
    yield person
    person.close()


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.training
def test_the_tutorial_can_be_followed(reader: Reader) -> None:
    """Every file is written, every command entered, and what the tutorial promises is printed."""
    blocks = list(FENCE.finditer(TUTORIAL.read_text(encoding="utf-8")))
    promised = sum(block["prints"] is not None for block in blocks)
    assert promised >= 12
    for block in blocks:
        reader.follow(block)
