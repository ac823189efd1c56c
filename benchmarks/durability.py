"""What the journal costs: messages per second of the daemon with it, and without it.

The daemon is stopped for a moment (SIGSTOP) while a backlog of telemetry at QoS 1 fills its queue at a Mosquitto
broker; then it goes on, and works the backlog off as fast as it can. Settings take turns, so that what else the machine
does falls on all of them. This is done with the default ``limits.pending_messages``, where a turn takes up
to 1000 messages, and with 20. A message is a sample of 9 channels of one of 100 devices.
"""

import argparse
import json
import signal
import statistics
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

CHANNELS = ("c1.S1", "c1.S2", "c1.R1", "c2.S1", "c2.S2", "c2.R1", "z1.E1", "z1.S1", "z1.S2")
DEVICES = 100
#: Time between the samples of a device.
INTERVAL_MS = 10_000
SETTINGS: dict[str, dict[str, Any]] = {
    "off": {},
    "full": {"journal": {"path": "edge.journal", "sync": "full"}},
    "normal": {"journal": {"path": "edge.journal", "sync": "normal"}},
}
#: ``limits.pending_messages``. It is set here and not at the broker: over MQTT 5 the broker does as the client says;
#: over MQTT 3.1.1 Mosquitto 2.0 does not keep to its own ``max_inflight_messages`` while it has a backlog.
PENDING = (1000, 20)
#: How much slower the daemon may be with the journal on.
GOAL_PERCENT = 15.0


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=40_000, help="in a backlog (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="of each setting (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="put a profile (cProfile) of each run here")
    args = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory(prefix="rarefault-durability-") as name:
        folder = Path(name)
        make_tiny_model(folder, CHANNELS)
        with broker(folder, "max_queued_messages 0") as port, Publisher(port) as publisher:
            for pending in PENDING:
                runs: dict[str, list[dict[str, float]]] = {setting: [] for setting in SETTINGS}
                for number in range(args.runs):
                    for setting in list(SETTINGS)[:: 1 if number % 2 else -1]:
                        for file in folder.glob("edge.journal*"):
                            file.unlink()
                        profile = args.profile / f"{pending}-{setting}.profile" if args.profile else None
                        settings = {"limits": {"pending_messages": pending}, **SETTINGS[setting]}
                        daemon = Daemon(folder, port, settings, profile=profile)
                        runs[setting].append(run(daemon, publisher, args.messages))
                found[f"pending_{pending}"] = summary(runs)
                show(pending, found[f"pending_{pending}"])
    result = {
        "messages": args.messages,
        "devices": DEVICES,
        "channels": len(CHANNELS),
        "goal_percent": GOAL_PERCENT,
        **found,
        **origin(),
    }
    write(args.json, result)
    return 0


def run(daemon: Daemon, publisher: Publisher, messages: int) -> dict[str, float]:
    """Fill the queue, have the daemon work it off, and return how fast it was."""
    begin_ms = time.time_ns() // 1_000_000 - messages // DEVICES * INTERVAL_MS
    with daemon:
        daemon.wait_until_ready()
        daemon.send_signal(signal.SIGSTOP)
        publisher.send(
            (f"telemetry/machine_{i % DEVICES:03d}", payload(begin_ms + i // DEVICES * INTERVAL_MS, i))
            for i in range(messages)
        )
        began, cpu_s = time.perf_counter(), daemon.cpu_s()
        daemon.send_signal(signal.SIGCONT)
        daemon.wait_for(messages)
        seconds, cpu_s = time.perf_counter() - began, daemon.cpu_s() - cpu_s
        daemon.settle()
        counts = daemon.counts()
    if not counts["rarefault_verdicts_total"]:
        sys.exit(f"{messages} messages brought no verdict: more are needed (--messages)")
    if counts["rarefault_samples_total"] != messages:
        sys.exit(f"of {messages} messages, {counts['rarefault_samples_total']:.0f} were read as samples")
    return {
        "messages_per_s": messages / seconds,
        "cpu_us": cpu_s / messages * 1e6,
        "cpu_share": cpu_s / seconds,
        "messages_per_turn": messages / counts["rarefault_turn_seconds_count"],
    }


def payload(time_ms: int, seed: int) -> bytes:
    """A sample of all channels."""
    values = {name: round(700 + (seed * (17 + 2 * i) % 1009) / 25, 2) for i, name in enumerate(CHANNELS)}
    return json.dumps({"time": time_ms, "values": values | {"z1.E1": seed}}).encode()


def summary(runs: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, object]]:
    """Medians, and the cost of each setting as the median over the runs beside each other."""
    found: dict[str, dict[str, object]] = {}
    for setting, those in runs.items():
        rates = [one["messages_per_s"] for one in those]
        cost = statistics.median(
            100 * (1 - rate / off["messages_per_s"]) for rate, off in zip(rates, runs["off"], strict=True)
        )
        found[setting] = {
            "messages_per_s": [round(rate) for rate in rates],
            "median_messages_per_s": round(statistics.median(rates)),
            "cost_percent": round(cost, 1),
            "cpu_us_per_message": round(statistics.median(one["cpu_us"] for one in those), 1),
            "cpu_share": round(statistics.median(one["cpu_share"] for one in those), 2),
            "messages_per_turn": round(statistics.median(one["messages_per_turn"] for one in those), 1),
        }
    return found


def show(pending: int, found: dict[str, dict[str, object]]) -> None:
    """Print what was found with a value of ``limits.pending_messages``."""
    print(f"limits.pending_messages = {pending}:")
    for setting, numbers in found.items():
        print(
            f"  journal {setting:<7} {numbers['median_messages_per_s']:>7,} messages/s  cost "
            f"{numbers['cost_percent']:>5} %  ({numbers['messages_per_turn']} messages a turn, "
            f"{numbers['cpu_us_per_message']} us of processor time a message, {numbers['cpu_share']} of a core)",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
