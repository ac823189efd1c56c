"""The daemon, or the recorder, as a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.harness.waiting import PATIENCE_S, wait_until


class Daemon:
    """``rarefault run CONFIG``; its log, which later starts go on with, lies beside the configuration.

    Another command, such as ``record``, may take its place, with options of its own.

    As a context it is started, and ended in good order: with another exit code than 0 the test fails.
    """

    def __init__(
        self, config: Path, environment: Mapping[str, str] | None = None, command: Sequence[str | Path] = ("run",)
    ) -> None:
        self.command = command
        self.config, self.log = config, config.with_suffix(".log")
        self.environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it connects later."""
        command = [sys.executable, "-m", "rarefault.runtime.cli", self.command[0], self.config, *self.command[1:]]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | self.environment)

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process is not None and self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        assert self._process is not None
        return self._process.wait(PATIENCE_S)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it by a signal; its exit code."""
        self.send(number)
        return self.wait()

    def kill(self) -> None:
        """End it as a power cut would; nothing where it does not run."""
        if self.running:
            self.stop(signal.SIGKILL)

    def text(self) -> str:
        """Its log so far."""
        return self.log.read_text(encoding="utf-8")

    def says(self, text: str) -> bool:
        """Whether its log has this text."""
        return text in self.text()

    def wait_for(self, text: str) -> None:
        """Wait until its log has this text."""
        wait_until(lambda: self.says(text), f"{text!r} in the daemon's log")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        code = self.stop()
        assert code == 0, self.text()
