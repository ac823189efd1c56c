"""The report as one HTML file without any outside resource."""

import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from rarefault.runtime import __version__
from rarefault.runtime.inference.decision import AlarmChange
from rarefault.runtime.inference.manifest import Manifest
from rarefault.runtime.times import format_ms
from rarefault.train.evaluation.answer import Answer
from rarefault.train.evaluation.cost_curve import CostPoint, cost_curve
from rarefault.train.evaluation.evaluate import Evaluation
from rarefault.train.evaluation.metrics import headlines, to_plain
from rarefault.train.history.formats.phm2015 import Phm2015Config
from rarefault.train.history.shift.structs import LogShift
from rarefault.train.history.source import HistoryConfig
from rarefault.train.report import plots
from rarefault.train.report.comparison import comparison_rows
from rarefault.train.report.notes import GRAVE, grouped
from rarefault.train.runs.training import Training

#: Time lines and event rows shown; a fleet of thousands would make a page that no browser opens.
MOST_DEVICES, MOST_EVENTS, MOST_ALARMS = 24, 300, 300


def write_report(training: Training) -> None:
    """Write ``report.html`` into the run directory of a finished training.

    Raises:
        RarefaultError: a file of the run directory is missing or damaged.
    """
    run, metrics, manifest = training.run, training.metrics, training.manifest
    curves = run.load_json(run.curves)
    extra = {
        "notes": grouped(metrics["notes"]),
        "log_shift": _log_shift(metrics["log_shift"]),
        "balance": plots.class_balance(metrics["windows"]),
        "curves": plots.curves(curves) if curves else "",
        "epochs": metrics["epochs"],
        "seconds": metrics["seconds"],
        "pooling": metrics["pooling"],
        "parts": metrics["parts"],
        "retraining": metrics.get("retraining"),
        "comparison": comparison_rows(metrics["retraining"]) if "retraining" in metrics else [],
        "config": run.config.read_text(encoding="utf-8"),
        "data": run.load_json(run.data),
    }
    answer = msgspec.convert(metrics["answer"], Answer)
    title = f"{manifest.name}: held-out test blocks"
    _write(run.report, training.test, training.curve, manifest, title, answer, run.load_config().data, extra)


def write_evaluation(
    path: Path, evaluation: Evaluation, manifest: Manifest, title: str, answer: Answer, data: HistoryConfig
) -> None:
    """Write the report of an evaluation on some other history, which was read by ``data``."""
    _write(path, evaluation, cost_curve(evaluation, manifest), manifest, title, answer, data, {})


def _write(
    path: Path,
    evaluation: Evaluation,
    curve: list[CostPoint],
    manifest: Manifest,
    title: str,
    answer: Answer,
    data: HistoryConfig,
    extra: dict[str, Any],
) -> None:
    classes = manifest.classes
    verdicts, label, known = evaluation.verdicts, evaluation.label, evaluation.labelled
    environment = Environment(
        loader=PackageLoader("rarefault.train.report", "."), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["share"] = lambda value: "–" if value is None else f"{value:.3f}"
    environment.filters["points"] = lambda value: "–" if value is None else f"{value:.2f}"
    environment.filters["code"] = _with_code
    environment.filters["time"] = lambda ms: format_ms(ms)[:16].replace("T", " ")
    scores = to_plain(evaluation.scores)
    page = environment.get_template("report.html.j2").render(
        title=title,
        version=__version__,
        answer=answer,
        grave=GRAVE,
        manifest=manifest,
        scores=scores,
        headlines=headlines(scores),
        phm2015=isinstance(data, Phm2015Config),
        legend=[(name, plots.colour(c)) for c, name in enumerate(classes)],
        confusion=plots.confusion(evaluation.scores.confusion, classes),
        precision_recall=plots.precision_recall(label[known], verdicts.posterior[known], classes),
        reliability=plots.reliability(evaluation.scores.reliability, evaluation.scores.fault_reliability),
        cost_curve=plots.cost_curve(curve),
        time_lines=_time_lines(evaluation, manifest),
        explained=_explained(evaluation, manifest),
        alarms=_alarms(evaluation, manifest),
        n_devices=len(np.unique(verdicts.device)),
        most_events=MOST_EVENTS,
        most_alarms=MOST_ALARMS,
        extra=extra,
    )
    path.write_text(page, encoding="utf-8")


def _log_shift(found: dict[str, Any]) -> tuple[str, str]:
    """What the search for a shift of the log found, and its plot; empty where there was none."""
    shift = msgspec.convert(found, LogShift)
    return shift.text, "" if shift.curve is None else plots.log_shift(shift)


def _with_code(sentence: str) -> Markup:
    """A sentence with what stands between backticks as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(sentence))))  # noqa: S704 - it is escaped


def _fault_alarms(evaluation: Evaluation, manifest: Manifest) -> list[AlarmChange]:
    return [alarm for alarm in evaluation.verdicts.alarms if 0 < alarm.state < len(manifest.classes)]


def _alarms(evaluation: Evaluation, manifest: Manifest) -> list[dict[str, Any]]:
    """Alarms of faults, with the unit and the channels that moved each, in order of device and time."""
    units = manifest.decision.units
    return [
        {
            "fault": manifest.classes[alarm.state],
            "device": evaluation.history.devices[alarm.device],
            "end_ms": alarm.end_ms,
            "probability": alarm.probability,
            "score": alarm.score,
            "unit": "" if alarm.unit is None or units is None else units.names[alarm.unit],
            "channels": [(manifest.channels[c], given) for c, given in alarm.channels],
        }
        for alarm in sorted(_fault_alarms(evaluation, manifest), key=lambda alarm: (alarm.device, alarm.end_ms))
    ]


def _explained(evaluation: Evaluation, manifest: Manifest) -> str:
    """What each channel gave to the alarms of each fault on average; empty where there is none."""
    given = np.zeros((len(manifest.classes), len(manifest.channels)))
    counts = np.zeros(len(manifest.classes))
    for alarm in _fault_alarms(evaluation, manifest):
        counts[alarm.state] += 1
        for c, value in alarm.channels:
            given[alarm.state, c] += value
    there = np.flatnonzero(counts)
    if not given.any():
        return ""
    mean = given[there] / counts[there, None]
    return plots.contributions(mean, [manifest.classes[c] for c in there], manifest.channels)


def _time_lines(evaluation: Evaluation, manifest: Manifest) -> list[tuple[str, str]]:
    """Device and its time line; those with the most faulty windows first."""
    verdicts, label = evaluation.verdicts, evaluation.label
    span_ms = manifest.window.stride * manifest.grid.period_ms
    slots = np.unique(verdicts.device)
    faulty = np.bincount(verdicts.device, label > 0, minlength=int(slots.max()) + 1)[slots]
    chosen = slots[np.argsort(-faulty, kind="stable")][:MOST_DEVICES]
    lines = []
    for slot in chosen:
        mine = verdicts.device == slot
        svg = plots.time_line(verdicts.end_ms[mine], label[mine], verdicts.fault[mine], manifest.classes, span_ms)
        lines.append((evaluation.history.devices[slot], svg))
    return lines
