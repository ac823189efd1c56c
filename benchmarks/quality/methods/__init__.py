"""The methods that are compared."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.quality.methods import convolutions, dummies, nets, rivals, tabular
from benchmarks.quality.prediction import Prediction
from benchmarks.quality.protocol import Fold


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Attributes:
        name: as in the table.
        run: trains on the fold's training part and scores the others.
        changes: of the configuration, by section.
        seeded: whether the seed makes a difference; where not, one seed is run.
        quick: whether it belongs to the quick table.
        source: the method whose training it takes a part of, in place of one of its own; its seconds are that one's.
        part: makes its prediction of that of the source.
    """

    name: str
    run: Callable[[Fold, int], Prediction]
    changes: dict[str, Any] = field(default_factory=dict)
    seeded: bool = True
    quick: bool = False
    source: str = ""
    part: Callable[[Fold, Prediction], Prediction] | None = None


#: The recipe of the design, spelt out: it stays what it is where the defaults become better.
RECIPE = {"alpha": 1.0, "max_weight": 20.0, "sampler": "under", "normal_share": 0.33}
#: Decided on the validation blocks alone, and nothing learns again: for benchmarks that change what folds hold, or that
#: compare many trainings.
ONCE: dict[str, Any] = {"training": {"refit": False, "cross_fit": False}}
#: The network without the trees and the filter that are shipped with it, decided on the validation blocks like all but
#: ours.
ALONE: dict[str, Any] = {"trees": {"rounds": 0}, "training": {"cross_fit": False}, "decision": {"filter": False}}
#: Networks that judge windows by themselves learn from windows in random order, not from sequences of them. An epoch
#: shows them each window once, not several times, and so there are more.
SINGLE = ALONE | {
    "training": ALONE["training"] | {"sequence_length": 1, "batch_size": 128, "learning_rate": 2e-3, "epochs": 40},
}

_ALL = (
    Method("always normal", dummies.always_normal, seeded=False, quick=True),
    Method("drawn by prior", dummies.prior_drawing),
    Method("logistic regression", tabular.logistic_regression, seeded=False, quick=True),
    Method("LightGBM", tabular.lightgbm, seeded=False, quick=True),
    Method("MiniRocket + ridge", convolutions.minirocket),
    Method("MultiRocket-Hydra", convolutions.multirocket_hydra),
    Method("QUANT", convolutions.quant),
    Method("InceptionTime", rivals.inception_time, SINGLE),
    Method("DeepConvLSTM", rivals.deep_conv_lstm, SINGLE),
    Method("LRCN", rivals.lrcn, ALONE),
    Method("LR-ConvLSTM plain", nets.train_net, ALONE | {"recipe": RECIPE | {"alpha": 0.0, "sampler": "none"}}),
    Method("LR-ConvLSTM weighted only", nets.train_net, ALONE | {"recipe": RECIPE | {"sampler": "none"}}),
    Method("LR-ConvLSTM under-sampled only", nets.train_net, ALONE | {"recipe": RECIPE | {"alpha": 0.0}}),
    Method("LR-ConvLSTM full recipe", nets.train_net, ALONE | {"recipe": RECIPE}),
    Method("LR-ConvLSTM SMOTE", nets.train_net, ALONE | {"recipe": RECIPE | {"alpha": 0.0, "sampler": "smote"}}),
    Method("LR-ConvLSTM (network alone)", nets.train_net, source="rarefault", part=nets.alone("network")),
    Method("rarefault without network", nets.train_net, source="rarefault", part=nets.alone("trees")),
    Method("rarefault", nets.train_net, quick=True),
)
#: All methods in the table's order, by name.
METHODS = {method.name: method for method in _ALL}
