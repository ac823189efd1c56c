"""One training from start to end: read, split, fit, decide, evaluate, write the run directory."""

import hashlib
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from rarefault.runtime import __version__
from rarefault.runtime.errors import HistoryError, UsageError
from rarefault.runtime.inference.manifest import Manifest
from rarefault.train.calibration.cross_fit import HeldOut, Rotation, wants_cross_fit
from rarefault.train.calibration.decision_fit import fit_decision
from rarefault.train.config import TrainConfig, to_toml
from rarefault.train.dataset.findings import absent_classes, common_faults, in_order, leaks
from rarefault.train.dataset.split import PARTS, Split, split_history
from rarefault.train.dataset.unit_labels import unit_notes
from rarefault.train.dataset.units import channels_of_units
from rarefault.train.dataset.windows import LabelledWindows, cut_windows
from rarefault.train.evaluation.cost_curve import cost_curve
from rarefault.train.evaluation.evaluate import Evaluation, evaluate
from rarefault.train.evaluation.metrics import to_plain
from rarefault.train.fitting.imbalance import class_frequencies
from rarefault.train.fitting.network import Epoch, Fit, choose_device, fit
from rarefault.train.fitting.new_model import new_model, set_threads
from rarefault.train.fitting.trees import grow_trees
from rarefault.train.history import History, absolute, read_history
from rarefault.train.history.borders import border_finding
from rarefault.train.history.parsing.codes import code_finding
from rarefault.train.history.summary import all_faulty_finding, majority_finding
from rarefault.train.model.network import LRConvLSTM
from rarefault.train.model.step import TorchStep
from rarefault.train.report import write_report
from rarefault.train.runs.duration import Estimate, estimate
from rarefault.train.runs.refit import refit
from rarefault.train.runs.retraining import compare, prepare
from rarefault.train.runs.run_directory import RunDirectory, reference_outputs
from rarefault.train.runs.seen import trained_span
from rarefault.train.runs.sources import Sources, describe_source


@dataclass(frozen=True)
class Observer:
    """Whom training tells about its progress.

    Attributes:
        stage: called with a sentence when a stage begins.
        epoch: called after each epoch, with whether it is the best so far.
        again: called after each epoch of a further network, with their number and that of all to come.
        note: called with everything that a person should know about the data.
        expect: called before the first stage that takes long, with how long all of them will take.
        left: called after such a stage, with the seconds that are left.
    """

    stage: Callable[[str], None] = lambda _text: None
    epoch: Callable[[Epoch, bool], None] = lambda _epoch, _best: None
    again: Callable[[int, int], None] = lambda _done, _all: None
    note: Callable[[str], None] = lambda _text: None
    expect: Callable[[Estimate], None] = lambda _estimate: None
    left: Callable[[float], None] = lambda _seconds: None


@dataclass(frozen=True)
class Training:
    """What a training made."""

    run: RunDirectory
    manifest: Manifest
    model: LRConvLSTM
    history: History
    split: Split
    test: Evaluation
    metrics: dict[str, Any]


