"""Retraining: an earlier run goes on with new data, and is compared with itself on what it knew before."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from rarefault.runtime.arrays import Int64
from rarefault.runtime.errors import ConfigError, HistoryError, RarefaultError
from rarefault.runtime.inference.manifest import Derived, Manifest, UnitsSpec
from rarefault.runtime.settings import from_mapping
from rarefault.train.config import TrainConfig, TrainingConfig, read_train_toml
from rarefault.train.dataset.split import Split, split_history
from rarefault.train.dataset.windows import LabelledWindows
from rarefault.train.evaluation.evaluate import evaluate
from rarefault.train.evaluation.metrics import to_plain
from rarefault.train.fitting.new_model import set_threads
from rarefault.train.history import History, absolute, label_bins
from rarefault.train.history.channel_specs import without_sent
from rarefault.train.history.together import merge
from rarefault.train.model.experts import Experts
from rarefault.train.model.parts import ModelPart
from rarefault.train.model.step import TorchStep
from rarefault.train.runs.origin import Networks, Origin
from rarefault.train.runs.run_directory import RunDirectory
from rarefault.train.runs.sources import Sources, adapt, describe_source, load_sources, ordered, restrict, without

#: Sections that the weights depend on.
FIXED = ("grid", "window", "model")
#: What the blocks that only the new data has are called.
NEW_BLOCKS = "the test blocks of the new data"


@dataclass(frozen=True)
class Retraining(Origin):
    """Where a retraining begins: with an earlier run.

    Attributes:
        run: the earlier run.
        earlier_manifest: of its model.
        earlier: what it was trained on.
        new: the new data's blocks.
    """

    run: RunDirectory
    earlier_manifest: Manifest
    earlier: Sources
    new: Split
    warm: ClassVar[bool] = True

    @classmethod
    def of(cls, run: RunDirectory, own: History, config: TrainConfig, base: Path) -> "Retraining":
        """Join new data to what a run was trained on.

        New samples that lie in the run's own blocks are left out: they are there already, and must stay in their part.

        Args:
            run: the earlier run.
            own: the new data.
            config: of the retraining.
            base: folder that the paths in its ``[data]`` are relative to.

        Raises:
            HistoryError: the earlier data is gone, or the new data does not fit the run or brings nothing new.
            RarefaultError: the run is unfinished, or was not accepted itself.
        """
        if not run.accepted:
            raise RarefaultError(f"{run.path} was not accepted when it was retrained: start from the run before it")
        manifest, earlier = run.load_manifest(), load_sources(run)
        history, notes = _only_new(adapt(own, manifest, "the new data", str(run.path)), earlier, config, run)
        split = split_history(history, config.split, config.grid)
        new = ordered(
            without(split.blocks, earlier.split.blocks, config.grid.gap_bins * config.grid.period_ms),
            [f"new data: {note}" for note in split.notes],
        )
        source = describe_source(absolute(config.data, base), history, new.blocks)
        merged = merge([restrict(earlier.history, earlier.split), restrict(history, new)])
        merged = replace(
            merged, values=without_sent(merged.values, config.data.missing, manifest.channel_specs, merged.channels)
        )
        blocks = ordered([*earlier.split.blocks, *new.blocks], new.notes)
        sources = Sources(merged, blocks, (*earlier.sources, source), (*earlier.notes, *notes))
        return cls(sources, run, manifest, earlier, new)

    @property
    def digest(self) -> str:
        """Of the earlier run's configuration and data."""
        digest: str = self.earlier_manifest.training.get("digest", "")
        return digest

    @property
    def identity(self) -> tuple[str, ...]:
        """That of the earlier run."""
        return (self.digest,)

    @property
    def missing(self) -> tuple[float, ...]:
        """What the earlier model takes as missing."""
        return self.earlier_manifest.missing

    def with_parts(self, config: TrainConfig) -> TrainConfig:
        """Those of the earlier run: there is no network to go on from for others."""
        return config.with_parts(served_parts(self.run, config))

    @property
    def manifest_entry(self) -> dict[str, Any]:
        """The earlier model."""
        return {"from": {"name": self.earlier_manifest.name, "digest": self.digest}}

    def units(self, config: TrainConfig) -> Int64:
        """Those of the earlier trees, whatever the format of the new data, where the configuration names none."""
        own, trees = super().units(config), self.run.load_model().trees
        return own if config.trees.units is not None or trees is None else trees.units.numpy()

    def derived(self, config: TrainConfig, train: History) -> tuple[Derived, ...]:  # noqa: ARG002 - the network has its own
        """Those of the earlier run."""
        return self.earlier_manifest.derived

    def at_units(self, found: UnitsSpec | None) -> UnitsSpec | None:  # noqa: ARG002 - the network has its outputs
        """What the earlier model looks for."""
        return self.earlier_manifest.decision.units

    @property
    def learned(self) -> dict[str, tuple[float, ...]]:
        """Those of the earlier model."""
        decision = self.earlier_manifest.decision
        return {"device": decision.prior, "at_units": () if decision.units is None else decision.units.prior}

    def networks(self, config: TrainConfig, train: LabelledWindows, at_units: UnitsSpec | None) -> Networks:  # noqa: ARG002
        """Those of the earlier run, with their encodings; trees and decision are fitted anew.

        The network that is trained on all blocks goes on from the one that is served.
        """
        held_out, initial = (model.network for model in (self.run.load_model(held_out=True), self.run.load_model()))
        if held_out is not None:
            set_threads(held_out, config.training.threads)
        return Networks(held_out, initial, [])

    def cross_fits(self, config: TrainConfig, train: LabelledWindows, validation: LabelledWindows) -> bool:  # noqa: ARG002
        """Never."""
        return False

    def compare(self, manifest: Manifest, model: Experts, limits: TrainingConfig) -> dict[str, Any]:
        """The earlier and the new model on the earlier validation blocks and on the new data's test blocks.

        Args:
            manifest, model: the new ones; the model has not seen the validation blocks.
            limits: say how much worse the new model may be on either, see :func:`reasons_against`.

        Returns:
            Plain values for ``metrics.json``; ``new_test`` is null where nothing can be scored there.
        """
        before = self.run.load_model(held_out=True)
        pairs = {"before": (self.earlier_manifest, TorchStep(before)), "after": (manifest, TorchStep(model))}
        history = self.sources.history

        def scores(part: History) -> dict[str, Any]:
            found = {}
            for when, (its_manifest, step) in pairs.items():
                plain = to_plain(evaluate(part, its_manifest, step, its_manifest.name).scores)
                found[when] = {key: value for key, value in plain.items() if key not in {"events", "confusion"}}
            return found

        old = scores(self.earlier.split.select(history, "validation"))
        try:
            new = scores(self.new.select(history, "test"))
        except HistoryError:
            new = None
        reasons = reasons_against({f"the validation blocks of {self.run.path}": old, NEW_BLOCKS: new}, limits)
        return {
            "from": str(self.run.path.resolve()),
            "tolerance": limits.retrain_tolerance,
            "false_alarms_tolerance": limits.retrain_false_alarms,
            "accepted": not reasons,
            "reasons": reasons,
            "old_validation": old,
            "new_test": new,
        }


