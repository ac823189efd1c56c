"""The stages of a training, in the order in which :func:`rarefault.train.runs.training.train` calls them."""

import hashlib
from copy import deepcopy

import msgspec
import torch

from rarefault.runtime.errors import HistoryError
from rarefault.runtime.inference.manifest import Manifest
from rarefault.runtime.telemetry.channels import ChannelSpec
from rarefault.train.calibration.choice import choose_parts, spare
from rarefault.train.calibration.cross_fit import HeldOut, Rotation
from rarefault.train.calibration.decision_fit import fit_decision
from rarefault.train.config import TrainConfig, to_toml
from rarefault.train.dataset.derived import derived_note
from rarefault.train.dataset.findings import absent_classes, common_faults, in_order, leaks
from rarefault.train.dataset.split import PARTS
from rarefault.train.dataset.unit_labels import unit_notes, units_spec
from rarefault.train.dataset.windows import cut_windows
from rarefault.train.evaluation.cost_curve import cost_curve
from rarefault.train.evaluation.evaluate import evaluate
from rarefault.train.fitting.imbalance import class_frequencies
from rarefault.train.fitting.network import Epoch, Fit, ResumeFile, choose_device, fit
from rarefault.train.fitting.new_model import networks_of
from rarefault.train.fitting.trees import grow_trees
from rarefault.train.history import absolute, read_history
from rarefault.train.history.shift import log_shift
from rarefault.train.history.summary.findings import border_finding, code_finding
from rarefault.train.model.experts import Experts
from rarefault.train.model.network_expert import NetworkExpert
from rarefault.train.model.parts import NETWORK_OF
from rarefault.train.model.step import TorchStep
from rarefault.train.runs.checks import check_judges, check_majority, check_parts
from rarefault.train.runs.course import Course
from rarefault.train.runs.duration import Estimate, measure
from rarefault.train.runs.origin import Origin
from rarefault.train.runs.refit import refit
from rarefault.train.runs.retraining import Retraining
from rarefault.train.runs.timing.budget import Plan, make_plan
from rarefault.train.runs.timing.timeline import Timeline


def read(course: Course) -> None:
    """Read the history, and that of the run to go on from."""
    config = course.config = msgspec.structs.replace(course.config, data=absolute(course.config.data, course.base))
    config = course.config = msgspec.structs.replace(config, channels=_specs(course))
    course.own = read_history(config.data, course.base, strict=course.strict, channels=config.channels)
    course.label_notes, other_notes = in_order(course.own.notes)
    course.log_shift = log_shift(course.own, config.data)
    if course.start is None:
        course.origin = Origin.from_scratch(course.own, config)
    else:
        course.origin = Retraining.of(course.start, course.own, config, course.base)
    course.config = course.origin.with_parts(config)
    course.notes += [*other_notes, *course.origin.sources.notes]


def _specs(course: Course) -> dict[str, ChannelSpec]:
    """What channels are: as configured or, where nothing is, as in the run to go on from.

    Raises:
        HistoryError: both say something, and not the same.
    """
    own = course.config.channels
    earlier = {} if course.start is None else course.start.load_manifest().channel_specs
    if own and course.start is not None and own != earlier:
        raise HistoryError(
            f"[channels] are not those of {course.start.path}, whose model has learned from values that were read by "
            "them: leave them out, or train anew, without --from"
        )
    return own or dict(earlier)


def cut(course: Course) -> None:
    """Cut each part into windows; a history that nothing can be learnt from is refused."""
    history, split = course.history, course.split
    derived = course.origin.derived(course.config, split.select(history, "train"))
    config = course.config = msgspec.structs.replace(course.config, grid=course.config.grid.with_chosen(derived))
    course.units = course.origin.units(config)
    course.parts = {
        part: cut_windows(split.select(history, part), config.grid, config.window, course.units) for part in PARTS
    }
    train = course.parts["train"]
    course.prior = class_frequencies(train.label, course.n_classes)
    names = (*history.channels, *(derived.name for derived in config.grid.chosen))
    course.at_units = course.origin.at_units(units_spec(train.at_units, train.labelled, course.units, names))
    course.notes += [*split.notes, *derived_note(derived)]
    course.notes += unit_notes(history, course.parts["train"].at_units, course.units)
    check_parts(history, course.parts)
    check_judges(config.wanted, course.at_units, history.classes)
    if not config.data.mostly_faulty:
        check_majority(history, course.parts)


