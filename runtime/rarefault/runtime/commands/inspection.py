"""What ``rarefault inspect`` prints; apart from the command, so that a list of commands loads no ONNX Runtime."""

import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from rarefault.runtime.inference.decision import Decision
from rarefault.runtime.inference.manifest import Manifest
from rarefault.runtime.inference.model_file import LoadedModel, load_model
from rarefault.runtime.inference.pipeline import DeviceClock
from rarefault.runtime.journal.summary import summarise_journal
from rarefault.runtime.results import write_json
from rarefault.runtime.telemetry.reasons import quote
from rarefault.runtime.times import format_ms

#: Devices due together for which the cost of a verdict is measured.
BATCHES = (1, 64)
#: How long each batch is measured, seconds.
MEASURE_S = 0.4
#: Devices of a journal that are shown.
SHOWN = 20


def inspect_model(path: Path, threads: int, json: Path | None) -> None:
    """Print what is in a model file and what a verdict costs; with ``json``, write it there, for ``-`` only there."""
    model = load_model(path, threads=threads)
    cost_us = {n: verdict_cost_us(model, n) for n in BATCHES}
    if json is not None:
        write_json(json, _result(model, threads, cost_us))
    if str(json) != "-":
        print(model.path)
        for title, text in model_rows(model, threads, cost_us):
            print(f"  {title:<10} {text}")


def inspect_journal(journal: Path, json: Path | None) -> None:
    """Print what is in a journal; with ``json``, write it there, for ``-`` only there."""
    found = summarise_journal(journal)
    if json is not None:
        result = {f.name: getattr(found, f.name) for f in fields(found) if f.name != "examples"}
        write_json(json, result)
    if str(json) == "-":
        return
    many = len(found.samples)
    span = "none"
    if found.first_ms is not None and found.last_ms is not None:
        span = f"{format_ms(found.first_ms)} to {format_ms(found.last_ms)}"
    rows = [
        ("samples", f"{sum(found.samples.values())} of {many} devices, {found.sample_bytes / 1e6:.1f} MB; {span}"),
        ("channels", ", ".join(found.channels)),
        ("alarms", ", ".join(f"{n} {state}" for state, n in found.alarms.items()) or "none"),
        ("muted", _muted(found.muted) or "none"),
        ("answers", ", ".join(f"{n} {answer}" for answer, n in found.answers.items()) or "none"),
        ("rejected", ", ".join(f"{n} {reason}" for reason, n in found.rejected.items()) or "none"),
    ]
    if found.damage is not None and found.damaged_ms is not None:
        rows.append(("damaged", f"the one before, found {format_ms(found.damaged_ms)}: {found.damage.sentence()}"))
    print(found.path)
    for title, text in rows:
        print(f"  {title:<10} {text}")
    for aside in found.examples:
        print(f"    {format_ms(aside.received_ms)} {quote(aside.topic)} {aside.reason}: {aside.detail}")
    for device, alarm in list(found.last_alarm.items())[:SHOWN]:
        print(f"    {device}: {alarm.state} since {format_ms(alarm.since_ms)} ({found.samples.get(device, 0)} samples)")
    if len(found.last_alarm) > SHOWN:
        print(f"    ... and {len(found.last_alarm) - SHOWN} more devices (--json has all)")


def _muted(clocks: dict[str, DeviceClock]) -> str:
    """Devices of which all samples have been late, each with what it sends and what it should come after."""
    shown = [
        f"{device} ({clock.late_run} samples late, the last of {format_ms(clock.heard_ms)}; it was at "
        f"{format_ms(clock.newest_ms)} before)"
        for device, clock in list(clocks.items())[:SHOWN]
    ]
    more = [f"and {len(clocks) - SHOWN} more"] if len(clocks) > SHOWN else []
    return ", ".join(shown + more)


def verdict_cost_us(model: LoadedModel, n_due: int) -> float:
    """Median time of one step and decision over ``n_due`` devices, per verdict, in microseconds."""
    manifest, decision = model.manifest, Decision(model.manifest.decision)
    rng = np.random.default_rng(0)
    window = rng.normal(size=(n_due, manifest.window.length, len(manifest.inputs))).astype(np.float32)
    state = np.zeros((n_due, manifest.state_size), np.float32)
    device, end_ms, fresh = np.arange(n_due, dtype=np.int32), np.zeros(n_due, np.int64), np.zeros(n_due, bool)

    def judge() -> None:
        nonlocal state
        opinions, state = model.step(window, state)
        decision.judge(device, end_ms, fresh, opinions)

    judge()  # the first call allocates
    taken: list[float] = []
    end = time.perf_counter() + MEASURE_S
    while len(taken) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        judge()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken)) / n_due * 1e6


