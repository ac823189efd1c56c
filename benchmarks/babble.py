"""What a babbling device costs the others: time from telemetry to verdict beside it, and without it.

Ten devices report so that every message brings a verdict; the time from publishing the one to receiving the other is
taken, with the journal on. Meanwhile an eleventh sends thousands of samples of one moment, in another process.
"""

import argparse
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

ROOT = Path(__file__).parents[1]
DEVICES, BEGIN_S, STEP_S = 10, 1_300_000_000, 120
#: Messages of the babbler per second; the last is as many as it can.
RATES = (0, 1000, 5000, 100_000)
SECONDS = 8.0
BABBLER = """
import sys, time
import paho.mqtt.client as mqtt
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
client.max_inflight_messages_set(1000)
client.connect("127.0.0.1", int(sys.argv[1])); client.loop_start()
rate, began, sent = float(sys.argv[2]), time.monotonic(), 0
last = None
while True:
    for _ in range(50):
        last = client.publish("telemetry/babbler", b'{"time": 1300000000, "values": {"c1.S1": 700}}', 1)
    sent += 50
    last.wait_for_publish()
    time.sleep(max(0, began + sent / rate - time.monotonic()))
"""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the result here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rarefault-babble-") as name:
        folder = Path(name)
        make = [sys.executable, str(ROOT / "tests" / "make_tiny_model.py"), name]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
        port, metrics = free_port(), free_port()
        programs = start(folder, port, metrics)
        rows = []
        try:
            with Devices(port) as devices:
                devices.measure(2.0)  # the first verdicts take longer
                for rate in RATES:
                    rows.append({"rate": rate} | beside(devices, port, metrics, rate))
                    print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
        finally:
            for program in programs:
                program.kill()
                program.wait()
    result = {
        "rows": rows,
        "commit": git("rev-parse", "HEAD"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


def beside(devices: "Devices", port: int, metrics: int, rate: int) -> dict[str, Any]:
    """Latency of the devices while another babbles at a rate."""
    command = [sys.executable, "-c", BABBLER, str(port), str(rate)]
    babbler = subprocess.Popen(command) if rate else None
    try:
        time.sleep(1.0)
        before, began = read(metrics), time.monotonic()
        latencies = devices.measure(SECONDS)
        after, took = read(metrics), time.monotonic() - began
    finally:
        if babbler is not None:
            babbler.kill()
            babbler.wait()
    time.sleep(1.0)
    cuts = statistics.quantiles(latencies, n=100)
    return {
        "babble_per_s": round((after["babble"] - before["babble"]) / took),
        "rejected_per_s": round((after["rejected"] - before["rejected"]) / took),
        "verdicts": len(latencies),
        "p50_ms": round(cuts[49] * 1000, 2),
        "p99_ms": round(cuts[98] * 1000, 2),
    }


class Devices:
    """Ten devices, and somebody who waits for their verdicts."""

    def __init__(self, port: int) -> None:
        self._at = BEGIN_S
        self._sent: dict[str, float] = {}
        self._latencies: list[float] = []
        self._lock = threading.Lock()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        sock = self._client.socket()
        assert isinstance(sock, socket.socket)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client.subscribe("rarefault/+/verdict", 1)
        self._client.loop_start()

    def __enter__(self) -> Self:
        time.sleep(0.5)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        now, device = time.perf_counter(), message.topic.split("/")[1]
        with self._lock:
            if device in self._sent:
                self._latencies.append(now - self._sent.pop(device))

    def measure(self, seconds: float) -> list[float]:
        """Send, and return the latencies of the verdicts, seconds."""
        self._latencies = []
        end = time.monotonic() + seconds
        number = 0
        while time.monotonic() < end:
            device = f"plant_{number % DEVICES}"
            self._at += STEP_S if number % DEVICES == 0 else 0
            values = {"c1.S1": 700 + number % 7, "c1.S2": 650, "c1.R1": 720, "z1.E1": number}
            with self._lock:
                self._sent[device] = time.perf_counter()
            self._client.publish(f"telemetry/{device}", json.dumps({"time": self._at, "values": values}), 1)
            number += 1
            time.sleep(0.01)
        time.sleep(1.0)
        with self._lock:
            return list(self._latencies)


def start(folder: Path, port: int, metrics: int) -> list[subprocess.Popen[bytes]]:
    """Broker and daemon."""
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        sys.exit("this needs the broker Mosquitto: apt-get install mosquitto")
    conf, config = folder / "mosquitto.conf", folder / "edge.toml"
    conf.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\nset_tcp_nodelay true\n")
    config.write_text(
        f'[model]\npath = "tiny.onnx"\n[broker]\nurl = "mqtt://127.0.0.1:{port}"\n[telemetry]\nmax_age_s = inf\n'
        f'[metrics]\nport = {metrics}\n[journal]\npath = "edge.journal"\n[limits]\nburst_samples = 1000\n'
    )
    with (folder / "log").open("ab") as log:
        broker = subprocess.Popen([program, "-c", str(conf)], stdout=log, stderr=log)
        time.sleep(0.5)
        command = [sys.executable, "-m", "rarefault.runtime.cli", "run", str(config)]
        daemon = subprocess.Popen(command, stdout=log, stderr=log)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/readyz", timeout=5):
                return [daemon, broker]
        except OSError:
            time.sleep(0.1)
    sys.exit(f"the daemon did not start:\n{(folder / 'log').read_text()}")


def read(metrics: int) -> dict[str, float]:
    """Numbers of messages, and of those rejected as too fast, so far."""
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=10) as page:
        lines = dict(line.rsplit(" ", 1) for line in page.read().decode().splitlines() if not line.startswith("#"))
    rejected = float(lines['rarefault_rejected_total{reason="too_fast"}'])
    return {"rejected": rejected, "babble": float(lines["rarefault_messages_total"])}


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def git(*words: str) -> str:
    """What git says, in one line."""
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
