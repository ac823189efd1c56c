"""Three of the best general classifiers of time series, as aeon has them.

MiniRocket (Dempster, Schmidt and Webb, 2021), MultiRocket (Tan et al., 2022) with Hydra (Dempster et al., 2023), and
QUANT (Dempster et al., 2024), with the settings of their authors. They take series of one length: windows of
``CONTEXT`` bins, normalised and clipped as our network does it, the training mean where a value is missing.
"""

from typing import Any

import numpy as np
from benchmarks.quality.context import CONTEXT, reach_back
from benchmarks.quality.methods.scores import balanced_prior, log_probabilities, softmax_factor, softmax_scores
from benchmarks.quality.prediction import Prediction
from benchmarks.quality.protocol import Fold
from sklearn.linear_model import RidgeClassifierCV
from sklearn.preprocessing import StandardScaler

from rarefault.runtime.arrays import Float32
from rarefault.train.dataset.windows import LabelledWindows, channel_statistics

#: Normalised values are clipped to plus and minus this many standard deviations.
CLIP = 5.0
#: Windows whose features are held at once.
CHUNK = 1024
#: Z-scores are clipped to this.
CLIP = 5.0
ALPHAS = np.logspace(-3, 3, 10)


def minirocket(fold: Fold, seed: int) -> Prediction:
    """10,000 kernels and a balanced ridge."""
    from aeon.transformations.collection.convolution_based import MiniRocket

    return _ridge(fold, [(MiniRocket(random_state=seed, n_jobs=1), StandardScaler(with_mean=False))])


def multirocket_hydra(fold: Fold, seed: int) -> Prediction:
    """Both transforms side by side and a balanced ridge."""
    from aeon.classification.convolution_based._hydra import _SparseScaler
    from aeon.transformations.collection.convolution_based import MultiRocket
    from aeon.transformations.collection.convolution_based._hydra import HydraTransformer

    hydra = HydraTransformer(random_state=seed, n_jobs=1)
    return _ridge(fold, [(hydra, _SparseScaler()), (MultiRocket(random_state=seed, n_jobs=1), StandardScaler())])


def quant(fold: Fold, seed: int) -> Prediction:
    """Quantiles over intervals and 200 extremely randomised trees, balanced."""
    from aeon.classification.interval_based import QUANTClassifier

    x, train = _series(fold), fold.parts["train"]
    model = QUANTClassifier(class_weight="balanced", random_state=seed)
    model.fit(x["train"][train.labelled], train.label[train.labelled])
    k, held_out = fold.n_classes, fold.parts["validation"]
    validation = log_probabilities(model.predict_proba(x["validation"]), model.classes_, k)
    # Once the decision is fitted, on all blocks but those of the test, as our trees are.
    both = np.concatenate([x["train"][train.labelled], x["validation"][held_out.labelled]])
    model.fit(both, np.concatenate([train.label[train.labelled], held_out.label[held_out.labelled]]))
    test = log_probabilities(model.predict_proba(x["test"]), model.classes_, k)
    return Prediction(validation, test, balanced_prior(model.classes_, k))


def _ridge(fold: Fold, branches: list[tuple[Any, Any]]) -> Prediction:
    """Transform and scale with every branch, then a ridge on all features together.

    Once the decision is fitted, the ridge is fitted again on all blocks but those of the test, as our trees are.
    """
    x, train = _series(fold), fold.parts["train"]
    known_x, label = x["train"][train.labelled], train.label[train.labelled]
    features = [np.asarray(scaler.fit_transform(transform.fit_transform(known_x))) for transform, scaler in branches]
    ridge = RidgeClassifierCV(alphas=ALPHAS, class_weight="balanced")
    ridge.fit(np.concatenate(features, axis=1), label)

    def features_of(part: Float32) -> Any:
        parts = []
        for at in range(0, len(part), CHUNK):
            chunk = part[at : at + CHUNK]
            scaled = [np.asarray(scaler.transform(transform.transform(chunk))) for transform, scaler in branches]
            parts.append(np.concatenate(scaled, axis=1))
        return np.concatenate(parts)

    held_out, k = fold.parts["validation"], fold.n_classes
    further = features_of(x["validation"])
    scores = ridge.decision_function(further)
    factor = softmax_factor(scores, held_out.label, ridge.classes_)
    validation = softmax_scores(scores, factor, ridge.classes_, k)
    both = np.concatenate([np.concatenate(features, axis=1), further[held_out.labelled]])
    ridge.fit(both, np.concatenate([label, held_out.label[held_out.labelled]]))
    return Prediction(
        validation,
        softmax_scores(ridge.decision_function(features_of(x["test"])), factor, ridge.classes_, k),
        balanced_prior(ridge.classes_, k),
        {"features": sum(f.shape[1] for f in features), "alpha": float(ridge.alpha_)},
    )


def _series(fold: Fold) -> dict[str, Float32]:
    """Windows of every part, [W, C, L]."""
    center, scale, _, _ = channel_statistics(fold.parts["train"].windows.rows)

    def series(windows: LabelledWindows) -> Float32:
        long = reach_back(windows, CONTEXT)
        z_WLC: Float32 = (long.windows.gather(np.arange(len(long))) - center) / scale
        out: Float32 = np.nan_to_num(z_WLC.clip(-CLIP, CLIP)).transpose(0, 2, 1)
        return out

    return {part: series(windows) for part, windows in fold.parts.items()}