def _result(model: LoadedModel, threads: int, cost_us: dict[int, float]) -> dict[str, Any]:
    return {
        "path": model.path,
        "model": model.model_id,
        "size_bytes": model.size_bytes,
        "threads": threads,
        "verdict_cost_us": {f"n{n}": round(cost, 1) for n, cost in cost_us.items()},
        "manifest": msgspec.to_builtins(model.manifest),
    }


def model_rows(model: LoadedModel, threads: int, cost_us: dict[int, float]) -> Iterator[tuple[str, str]]:
    """The lines to print: a title (empty where the one before goes on) and a text."""
    manifest = model.manifest
    grid, window, decision = manifest.grid, manifest.window, manifest.decision
    parameters = manifest.training.get("parameters")
    counted = f", {parameters:,} parameters" if isinstance(parameters, int) else ""
    yield "model", model.model_id
    yield "file", f"{model.size_bytes / 1e6:.2f} MB, {manifest.precision}{counted}"
    yield "grid", f"bins of {_duration(grid.period_s)}, values held {_duration(grid.max_hold_s)}"
    yield "", f"{_duration(grid.allowed_lateness_s)} of lateness allowed, a gap over {_duration(grid.max_gap_s)} resets"
    yield "window", f"{window.length} bins ({_duration(window.length * grid.period_s)})"
    yield "verdict", f"every {window.stride} bins ({_duration(window.stride * grid.period_s)})"
    yield "state", f"{manifest.state_size} values ({manifest.state_size * 4 / 1024:.1f} KiB) carried per device"
    yield "channels", f"{len(manifest.channels)}: {', '.join(manifest.channels)}"
    if manifest.derived:
        yield "derived", f"{len(manifest.derived)}: {', '.join(derived.name for derived in manifest.derived)}"
    if manifest.counters:
        yield "counters", f"{', '.join(manifest.counters)} (the model sees their increase per bin)"
    if manifest.missing:
        yield "missing", f"{', '.join(f'{number:g}' for number in manifest.missing)} stand for no value"
    if parts := manifest.training.get("parts"):
        yield "parts", ", ".join(map(str, parts))
    for name, spec in manifest.channel_specs.items():
        yield "channel", f"{name}: {spec.describe()}"
    yield from _class_table(manifest)
    yield from _pooling(manifest)
    yield "decision", f"temperature {decision.temperature:.3g}"
    yield "alarm", f"raised at a score of {decision.raise_threshold:g} for {_duration(decision.on_delay_s)}"
    yield "", f"cleared below {decision.clear_threshold:g} for {_duration(decision.off_delay_s)}"
    n = decision.unknown_windows
    yield "unknown", f"an alarm after {n} windows in a row that fit no class" if n else "is never an alarm"
    if decision.distance is not None:
        least, most = decision.distance.quantiles[0], decision.distance.quantiles[-1]
        limit = "none is too far" if decision.distance.far is None else f"beyond {decision.distance.far:.3g} none fits"
        yield "distance", f"{least:.3g} to {most:.3g} in held-out windows of the known classes, {limit}"
    yield from _free_form("training", {k: v for k, v in manifest.training.items() if k not in {"parameters", "parts"}})
    yield from _free_form("int8", manifest.quantisation or {})
    costs = ", ".join(f"{cost:,.0f} us per verdict at N = {n}" for n, cost in cost_us.items())
    yield "cost", f"{costs} ({threads} thread{'s' if threads > 1 else ''}, this machine)"


def _class_table(manifest: Manifest) -> Iterator[tuple[str, str]]:
    decision = manifest.decision
    width = max(len(name) for name in (*manifest.classes, "class"))
    yield "classes", f"{'class':<{width}}   prior  threshold"
    for name, prior, threshold in zip(manifest.classes, decision.prior, decision.thresholds, strict=True):
        yield "", f"{name:<{width}}  {prior:>6.4f}  {threshold:>9.3g}"


def _pooling(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """What counts how much: the experts, the units, the windows before."""
    decision, units = manifest.decision, manifest.decision.units
    for i, expert in enumerate(decision.experts):
        at_units = "" if units is None else f", {expert.unit_weight:.3g} at units"
        yield "" if i else "experts", f"{expert.name}: weight {expert.weight:.3g}{at_units}"
    if units is not None:
        for name, share in zip((manifest.classes[c] for c in units.faults), units.prior, strict=True):
            yield "units", f"{name} is looked for at each of {', '.join(units.names)} (share {share:.2g})"
    found = decision.filter
    yield (
        "filter",
        "none, each window is judged by itself"
        if found is None
        else f"weight {found.weight:.3g}, renewal {found.renewal:.3g}, belief to the {found.belief_power:.3g}, "
        f"window to the {found.window_power:.3g}",
    )


def _free_form(title: str, entries: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Free-form entries of the manifest, one a line, nested ones with dotted keys."""
    for i, (key, value) in enumerate(_flat(entries, "")):
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        yield title if i == 0 else "", f"{key}: {shown}"


def _flat(entries: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in entries.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