def _only_new(history: History, earlier: Sources, config: TrainConfig, run: RunDirectory) -> tuple[History, list[str]]:
    """The samples of new data that lie outside of the blocks of the earlier run, and notes about the others.

    Raises:
        HistoryError: there are none, or none with a label.
    """
    known = earlier.split.mask(history, None)
    notes = []
    if known.all():
        raise HistoryError(f"all samples of the new data lie in blocks of {run.path}: there is nothing new to learn")
    if known.any():
        notes.append(f"{int(known.sum())} samples of the new data lie in blocks of {run.path} and stay what they were")
        history = history.select(~known)
    if (label_bins(history, history.device, config.grid.bin_of(history.time_ms), config.grid) < 0).all():
        raise HistoryError("all of the new data is unlabelled: label it first, with 'rarefault label' or a fault log")
    return history, notes


def served_parts(run: RunDirectory, config: TrainConfig) -> tuple[ModelPart, ...]:
    """Parts of a configuration that a run did not leave out; a run of an earlier release left out none."""
    dropped = run.load_json(run.metrics).get("parts", {}).get("dropped", ())
    return tuple(part for part in config.wanted if part not in dropped)


def load_retrain_config(path: Path, changes: dict[str, Any], run: RunDirectory) -> TrainConfig:
    """The configuration of a retraining: what the file does not say comes from the earlier run.

    Args:
        path: TOML file with the new ``[data]``.
        changes: values that replace those of the file, by dotted key.
        run: the earlier run.

    Raises:
        ConfigError: the file has problems, or another grid, window or network than the run.
    """
    given, old = read_train_toml(path, changes), run.load_config()
    merged: dict[str, Any] = {k: v for k, v in msgspec.to_builtins(old).items() if k != "data"}
    for name, section in given.items():
        both = isinstance(section, dict) and isinstance(merged.get(name), dict)
        merged[name] = {**merged[name], **section} if both else section
    decision = given.get("decision", {})
    if isinstance(decision, dict) and decision.get("objective") not in {None, old.decision.objective}:
        # The earlier run's budget went with its objective.
        merged["decision"]["false_alarms_per_device_day"] = decision.get("false_alarms_per_device_day")
    config = from_mapping(merged, TrainConfig, str(path))
    problems = []
    for name in FIXED:
        was, given_now = getattr(old, name), getattr(config, name)
        for key in given.get(name, {}):
            before, after = getattr(was, key), getattr(given_now, key)
            if key == "derived" and after == "auto":  # the choice is made
                continue
            if name == "model" and key not in {"preset", "network"}:
                before, after = getattr(was.spec(), key), getattr(given_now.spec(), key)
            if before != after:
                problems.append(_conflict(f"{name}.{key}", after, before, run))
    if isinstance(listed := given.get("training", {}).get("parts", "auto"), list):
        served = served_parts(run, old)
        if set(listed) != set(served):
            problems.append(_conflict("training.parts", listed, list(served), run))
    counters, kept = getattr(config.data, "counters", ()), run.load_manifest().counters
    if counters and set(counters) != set(kept):
        problems.append(_conflict("data.counters", list(counters), list(kept), run))
    if problems:
        raise ConfigError(str(path), problems)
    return config


