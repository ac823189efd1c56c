"""The trainer's configuration: one TOML file whose only required section is ``[data]``."""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import tomli_w

from rarefault.runtime.inference.manifest import Count, GridSpec, NotNegative, Positive, Share, WindowSpec
from rarefault.runtime.settings import Section, from_mapping, read_toml
from rarefault.train.dataset.split import SplitConfig, check_blocks
from rarefault.train.history.config import DataConfig
from rarefault.train.model.network import PRESETS, ModelSpec

LayerSizes = tuple[Annotated[int, msgspec.Meta(ge=1, le=4096)], Annotated[int, msgspec.Meta(ge=1, le=4096)]]


class ModelConfig(Section, frozen=True):
    """``[model]``: a preset, and what of it is changed."""

    preset: Literal["reference", "medium", "small", "tiny"] = "small"
    filters: Count | None = None
    kernel: Count | None = None
    inner: LayerSizes | None = None
    """Hidden sizes of the two inner LSTM layers, over the bins of a window."""
    outer: LayerSizes | None = None
    """Hidden sizes of the two outer LSTM layers, over the windows."""
    dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)] | None = None
    """Share of the filters dropped after each convolution while training."""
    clip: Positive | None = None
    """Normalised values are clipped to plus and minus this."""
    missing_indicator: bool | None = None
    """Whether the first convolution also sees which values are missing."""
    network: bool | None = None
    """Whether the network is trained and served; ``false`` leaves trees and filter alone, for about half the training
    and three quarters of a verdict's cost. ``pooling.held_out_log_loss`` of the metrics says what that would lose."""

    def spec(self) -> ModelSpec:
        """The preset with the changes."""
        changes = {k: v for k, v in msgspec.structs.asdict(self).items() if k != "preset" and v is not None}
        return msgspec.structs.replace(PRESETS[self.preset], **changes)


class RecipeConfig(Section, frozen=True):
    """``[recipe]``: what is done about the imbalance."""

    alpha: Annotated[float, msgspec.Meta(ge=0, le=2)] = 1.0
    """Class weights are ``n_c ** -alpha``: 0 is no weighting, 1 the classic ``1 / n_c``."""
    max_weight: Annotated[float, msgspec.Meta(ge=1)] = 20.0
    """No class weighs more than this many times the mean sample."""
    sampler: Literal["under", "smote", "none"] = "under"
    normal_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.33
    """Part of the normal sequences that each random subset holds."""
    subsets: Annotated[int, msgspec.Meta(ge=1, le=100)] = 5
    """Number of random subsets; each epoch trains on one of them and all faulty sequences."""


class TreesConfig(Section, frozen=True):
    """``[trees]``: boosted and extremely randomised trees beside the network."""

    rounds: Annotated[int, msgspec.Meta(ge=0, le=2000)] = 150
    """Boosted trees for each class; 0 leaves the network alone."""
    learning_rate: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.1
    leaves: Annotated[int, msgspec.Meta(ge=2, le=256)] = 15
    """Leaves of a tree, at most."""
    min_samples: Count = 5
    """Windows in a leaf, at least."""
    l2: NotNegative = 5.0
    """Shrinks the values of leaves towards 0. Without it, those of a class of few windows can grow without bound."""
    features: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    """Share of the statistics, drawn anew for each split, that it may choose from."""
    extra_trees: Annotated[int, msgspec.Meta(ge=0, le=2000)] = 100
    """Extremely randomised trees of the whole device, averaged with the boosted ones; 0: none."""
    units: tuple[Annotated[str, msgspec.Meta(min_length=1)], ...] | None = None
    """How the channels of like parts of a device begin, one entry a part, such as ``["pump1_", "pump2_"]``: a fault of
    one of them is learnt for all. By default the components of PHM 2015's plants, in other data none."""
    swaps: Annotated[int, msgspec.Meta(ge=0, le=100)] = 8
    """Copies of the windows of faults with fewer than 20 events, with the units swapped at random."""


class TrainingConfig(Section, frozen=True):
    """``[training]``: the optimisation."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] | None = None
    """Name of the model; by default that of the configuration file."""
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0
    epochs: Count = 25
    patience: Count = 15
    """Epochs without a better validation score before training stops."""
    batch_size: Count = 16
    """Sequences in a step of the optimiser."""
    sequence_length: Count = 16
    """Windows in a training sequence, T."""
    passes: Positive = 5.0
    """How often an epoch sees each window on average; sequences start anywhere and overlap."""
    learning_rate: Positive = 3e-3
    """Peak of the one-cycle schedule."""
    clip_norm: Positive = 1.0
    cross_fit: bool | Literal["auto"] = "auto"
    """Whether the decision is fitted on the training blocks, too, by the predictions of further models that were not
    trained on them: a training of five folds takes three to four times the processor's time. ``auto``: where some fault
    has fewer than 50 events in the validation blocks. A retraining never does it."""
    refit: bool = True
    """Whether network and trees are trained once more, on the training and validation blocks together, after everything
    else was fitted on the validation blocks."""
    retrain_tolerance: Share = 0.02
    """A retrained model may lose so much macro-F1 on the validation blocks of the run that it started from, and on the
    test blocks of the new data."""
    retrain_false_alarms: NotNegative = 0.1
    """So many false alarms per device and day more a retrained model may raise there, or a single one more."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "mixed"] = "float32"
    """``mixed`` computes products in bfloat16, weights and loss stay float32: for GPUs; slower on most processors."""
    threads: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0
    """Threads of torch on the processor; 0 takes one for small networks and leaves it to torch for others."""
    jobs: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0
    """How many ensembles of trees grow at once, beside the network's training: each holds its windows in memory. The
    result is the same for any number. 0: as many as the process may use cores, two at most."""


