"""What is measured of a program: cost, rate, latency, memory, start."""

import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from benchmarks.harness.broker import broker
from benchmarks.speed.load import Load, Watch, load_and_watch
from benchmarks.speed.model import ModelFiles
from benchmarks.speed.programs import Process, Program, running, wait_until_idle

#: Mosquitto as it is measured: it lets all programs have 1,000 messages unacknowledged, not 20, and drops none.
BROKER = "max_queued_messages 0\nmax_inflight_messages {in_flight}"
#: Without a subscriber that takes verdicts in time they would be dropped; a minute is far more than it needs.
PATIENCE_S = 600.0


@dataclass(frozen=True)
class Cost:
    """What messages cost a program.

    Attributes:
        messages: that were measured.
        verdicts: that they brought.
        cpu_us: processor time for each message.
        wall_us: time for each message, the program's process never waiting for load.
        memory_mb: peak resident memory.
        start_s: from the start of the process to its ``online``.
    """

    messages: int
    verdicts: int
    cpu_us: float
    wall_us: float
    memory_mb: float
    start_s: float


def measure_cost(
    program: Program,
    models: ModelFiles,
    stride: int,
    devices: int,
    rounds: int,
    *,
    warm_up: int | None = None,
    in_flight: int = 1000,
    per_s: float | None = None,
) -> Cost:
    """Send rounds of telemetry and see what that costs.

    Args:
        rounds: number of messages from each device that are measured.
        warm_up: rounds before; by default so many that every device has verdicts.
        in_flight: messages that the broker sends before it has the acknowledgement of the first.
        per_s: messages per second; by default as fast as the broker takes them, which then has a backlog.
    """
    with TemporaryDirectory(prefix="rarefault-speed-") as name:
        folder = Path(name)
        with (
            broker(folder, BROKER.format(in_flight=in_flight)) as port,
            load_and_watch(port, devices) as (load, watch),
            running(program.start(folder, port, models, stride), folder) as process,
        ):
            start_s = wait_until_online(process, watch)
            for _ in range(program.warm_up(stride) if warm_up is None else warm_up):
                load.send(load.packets())
                if per_s is not None:
                    wait_until_idle(process)
            wait_until_idle(process)
            packets = [packet for _ in range(rounds) for packet in load.packets()]
            verdicts, cpu_s, began = watch.count, process.cpu_s(), time.perf_counter()
            if per_s is None:
                load.send(packets)
            else:
                load.send_at(packets, per_s)
            ended = wait_until_idle(process)
            spent_s = process.cpu_s() - cpu_s
            return Cost(
                len(packets),
                watch.count - verdicts,
                spent_s / len(packets) * 1e6,
                (ended - began) / len(packets) * 1e6,
                process.memory_mb(),
                start_s,
            )


def measure_latency(
    program: Program, models: ModelFiles, stride: int, devices: int, per_s: float, seconds: float
) -> dict[str, float]:
    """Time from the sending of the message that makes a window due to the arrival of its verdict, ms.

    It goes through the broker twice, so it is more than what the program itself takes. Messages are sent at a fixed
    rate whether or not the program keeps up, those of a round evenly one after the other.
    """
    with TemporaryDirectory(prefix="rarefault-speed-") as name:
        folder = Path(name)
        with (
            broker(folder, BROKER.format(in_flight=1000)) as port,
            load_and_watch(port, devices) as (load, watch),
            running(program.start(folder, port, models, stride), folder) as process,
        ):
            wait_until_online(process, watch)
            for _ in range(program.warm_up(stride)):
                load.send(load.packets())
            wait_until_idle(process)
            watch.take()
            cpu_s = process.cpu_s()
            sent = _send_at(load, per_s, max(stride, round(seconds * per_s / devices / stride) * stride))
            cpu_s = process.cpu_s() - cpu_s
            wait_until_idle(process)
            found = [at - sent[end_ms][int(device[1:])] for at, device, end_ms in watch.take() if end_ms in sent]
            expected = len(sent) // stride * devices
            late = np.array(found) * 1000
            p50, p99, p999 = (round(float(v), 2) for v in np.quantile(late, (0.5, 0.99, 0.999)))
            return {
                "messages_per_s": round(per_s),
                "verdicts": len(found),
                "missing": expected - len(found),
                "p50_ms": p50,
                "p99_ms": p99,
                "p999_ms": p999,
                "max_ms": round(float(late.max()), 2),
                "sent_late_p99_ms": round(1000 * float(np.quantile(load.late_s, 0.99)), 2),
                "cpu_share": round(cpu_s / (len(sent) * devices / per_s), 3),
            }


def measure_highest_load(
    program: Program, models: ModelFiles, stride: int, devices: int, per_s: float, seconds: float
) -> float:
    """Messages per second that a program takes where more come than it can take, while load and verdicts go on.

    Args:
        per_s: that are sent, for some time; more than it can take.
    """
    with TemporaryDirectory(prefix="rarefault-speed-") as name:
        folder = Path(name)
        with (
            broker(folder, BROKER.format(in_flight=1000)) as port,
            load_and_watch(port, devices) as (load, watch),
            running(program.start(folder, port, models, stride), folder) as process,
        ):
            wait_until_online(process, watch)
            for _ in range(program.warm_up(stride)):
                load.send(load.packets())
            wait_until_idle(process)
            packets = [p for _ in range(max(stride, round(seconds * per_s / devices))) for p in load.packets()]
            due = load.send_at(packets, per_s)
            return len(packets) / (wait_until_idle(process) - float(due[0]))


def _send_at(load: Load, per_s: float, rounds: int) -> dict[int, np.ndarray]:
    """Send at a fixed rate; by end of the bin that a round closes, the time at which each device's message was due."""
    ends_ms, packets = [], []
    for _ in range(rounds):  # beforehand, as it takes time
        ends_ms.append(load.next_end_ms)
        packets += load.packets()
    due = load.send_at(packets, per_s)
    return dict(zip(ends_ms, due.reshape(rounds, load.devices), strict=True))


def wait_until_online(process: Process, watch: Watch) -> float:
    """Wait until a program has subscribed; seconds from its start."""
    while not watch.online.wait(0.005):
        process.check()
        if time.perf_counter() - process.started > PATIENCE_S:
            raise TimeoutError("the program does not say online")
    return time.perf_counter() - process.started