def train(  # noqa: PLR0912, PLR0915 - a list of stages, to be read from top to bottom
    config: TrainConfig,
    base: Path,
    out: Path,
    *,
    name: str = "model",
    resume: bool = False,
    strict: bool = False,
    start: RunDirectory | None = None,
    observer: Observer | None = None,
) -> Training:
    """Train a model and leave a run directory.

    Args:
        config: the configuration.
        base: folder that the paths in ``[data]`` are relative to.
        out: the run directory; made, and refused if it holds anything (but an unfinished run with ``resume``).
        name: of the model, where the configuration gives none.
        resume: go on with an unfinished run in ``out``.
        strict: refuse a history with any finding.
        start: an earlier run to go on from, with its data and the new one; ``config`` must fit it (see
            :func:`rarefault.train.runs.retraining.load_retrain_config`). The metrics say whether it is accepted.
        observer: is told about progress.

    Raises:
        HistoryError: the history cannot be read or learnt from.
        UsageError: ``out`` is taken.
    """
    tell = observer or Observer()
    run = _open(out, resume=resume)
    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def done(stage: str) -> None:
        nonlocal clock
        seconds[stage] = time.perf_counter() - clock
        clock = time.perf_counter()

    tell.stage("reading history")
    config = msgspec.structs.replace(config, data=absolute(config.data, base))
    own = read_history(config.data, base, strict=strict)
    grave, notes = in_order(own.notes)
    before = prepare(start, own, config, base) if start else None
    sources = before.sources if before else _sources(own, config)
    history, split = sources.history, sources.split
    notes += sources.notes
    units = channels_of_units(config.trees.units, config.data, history.channels)
    if before and config.trees.units is None and (earlier_trees := before.run.load_model().trees) is not None:
        units = earlier_trees.units.numpy()  # of the same channels, whatever the format of the new data
    parts = {part: cut_windows(split.select(history, part), config.grid, config.window, units) for part in PARTS}
    notes += split.notes + tuple(unit_notes(history, parts["train"].at_units, units))
    _check_parts(history, parts)
    if not config.data.mostly_faulty:
        _check_majority(history, parts)
    done("read")

    torch.manual_seed(config.training.seed)
    if before:
        # With its centre and scale; what learns again goes on from the one that is served.
        model, initial = before.run.load_model(held_out=True), before.run.load_model()
        for earlier in (model, initial):
            earlier.trees = earlier.filter = None  # anew, from all data
        set_threads(model, config.training.threads)
    else:
        model, remarks = new_model(config, history, parts["train"])
        initial = deepcopy(model)
        notes += remarks
    unlearnt, unscored = absent_classes(history, parts)
    notes += [found for found in (border_finding(history, config.grid), code_finding(history)) if found]
    foremost = [*unlearnt, *common_faults(history, parts["train"]), *grave, *leaks(history, parts["train"])]
    notes = [*foremost, *notes, *unscored]
    for note in notes:
        tell.note(note)
    run.save_config(config)
    cross_fit = not before and wants_cross_fit(config, parts["train"], parts["validation"], len(history.classes))
    clock = time.perf_counter()
    expected = estimate(config, model, parts, history, split, units, cross_fit=cross_fit)
    tell.expect(expected)
    done("estimate")

    if model.spec.network:
        tell.stage("fitting")
    model.to(choose_device(config.training.device))
    origin = before.manifest.training.get("digest", "") if before else ""
    settled = msgspec.structs.replace(config, training=msgspec.structs.replace(config.training, jobs=0))
    identity = [to_toml(settled), history.fingerprint] + ([origin] if before else [])
    digest = hashlib.sha256("\0".join(identity).encode()).hexdigest()
    fitted = fit(
        model,
        parts["train"],
        parts["validation"],
        config,
        digest=digest,
        resume_file=run.resume,
        resume=resume,
        warm=before is not None,
        on_epoch=tell.epoch,
    )
    model.cpu()
    if before and not fitted.best_epoch and model.spec.network:
        notes.append("no epoch was better on the validation blocks than the weights of the earlier run, which are kept")
        tell.note(notes[-1])
    done("fit")
    epochs_share = fitted.best_epoch / config.training.epochs
    tell.left(expected.left(seconds, epochs_share))

    k = len(history.classes)
    training_prior, true = fitted.training_prior, class_frequencies(parts["train"].label, k)
    trees = None
    if config.trees.rounds:
        tell.stage("growing the trees")
        training = config.training
        trees = grow_trees(parts["train"], k, training_prior, config.trees, training.seed, training.threads, units)
        done("trees")
        tell.left(expected.left(seconds, epochs_share))
    if trees is None and not model.spec.network:
        raise HistoryError(
            "all labelled windows of the training blocks are of one class, so there is nothing for the trees to tell "
            "apart: bring more history, or change split.seed"
        )
    judged: list[HeldOut] = []
    if cross_fit:
        rotation = Rotation(
            history,
            split,
            config,
            training_prior,
            fitted.best_epoch,
            units,
            lambda number, of: tell.stage(f"learning without some of the blocks ({number} of {of})"),
            lambda n: tell.again(n, fitted.best_epoch),
            lambda number, of: tell.stage(f"growing trees without some of the blocks ({number} of {of})"),
        )
        judged = rotation.run(model)
        done("cross fit")
        tell.left(expected.left(seconds, epochs_share))
    held = HeldOut.joined(judged or [HeldOut.of(model, trees, parts["validation"], history, config)])
    if trees is not None:
        held.fit_pool_weights(model, trees, training_prior, true, parts["train"].counts(k))
    held.fit_filter(model, training_prior, true, wanted=config.decision.filter)

    tell.stage("fitting the decision on the windows that were held out")
    decision = fit_decision(held.log_prob(model), held.windows, training_prior, true, config.decision)
    for note in decision.notes:
        tell.note(note)
    notes += decision.notes
    losses = held.log_losses(model, decision.spec)
    manifest = Manifest(
        name=config.training.name or name,
        channels=history.channels,
        classes=history.classes,
        counters=history.counters,
        missing=tuple(dict.fromkeys((*config.data.missing, *(before.manifest.missing if before else ())))),
        grid=config.grid,
        window=config.window,
        state_size=model.state_size,
        decision=decision.spec,
    )

    tell.stage("evaluating the held-out blocks on the served path")
    step = TorchStep(model)
    evaluations = {"validation": evaluate(split.select(history, "validation"), manifest, step, manifest.name)}
    comparison = None
    if before:
        tell.stage("holding the new model against the earlier one")
        comparison = compare(before, manifest, model, config.training)
    done("evaluate")
    tell.left(expected.left(seconds, epochs_share))
    held_out = None
    if config.training.refit:
        tell.stage("learning again, from the validation blocks, too")
        both = cut_windows(split.select(history, "train", "validation"), config.grid, config.window, units)
        epochs = fitted.best_epoch
        held_out = model
        model = refit(initial, held_out, both, training_prior, config, epochs, units, lambda n: tell.again(n, epochs))
        step = TorchStep(model)
        done("learn again")
    evaluations["test"] = evaluate(split.select(history, "test"), manifest, step, manifest.name, explained=True)
    done("evaluate test")
    curve = cost_curve(evaluations["test"], manifest)
    metrics = _metrics(evaluations, fitted, parts, history, notes, seconds)
    metrics["estimated_seconds"] = expected.seconds()
    metrics["cost_curve"] = msgspec.to_builtins(curve)
    metrics["pooling"] = {**_pooling(model, history.classes), "held_out_log_loss": losses}
    if comparison:
        metrics["retraining"] = comparison
    manifest = msgspec.structs.replace(
        manifest,
        training={
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "rarefault": __version__,
            "digest": digest,
            "data": own.fingerprint,
            "learnt": trained_span(split),
            "seed": config.training.seed,
            **({"from": {"name": before.manifest.name, "digest": origin}} if before else {}),
            "test": {
                "macro_f1": metrics["test"]["macro_f1"],
                "recall": {name: scores["recall"] for name, scores in metrics["test"]["classes"].items()},
            },
        },
    )

    tell.stage("writing the run directory")
    run.save_model(model, held_out)
    run.save_manifest(manifest)
    run.save_reference(reference_outputs(model, parts["test"]))
    run.save_json(run.data, _describe(history, own.fingerprint))
    run.save_json(run.split, _describe_split(sources))
    run.save_json(run.curves, msgspec.to_builtins(fitted.curves))
    run.save_json(run.metrics, metrics)
    write_report(run, evaluations["test"], curve)
    run.resume.unlink(missing_ok=True)
    return Training(run, manifest, model, history, split, evaluations["test"], metrics)


