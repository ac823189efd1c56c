"""Classifiers of tables: logistic regression and LightGBM on statistics of the window."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from benchmarks.quality.context import CONTEXT, reach_back
from benchmarks.quality.methods.scores import balanced_prior, log_probabilities
from benchmarks.quality.prediction import Prediction
from benchmarks.quality.protocol import Fold
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from rarefault.runtime.arrays import Float32
from rarefault.train.dataset.windows import LabelledWindows

#: Bins over which the statistics are, all up to the window's end; and how far back the differences go.
SPANS = (4, 12, CONTEXT)
LAGS = (1, 4, 12)
DAY_MS = 86_400_000


def statistics(windows: LabelledWindows, period_ms: int, *, time_of_day: bool) -> Float32:
    """Features of every window, [W, 13 C] and two more with the time of day.

    Last value; mean, standard deviation and range over each of ``SPANS``; last value less that of ``LAGS`` bins before.
    NaN where nothing is known.
    """
    long = reach_back(windows, CONTEXT)
    x_WLC = long.windows.gather(np.arange(len(long)))
    last = x_WLC[:, -1]
    columns = [last, *(last - x_WLC[:, -1 - lag] for lag in LAGS)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice|Degrees of freedom|All-NaN", RuntimeWarning)
        for span in SPANS:
            part = x_WLC[:, -span:]
            columns += [
                np.nanmean(part, axis=1),
                np.nanstd(part, axis=1),
                np.nanmax(part, axis=1) - np.nanmin(part, axis=1),
            ]
    if time_of_day:
        angle = 2 * np.pi * ((windows.windows.end_index + 1) * period_ms % DAY_MS) / DAY_MS
        columns.append(np.stack((np.sin(angle), np.cos(angle)), axis=1).astype(np.float32))
    return np.concatenate(columns, axis=1)


def logistic_regression(fold: Fold, seed: int) -> Prediction:
    """Balanced; on standardised statistics, the mean where one is missing."""
    model = make_pipeline(
        StandardScaler(),
        FunctionTransformer(np.nan_to_num),
        FunctionTransformer(np.clip, kw_args={"a_min": -10.0, "a_max": 10.0}),
        LogisticRegression(C=0.1, class_weight="balanced", max_iter=300, random_state=seed),
    )
    return _tabular(fold, model.fit, lambda x: (model.predict_proba(x), model.classes_))


def lightgbm(fold: Fold, seed: int) -> Prediction:
    """Balanced; it knows itself what to do with what is missing."""
    from lightgbm import LGBMClassifier

    model = LGBMClassifier(
        n_estimators=300,
        learning_rate=0.05,
        min_child_samples=5,
        class_weight="balanced",
        n_jobs=1,
        random_state=seed,
        deterministic=True,
        force_row_wise=True,
        verbosity=-1,
    )
    return _tabular(fold, model.fit, lambda x: (model.predict_proba(x), model.classes_))


def _tabular(fold: Fold, fit: Callable[[Any, Any], Any], predict: Callable[[Any], tuple[Any, Any]]) -> Prediction:
    # The runs of Tennessee Eastman have no dates: theirs would be the time since the run's start.
    time_of_day = fold.problem.data != "tep"

    def features(windows: LabelledWindows) -> Float32:
        return statistics(windows, fold.config.grid.period_ms, time_of_day=time_of_day)

    train, both, k = fold.parts["train"], fold.both(), fold.n_classes
    fit(features(train)[train.labelled], train.label[train.labelled])
    validation = log_probabilities(*predict(features(fold.parts["validation"])), k)
    # Once the decision is fitted, on all blocks but those of the test, as our trees are.
    fit(features(both)[both.labelled], both.label[both.labelled])
    x = features(fold.parts["test"])
    test, known = predict(x)
    return Prediction(validation, log_probabilities(test, known, k), balanced_prior(known, k), {"features": x.shape[1]})
