"""The stages of a training, in the order in which :func:`rarefault.train.runs.training.train` calls them."""

import hashlib

import msgspec
import torch

from rarefault.runtime.errors import HistoryError
from rarefault.runtime.inference.manifest import Manifest
from rarefault.train.calibration.cross_fit import HeldOut, Rotation
from rarefault.train.calibration.decision_fit import fit_decision
from rarefault.train.config import to_toml
from rarefault.train.dataset.derived import derived_note
from rarefault.train.dataset.findings import absent_classes, common_faults, in_order, leaks
from rarefault.train.dataset.split import PARTS
from rarefault.train.dataset.unit_labels import unit_notes
from rarefault.train.dataset.windows import cut_windows
from rarefault.train.evaluation.cost_curve import cost_curve
from rarefault.train.evaluation.evaluate import evaluate
from rarefault.train.evaluation.event_scores import device_notes
from rarefault.train.fitting.imbalance import class_frequencies
from rarefault.train.fitting.network import choose_device, fit
from rarefault.train.fitting.trees import grow_trees
from rarefault.train.history import absolute, read_history
from rarefault.train.history.summary.findings import border_finding, code_finding
from rarefault.train.model.step import TorchStep
from rarefault.train.runs.checks import check_majority, check_parts
from rarefault.train.runs.course import Course
from rarefault.train.runs.duration import estimate
from rarefault.train.runs.origin import Origin
from rarefault.train.runs.refit import refit
from rarefault.train.runs.retraining import Retraining


def read(course: Course) -> None:
    """Read the history, and that of the run to go on from."""
    config = course.config = msgspec.structs.replace(course.config, data=absolute(course.config.data, course.base))
    course.own = read_history(config.data, course.base, strict=course.strict)
    course.label_notes, other_notes = in_order(course.own.notes)
    if course.start is None:
        course.origin = Origin.from_scratch(course.own, config)
    else:
        course.origin = Retraining.of(course.start, course.own, config, course.base)
    course.notes += [*other_notes, *course.origin.sources.notes]


def cut(course: Course) -> None:
    """Cut each part into windows; a history that nothing can be learnt from is refused."""
    history, split = course.history, course.split
    derived = course.origin.derived(course.config, split.select(history, "train"))
    config = course.config = msgspec.structs.replace(course.config, grid=course.config.grid.with_chosen(derived))
    course.units = course.origin.units(config)
    course.parts = {
        part: cut_windows(split.select(history, part), config.grid, config.window, course.units) for part in PARTS
    }
    course.notes += [*split.notes, *derived_note(derived)]
    course.notes += unit_notes(history, course.parts["train"].at_units, course.units)
    check_parts(history, course.parts)
    if not config.data.mostly_faulty:
        check_majority(history, course.parts)


def begin(course: Course) -> None:
    """Make the networks, and say what a person should know, the gravest first."""
    config, history, train = course.config, course.history, course.parts["train"]
    torch.manual_seed(config.training.seed)
    course.model, course.initial, channel_notes = course.origin.networks(config, train)
    unlearnt, unscored = absent_classes(history, course.parts)
    findings = [found for found in (border_finding(history, config.grid), code_finding(history)) if found]
    gravest = [*unlearnt, *common_faults(history, train), *course.label_notes, *leaks(history, train)]
    notes = [*gravest, *course.notes, *channel_notes, *findings, *unscored]
    course.notes = []
    course.tell(*notes)
    course.run.save_config(config)
    course.cross_fits = course.origin.cross_fits(config, train, course.parts["validation"])


def foresee(course: Course) -> None:
    """Estimate how long the training will take."""
    course.estimate = estimate(
        course.config,
        course.model,
        course.parts,
        course.history,
        course.split,
        course.units,
        cross_fit=course.cross_fits,
    )
    course.observer.expect(course.estimate)


def fit_network(course: Course) -> None:
    """Train the network on the training blocks; the validation blocks say which epoch is best."""
    config, model = course.config, course.model
    model.to(choose_device(config.training.device))
    course.digest = _digest(course)
    course.fit = fit(
        model,
        course.parts["train"],
        course.parts["validation"],
        config,
        digest=course.digest,
        resume_file=course.run.resume,
        resume=course.resume,
        warm=course.origin.warm,
        on_epoch=course.observer.epoch,
    )
    model.cpu()
    if course.origin.warm and not course.fit.best_epoch and model.spec.network:
        course.tell("no epoch was better on the validation blocks than the weights of the earlier run, which are kept")
    course.true_prior = class_frequencies(course.parts["train"].label, course.n_classes)


