"""The demo from start to end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console

from rarefault.export.demo.broker import EmbeddedBroker
from rarefault.export.demo.collector import Collector
from rarefault.export.demo.compare import SentTimes, compare, expected_verdicts
from rarefault.export.demo.daemon import DaemonProcess
from rarefault.export.demo.live import LiveTable
from rarefault.export.demo.result import DemoResult, Latency
from rarefault.export.exporter import export_run
from rarefault.runtime.errors import RarefaultError
from rarefault.runtime.inference.model_file import LoadedModel, load_model
from rarefault.train.commands.progress import TrainingProgress
from rarefault.train.config import TrainConfig, TrainingConfig, TreesConfig
from rarefault.train.evaluation.evaluate import Evaluation, evaluate
from rarefault.train.history import History, Phm2015Config
from rarefault.train.replay.publisher import Publisher
from rarefault.train.replay.replay import TelemetryMessage, play, telemetry_messages
from rarefault.train.report import write_report
from rarefault.train.runs.training import Training, train
from rarefault.train.simulate import SimulationConfig, simulate

#: How long no verdict may come before the demo gives up waiting.
IDLE_S = 20.0
TOPIC = "telemetry/{device}"
#: Messages per second, and how many the broker may have unconfirmed: well below what the embedded broker, which is pure
#: Python, takes, so that the latency is the daemon's and not that of a queue in front of it.
PER_S, WINDOW = 700.0, 4
#: Of the training: who looks at a demo does not wait for models that only make its decision steadier, nor for a network
#: of whole devices that trees and units do without.
QUICK: dict[str, Any] = {
    "cross_fit": False,
    "parts": ("network_units", "trees_device", "extra_trees", "trees_units", "filter"),
}


@dataclass(frozen=True)
class DemoOptions:
    """What the demo runs on.

    Attributes:
        out: folder for all that it makes.
        data: a folder in the form of PHM 2015; None for simulated plants.
        simulation: the plants, where they are simulated.
        training: seed, epochs and the like.
        trees: rounds and the like.
    """

    out: Path
    data: Path | None = None
    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(**QUICK))
    trees: TreesConfig = field(default_factory=TreesConfig)


class _Clock:
    """Seconds of each stage."""

    def __init__(self, console: Console) -> None:
        self.seconds: dict[str, float] = {}
        self._console = console

    @contextmanager
    def stage(self, name: str, text: str) -> Iterator[None]:
        self._console.print(text, style="bold")
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 2)


def run_demo(options: DemoOptions, console: Console) -> DemoResult:
    """Simulate or read, train, export, serve, play, compare.

    Raises:
        RarefaultError: a stage failed; verdicts that differ are no error but a result.
    """
    clock = _Clock(console)
    data = options.data
    if data is None:
        data = options.out / "plants"
        plants = f"{options.simulation.plants} plants over {options.simulation.days} days"
        with clock.stage("simulate", f"1/5 simulating {plants}"):
            simulate(options.simulation, data)
    else:
        console.print(f"1/5 taking history from {data}", style="bold")
    with clock.stage("train", "2/5 training, on blocks of days; other blocks are held out"):
        training = _train(options, data, console)
    with clock.stage("export", "3/5 exporting to ONNX and proving that it computes the same"):
        path = options.out / "plant.onnx"
        export_run(training.run, path)
        model = load_model(path)
    held_out = training.split.select(training.history, "test")
    with clock.stage("evaluate", "4/5 judging the held-out blocks offline, with the exported file"):
        offline = evaluate(held_out, model.manifest, model.step, model.model_id)
    with clock.stage("serve", "5/5 playing the held-out blocks over MQTT to the daemon"):
        result = _serve(options, held_out, model, offline, console)
    return msgspec.structs.replace(result, seconds={**result.seconds, **clock.seconds})


def _train(options: DemoOptions, data: Path, console: Console) -> Training:
    source = Phm2015Config(path=str(data.resolve()))
    config = TrainConfig(data=source, training=options.training, trees=options.trees)
    with TrainingProgress(console) as progress:
        training = train(config, Path(), options.out / "run", name="plant", observer=progress.observer())
        write_report(training)
    return training


def _serve(
    options: DemoOptions, held_out: History, model: LoadedModel, offline: Evaluation, console: Console
) -> DemoResult:
    expected = expected_verdicts(offline, model)
    sent = SentTimes(model.manifest)
    with EmbeddedBroker() as broker:
        collector = Collector(broker.port)
        collector.start()
        try:
            started = time.perf_counter()
            with DaemonProcess(options.out, model.path, broker.url, collector) as daemon:
                start_s = round(time.perf_counter() - started, 2)
                started = time.perf_counter()
                with LiveTable(console, collector, len(held_out), len(expected)) as table:

                    def on_sent(message: TelemetryMessage) -> None:
                        sent.note(message.device, message.time_ms, time.monotonic())
                        table.sent()

                    with Publisher(broker.url, window=WINDOW) as publisher:
                        messages = telemetry_messages(held_out, TOPIC)
                        count = play(messages, publisher, per_s=PER_S, on_sent=on_sent)
                    rate = count / (time.perf_counter() - started)
                    _wait(collector, len(expected), daemon, table)
        finally:
            collector.stop()
    found = compare(collector, expected)
    latencies = sent.latencies_ms(collector, offline, list(expected))
    p50, p99 = np.percentile(latencies, [50, 99]).tolist() if latencies else (None, None)
    scores = offline.scores
    if not collector.verdicts:
        raise RarefaultError(f"the daemon published no verdict; see {daemon.log}")
    return DemoResult(
        mismatches=found.mismatches,
        missing=found.missing,
        extra=found.extra,
        different=found.different,
        first_mismatch=found.first,
        largest_difference=found.largest_difference,
        verdicts=len(collector.verdicts),
        expected=len(expected),
        repeated=collector.repeated,
        alarm_changes=len(collector.alarms),
        messages=count,
        messages_per_s=round(rate, 1),
        macro_f1=scores.macro_f1,
        recall={name: row.recall for name, row in scores.classes.items()},
        events_detected=scores.events_detected,
        events_total=scores.events_total,
        false_alarms_per_device_day=scores.false_alarms_per_device_day,
        alarm_changes_per_device_day=scores.alarm_changes_per_device_day,
        latency_ms=Latency(p50, p99),
        seconds={"daemon start": start_s},
        model=model.model_id,
        devices=len(np.unique(held_out.device)),
        data=str(options.data) if options.data is not None else "simulator",
        out=str(options.out),
    )


def _wait(collector: Collector, expected: int, daemon: DaemonProcess, table: LiveTable) -> None:
    """Until all expected verdicts have come, or none has come for a while."""
    idle_since = time.monotonic()
    while len(collector.verdicts) < expected and time.monotonic() - max(idle_since, collector.last_arrival) < IDLE_S:
        daemon.check()
        table.tick()
        time.sleep(0.05)
