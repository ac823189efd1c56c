"""The real daemon as a process of its own."""

import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import tomli_w
from benchmarks.harness import process
from benchmarks.harness.broker import free_port

#: Runs the command line.
RUN = "from rarefault.runtime.cli import main; sys.exit(main())"


def daemon_command(config: Path) -> list[str]:
    """The command line that runs the daemon with a configuration."""
    return [sys.executable, "-m", "rarefault.runtime.cli", "run", str(config)]


class Daemon:
    """The daemon, started and ended as a context.

    Args:
        folder: with ``tiny.onnx``; the configuration ``edge.toml``, the journal and the log are put there.
        port: of the broker.
        settings: by section, on top of what is always set.
        profile: where to write a profile of it (cProfile).
        root: a checkout whose release runs; by default this one.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        settings: Mapping[str, dict[str, Any]],
        *,
        profile: Path | None = None,
        root: Path | None = None,
    ) -> None:
        metrics = free_port()
        self._log = folder / "daemon.log"
        self._url = f"http://127.0.0.1:{metrics}/metrics"
        always: dict[str, dict[str, Any]] = {
            "model": {"path": "tiny.onnx"},
            "broker": {"url": f"mqtt://127.0.0.1:{port}", "client_id": "measured"},
            "publish": {"runtime": "edge"},
            "metrics": {"port": metrics},
        }
        merged = {name: always.get(name, {}) | settings.get(name, {}) for name in {**always, **settings}}
        (folder / "edge.toml").write_text(tomli_w.dumps(merged), encoding="utf-8")
        command = daemon_command(folder / "edge.toml")
        profiler = ["-m", "cProfile", "-o", str(profile)] if profile else []
        self._command = [command[0], *profiler, *command[1:]]
        if root is not None:
            code = f"import sys; sys.path.insert(0, {str(root / 'runtime')!r}); {RUN}"
            self._command = [command[0], "-c", code, *command[3:]]

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stderr=log)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def send_signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        self._process.send_signal(number)

    def numbers(self) -> dict[str, float]:
        """The daemon's metrics, each with its labels as in the text form; none where it does not answer yet."""
        try:
            with urllib.request.urlopen(self._url, timeout=30) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            self._check()
            return {}
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(number) for name, number in pairs}

    def counts(self) -> dict[str, float]:
        """The daemon's metrics, those with labels summed; none where it does not answer yet."""
        counts: dict[str, float] = {}
        for labelled, number in self.numbers().items():
            name = labelled.split("{")[0]
            counts[name] = counts.get(name, 0.0) + number
        return counts

    def wait_until_ready(self) -> None:
        """Wait until it has subscribed."""
        while self.counts().get("rarefault_connected") != 1:
            time.sleep(0.02)
        time.sleep(0.5)  # the subscription follows the connection

    def wait_for(self, messages: int) -> None:
        """Wait until so many messages have been processed."""
        while self.counts().get("rarefault_messages_total", 0) < messages:
            time.sleep(0.02)

    def settle(self) -> None:
        """Wait until the broker has confirmed all verdicts."""
        while self.counts().get("rarefault_outbox_messages") != 0:
            time.sleep(0.02)

    def cpu_s(self) -> float:
        """Processor time that it has used."""
        return process.cpu_s(self._process.pid)

    def memory_mb(self, name: str, seconds: float = 1.0) -> float:
        """``VmRSS`` or ``VmHWM`` of the process in MB, the median of some time."""
        found = []
        for _ in range(5):
            found.append(process.memory_mb(self._process.pid, name))
            time.sleep(seconds / 5)
        return round(statistics.median(found), 1)

    def _check(self) -> None:
        if self._process.poll() is not None:
            sys.exit(f"the daemon ended:\n{self._log.read_text(encoding='utf-8')}")
