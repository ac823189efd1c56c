"""The measurements, each giving numbers for the table and the file."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.harness.broker import broker
from benchmarks.speed.load import load_and_watch
from benchmarks.speed.measure import (
    BROKER,
    Cost,
    measure_cost,
    measure_highest_load,
    measure_latency,
    wait_until_online,
)
from benchmarks.speed.model import ModelFiles, make_models
from benchmarks.speed.programs import (
    BY_HAND,
    EAGER,
    EMPTY,
    NODE,
    NODE_RED,
    OURS,
    OURS_FLOAT,
    Program,
    install_node_red,
    running,
    wait_until_idle,
)
from benchmarks.speed.scale_out import measure_two
from benchmarks.speed.shipped import available, measure_shipped
from benchmarks.speed.verdict import measure_verdicts, sgemm_gflops

#: Devices of the comparison, and its stride.
DEVICES, STRIDE = 1000, 4
#: Strides that are compared, and fleets.
STRIDES = (1, 4, 24)
FLEETS = (10, 1000, 10_000, 50_000)
#: Messages that a fleet's cost is measured over, at least, and rounds of it.
FLEET_MESSAGES, FLEET_ROUNDS = 240_000, 16
#: Messages per second of a fleet, whatever its size.
FLEET_PER_S = 12_000.0
IDLE_S = 20.0
#: What is sent to find the highest load, as a multiple of what a program takes in short bursts.
OVERLOAD = 1.5
Report = Callable[[str], None]


@dataclass
class Suite:
    """What is measured, and how thoroughly.

    Attributes:
        folder: for models.
        quick: whether to do little of it.
        report: called with what is being measured.
        results: filled as it goes on.
    """

    folder: Path
    quick: bool
    report: Report
    results: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        strides = (STRIDE,) if self.quick else STRIDES
        self.models = {stride: make_models(self.folder, stride) for stride in strides}
        self.repeats = 1 if self.quick else 3

    def run(self, only: set[str]) -> None:
        """Measure all parts, or those that are named."""
        for name, part in self.parts():
            if not only or name in only:
                self.report(name)
                part()

    def parts(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """Names of all parts, and what measures them."""
        yield "limits", self.limits
        if available():
            yield "shipped", self.shipped
        yield "ingest", self.ingest
        yield "programs", self.programs
        yield "strides", self.strides
        yield "fleets", self.fleets
        yield "latency", self.latency
        yield "idle", self.idle
        yield "scale_out", self.scale_out

    def limits(self) -> None:
        """What the processor and ONNX Runtime allow, and what a verdict costs beside."""
        files = self.models[STRIDE]
        self.results["sgemm_gflops"] = sgemm_gflops()
        found = {
            precision: {str(n): measure_verdicts(path, n) for n in (1, 16, 64, 256, 1000)}
            for precision, path in (("float32", files.step), ("int8", files.step_int8))
        }
        self.results["verdict"] = found
        self.results["verdict_vs_ort"] = max(found["int8"][n]["ratio"] for n in ("64", "256", "1000"))

    def shipped(self) -> None:
        """A verdict of what is shipped for a real plant."""
        found = self.results["shipped"] = measure_shipped()
        self.results["shipped_verdict_us"], self.results["shipped_vs_ort"] = found["ours_us"], found["ratio"]

    def ingest(self) -> None:
        """Messages that make no window due: decode, grid and journal, beside paho with an empty callback."""
        costs = self._in_turn((EMPTY, OURS), rounds=20, repeats=1 if self.quick else 5, warm_up=2)
        self.results["ingest"] = {name: _summary(found) for name, found in costs.items()}
        ours, paho = (self.results["ingest"][program.name]["cpu_us"] for program in (OURS, EMPTY))
        self.results["ingest_vs_paho"] = round(paho / ours, 3)
        # The same where the broker sends no more than Mosquitto does unless it is told to.
        few = [
            measure_cost(OURS, self.models[STRIDE], STRIDE, DEVICES, 20, warm_up=2, in_flight=20)
            for _ in range(self.repeats)
        ]
        self.results["ingest"]["rarefault, 20 in flight"] = _summary(few)

    def programs(self) -> None:
        """All programs on the same telemetry."""
        there = install_node_red()
        if not there:
            self.report("npm is not here: Node-RED is left out")
        slow = (BY_HAND, EAGER, *((NODE_RED,) if there else ()))
        costs = self._in_turn((*slow, OURS, OURS_FLOAT), rounds={p.name: 8 for p in slow}, repeats=self.repeats)
        found = self.results["programs"] = {name: _summary(these) for name, these in costs.items()}
        ours = found[OURS.name]["cpu_us"]
        self.results["ratio_naive"] = round(found[BY_HAND.name]["cpu_us"] / ours, 2)
        self.results["ratio_torch"] = round(found[EAGER.name]["cpu_us"] / ours, 2)
        if there:
            self.results["ratio_node_red"] = round(found[NODE_RED.name]["cpu_us"] / ours, 2)
            size = sum(path.stat().st_size for path in NODE.rglob("*") if path.is_file() and not path.is_symlink())
            found[NODE_RED.name]["installed_mb"] = round(size / 1e6)
        self.results["rss_mb_1000"] = found[OURS.name]["memory_mb"]
        self.results["start_s"] = found[OURS.name]["start_s"]

    def strides(self) -> None:
        """Windows that begin at every bin, every fourth, and do not overlap."""
        found: dict[str, dict[str, float]] = {}
        for stride, files in self.models.items():
            by_hand = measure_cost(BY_HAND, files, stride, DEVICES, max(4, stride))
            ours = measure_cost(OURS, files, stride, DEVICES, 24)
            found[str(stride)] = {
                "by_hand_us": round(by_hand.cpu_us, 1),
                "ours_us": round(ours.cpu_us, 1),
                "ratio": round(by_hand.cpu_us / ours.cpu_us, 2),
            }
        self.results["strides"] = found

    def fleets(self) -> None:
        """What a message costs in fleets of different sizes, which send equally many."""
        found = {}
        for devices in FLEETS[:3] if self.quick else FLEETS:
            rounds = max(FLEET_ROUNDS, FLEET_MESSAGES // devices // STRIDE * STRIDE)
            costs = [
                measure_cost(OURS, self.models[STRIDE], STRIDE, devices, rounds, per_s=FLEET_PER_S)
                for _ in range(1 if devices > DEVICES else self.repeats)
            ]
            found[str(devices)] = _summary(costs)
        self.results["fleets"] = found
        if not self.quick:
            self.results["cost_50000_vs_10"] = round(found["50000"]["cpu_us"] / found["10"]["cpu_us"], 3)
            self.results["rss_mb_50000"] = found["50000"]["memory_mb"]

    def latency(self) -> None:
        """How soon a verdict is there when the daemon has half, and nearly all, of the load that it can bear."""
        if "programs" not in self.results:
            self.programs()
        seconds = 5.0 if self.quick else 20.0
        found: dict[str, dict[str, float]] = {}
        bursts = {name: row["messages_per_s"] for name, row in self.results["programs"].items()}
        highest = median(
            measure_highest_load(OURS, self.models[STRIDE], STRIDE, DEVICES, OVERLOAD * bursts[OURS.name], seconds / 2)
            for _ in range(self.repeats)
        )
        self.results["highest_load_per_s"] = round(highest)
        for program, share in ((OURS, 0.5), (OURS, 0.9), (BY_HAND, 0.5)):
            most = highest if program is OURS else bursts[program.name]
            runs = [
                measure_latency(program, self.models[STRIDE], STRIDE, DEVICES, share * most, seconds)
                for _ in range(self.repeats if program is OURS else 1)
            ]
            found[f"{program.name}, {share:.0%}"] = sorted(runs, key=lambda run: run["p99_ms"])[len(runs) // 2]
        self.results["latency"] = found
        self.results["p99_ms_half_load"] = found[f"{OURS.name}, 50%"]["p99_ms"]
        self.results["p99_ms_90_load"] = found[f"{OURS.name}, 90%"]["p99_ms"]

    def idle(self) -> None:
        """Processor time with devices that are known and say nothing at present."""
        self.results["idle_cpu_percent_1000"] = round(100 * self._idle(OURS, self.models[STRIDE]), 3)

    def scale_out(self) -> None:
        """Two daemons that share a fleet."""
        self.results["scale_out"] = measure_two(self.models[STRIDE], DEVICES, 24)

    def _idle(self, program: Program, files: ModelFiles) -> float:
        with TemporaryDirectory(prefix="rarefault-speed-") as name:
            folder = Path(name)
            with (
                broker(folder, BROKER.format(in_flight=1000)) as port,
                load_and_watch(port, DEVICES) as (load, watch),
                running(program.start(folder, port, files, STRIDE), folder) as process,
            ):
                wait_until_online(process, watch)
                load.send(load.packets())
                wait_until_idle(process)
                cpu_s = process.cpu_s()
                time.sleep(IDLE_S)
                return (process.cpu_s() - cpu_s) / IDLE_S

    def _in_turn(
        self,
        programs: tuple[Program, ...],
        *,
        rounds: int | dict[str, int],
        repeats: int,
        warm_up: int | None = None,
    ) -> dict[str, list[Cost]]:
        """Costs of programs that take turns, so that what else the machine does falls on all of them."""
        costs: dict[str, list[Cost]] = {program.name: [] for program in programs}
        for _ in range(repeats):
            for program in programs:
                n = rounds if isinstance(rounds, int) else rounds.get(program.name, 24)
                cost = measure_cost(program, self.models[STRIDE], STRIDE, DEVICES, n, warm_up=warm_up)
                self.report(f"{program.name}: {cost.cpu_us:.1f} us of processor time for a message")
                costs[program.name].append(cost)
        return costs


def _summary(costs: list[Cost]) -> dict[str, float]:
    """Medians."""
    cpu_us = median(cost.cpu_us for cost in costs)
    wall_us = median(cost.wall_us for cost in costs)
    return {
        "cpu_us": round(cpu_us, 2),
        "messages_per_cpu_s": round(1e6 / cpu_us),
        "wall_us": round(wall_us, 2),
        "messages_per_s": round(1e6 / wall_us),
        "verdicts_per_s": round(1e6 / wall_us * costs[0].verdicts / costs[0].messages),
        "memory_mb": round(median(cost.memory_mb for cost in costs), 1),
        "start_s": round(median(cost.start_s for cost in costs), 3),
        "runs": len(costs),
    }