def reasons_against(parts: Mapping[str, dict[str, Any] | None], limits: TrainingConfig) -> list[str]:
    """Why a retrained model is worse than the one before: a clause for each figure that it has lost too much of.

    Args:
        parts: by what blocks are called, the scores ``before`` and ``after``; None where nothing can be scored.
        limits: ``retrain_tolerance`` and ``retrain_false_alarms``.
    """
    reasons = []
    for blocks, scores in parts.items():
        if scores is None:
            continue
        before, after = scores["before"], scores["after"]
        if before["macro_f1"] - after["macro_f1"] > limits.retrain_tolerance:
            reasons.append(
                f"on {blocks} macro-F1 fell from {before['macro_f1']:.3f} to {after['macro_f1']:.3f}, by more than "
                f"training.retrain_tolerance = {limits.retrain_tolerance:g}"
            )
        was, now = (of["false_alarms_per_device_day"] or 0.0 for of in (before, after))
        # A single alarm more in a few days is no rate.
        if now - was > limits.retrain_false_alarms and (now - was) * after["device_days"] > 1.5:
            reasons.append(
                f"on {blocks} false alarms per device and day rose from {was:.3f} to {now:.3f}, by more than "
                f"training.retrain_false_alarms = {limits.retrain_false_alarms:g}"
            )
    return reasons


def _conflict(key: str, after: object, before: object, run: RunDirectory) -> str:
    return f"{key}: {after} is not the {before} of {run.path}; leave the key out, or train anew without --from"
