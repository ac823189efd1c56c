"""The page as a process of its own, and a plant whose daemon's store writes a real journal without a broker."""

import http.client
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import msgspec
import numpy as np
from tests.harness.broker import free_port
from tests.harness.tiny_model import MANIFEST, save_tiny_model
from tests.harness.waiting import PATIENCE_S, wait_until

from rarefault.runtime.daemon.config import DaemonConfig
from rarefault.runtime.daemon.publishing.payloads import AlarmPayload
from rarefault.runtime.daemon.setup import Setup
from rarefault.runtime.daemon.telemetry.sample_buffer import SampleBuffer
from rarefault.runtime.daemon.turns.durable import JournalledTurnStore
from rarefault.runtime.daemon.turns.opening import open_store
from rarefault.runtime.daemon.turns.work import Work
from rarefault.runtime.inference.model_file import load_model
from rarefault.runtime.journal.records import Feedback, SetAside
from rarefault.runtime.settings import from_mapping

#: Seconds between two samples of a device; a bin of the tiny model.
PERIOD_S = 10


class Plant:
    """Telemetry into a journal, through the daemon's own store: pipeline, alarms, verdicts and snapshots are real.

    Args:
        folder: of ``edge.toml``, the model and the journal.
        channels, classes: other names for those of the model, in their order.
        decision: other settings of the model's decision.
        **sections: of the configuration.
    """

    def __init__(
        self,
        folder: Path,
        channels: tuple[str, ...] = (),
        classes: tuple[str, ...] = (),
        decision: dict[str, Any] | None = None,
        **sections: dict[str, Any],
    ) -> None:
        self.folder, self.config, self.journal = folder, folder / "edge.toml", folder / "edge.journal"
        manifest = msgspec.structs.replace(
            MANIFEST,
            channels=channels or MANIFEST.channels,
            counters=(channels or MANIFEST.channels)[2:],
            classes=classes or MANIFEST.classes,
            decision=msgspec.structs.replace(MANIFEST.decision, **(decision or {})),
        )
        save_tiny_model(folder / "tiny.onnx", manifest)
        self.port = free_port()
        given: dict[str, dict[str, Any]] = {
            "model": {"path": "tiny.onnx"},
            "journal": {"path": "edge.journal", "sync": "normal"},
            "page": {"port": self.port},
            "limits": {"outbox_messages": 100_000},
        }
        given |= sections
        lines = [
            f"[{name}]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in keys.items()) for name, keys in given.items()
        ]
        self.config.write_text("\n".join(lines), encoding="utf-8")
        setup = from_mapping(given, DaemonConfig, "edge.toml")
        self.model = load_model(folder / "tiny.onnx")
        self.setup = Setup(setup, self.model, None, self.config)
        self.store = self.open()
        self.rng = np.random.default_rng(3)
        self.alarms: list[AlarmPayload] = []

    def open(self) -> JournalledTurnStore:
        """The store, as a daemon's start opens it."""
        store = open_store(self.setup)
        assert isinstance(store, JournalledTurnStore)
        return store

    def turn(self, rows: list[tuple[str, int, list[float]]], **work: Any) -> None:
        """One turn of the daemon with samples: device, time in ms, values."""
        samples = SampleBuffer(max(len(rows), 1), len(self.model.manifest.channels))
        for device, time_ms, values in rows:
            samples.append(self.store.devices.slot(device), time_ms, list(enumerate(values)))
        outcome = self.store.turn(Work(samples, **work))
        assert outcome is not None
        self.alarms += outcome.alarms
        for outbox in self.store.outboxes.values():  # as if the broker had confirmed at once
            while (entry := outbox.next()) is not None:
                outbox.sent(entry.key, entry.key)
                outbox.confirm(entry.key)

    def run(self, devices: list[str], from_ms: int, bins: int, scale: float = 1.0) -> None:
        """Samples of all devices, one a bin."""
        energy = np.zeros(len(devices))
        for step in range(bins):
            values = self.rng.normal(size=(len(devices), 2)) * [scale, 3 * scale]
            energy += self.rng.random(len(devices))
            at = from_ms + 1000 * PERIOD_S * step
            self.turn([(name, at, [*values[i].tolist(), float(energy[i])]) for i, name in enumerate(devices)])

    def silence(self, *devices: str) -> None:
        """The daemon finds that devices have fallen silent."""
        self.turn([], silent=np.array([self.store.devices.slot(device) for device in devices]))

    def reject(self, *rejected: SetAside) -> None:
        """Telemetry that cannot be used."""
        self.turn([], rejected=list(rejected))

    def answer(self, *feedback: Feedback) -> None:
        """People's answers."""
        self.turn([], feedback=list(feedback))


class PageProcess:
    """``rarefault page CONFIG`` as a process of its own; as a context it is started, and must end in good order."""

    def __init__(self, config: Path, port: int) -> None:
        self.config, self.port, self.log = config, port, config.with_suffix(".page.log")
        self.url = f"http://127.0.0.1:{port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "rarefault.runtime.cli", "page", str(self.config)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stderr=log, env=os.environ | {"PYTHONWARNINGS": "error"})
        wait_until(self._answers, f"the page: {self.log.read_text(encoding='utf-8')}")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(PATIENCE_S)
        assert code == 0, self.log.read_text(encoding="utf-8")

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process is not None
        return self._process.pid

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text(encoding="utf-8")
        try:
            return self.request("/api/v1/status")[0] == 200
        except OSError:
            return False

    def request(
        self, target: str, method: str = "GET", headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and content of one request; the target is sent as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, target, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def get(self, name: str, **parameters: object) -> Any:
        """The answer of a route of the API, which must be given."""
        given = {key.removesuffix("_"): value for key, value in parameters.items()}
        status, _, content = self.request(f"/api/v1/{name}?{urlencode(given)}" if given else f"/api/v1/{name}")
        assert status == 200, content
        return json.loads(content)
