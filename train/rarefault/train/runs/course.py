"""A training on its way through its stages: what it was given, what it has made so far, who watches."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rarefault.runtime.arrays import Int64
from rarefault.runtime.inference.manifest import DecisionSpec, Manifest, UnitsSpec
from rarefault.train.calibration.choice import Parts, PartTrial
from rarefault.train.calibration.cross_fit import HeldOut
from rarefault.train.config import TrainConfig
from rarefault.train.dataset.split import Part, Split
from rarefault.train.dataset.windows import LabelledWindows
from rarefault.train.evaluation.cost_curve import CostPoint
from rarefault.train.evaluation.evaluate import Evaluation
from rarefault.train.fitting.network import Epoch, Fit
from rarefault.train.history import History
from rarefault.train.history.shift.structs import LogShift
from rarefault.train.model.experts import Experts
from rarefault.train.model.network_expert import NetworkExpert
from rarefault.train.model.trees import TreeExpert
from rarefault.train.runs.duration import Estimate, Measured
from rarefault.train.runs.origin import Origin
from rarefault.train.runs.run_directory import RunDirectory
from rarefault.train.runs.timing.budget import Plan
from rarefault.train.runs.timing.timeline import Timeline


@dataclass(frozen=True)
class Observer:
    """Functions that are called while a training goes on.

    Attributes:
        stage: called with a sentence when a stage begins.
        epoch: called after each epoch of each network.
        note: called with everything that a person should know about the data.
        expect: called before the first stage that takes long, with how long all of them will take.
        progress: called whenever more is known of it, with the share of the whole training that is done, from 0 to 1,
            and the seconds that are left.
    """

    stage: Callable[[str], None] = lambda _text: None
    epoch: Callable[[Epoch], None] = lambda _epoch: None
    note: Callable[[str], None] = lambda _text: None
    expect: Callable[[Estimate], None] = lambda _estimate: None
    progress: Callable[[float, float], None] = lambda _share, _left: None


@dataclass
class Course:
    """One training; every stage reads what those before it have set (see :mod:`rarefault.train.runs.stages`).

    Attributes:
        config: the configuration; ``read`` makes the paths of its data absolute.
        base: folder that the paths in ``[data]`` are relative to.
        run: the run directory.
        name: of the model, where the configuration gives none.
        resume: whether to go on with an unfinished run.
        strict: refuse a history with any finding.
        start: an earlier run to go on from.
        observer: watches.
        seconds: that each stage took, by its name in ``metrics.json``.
        notes: what a person should know.
        own: the history that the configuration names.
        label_notes: findings about its labels.
        log_shift: whether its log fits better when it is shifted.
        origin: where the training begins.
        units: columns of each unit, [U, M].
        parts: windows of each part.
        prior: class frequencies of the training windows, [K]; all opinions hold for these.
        at_units: what is looked for at units; None where nothing is.
        network: trained on the training blocks; None where the configuration wants none.
        initial: the network as it was before it was trained.
        cross_fits: whether the training blocks are held out in turn, too.
        estimate: of the time.
        plan: what was left out to keep to a time.
        timeline: how far the training is.
        measured: what the estimate was made from.
        refit_estimate: of the time that the chosen parts take.
        served: the configuration that trains the chosen parts alone.
        choice: which parts these are, and why.
        spared: why cross-fitting did without the network of devices; None where it did not.
        digest: of configuration, data and origin.
        fit: of the networks.
        kept: whether the weights of an earlier run are better than those that went on from them.
        trees: of the training blocks; None where there are none.
        model: the chosen parts of both; after ``refit_all`` trained on the validation blocks, too.
        cross_fitted: what cross-fitting held out.
        held: the held-out windows that the decision is fitted on.
        decision: what was fitted of it so far.
        log_losses: see :meth:`rarefault.train.calibration.cross_fit.HeldOut.log_losses`.
        manifest: as it will be exported, but for its section ``training``.
        evaluations: of the validation and the test blocks.
        comparison: with the model of ``start``.
        held_out: the model that has not seen the validation blocks, where it is not ``model``.
        curve: the cost curve of the test blocks.
    """

    config: TrainConfig
    base: Path
    run: RunDirectory
    name: str
    resume: bool
    strict: bool
    start: RunDirectory | None
    observer: Observer
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    own: History = field(init=False)
    label_notes: list[str] = field(init=False)
    log_shift: LogShift = field(init=False)
    origin: Origin = field(init=False)
    units: Int64 = field(init=False)
    parts: dict[Part, LabelledWindows] = field(init=False)
    prior: tuple[float, ...] = field(init=False)
    at_units: UnitsSpec | None = None
    network: NetworkExpert | None = None
    initial: NetworkExpert | None = None
    cross_fits: bool = field(init=False)
    estimate: Estimate = field(init=False)
    plan: Plan = field(default_factory=Plan)
    timeline: Timeline = field(default_factory=lambda: Timeline({}))
    measured: Measured = field(init=False)
    refit_estimate: Estimate = field(init=False)
    served: TrainConfig = field(init=False)
    choice: Parts = field(init=False)
    spared: PartTrial | None = None
    digest: str = field(init=False)
    fit: Fit = field(init=False)
    kept: bool = False
    trees: TreeExpert | None = None
    model: Experts = field(init=False)
    cross_fitted: list[HeldOut] = field(default_factory=list)
    held: HeldOut = field(init=False)
    decision: DecisionSpec = field(init=False)
    log_losses: dict[str, float | None] = field(init=False)
    manifest: Manifest = field(init=False)
    evaluations: dict[Part, Evaluation] = field(default_factory=dict)
    comparison: dict[str, Any] | None = None
    held_out: Experts | None = None
    curve: list[CostPoint] = field(init=False)

    @property
    def history(self) -> History:
        """Of all sources."""
        return self.origin.sources.history

    @property
    def split(self) -> Split:
        """Blocks of all sources."""
        return self.origin.sources.split

    @property
    def n_classes(self) -> int:
        """K."""
        return len(self.history.classes)

    @contextmanager
    def stage(self, name: str, text: str = "") -> Iterator[None]:
        """Time a stage, and say what it does and how far the training is.

        Args:
            name: of its seconds; several stages may share one.
            text: for people; nothing is said where it is empty.
        """
        self.timeline.begin(name)
        self.within(0.0)
        if text:
            self.observer.stage(text)
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
        self.timeline.end(name)

    def within(self, share: float) -> None:
        """So much of the present stage is done, from 0 to 1."""
        self.timeline.within(share)
        if self.timeline.known:
            self.observer.progress(*self.timeline.position())

    def tell(self, *notes: str) -> None:
        """Keep notes that come up on the way, and say them."""
        self.notes += notes
        for note in notes:
            self.observer.note(note)
