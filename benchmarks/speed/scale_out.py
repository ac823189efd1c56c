"""Two daemons that share one fleet by disjoint topic filters, beside one that has all of it."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.harness.broker import broker
from benchmarks.harness.daemon import daemon_command
from benchmarks.speed.load import Load, Watch
from benchmarks.speed.measure import BROKER, wait_until_online
from benchmarks.speed.model import ModelFiles
from benchmarks.speed.programs import daemon_config, running, wait_until_idle

HALVES = ("north", "south")


def measure_two(files: ModelFiles, devices: int, rounds: int) -> dict[str, float]:
    """Messages per second of one daemon and of two, and what a message costs each.

    Broker and load run on the same cores: where there are only two, the second daemon must do with what they leave.
    """
    one = _measure(files, devices, rounds, [f"{half}/telemetry/{{device}}" for half in ("+",)])
    two = _measure(files, devices, rounds, [f"{half}/telemetry/{{device}}" for half in HALVES])
    return {
        "one_messages_per_s": round(1e6 / one[0]),
        "two_messages_per_s": round(1e6 / two[0]),
        "one_cpu_us": round(one[1], 1),
        "two_cpu_us": round(two[1], 1),
        "speed_up": round(one[0] / two[0], 2),
    }


def _measure(files: ModelFiles, devices: int, rounds: int, topics: Sequence[str]) -> tuple[float, float]:
    """Wall time and processor time per message, us."""
    with TemporaryDirectory(prefix="rarefault-speed-") as name, ExitStack() as stack:
        folder = Path(name)
        port = stack.enter_context(broker(folder, BROKER.format(in_flight=1000)))
        watch = Watch(port)
        stack.callback(watch.close)
        loads = [Load(port, devices // 2, prefix=f"{half}/telemetry", name=f"load_{half}") for half in HALVES]
        for load in loads:
            stack.callback(load.close)
        processes = []
        for i, topic in enumerate(topics):
            own = folder / str(i)
            own.mkdir()
            text = daemon_config(port, files.step_int8, topic=topic)
            (own / "edge.toml").write_text(text.replace('"measured"', f'"measured_{i}"'))
            watch.online.clear()
            processes.append(stack.enter_context(running(daemon_command(own / "edge.toml"), own)))
            wait_until_online(processes[-1], watch)

        def send(packets: list[list[bytes]]) -> None:
            # In turns, so that neither half has more of the load at any time.
            for first in range(0, len(packets[0]), 500):
                for load, own in zip(loads, packets, strict=True):
                    load.write(own[first : first + 500])
                for load in loads:
                    load.drain(250)
            for load in loads:
                load.drain(0)

        for _ in range(48):
            send([load.packets() for load in loads])
        wait_until_idle(*processes)
        packets = [[p for _ in range(rounds) for p in load.packets()] for load in loads]
        total = sum(map(len, packets))
        cpu_s, began = sum(p.cpu_s() for p in processes), time.perf_counter()
        send(packets)
        ended = wait_until_idle(*processes)
        return (ended - began) / total * 1e6, (sum(p.cpu_s() for p in processes) - cpu_s) / total * 1e6
