"""Resident memory of the daemon after many messages from the same devices; it must not grow with their number.

Starts a Mosquitto broker and the real daemon with its journal on, and sends rounds of telemetry: one message of each
device, a bin of the model's grid after the round before, so that bins close and verdicts flow.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

ROOT = Path(__file__).parents[1]
#: Bin of the tiny model's grid.
PERIOD_MS = 60_000
#: Most messages that may be sent and not yet processed: the broker must not become the store of a backlog.
AHEAD = 4000
#: Snapshots are taken often, so that the first mark has them behind it as the second has: what a snapshot needs for a
#: moment stays with the process.
SNAPSHOT_S = 3
#: How much memory may grow from the first mark to the second.
GOAL = 1.10


def main() -> int:
    """Measure and print; 1 where memory grows by more than the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="50,000 and 100,000 messages from 1,000 devices")
    parser.add_argument("--json", type=Path, help="write the result here")
    args = parser.parse_args()
    devices = 1000 if args.quick else 10_000
    # With 1,000 devices, its memory grows over the first 40,000 messages, and then stays.
    marks = (50_000, 100_000) if args.quick else (100_000, 1_000_000)
    with tempfile.TemporaryDirectory(prefix="rarefault-memory-") as name:
        folder = Path(name)
        subprocess.run([sys.executable, ROOT / "tests/make_tiny_model.py", folder], check=True, stdout=sys.stderr)
        with (
            broker(folder, "max_queued_messages 0\nmax_inflight_messages 1000") as port,
            Daemon(folder, port, journal="full", max_devices=devices, snapshot_s=SNAPSHOT_S) as daemon,
            Publisher(port) as publisher,
        ):
            daemon.wait_until_ready()
            rss_mb = {"0": daemon.memory_mb("VmRSS")}
            course_mb = []
            started, rates, sent = time.monotonic(), [], 0
            for mark in marks:
                began, before = time.monotonic(), sent
                for number in range(sent // devices, mark // devices):
                    sent += send_round(publisher, daemon, number, devices, sent, marks[-1] // devices)
                    if sent % (10 * devices) == 0:
                        course_mb.append(daemon.memory_mb("VmRSS", seconds=0))
                daemon.wait_for(sent)
                rates.append((sent - before) / (time.monotonic() - began))
                daemon.settle()
                rss_mb[str(mark)] = daemon.memory_mb("VmRSS")
                print(
                    f"after {mark:>9,} messages  {rss_mb[str(mark)]:7.1f} MB resident  ({rates[-1]:,.0f} messages/s)",
                    flush=True,
                )
            counts = daemon.counts()
            growth = rss_mb[str(marks[1])] / rss_mb[str(marks[0])]
            result = {
                "devices": devices,
                "messages": marks[1],
                "rss_mb": rss_mb,
                "course_mb": course_mb,
                "growth": round(growth, 4),
                "goal": GOAL,
                "snapshot_s": SNAPSHOT_S,
                "peak_mb": daemon.memory_mb("VmHWM"),
                "messages_per_s": [round(rate) for rate in rates],
                "seconds": round(time.monotonic() - started),
                "samples": round(counts["rarefault_samples_total"]),
                "verdicts": round(counts["rarefault_verdicts_total"]),
                "rejected": round(counts["rarefault_rejected_total"]),
                "journal_mb": round((folder / "edge.journal").stat().st_size / 1e6, 1),
                **origin(),
            }
    print(f"growth  {growth:.3f} (goal: at most {GOAL:g}), peak {result['peak_mb']:.1f} MB, before the first message")
    print(f"        {rss_mb['0']:.1f} MB; {result['verdicts']:,} verdicts, journal {result['journal_mb']:g} MB")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if result["samples"] != marks[1] or result["verdicts"] == 0:
        print(f"{result['samples']:,} samples of {marks[1]:,} were read, {result['verdicts']:,} verdicts said")
        return 1
    return 0 if growth <= GOAL else 1


def send_round(publisher: "Publisher", daemon: "Daemon", number: int, devices: int, sent: int, rounds: int) -> int:
    """Send one message of each device, never far ahead of the daemon; returns their number."""
    time_ms = (time.time_ns() // 1_000_000 // PERIOD_MS - rounds + number) * PERIOD_MS + 1000
    chunk = min(1000, devices)
    for first in range(0, devices, chunk):
        daemon.wait_for(sent + first + chunk - AHEAD)
        publisher.send(
            (f"telemetry/machine_{d:05d}", payload(time_ms, d + number)) for d in range(first, first + chunk)
        )
    return devices


def payload(time_ms: int, seed: int) -> bytes:
    """A sample of the tiny model's channels."""
    values = {
        "c1.S1": 700 + seed % 37,
        "c1.S2": 650 + seed % 29 / 2,
        "c1.R1": 720 - seed % 23 / 3,
        "z1.E1": time_ms // PERIOD_MS,
    }
    return json.dumps({"time": time_ms, "values": values}).encode()


@contextmanager
def broker(folder: Path, settings: str) -> Iterator[int]:
    """Run Mosquitto on a free port of the loopback, with some settings; yields the port."""
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        sys.exit("this measurement needs the broker Mosquitto: apt-get install mosquitto")
    port = free_port()
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nlog_type error\n{settings}\n"
    )
    process = subprocess.Popen([program, "-c", str(config)])
    try:
        while not _answers(port):
            if process.poll() is not None:
                sys.exit("Mosquitto did not start")
            time.sleep(0.01)
        yield port
    finally:
        process.terminate()
        process.wait()


class Daemon:
    """The real daemon as a process of its own; a context that ends it.

    Args:
        folder: with ``tiny.onnx``; the configuration, the journal and the log are put there.
        port: of the broker.
        journal: ``full``, ``normal`` or empty for none.
        max_devices: of ``[limits]``.
        snapshot_s: of ``[journal]``.
        pending: ``pending_messages`` of ``[limits]``.
        profile: where to write a profile of it.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        *,
        journal: str,
        max_devices: int = 10_000,
        snapshot_s: float = 60,
        pending: int = 1000,
        profile: Path | None = None,
    ) -> None:
        self._metrics = free_port()
        self._log = folder / "daemon.log"
        self._url = f"http://127.0.0.1:{self._metrics}/metrics"
        text = (
            f'[model]\npath = "tiny.onnx"\n[broker]\nurl = "mqtt://127.0.0.1:{port}"\nclient_id = "measured"\n'
            f'[publish]\nruntime = "edge"\n[metrics]\nport = {self._metrics}\n[limits]\nmax_devices = {max_devices}\n'
            f"pending_messages = {pending}\n"
        )
        if journal:
            text += f'[journal]\npath = "edge.journal"\nsync = "{journal}"\nsnapshot_s = {snapshot_s:g}\n'
        (folder / "edge.toml").write_text(text)
        profiler: list[str | Path] = ["-m", "cProfile", "-o", profile] if profile else []
        self._command = [sys.executable, *profiler, "-m", "rarefault.runtime.cli", "run", folder / "edge.toml"]

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

    def counts(self) -> dict[str, float]:
        """The daemon's own numbers, those with labels summed; none where it does not answer yet."""
        try:
            with urllib.request.urlopen(self._url, timeout=30) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            self._check()
            return {}
        counts: dict[str, float] = {}
        for line in lines:
            if not line.startswith("#"):
                name, number = line.rsplit(" ", 1)
                name = name.split("{")[0]
                counts[name] = counts.get(name, 0.0) + float(number)
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
        fields = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self, name: str, seconds: float = 1.0) -> float:
        """``VmRSS`` or ``VmHWM`` of the process in MB, the median of some time."""
        found = []
        for _ in range(5):
            text = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
            found.append(next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name}:")))
            time.sleep(seconds / 5)
        return round(statistics.median(found) * 1024 / 1e6, 1)

    def _check(self) -> None:
        if self._process.poll() is not None:
            sys.exit(f"the daemon ended:\n{self._log.read_text(encoding='utf-8')}")


class Publisher:
    """Sends at QoS 1 and loses nothing; a context that leaves the broker."""

    def __init__(self, port: int) -> None:
        self._unconfirmed = 0
        self._changed = threading.Condition()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
        self._client.max_inflight_messages_set(1000)
        self._client.on_publish = self._on_publish
        self._client.connect("127.0.0.1", port)

    def __enter__(self) -> Self:
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """Send topics and payloads, and wait until the broker has them."""
        for topic, content in messages:
            with self._changed:
                self._changed.wait_for(lambda: self._unconfirmed < 1000)
                self._unconfirmed += 1
            self._client.publish(topic, content, qos=1)
        with self._changed:
            self._changed.wait_for(lambda: self._unconfirmed == 0)

    def _on_publish(self, *_: object) -> None:
        with self._changed:
            self._unconfirmed -= 1
            if self._unconfirmed % 100 == 0:
                self._changed.notify_all()


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def origin() -> dict[str, str]:
    """Where a result comes from: commit and machine."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {
        "commit": done.stdout.strip() or "unknown",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
