"""What a babbling device costs the others: time from telemetry to verdict beside it, and without it.

Ten devices report so that every message brings a verdict; the time from publishing the one to receiving the other is
taken, with the journal on. Meanwhile an eleventh sends thousands of samples of one moment, in another process.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as mqtt
from benchmarks.harness.broker import broker
from benchmarks.harness.clients import send_at_once
from benchmarks.harness.daemon import Daemon
from benchmarks.harness.machine import origin, write
from benchmarks.harness.models import make_tiny_model
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

DEVICES, BEGIN_S, STEP_S = 10, 1_300_000_000, 120
#: Messages of the babbler per second; the last is as many as it can.
RATES = (0, 1000, 5000, 100_000)
SECONDS = 8.0
SETTINGS: dict[str, dict[str, Any]] = {
    "telemetry": {"max_age_s": float("inf")},
    "journal": {"path": "edge.journal"},
    "limits": {"burst_samples": 1000},
}
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
        make_tiny_model(folder)
        rows = []
        with broker(folder) as port, Daemon(folder, port, SETTINGS) as daemon:
            daemon.wait_until_ready()
            with Devices(port) as devices:
                devices.measure(2.0)  # the first verdicts take longer
                for rate in RATES:
                    rows.append({"rate": rate} | beside(devices, port, daemon, rate))
                    print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    write(args.json, {"rows": rows, **origin()})
    return 0


def beside(devices: "Devices", port: int, daemon: Daemon, rate: int) -> dict[str, Any]:
    """Latency of the devices while another babbles at a rate."""
    command = [sys.executable, "-c", BABBLER, str(port), str(rate)]
    babbler = subprocess.Popen(command) if rate else None
    try:
        time.sleep(1.0)
        before, began = read(daemon), time.monotonic()
        latencies = devices.measure(SECONDS)
        after, took = read(daemon), time.monotonic() - began
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
        send_at_once(self._client)
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


def read(daemon: Daemon) -> dict[str, float]:
    """Numbers of messages, and of those rejected as too fast, so far."""
    numbers = daemon.numbers()
    rejected = numbers['rarefault_rejected_total{reason="too_fast"}']
    return {"rejected": rejected, "babble": numbers["rarefault_messages_total"]}


if __name__ == "__main__":
    sys.exit(main())
