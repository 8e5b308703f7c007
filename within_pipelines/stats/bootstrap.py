"""Intervals by resampling whole clusters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError
from within_pipelines.stats.verdict import Estimate

# A statistic such as AUROC is undefined on a resample with one class. A few such draws are left out; more would bias the interval.
MOST_UNDEFINED = 0.05
# Weights of this many (resample, cluster) pairs are drawn at once, so that memory stays near 64 MB whatever the sizes are.
BLOCK = 8_000_000


@dataclass(frozen=True, slots=True)
class _Clusters:
    order: NDArray[np.int64]  # row numbers, the rows of one cluster side by side
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @property
    def count(self) -> int:
        return len(self.sizes)


def _clusters(labels: ArrayLike) -> _Clusters:
    array = np.asarray(labels)
    if array.ndim != 1 or len(array) == 0:
        raise SampleError(f"clusters has shape {array.shape}; give one label per row, at least one row.")
    _, codes = np.unique(array, return_inverse=True)
    sizes = np.bincount(codes)
    if len(sizes) < 2:
        raise SampleError("clusters holds one label only; an interval needs at least two independent clusters.")
    return _Clusters(np.argsort(codes, kind="stable"), np.cumsum(sizes) - sizes, sizes)


def _check(n_resamples: int, level: float) -> None:
    if n_resamples < 100:
        raise SampleError(f"n_resamples is {n_resamples}; give at least 100, because fewer leave the interval's ends to chance.")
    if not 0 < level < 1:
        raise SampleError(f"level is {level}; give a confidence level between 0 and 1.")


def resampled_rows(clusters: ArrayLike, *, rng: np.random.Generator, n_resamples: int = 1000) -> Iterator[NDArray[np.int64]]:
    """Row numbers of `n_resamples` bootstrap samples, each made of whole clusters drawn with replacement.

    >>> rows = next(resampled_rows(["a", "a", "b"], rng=np.random.default_rng(1)))
    >>> sorted(set(rows.tolist())) in ([0, 1], [2], [0, 1, 2])
    True
    """
    found = _clusters(clusters)
    for _ in range(n_resamples):
        drawn = rng.integers(found.count, size=found.count)
        sizes = found.sizes[drawn]
        ends = np.cumsum(sizes)
        within = np.arange(ends[-1]) - np.repeat(ends - sizes, sizes)
        yield found.order[np.repeat(found.starts[drawn], sizes) + within]


def _interval(value: float, draws: NDArray[np.float64], n_clusters: int, level: float) -> Estimate:
    """The expanded percentile interval of Hesterberg (2015): percentiles widened from normal to t quantiles, and by sqrt(G / (G - 1)).

    The plain percentile interval is too narrow for few clusters G, by about the same factor as a z interval beside a t interval."""
    from scipy.special import stdtrit

    wide = math.sqrt(n_clusters / (n_clusters - 1)) * float(stdtrit(n_clusters - 1, (1 + level) / 2))
    tail = NormalDist().cdf(-wide)
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Estimate(value, min(float(low), value), max(float(high), value), n=n_clusters, level=level)


def cluster_bootstrap(
    statistic: Callable[[NDArray[np.int64]], float],
    clusters: ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = 1000,
    level: float = 0.95,
) -> Estimate:
    """The statistic of all rows with its interval from resampling whole clusters.

    `statistic` takes an array of row numbers (repeated where a cluster was drawn twice) and returns one number; `clusters` holds one
    label per row. `n` of the answer is the number of clusters. The interval is the percentile interval, widened for few clusters
    (Hesterberg, "What Teachers Should Know about the Bootstrap", 2015). For means, `cluster_mean` is the same and much faster.

    Raises `SampleError` with fewer than two clusters, fewer than 100 resamples, a statistic that is not finite on all rows, or one that
    is undefined on more than 5 % of the resamples.

    >>> values = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    >>> estimate = cluster_bootstrap(lambda rows: float(values[rows].mean()), ["a", "a", "b", "b", "c", "c"], rng=np.random.default_rng(7))
    >>> estimate.value, estimate.n, estimate.low < 3.5 < estimate.high
    (3.5, 3, True)
    """
    _check(n_resamples, level)
    found = _clusters(clusters)
    value = float(statistic(np.arange(len(found.order))))
    if not math.isfinite(value):
        raise SampleError(f"The statistic of all {len(found.order)} rows is {value}; look for missing values or a class that never occurs.")
    draws = np.array([float(statistic(rows)) for rows in resampled_rows(clusters, rng=rng, n_resamples=n_resamples)])
    defined = draws[np.isfinite(draws)]
    if len(defined) < (1 - MOST_UNDEFINED) * n_resamples:
        raise SampleError(
            f"The statistic is undefined on {n_resamples - len(defined)} of {n_resamples} resamples of {found.count} clusters; "
            "the sample is too small for an interval."
        )
    return _interval(value, defined, found.count, level)


def cluster_mean(
    values: ArrayLike,
    clusters: ArrayLike,
    *,
    rng: np.random.Generator,
    weights: ArrayLike | None = None,
    n_resamples: int = 1000,
    level: float = 0.95,
) -> Estimate:
    """The (weighted) mean of `values` with an interval from resampling whole clusters; vectorised.

    A cluster's rows enter only through its weighted sum and its weight, so a resample costs one product per cluster, not per row.

    Raises `SampleError` when values or weights are not finite, weights are negative or sum to 0, or lengths differ.

    >>> str(cluster_mean([1.0, 1.0, 1.0], ["a", "b", "c"], rng=np.random.default_rng(7)))
    '1.000 [1.000, 1.000]'
    """
    _check(n_resamples, level)
    y = np.asarray(values, dtype=np.float64)
    w = np.ones_like(y) if weights is None else np.asarray(weights, dtype=np.float64)
    found = _clusters(clusters)
    if y.shape != (len(found.order),) or w.shape != y.shape:
        raise SampleError(f"values, weights, clusters have shapes {y.shape}, {w.shape}, {(len(found.order),)}; give one of each per row.")
    if bad := int(np.sum(~np.isfinite(y)) + np.sum(~np.isfinite(w))):
        raise SampleError(f"{bad} of {2 * len(y)} values and weights are not finite; impute or drop those rows first.")
    if np.any(w < 0) or w.sum() <= 0:
        raise SampleError(f"weights are negative in {int(np.sum(w < 0))} rows and sum to {w.sum():g}; give non-negative weights.")
    sums = np.add.reduceat((w * y)[found.order], found.starts)
    totals = np.add.reduceat(w[found.order], found.starts)
    draws: list[NDArray[np.float64]] = []
    left = n_resamples
    equal = np.full(found.count, 1 / found.count)
    while left:
        counts = rng.multinomial(found.count, equal, size=min(left, max(1, BLOCK // found.count))).astype(np.float64)
        left -= len(counts)
        below = counts @ totals
        draws.append((counts @ sums)[below > 0] / below[below > 0])
    defined = np.concatenate(draws)
    if len(defined) < (1 - MOST_UNDEFINED) * n_resamples:
        raise SampleError(f"The weights sum to 0 in {n_resamples - len(defined)} of {n_resamples} resamples; too few clusters have weight.")
    return _interval(float(np.sum(w * y) / np.sum(w)), defined, found.count, level)


def paired_difference(
    candidate: ArrayLike,
    baseline: ArrayLike,
    clusters: ArrayLike,
    *,
    rng: np.random.Generator,
    weights: ArrayLike | None = None,
    n_resamples: int = 1000,
    level: float = 0.95,
) -> Estimate:
    """The mean of `candidate - baseline` over the same rows with a cluster bootstrap interval.

    Pairing removes what both share (a hard row is hard for both), so the interval is narrower than that of two separate means.

    >>> noise = np.random.default_rng(0).normal(size=50)
    >>> str(paired_difference(noise + 0.5, noise, np.arange(50), rng=np.random.default_rng(7)))
    '0.500 [0.500, 0.500]'
    """
    a, b = np.asarray(candidate, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if a.shape != b.shape:
        raise SampleError(f"candidate and baseline have shapes {a.shape} and {b.shape}; a paired difference needs the same rows in both.")
    return cluster_mean(a - b, clusters, rng=rng, weights=weights, n_resamples=n_resamples, level=level)