def begin(course: Course) -> None:
    """Make the networks, and say what a person should know, the gravest first."""
    config, history, train = course.config, course.history, course.parts["train"]
    torch.manual_seed(config.training.seed)
    course.network, course.initial, channel_notes = course.origin.networks(config, train, course.at_units)
    unlearnt, unscored = absent_classes(history, course.parts)
    findings = [found for found in (border_finding(history, config.grid), code_finding(history)) if found]
    shifted = [] if course.log_shift.kind == "none" else [course.log_shift.text]
    gravest = [*shifted, *unlearnt, *common_faults(history, train), *course.label_notes, *leaks(history, train)]
    notes = [*gravest, *course.notes, *channel_notes, *findings, *unscored]
    course.notes = []
    course.tell(*notes)


def foresee(course: Course) -> None:
    """Estimate how long the training will take, and leave out what a budget has no time for."""
    given, run, warm = course.config, course.run, course.origin.warm
    if given.training.budget == "fast":  # nothing to decide, and no network to be timed
        _leave_out(course, *make_plan(given, lambda _: 0.0, warm=warm))
    measured = course.measured = measure(
        course.config, course.network, course.parts, course.history, course.units, course.at_units
    )

    def estimate(config: TrainConfig) -> Estimate:
        return measured.estimate(config, cross_fit=_cross_fits(course, config))

    spent_s = sum(course.seconds.values())
    # An interrupted training goes on with what was decided then.
    before = run.load_config() if course.resume and run.config.is_file() and given.training.budget_s else None
    _leave_out(course, *make_plan(given, lambda of: spent_s + estimate(of).left(()), warm=warm, before=before))
    run.save_config(course.config)
    course.cross_fits, course.estimate = _cross_fits(course, course.config), estimate(course.config)
    course.timeline = Timeline(course.estimate.seconds())
    course.observer.expect(course.estimate)
    course.tell(*course.plan.notes)


def _leave_out(course: Course, config: TrainConfig, plan: Plan) -> None:
    """Train with a configuration that leaves something out."""
    other = config.model != course.config.model
    course.config, course.plan = config, plan
    if other:
        torch.manual_seed(config.training.seed)
        course.network, course.initial, _ = course.origin.networks(config, course.parts["train"], course.at_units)


def _cross_fits(course: Course, config: TrainConfig) -> bool:
    return course.origin.cross_fits(config, course.parts["train"], course.parts["validation"])


def fit_network(course: Course) -> None:
    """Train the networks on the training blocks."""
    config, network = course.config, course.network
    course.digest = _digest(course)
    course.fit = Fit()
    if network is None:
        return
    earlier = deepcopy(network) if course.origin.warm else None
    if earlier is not None:
        earlier.hold_for(course.prior)

    def epoch(done: Epoch) -> None:
        course.observer.epoch(done)
        course.within(done.share(config.training.epochs))

    network.to(choose_device(config.training.device))
    course.fit = fit(
        network,
        course.parts["train"],
        config,
        course.prior,
        learned=course.origin.learned,
        resume_file=ResumeFile(course.run.resume, course.digest, resume=course.resume),
        on_epoch=epoch,
    )
    network.cpu()
    if earlier is not None and _validated(course, network) > _validated(course, earlier):
        course.network, course.kept = earlier, True
        course.tell(
            "further training made the network worse on the validation blocks: the weights of the earlier run are kept"
        )


def _validated(course: Course, network: NetworkExpert) -> float:
    """Log loss of a network on the validation blocks."""
    held = HeldOut.of(Experts(network, None), course.parts["validation"], course.history, course.config)
    return held.log_loss(held.weighed(course.prior, course.at_units, filtered=False))


def _digest(course: Course) -> str:
    """Of all that the result depends on; not of how many trees grow at once."""
    training = msgspec.structs.replace(course.config.training, jobs=0)
    config = msgspec.structs.replace(course.config, training=training)
    parts = [to_toml(config), course.history.fingerprint, *course.origin.identity]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def grow(course: Course) -> None:
    """Grow the trees on the training blocks."""
    training = course.config.training
    train, units = course.parts["train"], course.units
    course.trees = grow_trees(
        train,
        course.prior,
        course.config.trees,
        training.seed,
        training.threads,
        units,
        course.at_units,
        parts=course.config.wanted,
    )
    if course.trees is None and course.network is None:
        raise HistoryError(
            "all labelled windows of the training blocks are of one class, so there is nothing for the trees to tell "
            "apart: bring more history, or change split.seed"
        )


