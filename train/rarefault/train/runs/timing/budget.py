"""What is left out of a training so that it keeps to a time (``training.budget``).

It is decided before anything is fitted, from the time that was measured for each stage: the same configuration that
comes out, without a budget, trains the same model. What costs the least quality is left out first, and no more than is
needed (decision 0034).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import msgspec

from rarefault.train.config import TrainConfig
from rarefault.train.model.parts import AT_DEVICE, AT_UNITS, ModelPart

#: What ``budget = "fast"`` and a short budget come down to.
FAST_WINDOWS, FAST_ROUNDS, LESS_EPOCHS, FEW_EPOCHS = 20_000, 60, 12, 6


@dataclass(frozen=True)
class Saving:
    """One thing that can be left out.

    Attributes:
        name: in ``metrics.json``.
        text: for people.
        apply: the configuration without it.
        cold: whether a training that goes on from an earlier run must keep it.
    """

    name: str
    text: str
    apply: Callable[[TrainConfig], TrainConfig]
    cold: bool = False


def _with(section: str, **least: Any) -> Callable[[TrainConfig], TrainConfig]:
    """Values of a section; a number is only ever made smaller."""

    def apply(config: TrainConfig) -> TrainConfig:
        old = getattr(config, section)
        changes = {key: _smaller(getattr(old, key), value) for key, value in least.items()}
        return msgspec.structs.replace(config, **{section: msgspec.structs.replace(old, **changes)})

    return apply


def _smaller(old: Any, value: Any) -> Any:
    if isinstance(value, bool):
        return value
    # No bound is written as 0.
    return value if not isinstance(old, int) or old > value or old == 0 else old


def _fewer_rounds(config: TrainConfig) -> TrainConfig:
    return _with("trees", rounds=FAST_ROUNDS)(config) if config.trees.rounds else config


def _without(config: TrainConfig, *parts: ModelPart) -> TrainConfig:
    """The configuration that does not have some parts; what else may be left out later stays open."""
    if not set(parts) & set(config.wanted):
        return config
    changed = config.with_parts([part for part in config.wanted if part not in parts])
    if isinstance(config.training.parts, str):
        return msgspec.structs.replace(changed, training=config.training)
    return changed


def _trees_alone(config: TrainConfig) -> TrainConfig:
    """Without networks, where trees judge the same."""
    for network, trees in (AT_DEVICE, AT_UNITS):
        if network in config.wanted and trees not in config.wanted:
            return config
    return _without(config, "network_device", "network_units")


def _fewer_windows(config: TrainConfig) -> TrainConfig:
    return _with("trees", max_windows=FAST_WINDOWS)(config) if config.trees.rounds else config


def _no_extra_trees(config: TrainConfig) -> TrainConfig:
    return _without(config, "extra_trees")


#: What costs the least quality stands first.
SAVINGS = (
    Saving("windows", f"trees are grown on at most {FAST_WINDOWS} windows", _fewer_windows),
    Saving(
        "cross_fit",
        "no cross-fitting: thresholds and coverage of rare faults are fitted on the validation blocks alone",
        _with("training", cross_fit=False),
    ),
    Saving(
        "less_epochs", f"the network trains for {LESS_EPOCHS} epochs at most", _with("training", epochs=LESS_EPOCHS)
    ),
    Saving("extra_trees", "no extremely randomised trees", _no_extra_trees),
    Saving("few_epochs", f"the network trains for {FEW_EPOCHS} epochs at most", _with("training", epochs=FEW_EPOCHS)),
    Saving("rounds", f"{FAST_ROUNDS} rounds of boosted trees", _fewer_rounds),
    Saving(
        "refit",
        "no refit: the model that is served was not trained on the validation blocks",
        _with("training", refit=False),
    ),
    Saving("network", "no network, trees alone", _trees_alone, cold=True),
)
#: Those that say nothing where a later one is applied, too.
_WITHIN = {"less_epochs": {"few_epochs", "network"}, "few_epochs": {"network"}}


@dataclass(frozen=True)
class Plan:
    """What was left out.

    Attributes:
        budget_s: seconds that the training may take; None where there is no budget.
        savings: what was left out, in the order of :data:`SAVINGS`.
        expected_s: seconds that it is expected to take.
    """

    budget_s: float | None = None
    savings: tuple[Saving, ...] = field(default=())
    expected_s: float = 0.0

    @property
    def notes(self) -> list[str]:
        """For people."""
        late = self.budget_s is not None and self.expected_s > self.budget_s
        if not self.savings and not late:
            return []
        name = "fast" if self.budget_s is None else f"budget of {self.budget_s:g} s"
        left_out = f"{name}: left out to save time: " + "; ".join(saving.text for saving in self.savings)
        if late:
            return [
                *([left_out] if self.savings else []),
                f"{name}: this will take about {self.expected_s:.0f} s all the same: nothing more can be left out",
            ]
        return [left_out]

    def to_plain(self) -> dict[str, Any] | None:
        """For ``metrics.json``; None where nothing was asked to be saved."""
        if self.budget_s is None and not self.savings:
            return None
        return {
            "seconds": self.budget_s,
            "expected_seconds": round(self.expected_s, 1),
            "left_out": [saving.name for saving in self.savings],
        }


def make_plan(
    config: TrainConfig,
    expected: Callable[[TrainConfig], float],
    *,
    warm: bool = False,
    before: TrainConfig | None = None,
) -> tuple[TrainConfig, Plan]:
    """What to leave out, and the configuration to train with.

    Args:
        config: its ``training.budget`` says how much time there is.
        expected: seconds that a whole training will take with a configuration.
        warm: whether it goes on from an earlier run, and so keeps its network.
        before: of the same training before it was interrupted: it leaves out the same.
    """
    possible = [saving for saving in SAVINGS if not (warm and saving.cold)]
    budget_s = config.training.budget_s
    if before is not None:
        chosen = [saving for saving in possible if saving.apply(before) == before]
    elif config.training.budget == "fast":
        chosen = possible
    else:
        chosen = [] if budget_s is None else _chosen(config, possible, expected, budget_s)
    planned = _applied(config, chosen)
    found = [saving for saving in chosen if saving.apply(config) != config]
    names = {saving.name for saving in found}
    named = tuple(saving for saving in found if not _WITHIN.get(saving.name, set()) & names)
    return planned, Plan(budget_s, named, expected(planned))


def _chosen(
    config: TrainConfig, possible: list[Saving], expected: Callable[[TrainConfig], float], budget_s: float
) -> list[Saving]:
    """As few as needed, those that cost the least quality."""
    chosen: list[Saving] = []
    for saving in possible:
        seconds = expected(_applied(config, chosen))
        if seconds <= budget_s:
            break
        if expected(_applied(config, [*chosen, saving])) < seconds:
            chosen.append(saving)
    # What the last one made unnecessary comes back, what is worth most first.
    for saving in chosen[-2::-1]:
        fewer = [other for other in chosen if other is not saving]
        if expected(_applied(config, fewer)) <= budget_s:
            chosen = fewer
    return chosen


def _applied(config: TrainConfig, savings: Iterable[Saving]) -> TrainConfig:
    return reduce(lambda so_far, saving: saving.apply(so_far), savings, config)