def _open(out: Path, *, resume: bool) -> RunDirectory:
    run = RunDirectory(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        if not (resume and run.resume.exists()):
            unfinished = "; an unfinished training is there: --resume goes on with it" if run.resume.exists() else ""
            raise UsageError(f"{out} exists and is not empty: choose another --out or remove it{unfinished}")
    elif resume:
        raise UsageError(f"{out} holds no unfinished training to resume")
    out.mkdir(parents=True, exist_ok=True)
    return run


def _check_parts(history: History, parts: dict[Any, LabelledWindows]) -> None:
    if not len(history.events) or len(history.classes) < 2:
        raise HistoryError(
            "the history has no fault event, so there is nothing to learn: check the fault log, its devices, its time "
            "zone and time shift with 'rarefault describe'"
        )
    for part, windows in parts.items():
        if not len(windows):
            raise HistoryError(
                f"the {part} blocks give no window: raise split.block_s or grid.max_gap_s, or lower window.length"
            )
        if not windows.labelled.any():
            raise HistoryError(f"no window of the {part} blocks has a label: their time is 'unlabelled' in the events")
    if not (parts["train"].label > 0).any():
        raise HistoryError(
            "no window of the training blocks has a fault, so there is nothing to learn: the log's events may lie "
            "outside the samples' time (see 'rarefault describe'), or all in the held-out blocks (change split.seed)"
        )


def _check_majority(history: History, parts: dict[Any, LabelledWindows]) -> None:
    """HistoryError where one fault covers more than half, or several all: one of them is normal then, as a rule."""
    counts = np.sum([windows.counts(len(history.classes)) for windows in parts.values()], axis=0)
    share = counts / max(counts.sum(), 1)
    most = int(share.argmax())
    if most and share[most] > 0.5:
        raise HistoryError(majority_finding(history.classes[most], float(share[most])))
    if not counts[0]:
        raise HistoryError(all_faulty_finding([history.classes[c] for c in np.flatnonzero(counts)]))


def _metrics(
    evaluations: dict[Any, Evaluation],
    fitted: Fit,
    parts: dict[Any, LabelledWindows],
    history: History,
    notes: list[str],
    seconds: dict[str, float],
) -> dict[str, Any]:
    balance = {
        part: {name: int(n) for name, n in zip(history.classes, windows.counts(len(history.classes)), strict=True)}
        for part, windows in parts.items()
    }
    return {
        "test": to_plain(evaluations["test"].scores),
        "validation": to_plain(evaluations["validation"].scores),
        "windows": balance,
        "unlabelled_windows": {part: int((~windows.labelled).sum()) for part, windows in parts.items()},
        "epochs": len(fitted.curves),
        "best_epoch": fitted.best_epoch,
        "weights": dict(zip(history.classes, fitted.class_weights, strict=True)),
        "notes": notes,
        "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
    }


def _pooling(model: LRConvLSTM, classes: tuple[str, ...]) -> dict[str, Any]:
    """How much trees, and windows before, weigh in what is said."""
    trees, found = model.trees, model.filter
    return {
        "trees_share": None if trees is None else dict(zip(classes, trees.share.tolist(), strict=True)),
        "filter": None if found is None else found.fitted_values(),
    }


def _sources(own: History, config: TrainConfig) -> Sources:
    split = split_history(own, config.split, config.grid)
    return Sources(own, split, (describe_source(config.data, own, split.blocks),))


def _describe_split(sources: Sources) -> dict[str, Any]:
    *earlier, own = sources.sources
    kept = {"blocks": own["blocks"], "samples": own["samples"], "notes": list(sources.split.notes)}
    return {**kept, "earlier": earlier} if earlier else kept


def _describe(history: History, fingerprint: str) -> dict[str, Any]:
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