def cross_fit(course: Course) -> None:
    """Hold out the training blocks in turn, too, and predict them by models that were not trained on them."""
    observer, epochs = course.observer, course.config.training.epochs
    networks = course.estimate.networks("cross fit")
    at = [1, 1]

    def part(number: int, of: int) -> None:
        at[:] = number, of
        observer.stage(f"learning without some of the blocks ({number} of {of})")

    def epoch(done: Epoch) -> None:
        observer.epoch(done)
        course.within(networks * (at[0] - 1 + done.share(epochs)) / at[1])

    def trees(number: int, of: int) -> None:
        observer.stage(f"growing trees without some of the blocks ({number} of {of})")
        course.within(networks + (1 - networks) * (number - 1) / of)

    rotation = Rotation(
        course.history,
        course.split,
        _spared(course, Experts(course.network, course.trees)),
        course.prior,
        course.units,
        course.at_units,
        on_part=part,
        on_epoch=epoch,
        on_trees=trees,
    )
    course.cross_fitted = rotation.run(Experts(course.network, course.trees))


def _spared(course: Course, model: Experts) -> TrainConfig:
    """The configuration that cross-fitting goes on with: without a network of devices that nobody hears."""
    config = course.config
    if config.training.parts != "auto":
        return config
    held = HeldOut.of(model, course.parts["validation"], course.history, config)
    course.spared = spare(held, model.parts, course.prior, course.at_units)
    if course.spared is None or course.network is None:
        return config
    course.network = course.network.only((NETWORK_OF["network_units"],), course.prior)
    return config.with_parts(course.spared.beside + (("filter",) if config.decision.filter else ()))


def pool(course: Course) -> None:
    """Fit on the held-out windows how much network, trees and the windows before weigh, and choose the parts."""
    model = Experts(course.network, course.trees)
    validation, config = course.parts["validation"], course.config
    held = HeldOut.joined(course.cross_fitted or [HeldOut.of(model, validation, course.history, config)])
    choice = choose_parts(
        held,
        model.parts,
        course.split,
        course.prior,
        course.at_units,
        filtered=config.decision.filter,
        free=config.training.parts == "auto",
        spared=course.spared,
    )
    course.held, course.decision, course.choice = choice.held, choice.spec, choice.parts
    course.model = model.only(choice.parts.kept, course.prior, course.at_units)
    course.served = choice.served(config)
    course.refit_estimate = course.measured.estimate(course.served, cross_fit=False)
    later = ("learn again", "evaluate test")
    seconds = course.refit_estimate.seconds()
    course.timeline.expect({stage: seconds[stage] for stage in later if stage in seconds})


def decide(course: Course) -> None:
    """Fit the decision on the held-out windows, and write down what the model is."""
    config, history, held = course.config, course.history, course.held
    fitted = fit_decision(held.opinions, held.windows, course.decision, config.decision)
    course.tell(*fitted.notes)
    course.log_losses = held.log_losses(fitted.spec)
    course.manifest = Manifest(
        name=config.training.name or course.name,
        channels=history.channels,
        classes=history.classes,
        counters=history.counters,
        channel_specs=config.channels,
        missing=tuple(dict.fromkeys((*config.data.missing, *course.origin.missing))),
        grid=config.grid.spec(),
        derived=config.grid.chosen,
        window=config.window,
        state_size=course.model.state_size,
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
    """Train the chosen parts of network and trees once more, on the training and validation blocks."""
    config = course.served
    both = course.split.select(course.history, "train", "validation")
    faults = None if course.at_units is None else course.at_units.faults
    windows = cut_windows(both, config.grid, config.window, course.units, faults)
    course.held_out = course.model
    networks = course.refit_estimate.networks("learn again")

    def epoch(done: Epoch) -> None:
        course.observer.epoch(done)
        course.within(networks * done.share(config.training.epochs))

    names = networks_of(config.wanted, course.at_units)
    course.model = refit(
        None if course.initial is None else course.initial.only(names, course.prior),
        "trees" in course.held.names,
        windows,
        course.prior,
        config,
        course.units,
        course.at_units,
        learned=course.origin.learned,
        trained=not course.kept,
        on_epoch=epoch,
    )


def judge_test(course: Course) -> None:
    """Evaluate the test blocks on the served path."""
    test, manifest = course.split.select(course.history, "test"), course.manifest
    evaluation = evaluate(test, manifest, TorchStep(course.model), manifest.name, explained=True)
    course.evaluations["test"], course.curve = evaluation, cost_curve(evaluation, manifest)
