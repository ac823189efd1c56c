"""What a verdict costs beside ONNX Runtime alone: windows, state, decision, payload and outbox, in one process."""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import msgspec
import numpy as np
from benchmarks.speed.model import telemetry_values
from numpy.typing import NDArray

from rarefault.runtime.daemon.publishing.outbox import MemoryOutbox
from rarefault.runtime.daemon.publishing.payloads import verdict_payloads
from rarefault.runtime.inference.engine import MAX_BATCH
from rarefault.runtime.inference.model_file import LoadedModel, load_model
from rarefault.runtime.inference.pipeline import Pipeline


def measure_verdicts(
    path: Path, devices: int, repeats: int = 9, telemetry: Callable[[], NDArray[np.float64]] | None = None
) -> dict[str, float]:
    """Microseconds of processor time per verdict of both, and their ratio, the median of several rounds in turn.

    All of it is done by this thread, ONNX Runtime's part, too, so that a busy machine changes little.

    Args:
        path: of a step graph.
        devices: N, all due in the same push.
        telemetry: gives the values of one sample of each device, [N, C]; by default those of the reference model.
    """
    model = load_model(path)
    # Not spread: all devices' windows are to be due in the same push, and none in the others.
    window = msgspec.structs.replace(model.manifest.window, spread=False)
    pipeline = Pipeline(msgspec.structs.replace(model.manifest, window=window), model.step, model.model_id)
    encoder = msgspec.json.Encoder()
    outbox = MemoryOutbox(10 * devices)
    rng = np.random.default_rng(7)
    slots = np.array([pipeline.slot(f"d{i:05d}") for i in range(devices)])
    stride = model.manifest.window.stride
    period_ms = model.manifest.grid.period_ms
    number = 1_800_000_000_000 // (24 * stride * period_ms) * 24 * stride
    found: dict[str, list[float]] = {"ours": [], "alone": []}
    idle: list[float] = []
    for _ in range(model.manifest.window.length + stride * 4 * repeats):
        if len(found["ours"]) == repeats:
            break
        number += 1
        time_ms = np.full(devices, number * period_ms + 1000)
        values = telemetry_values(rng, devices) if telemetry is None else telemetry()
        began = time.thread_time()
        verdicts = pipeline.push(slots, time_ms, values, explained=True)
        for verdict in verdict_payloads(verdicts, pipeline, number * period_ms):
            outbox.put(f"rarefault/{verdict.device}/verdict", encoder.encode(verdict), retain=False)
        took = time.thread_time() - began
        if not len(verdicts):
            idle.append(took)
        elif not verdicts.alarms:  # each alarm is explained, which is no part of a verdict
            assert len(verdicts) == devices
            found["ours"].append(took)
            found["alone"].append(_alone(model, values))
            outbox = MemoryOutbox(10 * devices)
    alone = median(found["alone"][1:]) / devices * 1e6
    # What a push costs that makes no window due belongs to its messages.
    ours = (median(found["ours"][1:]) - median(idle[1:])) / devices * 1e6
    return {"ours_us": round(ours, 1), "ort_us": round(alone, 1), "ratio": round(ours / alone, 3)}


def _alone(model: LoadedModel, values: NDArray[np.float64]) -> float:
    """As many windows through ONNX Runtime and nothing else, in the batches that are cheapest."""
    devices = len(values)
    batch = min(devices, MAX_BATCH)
    shape = next(entry.shape for entry in model.step.session.get_inputs() if entry.name == "window")
    window = np.resize(values.astype(np.float32), (batch, model.manifest.window.length, shape[2]))
    state = np.zeros((batch, model.manifest.state_size), np.float32)
    began = time.thread_time()
    for _ in range(max(1, devices // batch)):
        model.step.session.run(None, {"window": window, "state": state})
    return (time.thread_time() - began) * devices / (max(1, devices // batch) * batch)


def sgemm_gflops(size: int = 1024, repeats: int = 15) -> float:
    """Single-precision matrix product on one core."""
    rng = np.random.default_rng(7)
    a: NDArray[np.float32] = rng.normal(size=(size, size)).astype(np.float32)
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - began)
    return round(2 * size**3 / best / 1e9, 1)
