"""What one gets without looking at the data."""

import numpy as np
from benchmarks.quality.methods.scores import log_probabilities
from benchmarks.quality.prediction import Prediction
from benchmarks.quality.protocol import Fold
from sklearn.dummy import DummyClassifier

from rarefault.runtime.arrays import Float32
from rarefault.train.dataset.windows import LabelledWindows


def always_normal(fold: Fold, seed: int) -> Prediction:
    """Says class 0, whatever comes."""
    return _dummy(fold, DummyClassifier(strategy="constant", constant=0, random_state=seed))


def prior_drawing(fold: Fold, seed: int) -> Prediction:
    """Draws a class by the shares of the training."""
    return _dummy(fold, DummyClassifier(strategy="stratified", random_state=seed))


def _dummy(fold: Fold, dummy: DummyClassifier) -> Prediction:
    label = fold.parts["train"].label
    label = label[label >= 0]
    dummy.fit(np.zeros((len(label), 1)), label)

    def scores(windows: LabelledWindows) -> Float32:
        return log_probabilities(dummy.predict_proba(np.zeros((len(windows), 1))), dummy.classes_, fold.n_classes)

    return Prediction(scores(fold.parts["validation"]), scores(fold.parts["test"]))