def _digest(course: Course) -> str:
    """Of all that the result depends on; not of how many trees grow at once."""
    training = msgspec.structs.replace(course.config.training, jobs=0)
    config = msgspec.structs.replace(course.config, training=training)
    parts = [to_toml(config), course.history.fingerprint, *course.origin.identity]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def grow(course: Course) -> None:
    """Grow the trees on the training blocks."""
    training, prior = course.config.training, course.fit.training_prior
    train, units = course.parts["train"], course.units
    course.trees = grow_trees(
        train, course.n_classes, prior, course.config.trees, training.seed, training.threads, units
    )
    if course.trees is None and not course.model.spec.network:
        raise HistoryError(
            "all labelled windows of the training blocks are of one class, so there is nothing for the trees to tell "
            "apart: bring more history, or change split.seed"
        )


def cross_fit(course: Course) -> None:
    """Hold out the training blocks in turn, too, and predict them by models that were not trained on them."""
    observer, epochs = course.observer, course.fit.best_epoch
    rotation = Rotation(
        course.history,
        course.split,
        course.config,
        course.fit.training_prior,
        epochs,
        course.units,
        on_part=lambda number, of: observer.stage(f"learning without some of the blocks ({number} of {of})"),
        on_epoch=lambda done: observer.further_epoch(done, epochs),
        on_trees=lambda number, of: observer.stage(f"growing trees without some of the blocks ({number} of {of})"),
    )
    course.cross_fitted = rotation.run(course.model)


def pool(course: Course) -> None:
    """Fit on the held-out windows how much network, trees and the windows before weigh."""
    model, trees, prior, true_prior = course.model, course.trees, course.fit.training_prior, course.true_prior
    validation = course.parts["validation"]
    course.held = HeldOut.joined(
        course.cross_fitted or [HeldOut.of(model, trees, validation, course.history, course.config)]
    )
    if trees is not None:
        course.held.fit_pool_weights(model, trees, prior, true_prior, course.parts["train"].counts(course.n_classes))
    course.held.fit_filter(model, prior, true_prior, enabled=course.config.decision.filter)


def decide(course: Course) -> None:
    """Fit the decision on the held-out windows, and write down what the model is."""
    config, history, held, model = course.config, course.history, course.held, course.model
    fitted = fit_decision(
        held.log_prob(model), held.windows, course.fit.training_prior, course.true_prior, config.decision
    )
    course.tell(*fitted.notes)
    course.log_losses = held.log_losses(model, fitted.spec)
    course.manifest = Manifest(
        name=config.training.name or course.name,
        channels=history.channels,
        classes=history.classes,
        counters=history.counters,
        missing=tuple(dict.fromkeys((*config.data.missing, *course.origin.missing))),
        grid=config.grid.spec(),
        derived=config.grid.chosen,
        window=config.window,
        state_size=model.state_size,
        decision=fitted.spec,
    )


def judge_validation(course: Course) -> None:
    """Evaluate the validation blocks on the served path, with the model that was not trained on them."""
    validation, manifest = course.split.select(course.history, "validation"), course.manifest
    course.evaluations["validation"] = evaluate(validation, manifest, TorchStep(course.model), manifest.name)


def compare(course: Course) -> None:
    """Compare the model with that of the run to go on from."""
    course.comparison = course.origin.compare(course.manifest, course.model, course.config.training)


def refit_all(course: Course) -> None:
    """Train network and trees once more, on the training and validation blocks."""
    config, epochs, observer = course.config, course.fit.best_epoch, course.observer
    both = course.split.select(course.history, "train", "validation")
    windows = cut_windows(both, config.grid, config.window, course.units)
    course.held_out = course.model
    course.model = refit(
        course.initial,
        course.held_out,
        windows,
        course.fit.training_prior,
        config,
        epochs,
        course.units,
        lambda done: observer.further_epoch(done, epochs),
    )


def judge_test(course: Course) -> None:
    """Evaluate the test blocks on the served path."""
    test, manifest = course.split.select(course.history, "test"), course.manifest
    evaluation = evaluate(test, manifest, TorchStep(course.model), manifest.name, explained=True)
    course.evaluations["test"], course.curve = evaluation, cost_curve(evaluation, manifest)
    course.tell(*device_notes(evaluation.scores, len(test.devices)))
