"""What a training writes into its run directory."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from rarefault.runtime import __version__
from rarefault.runtime.inference.manifest import DecisionSpec
from rarefault.train.evaluation.advice import Setting
from rarefault.train.evaluation.answer import answer_of
from rarefault.train.evaluation.metrics import to_plain
from rarefault.train.history import History
from rarefault.train.model.parts import ModelPart
from rarefault.train.runs.course import Course
from rarefault.train.runs.run_directory import reference_outputs
from rarefault.train.runs.seen import trained_span
from rarefault.train.runs.sources import Sources


def write(course: Course) -> dict[str, Any]:
    """Write everything but the report; what ``metrics.json`` holds is returned, and written last."""
    run, metrics = course.run, metrics_of(course)
    course.manifest = msgspec.structs.replace(course.manifest, training=_manifest_training(course, metrics["test"]))
    run.save_model(course.model, course.held_out)
    run.save_manifest(course.manifest)
    run.save_reference(reference_outputs(course.model, course.parts["test"]))
    run.save_json(run.data, _describe_history(course.history, course.own.fingerprint))
    run.save_json(run.split, _describe_split(course.origin.sources))
    run.save_json(run.curves, msgspec.to_builtins(course.fit.curves))
    run.save_json(run.metrics, metrics)
    run.resume.unlink(missing_ok=True)
    return metrics


def metrics_of(course: Course) -> dict[str, Any]:
    """What ``metrics.json`` holds, as plain values."""
    classes, parts = course.history.classes, course.parts
    balance = {
        part: {name: int(n) for name, n in zip(classes, windows.counts(len(classes)), strict=True)}
        for part, windows in parts.items()
    }
    test, validation = (to_plain(course.evaluations[part].scores) for part in ("test", "validation"))
    setting = Setting.of(course.manifest, course.config).on(course.history, course.config.data, whole=False)
    metrics = {
        "answer": msgspec.to_builtins(answer_of(test, setting, validation)),
        "test": test,
        "validation": validation,
        "windows": balance,
        "unlabelled_windows": {part: int((~windows.labelled).sum()) for part, windows in parts.items()},
        "epochs": len(course.fit.curves),
        "weights": _weights(course),
        "notes": course.notes,
        "log_shift": msgspec.to_builtins(course.log_shift),
        "seconds": {stage: round(value, 3) for stage, value in course.seconds.items()},
        "estimated_seconds": course.estimate.seconds(),
        "budget": course.plan.to_plain(),
        "cost_curve": msgspec.to_builtins(course.curve),
        "parts": msgspec.to_builtins(course.choice),
        "pooling": {**_pooling(course.manifest.decision), "held_out_log_loss": course.log_losses},
    }
    return metrics if course.comparison is None else {**metrics, "retraining": course.comparison}


def _parts(course: Course) -> tuple[ModelPart, ...]:
    """Those that the file has."""
    filtered: tuple[ModelPart, ...] = () if course.manifest.decision.filter is None else ("filter",)
    return (*course.model.parts, *filtered)


def _weights(course: Course) -> dict[str, dict[str, float]]:
    """Of the classes in the loss of the device's network, and of the faults in that of the units'; by network."""
    classes, found = course.history.classes, course.fit.weights
    faults = () if course.at_units is None else course.at_units.faults
    names = {"device": classes, "at_units": [classes[fault] for fault in faults]}
    return {network: dict(zip(names[network], weights, strict=True)) for network, weights in found.items()}


def _pooling(decision: DecisionSpec) -> dict[str, Any]:
    """Factors of the experts by name, and the fitted values of the filter."""
    return {
        "experts": {
            expert.name: {"weight": expert.weight, "unit_weight": expert.unit_weight} for expert in decision.experts
        },
        "filter": msgspec.to_builtins(decision.filter),
    }


def _manifest_training(course: Course, test: dict[str, Any]) -> dict[str, Any]:
    """The manifest's section ``training``, by the scores of the test blocks."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "rarefault": __version__,
        "digest": course.digest,
        "data": course.own.fingerprint,
        "learnt": trained_span(course.split),
        "seed": course.config.training.seed,
        "parts": list(_parts(course)),
        **course.origin.manifest_entry,
        "test": {
            "macro_f1": test["macro_f1"],
            "recall": {name: scores["recall"] for name, scores in test["classes"].items()},
        },
    }


def _describe_split(sources: Sources) -> dict[str, Any]:
    *earlier, own = sources.sources
    kept = {"blocks": own["blocks"], "samples": own["samples"], "notes": list(sources.split.notes)}
    return {**kept, "earlier": earlier} if earlier else kept


def _describe_history(history: History, fingerprint: str) -> dict[str, Any]:
    return {
        "fingerprint": fingerprint,
        "devices": list(history.devices),
        "channels": list(history.channels),
        "classes": list(history.classes),
        "counters": list(history.counters),
        "samples": len(history),
        "events": len(history.events),
        "notes": [str(note) for note in history.notes],
    }
