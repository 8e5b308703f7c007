"""Direct loss estimation for two windows at once: what each row's loss is expected to be, by regressions that have not seen its account."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError
from within_pipelines.monitoring.performance_estimate import LossRegression

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DirectLoss:
    """Estimated loss of each row of the reference and of the window, in units of the loss."""

    reference: Floats
    current: Floats
    n_folds: int


def direct_loss(
    features: Floats,
    prediction: ArrayLike,
    loss: ArrayLike,
    new_features: Floats,
    new_prediction: ArrayLike,
    *,
    rng: np.random.Generator,
    clusters: ArrayLike,
    n_folds: int = 3,
) -> DirectLoss:
    """Estimate the loss of new rows, and of the reference's own rows as if they were new.

    Whole clusters go to one fold; a reference row is estimated by the regression of the other folds, a new row by the mean of all. Were
    reference rows estimated by a regression that was fitted on them, their loss would seem better known than that of new rows, and every
    day would look like drift. Trees do not extrapolate: where inputs leave the range of the reference, the estimate follows part of the
    way.

    Raises `SampleError` when there are fewer clusters than folds, or a fold leaves fewer than 50 rows to learn from.

    >>> rng = np.random.default_rng(7)
    >>> x = rng.normal(size=(600, 1))
    >>> loss = np.abs(x[:, 0]) * rng.random(600)
    >>> found = direct_loss(x, x[:, 0], loss, 2 * x, 2 * x[:, 0], rng=rng, clusters=np.arange(600))
    >>> bool(abs(found.reference.mean() - loss.mean()) < 0.02), bool(found.current.mean() > 1.2 * loss.mean())
    (True, True)
    """
    said, target = np.asarray(prediction, dtype=np.float64), np.asarray(loss, dtype=np.float64)
    names, codes = np.unique(np.asarray(clusters), return_inverse=True)
    if len(names) < n_folds:
        raise SampleError(f"{len(names)} accounts cannot be dealt into {n_folds} folds.")
    fold = (rng.permutation(len(names)) % n_folds)[codes]
    own, new = np.empty(len(target)), np.zeros(len(new_features))
    for k in range(n_folds):
        seen, held = fold != k, fold == k
        fitted = LossRegression(seed=int(rng.integers(2**31))).fit(features[seen], said[seen], target[seen])
        own[held] = fitted.rows(features[held], said[held])
        if len(new):
            new += fitted.rows(new_features, new_prediction) / n_folds
    return DirectLoss(own, new, n_folds)