class DecisionConfig(Section, frozen=True):
    """``[decision]``: how probabilities become verdicts and alarms."""

    objective: Literal["macro_f1", "event_f1", "false_alarm_budget", "posterior"] = "macro_f1"
    """What the thresholds make large on the validation blocks: macro-F1 of the verdicts, F1 of the alarms against the
    events, or macro recall within a budget of false alarms. ``posterior``: none, the largest posterior decides."""
    false_alarms_per_device_day: NotNegative | None = None
    """The budget; 1 by default."""
    filter: bool = True
    """Whether a forward filter over the windows of a device is fitted and served: the windows before a window count, as
    much as makes the labels of the held-out windows likeliest."""
    coverage: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.9
    """Fraction of an event's windows whose prediction set shall hold its class. 0: no prediction sets; else from 0.5
    on."""
    unknown_per_device_day: NotNegative = 0.0
    """How many ``unknown`` alarms per device and day there may be in held-out time, all of which is known. It sets how
    many windows in a row with an empty prediction set raise one. 0: ``unknown`` is never an alarm."""
    raise_threshold: Share | Literal["auto"] = "auto"
    """Score from which on a fault is an alarm. ``auto``, here and below: what comes nearest to one alarm for each
    held-out event, see :mod:`rarefault.train.calibration.alarm_timing`."""
    clear_threshold: Share | Literal["auto"] = "auto"
    """Score below which it is cleared. ``auto``: 0.6 of ``raise_threshold``."""
    on_delay_s: NotNegative | Literal["auto"] = "auto"
    """How long a fault must last to be an alarm."""
    off_delay_s: NotNegative | Literal["auto"] = "auto"
    """How long a fault must be gone to be cleared."""

    def __post_init__(self) -> None:
        if 0 < self.coverage < 0.5:
            raise ValueError(f"coverage must be 0 or at least 0.5, got {self.coverage:g}")
        if self.unknown_per_device_day and not self.coverage:
            raise ValueError("unknown_per_device_day needs a coverage: it counts windows without a plausible class")

    @property
    def budget(self) -> float:
        """False alarms per device and day that may be."""
        return 1.0 if self.false_alarms_per_device_day is None else self.false_alarms_per_device_day


class TrainConfig(Section, frozen=True):
    """The whole file."""

    data: DataConfig
    grid: GridSpec = GridSpec()
    window: WindowSpec = WindowSpec()
    split: SplitConfig = SplitConfig()
    model: ModelConfig = ModelConfig()
    recipe: RecipeConfig = RecipeConfig()
    trees: TreesConfig = TreesConfig()
    training: TrainingConfig = TrainingConfig()
    decision: DecisionConfig = DecisionConfig()

    def __post_init__(self) -> None:
        check_blocks(self.split, self.grid, self.window)
        spec = self.model.spec()
        if not spec.network and not self.trees.rounds:
            raise ValueError("model.network is false and trees.rounds is 0: one of both must judge")
        if spec.network and self.window.length <= 2 * (spec.kernel - 1):
            raise ValueError(
                f"window.length ({self.window.length}) must exceed 2 * (model.kernel - 1) = {2 * (spec.kernel - 1)}, "
                "or nothing is left of the window after the two convolutions"
            )
        cleared, raised = self.decision.clear_threshold, self.decision.raise_threshold
        if cleared != "auto" and raised != "auto" and cleared > raised:
            raise ValueError("decision.clear_threshold must not exceed decision.raise_threshold")
        if self.decision.false_alarms_per_device_day is not None and self.decision.objective != "false_alarm_budget":
            raise ValueError(
                'decision.false_alarms_per_device_day needs decision.objective = "false_alarm_budget", '
                f'not "{self.decision.objective}"'
            )


def load_train_config(path: Path, changes: dict[str, Any] | None = None) -> TrainConfig:
    """Read a configuration file.

    Args:
        path: TOML file; paths in its ``[data]`` are relative to its folder.
        changes: values that replace those of the file, by dotted key (``"recipe.alpha"``).

    Raises:
        ConfigError: with every problem that the file has.
    """
    return from_mapping(read_train_toml(path, changes or {}), TrainConfig, str(path))


def read_train_toml(path: Path, changes: dict[str, Any]) -> dict[str, Any]:
    """The file's own values with the changes, before defaults and checks; ConfigError where it cannot be read."""
    data = read_toml(path)
    for key, value in changes.items():
        *sections, last = key.split(".")
        at = data
        for section in sections:
            at = at.setdefault(section, {})
        at[last] = value
    return data


def to_toml(config: TrainConfig) -> str:
    """The configuration with all of its defaults, as TOML."""
    return tomli_w.dumps(_without_none(msgspec.to_builtins(config, builtin_types=(bytes,))))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, (list, tuple)):
        return [_without_none(item) for item in value]
    return value
