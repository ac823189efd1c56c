"""Resident memory of the daemon after many messages from the same devices; it must not grow with their number.

Starts a Mosquitto broker and the real daemon with its journal on, and sends rounds of telemetry: one message of each
device, a bin of the model's grid after the round before, so that bins close and verdicts flow.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.harness.broker import broker
from benchmarks.harness.clients import Publisher
from benchmarks.harness.daemon import Daemon
from benchmarks.harness.machine import origin, write
from benchmarks.harness.models import make_tiny_model

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
        make_tiny_model(folder)
        settings: dict[str, dict[str, Any]] = {
            "journal": {"path": "edge.journal", "sync": "full", "snapshot_s": SNAPSHOT_S},
            "limits": {"max_devices": devices},
        }
        with (
            broker(folder, "max_queued_messages 0\nmax_inflight_messages 1000") as port,
            Daemon(folder, port, settings) as daemon,
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
    write(args.json, result)
    if result["samples"] != marks[1] or result["verdicts"] == 0:
        print(f"{result['samples']:,} samples of {marks[1]:,} were read, {result['verdicts']:,} verdicts came")
        return 1
    return 0 if growth <= GOAL else 1


def send_round(publisher: Publisher, daemon: Daemon, number: int, devices: int, sent: int, rounds: int) -> int:
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


if __name__ == "__main__":
    sys.exit(main())
