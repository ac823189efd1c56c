"""Where a training begins: history, blocks, networks and what else differs between a new training and a retraining."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from rarefault.runtime.arrays import Int64
from rarefault.runtime.inference.manifest import Derived, Manifest, UnitsSpec
from rarefault.train.calibration.cross_fit import wants_cross_fit
from rarefault.train.config import TrainConfig, TrainingConfig
from rarefault.train.dataset.derived import choose_derived
from rarefault.train.dataset.split import split_history
from rarefault.train.dataset.units import channels_of_units
from rarefault.train.dataset.windows import LabelledWindows
from rarefault.train.fitting.new_model import channel_notes, new_network
from rarefault.train.history import History
from rarefault.train.model.experts import Experts
from rarefault.train.model.network_expert import NetworkExpert
from rarefault.train.runs.sources import Sources, describe_source


class Networks(NamedTuple):
    """The networks that a training begins with.

    Attributes:
        held_out: learns from the training blocks; None where the configuration wants no network.
        initial: learns from the validation blocks, too, once everything else is fitted.
        notes: what a person should know of the channels.
    """

    held_out: NetworkExpert | None
    initial: NetworkExpert | None
    notes: list[str]


@dataclass(frozen=True)
class Origin:
    """A new model. A retraining is a subclass; the stages of a training are the same for both.

    Attributes:
        sources: history, blocks and what they were read from.
        warm: whether the network is trained already; its weights are kept where training makes them worse.
    """

    sources: Sources
    warm: ClassVar[bool] = False

    @classmethod
    def from_scratch(cls, own: History, config: TrainConfig) -> "Origin":
        """From a history, split as the configuration says."""
        split = split_history(own, config.split, config.grid)
        return cls(Sources(own, split, (describe_source(config.data, own, split.blocks),)))

    @property
    def identity(self) -> tuple[str, ...]:
        """Digests that the result depends on, beside those of configuration and data."""
        return ()

    @property
    def missing(self) -> tuple[float, ...]:
        """Numbers that stand for no value, beside those of the configuration."""
        return ()

    def with_parts(self, config: TrainConfig) -> TrainConfig:
        """The configuration that trains nothing but the parts that it names."""
        return config if isinstance(config.training.parts, str) else config.with_parts(config.training.parts)

    @property
    def manifest_entry(self) -> dict[str, Any]:
        """Further entries of the manifest's section ``training``."""
        return {}

    def units(self, config: TrainConfig) -> Int64:
        """Columns of each unit, [U, M]."""
        channels = self.sources.history.channels
        return channels_of_units(config.trees.units, config.data, channels, config.grid.chosen)

    def derived(self, config: TrainConfig, train: History) -> tuple[Derived, ...]:
        """What the grid derives from the channels; ``train`` are the training blocks."""
        units = channels_of_units(config.trees.units, config.data, train.channels)
        return choose_derived(config.grid, train, units)

    def at_units(self, found: UnitsSpec | None) -> UnitsSpec | None:
        """What is looked for at units, from what the training windows have to look for."""
        return found

    @property
    def learned(self) -> dict[str, tuple[float, ...]] | None:
        """Of networks that are trained already, the shares that their outputs hold for; None of new ones."""
        return None

    def networks(self, config: TrainConfig, train: LabelledWindows, at_units: UnitsSpec | None) -> Networks:
        """The networks to begin with.

        Args:
            config: says whether there are any, and their sizes.
            train: windows of the training blocks.
            at_units: what is looked for at units.
        """
        derived = tuple(derived.name for derived in config.grid.chosen)
        notes = channel_notes(train, (*self.sources.history.channels, *derived))
        if not config.model.network:
            return Networks(None, None, notes)
        network = new_network(config, self.sources.history, train, at_units)
        return Networks(network, deepcopy(network), notes)

    def cross_fits(self, config: TrainConfig, train: LabelledWindows, validation: LabelledWindows) -> bool:
        """Whether the training blocks are held out in turn, too."""
        return wants_cross_fit(config, train, validation, len(self.sources.history.classes))

    def compare(self, _manifest: Manifest, _model: Experts, _limits: TrainingConfig) -> dict[str, Any] | None:
        """The earlier model beside the new one, for ``metrics.json``; None where there is no earlier one."""
        return None
