"""The trainer's configuration: one TOML file whose only required section is ``[data]``."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import tomli_w

from rarefault.runtime.inference.manifest import Count, NotNegative, Positive, Share, WindowSpec
from rarefault.runtime.settings import Section, from_mapping, read_toml
from rarefault.runtime.telemetry.channels import ChannelSpec
from rarefault.train.dataset.derived import GridConfig
from rarefault.train.dataset.split import SplitConfig, check_blocks
from rarefault.train.history.config import DataConfig
from rarefault.train.model.parts import AT_DEVICE, AT_UNITS, MODEL_PARTS, NETWORK_OF, ModelPart
from rarefault.train.model.sizes import PRESETS, ModelSpec

LayerSizes = tuple[Annotated[int, msgspec.Meta(ge=1, le=4096)], Annotated[int, msgspec.Meta(ge=1, le=4096)]]


class ModelConfig(Section, frozen=True):
    """``[model]``: sizes of the network.

    A preset gives them, and each can be changed. A key that is not set has the preset's value.
    """

    preset: Literal["reference", "medium", "small", "tiny"] = "small"
    """The preset. ``small`` trains in about a minute on two cores."""
    edges: Annotated[int, msgspec.Meta(ge=2, le=256)] | None = None
    """Edges of each input's piecewise-linear encoding."""
    planes: Count | None = None
    """Planes that each encoded channel is mapped to before the convolutions."""
    filters: Count | None = None
    """Filters of each of the two convolutions."""
    kernel: Count | None = None
    """Bins that a convolution's kernel spans. ``window.length`` must exceed ``2 * (kernel - 1)``."""
    inner: LayerSizes | None = None
    """Hidden sizes of the two inner LSTM layers, which read a window bin by bin."""
    outer: LayerSizes | None = None
    """Hidden sizes of the two outer LSTM layers, which read window after window."""
    recent: Count | None = None
    """Last bins of a window that the layers beside the inner LSTM read."""
    hidden: Count | None = None
    """Width of the two layers beside the inner LSTM."""
    dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)] | None = None
    """Share of the filters, and of the outputs of the layers beside, that is dropped during training."""
    network: bool = True
    """Train and serve the network. ``false`` leaves trees and filter alone, for about half of the training time and
    three quarters of a verdict's cost. ``pooling.held_out_log_loss`` in ``metrics.json`` shows what that would lose."""

    def spec(self) -> ModelSpec:
        """The preset with the changes."""
        changes = {
            k: v for k, v in msgspec.structs.asdict(self).items() if k not in {"preset", "network"} and v is not None
        }
        return msgspec.structs.replace(PRESETS[self.preset], **changes)


class RecipeConfig(Section, frozen=True):
    """``[recipe]``: how training handles the imbalance of the classes."""

    alpha: Annotated[float, msgspec.Meta(ge=0, le=2)] = 1.0
    """Class weights are ``n_c ** -alpha``: 0 gives equal weights, 1 the classic ``1 / n_c``."""
    max_weight: Annotated[float, msgspec.Meta(ge=1)] = 20.0
    """Largest weight of a class. The mean weight of all samples is 1."""
    sampler: Literal["under", "smote", "none"] = "under"
    """``under`` trains each epoch on a random part of the normal sequences, ``smote`` adds synthetic faulty sequences,
    ``none`` does neither."""
    normal_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.33
    """``under`` only: share of the normal sequences that an epoch draws from."""


class TreesConfig(Section, frozen=True):
    """``[trees]``: boosted and extremely randomised trees beside the network, on statistics of each window."""

    rounds: Annotated[int, msgspec.Meta(ge=0, le=2000)] = 150
    """Boosted trees for each class. 0: no trees, the network judges alone."""
    learning_rate: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.1
    """Learning rate of the boosted trees."""
    leaves: Annotated[int, msgspec.Meta(ge=2, le=256)] = 15
    """Most leaves of a boosted tree."""
    min_samples: Count = 5
    """Fewest windows in a leaf."""
    l2: NotNegative = 5.0
    """L2 regularisation of the leaf values. Without it, a class with few windows can make them grow without bound."""
    features: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    """Share of the statistics that each split may choose from, drawn at random."""
    extra_trees: Annotated[int, msgspec.Meta(ge=0, le=2000)] = 100
    """Extremely randomised trees, on the whole device. They have half of the weight of the device's trees. 0: none."""
    max_windows: Annotated[int, msgspec.Meta(ge=0)] = 50_000
    """Most windows that trees are grown on; 0: no bound. Where there are more, some normal windows are drawn, evenly
    over devices and time, and some of each fault that has more than its share of half of this number. The drawn ones
    count for those that are left out, so the class shares stay right. At like units, no more normal windows are drawn
    than this number divided by that of the units."""
    units: tuple[Annotated[str, msgspec.Meta(min_length=1)], ...] | None = None
    """Name prefixes of the channels of like parts of a device, one entry for each part, such as ``["pump1_",
    "pump2_"]``. A fault seen at one part then also teaches the others. Default: the components of a PHM 2015 plant; no
    parts for other data."""
    swaps: Annotated[int, msgspec.Meta(ge=0, le=100)] = 8
    """With ``units``: how many copies of the windows of faults with fewer than 20 events are trained on, with the parts
    swapped at random."""


