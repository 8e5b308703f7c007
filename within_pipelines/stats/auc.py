"""The area under the ROC curve with its variance, for one model and for two on the same rows."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError
from within_pipelines.stats.two_samples import MeanDifference, sample, t_quantile, t_test
from within_pipelines.stats.verdict import Estimate


def _midranks(x: NDArray[np.float64]) -> NDArray[np.float64]:
    _, codes, counts = np.unique(x, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    midranks: NDArray[np.float64] = (ends - (counts - 1) / 2)[codes]
    return midranks


def _placements(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """AUC, and each row's share of the other class that it is ordered rightly against (ties count half)."""
    m, n = int(positive.sum()), int((~positive).sum())
    ranks = _midranks(scores)
    of_positives = (ranks[positive] - _midranks(scores[positive])) / n
    of_negatives = 1 - (ranks[~positive] - _midranks(scores[~positive])) / m
    return float(of_positives.mean()), of_positives, of_negatives


def _labels(labels: ArrayLike, length: int) -> NDArray[np.bool_]:
    y = np.asarray(labels)
    if y.shape != (length,) or not np.isin(y, (0, 1)).all():
        raise SampleError(f"labels has shape {y.shape}; give one 0 or 1 for each of the {length} scores.")
    positive = y.astype(np.bool_)
    if min(int(positive.sum()), int((~positive).sum())) < 2:
        raise SampleError(f"{int(positive.sum())} of {length} labels are 1; the variance of AUC needs two rows of each class.")
    return positive


def auc_delong(scores: ArrayLike, labels: ArrayLike, *, level: float = 0.95) -> Estimate:
    """AUC with DeLong's interval (1988) on the logit scale, so that it stays inside (0, 1); rows must be independent.

    At an AUC of exactly 0 or 1 the variance is 0 and the interval says nothing; it is then [value, value].

    >>> str(auc_delong([0.1, 0.4, 0.35, 0.8, 0.7, 0.2], [0, 0, 1, 1, 1, 0]))
    '0.889 [0.261, 0.995]'
    """
    x = sample(scores, "scores")
    positive = _labels(labels, len(x))
    auc, v10, v01 = _placements(x, positive)
    error = math.sqrt(v10.var(ddof=1) / len(v10) + v01.var(ddof=1) / len(v01))
    if error == 0 or auc in (0.0, 1.0):
        return Estimate(auc, auc, auc, n=len(x), level=level)
    logit, half = math.log(auc / (1 - auc)), t_quantile((1 + level) / 2, math.inf) * error / (auc * (1 - auc))
    return Estimate(auc, 1 / (1 + math.exp(half - logit)), 1 / (1 + math.exp(-half - logit)), n=len(x), level=level)


def delong_test(first: ArrayLike, second: ArrayLike, labels: ArrayLike, *, level: float = 0.95) -> MeanDifference:
    """AUC of the first model minus that of the second on the same rows, with the test of DeLong, DeLong and Clarke-Pearson (1988).

    The variance comes from each row's placement under both models, computed from midranks in O(n log n) (Sun and Xu, 2014). Rows must be
    independent; for rows in clusters use `cluster_bootstrap`.

    Raises `SampleError` when lengths differ, labels are not 0 and 1, or a class has fewer than two rows.

    >>> found = delong_test([.1, .4, .35, .8, .7, .2], [.3, .2, .6, .5, .1, .4], [0, 0, 1, 1, 1, 0])
    >>> round(found.difference.value, 3), round(found.p_value, 3)
    (0.222, 0.593)
    """
    a, b = sample(first, "first"), sample(second, "second")
    if a.shape != b.shape:
        raise SampleError(f"first and second have {len(a)} and {len(b)} scores; a paired test needs the same rows in both.")
    positive = _labels(labels, len(a))
    auc_a, a10, a01 = _placements(a, positive)
    auc_b, b10, b01 = _placements(b, positive)
    variance = (a10 - b10).var(ddof=1) / len(a10) + (a01 - b01).var(ddof=1) / len(a01)
    return t_test(auc_a - auc_b, math.sqrt(variance), math.inf, n=len(a), alternative="two-sided", level=level)
