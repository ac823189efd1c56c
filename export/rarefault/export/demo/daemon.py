"""The daemon of the demo: ``rarefault run`` as a process of its own."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from rarefault.export.demo.collector import Collector
from rarefault.runtime.errors import RarefaultError

START_S = 60.0
STOP_S = 15.0

CONFIG = """\
# Written by 'rarefault demo'; run it by hand with: rarefault run {name}
[model]
path = "{model}"

[broker]
url = "{url}"
protocol = "3.1.1"     # all that the embedded broker speaks

[telemetry]
max_age_s = inf        # history is played

[publish]
runtime = "demo"

[journal]
path = "edge.journal"  # 'rarefault label' and 'rarefault train --from' go on with it
"""


class DaemonProcess:
    """Starts ``rarefault run``, waits until it is online, and stops it by SIGTERM.

    Args:
        folder: where its configuration and log go.
        model: the ONNX file.
        url: of the broker.
        collector: sees its status.
    """

    def __init__(self, folder: Path, model: Path, url: str, collector: Collector) -> None:
        self.config = folder / "daemon.toml"
        self.log = folder / "daemon.log"
        self._text = CONFIG.format(name=self.config.name, model=model.resolve(), url=url)
        self._collector = collector
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.config.write_text(self._text, encoding="utf-8")
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "rarefault.runtime.cli", "run", str(self.config)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while self._collector.status != "online":
            self.check()
            if time.monotonic() > deadline:
                self._stop()
                raise RarefaultError(f"the daemon was not online within {START_S:g} s; {self._tail()}")
            time.sleep(0.02)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def check(self) -> None:
        """Raise RarefaultError where the daemon has ended."""
        assert self._process is not None
        if (code := self._process.poll()) is not None:
            raise RarefaultError(f"the daemon ended with exit code {code}; {self._tail()}")

    def _stop(self) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _tail(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
        return f"the end of its log ({self.log}):" + "".join(f"\n  {line}" for line in lines)