class TrainingConfig(Section, frozen=True):
    """``[training]``: optimisation, and what is done after it."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] | None = None
    """Name of the model. Default: the configuration file's name."""
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0
    """Seed of all random draws of the training."""
    epochs: Count = 12
    """Epochs of each network."""
    batch_size: Count = 32
    """Sequences in one step of the optimiser; at units, half as many."""
    sequence_length: Count = 16
    """Windows in a training sequence, T."""
    passes: Positive = 3.0
    """How often an epoch sees each window, on average. Sequences start anywhere and overlap."""
    max_sequences: Annotated[int, msgspec.Meta(ge=0)] = 6000
    """Most sequences in an epoch, so that an epoch of a long history takes no longer; 0: no bound. Every epoch draws
    others, and of rare faults all. Has no effect with ``recipe.sampler = "smote"``."""
    learning_rate: Positive = 5e-3
    """Peak of the one-cycle schedule; at units, 0.6 of it."""
    clip_norm: Positive = 1.0
    """Gradients are clipped to this norm."""
    cross_fit: bool | Literal["auto"] = "auto"
    """Fit the decision on the training blocks as well: further models are trained, each without some of the blocks, and
    judge those. With five folds this takes about twice the processor time. ``auto`` does it if some fault has
    fewer than 50 events in the validation blocks. Has no effect with ``--from``."""
    refit: bool = True
    """Train network and trees once more, on training and validation blocks together, after the decision was fitted. The
    result is what is served."""
    parts: Literal["auto", "all"] | tuple[ModelPart, ...] = "auto"
    """The parts of the model that are served. ``auto``: the fewest whose log loss on held-out windows is as good as
    that of all of them, within noise; the report has the numbers. Where there are fewer than 8 held-out blocks, all of
    them. ``all``: nothing is left out. A list names them, and only these are trained: ``network_device`` and
    ``trees_device`` judge whole devices, ``extra_trees`` belong to the latter, ``network_units`` and ``trees_units``
    look for faults at units, ``filter`` counts the windows before. Parts that other keys turn off, such as the network
    by ``model.network = false``, are never there. With ``--from``, the parts are those of the earlier run."""
    retrain_tolerance: Share = 0.02
    """With ``--from``: how much macro-F1 may fall, on the earlier run's validation blocks and on the new data's test
    blocks. A model that loses more is not accepted."""
    retrain_false_alarms: NotNegative = 0.1
    """With ``--from``: by how much false alarms per device and day may rise on these blocks. A single alarm more is
    always allowed."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the network is trained. ``auto`` takes a GPU if there is one."""
    precision: Literal["float32", "mixed"] = "float32"
    """``mixed`` computes products in bfloat16 and keeps weights and loss in float32. For GPUs; slower on most
    processors."""
    threads: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0
    """Threads of torch on the processor. 0: one for small networks, torch's own choice for others."""
    jobs: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0
    """How many sets of trees are grown at once, while a network is trained. Each holds its windows in memory. The
    result does not depend on it. 0: one for each core that the process may use, at most two."""

    budget: Annotated[str, msgspec.Meta(pattern=r"^(none|fast|[0-9]+(\.[0-9]+)?[smh])$")] = "none"
    """How long the whole training may take, such as ``"10m"``, ``"90s"`` or ``"1.5h"``. What does not fit is left out:
    it is decided before anything is fitted, from the time that was measured here, and the run says what.
    ``"fast"``: a first answer within about a minute. Trees alone, on at most 20,000 windows; no network, no
    cross-fitting, no refit. ``"none"``: nothing is left out."""

    @property
    def budget_s(self) -> float | None:
        """Seconds of the budget; None where there is none, or where it is ``fast``."""
        if self.budget in {"none", "fast"}:
            return None
        return float(self.budget[:-1]) * {"s": 1.0, "m": 60.0, "h": 3600.0}[self.budget[-1]]


class DecisionConfig(Section, frozen=True):
    """``[decision]``: how probabilities become verdicts and alarms."""

    objective: Literal["macro_f1", "event_f1", "false_alarm_budget", "posterior"] = "macro_f1"
    """What the classes' thresholds maximise on held-out windows. ``macro_f1``: macro-F1 of the verdicts. ``event_f1``:
    F1 of the alarms against the logged events. ``false_alarm_budget``: macro recall within a budget of false alarms.
    ``posterior``: no thresholds, the class with the largest probability wins."""
    false_alarms_per_device_day: NotNegative | None = None
    """``false_alarm_budget`` only: the budget. Default: 1."""
    filter: bool = True
    """Combine each window's probabilities with those of the device's earlier windows. How much the past counts is
    fitted on held-out windows."""
    coverage: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.9
    """Share of an event's windows whose prediction set must contain the event's class: 0 (no prediction sets), or from
    0.5."""
    far_share: Annotated[float, msgspec.Meta(ge=0, le=0.5)] = 0.05
    """Share of the windows of a new event of a known class that may count as far from all classes; it sets the distance
    from which on a window fits no class. 0: none is too far. Has no effect without a network."""
    unknown_per_device_day: NotNegative = 0.0
    """How many ``unknown`` alarms per device and day are allowed in held-out time, where all classes are known. This
    sets how many windows in a row that fit no class raise one. 0: ``unknown`` is never an alarm."""
    raise_threshold: Share | Literal["auto"] = "auto"
    """An alarm is raised when the fault's score is at least this for ``on_delay_s``. ``auto``, here and below: the
    value that comes nearest to one alarm for each held-out event."""
    clear_threshold: Share | Literal["auto"] = "auto"
    """An alarm is cleared when the fault's score is below this for ``off_delay_s``. ``auto``: 0.6 of
    ``raise_threshold``."""
    on_delay_s: NotNegative | Literal["auto"] = "auto"
    """How long a fault must last before its alarm is raised, seconds."""
    off_delay_s: NotNegative | Literal["auto"] = "auto"
    """How long a fault must be gone before its alarm is cleared, seconds."""

    def __post_init__(self) -> None:
        if 0 < self.coverage < 0.5:
            raise ValueError(f"coverage must be 0 or at least 0.5, got {self.coverage:g}")
        if self.unknown_per_device_day and not self.coverage and not self.far_share:
            raise ValueError(
                "unknown_per_device_day needs a coverage or a far_share: it counts windows that fit no class"
            )

    @property
    def budget(self) -> float:
        """False alarms per device and day that may be."""
        return 1.0 if self.false_alarms_per_device_day is None else self.false_alarms_per_device_day


class TrainConfig(Section, frozen=True):
    """The trainer's configuration file. Only ``[data]`` is required."""

    data: DataConfig
    grid: GridConfig = GridConfig()
    window: WindowSpec = WindowSpec()
    split: SplitConfig = SplitConfig()
    model: ModelConfig = ModelConfig()
    recipe: RecipeConfig = RecipeConfig()
    trees: TreesConfig = TreesConfig()
    training: TrainingConfig = TrainingConfig()
    decision: DecisionConfig = DecisionConfig()
    channels: dict[str, ChannelSpec] = msgspec.field(default_factory=dict)
    """What the values of channels mean, by name. The model keeps it for live telemetry."""

    @property
    def wanted(self) -> tuple[ModelPart, ...]:
        """The parts that are trained, in the order of ``MODEL_PARTS``."""
        listed = MODEL_PARTS if isinstance(self.training.parts, str) else self.training.parts
        return tuple(part for part in MODEL_PARTS if part in listed and part not in self._turned_off)

    @property
    def _turned_off(self) -> dict[ModelPart, str]:
        """The parts that other keys turn off, and the key with its value."""
        off: dict[ModelPart, str] = {}
        if not self.model.network:
            off |= dict.fromkeys(("network_device", "network_units"), "model.network = false")
        if not self.trees.extra_trees:
            off["extra_trees"] = "trees.extra_trees = 0"
        if not self.trees.rounds:
            off |= dict.fromkeys(("trees_device", "extra_trees", "trees_units"), "trees.rounds = 0")
        if not self.decision.filter:
            off["filter"] = "decision.filter = false"
        return off

    def with_parts(self, parts: Collection[ModelPart]) -> "TrainConfig":
        """The configuration that trains these parts alone, without those that it does not have."""
        left = tuple(part for part in self.wanted if part in parts)
        trees = any(part in left for part in ("trees_device", "trees_units"))
        return msgspec.structs.replace(
            self,
            training=msgspec.structs.replace(self.training, parts=left),
            model=msgspec.structs.replace(self.model, network=any(part in NETWORK_OF for part in left)),
            trees=msgspec.structs.replace(
                self.trees,
                rounds=self.trees.rounds if trees else 0,
                extra_trees=self.trees.extra_trees if "extra_trees" in left else 0,
            ),
            decision=msgspec.structs.replace(self.decision, filter="filter" in left),
        )

    def _check_parts(self) -> None:
        """Raise ValueError where the listed parts contradict other keys, or none of them judges."""
        if isinstance(parts := self.training.parts, str):
            return
        if not {*AT_DEVICE, *AT_UNITS} & set(parts):
            raise ValueError(f"training.parts must have one of {', '.join((*AT_DEVICE, *AT_UNITS))}: one must judge")
        if "extra_trees" in parts and "trees_device" not in parts:
            raise ValueError("training.parts has extra_trees without trees_device, to which they belong")
        for part in parts:
            if part in self._turned_off:
                raise ValueError(f"training.parts has {part}, but {self._turned_off[part]}: change one of both")

    def __post_init__(self) -> None:
        check_blocks(self.split, self.grid, self.window)
        spec = self.model.spec()
        if not self.model.network and not self.trees.rounds:
            raise ValueError("model.network is false and trees.rounds is 0: one of both must judge")
        self._check_parts()
        if self.model.network and self.window.length <= 2 * (spec.kernel - 1):
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
