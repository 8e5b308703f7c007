"""The largest distance between two distribution functions, tested so that clusters count once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError
from within_pipelines.monitoring.state import DriftState, finite_sample

# Signs of fewer clusters cannot reach small p-values: the smallest is 2 / 2^clusters.
FEWEST_CLUSTERS = 8
# The clustered null is evaluated at this many points; finer ones move the supremum by less than 1/GRID.
GRID = 256
# Distances below this are rounding of 0.
ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class KolmogorovSmirnov:
    """How far one feature's distribution moved between two samples.

    `distance` is the largest difference of the distribution functions, 0 to 1, over rows. `detectable` is the smallest distance that
    would be significant at `alpha`. `n_units` counts what is independent: clusters where they are given, else rows of both samples."""

    distance: float
    p_value: float
    detectable: float
    alpha: float
    minimum_effect: float
    n_reference: int
    n_current: int
    n_units: int

    @property
    def state(self) -> DriftState:
        """Drifted when the distance is significant and matters; insufficient when a distance that matters could be chance."""
        return judge_distance(self.distance, self.p_value, self.detectable, self.alpha, self.minimum_effect)

    @property
    def drifted(self) -> bool:
        """True only for `DriftState.DRIFTED`."""
        return self.state is DriftState.DRIFTED


def judge_distance(distance: float, p_value: float, detectable: float, alpha: float, minimum_effect: float) -> DriftState:
    """The rule of all two-sample detectors here; `p_value` may be adjusted for many tests.

    >>> judge_distance(0.2, 0.3, 0.25, 0.05, 0.1).value
    'insufficient'
    """
    if p_value <= alpha and distance >= minimum_effect:
        return DriftState.DRIFTED
    if detectable > minimum_effect or distance >= minimum_effect:
        return DriftState.INSUFFICIENT
    return DriftState.STABLE


def kolmogorov_smirnov_distance(reference: ArrayLike, current: ArrayLike) -> float:
    """sup over x of |F_reference(x) - F_current(x)|: 0 when the samples agree, 1 when they do not overlap.

    >>> kolmogorov_smirnov_distance([1, 2, 3, 4], [3, 4, 5, 6])
    0.5
    """
    ref, cur = np.sort(finite_sample(reference, "reference")), np.sort(finite_sample(current, "current"))
    pooled = np.concatenate([ref, cur])
    below = np.searchsorted(ref, pooled, side="right") / len(ref) - np.searchsorted(cur, pooled, side="right") / len(cur)
    return float(np.max(np.abs(below)))


def _independent(distance: float, n: int, m: int, alpha: float) -> tuple[float, float]:
    """p-value and detectable distance for independent rows: the one-sample distribution at n m / (n + m), as scipy's asymptotic form."""
    from scipy.stats import kstwo

    effective = max(1, round(n * m / (n + m)))
    return float(np.clip(kstwo.sf(distance, effective), 0.0, 1.0)), float(kstwo.isf(alpha, effective))


def sign_flip_null(influence: NDArray[np.float64], *, rng: np.random.Generator, n_permutations: int) -> NDArray[np.float64]:
    """max |sum over clusters of +-influence| for random signs; influence has a row per cluster and a column per point.

    A cluster that says "moved up" would as likely have said "moved down" had nothing happened, whatever makes its rows alike."""
    null = np.empty(n_permutations)
    block = max(1, 4_000_000 // max(1, influence.shape[0] + influence.shape[1]))
    for start in range(0, n_permutations, block):
        size = min(block, n_permutations - start)
        signs = rng.integers(0, 2, size=(size, influence.shape[0])) * 2.0 - 1.0
        null[start : start + size] = np.max(np.abs(signs @ influence), axis=1)
    return null


def cluster_influence(
    values: NDArray[np.float64],
    is_current: NDArray[np.bool_],
    codes: NDArray[np.int64],
) -> NDArray[np.float64]:
    """What each cluster adds to F_current - F_reference, centred at the pooled F, so that the rows sum to the difference itself.

    The points are a grid of pooled quantiles; of a flag (0 or 1), its one informative point."""
    weight = np.where(is_current, 1 / is_current.sum(), -1 / (~is_current).sum())
    n_clusters = int(codes.max()) + 1
    # Of the pooled sample as it is, not of its distinct values: a value that many rows share is one point.
    points = np.unique(np.quantile(values, np.linspace(0, 1, GRID + 1), method="inverted_cdf"))
    cell = codes * len(points) + np.searchsorted(points, values, side="left")
    sums = np.bincount(cell, weights=weight, minlength=n_clusters * len(points)).reshape(n_clusters, len(points)).cumsum(axis=1)
    pooled = np.searchsorted(np.sort(values), points, side="right") / len(values)
    influence: NDArray[np.float64] = sums - np.bincount(codes, weights=weight, minlength=n_clusters)[:, None] * pooled
    return influence


def clustered_test(influence: NDArray[np.float64], *, alpha: float, rng: np.random.Generator, n_permutations: int) -> tuple[float, float]:
    """p-value (with the +1 correction) and detectable size of max |sum of influence| under random signs of clusters."""
    observed = float(np.max(np.abs(influence.sum(axis=0))))
    null = sign_flip_null(influence, rng=rng, n_permutations=n_permutations)
    p_value = (1 + int(np.sum(null >= observed - ROUNDING))) / (1 + n_permutations)
    return p_value, float(np.quantile(null, 1 - alpha))


def kolmogorov_smirnov(
    reference: ArrayLike,
    current: ArrayLike,
    *,
    rng: np.random.Generator | None = None,
    reference_clusters: ArrayLike | None = None,
    current_clusters: ArrayLike | None = None,
    alpha: float = 0.05,
    minimum_effect: float = 0.1,
    n_permutations: int = 999,
) -> KolmogorovSmirnov:
    """The two-sample Kolmogorov-Smirnov test with a minimum effect and, for rows that come in clusters, a clustered null.

    Without clusters rows count as independent and the p-value is the asymptotic one. With clusters (accounts, say; the same cluster may
    occur in both samples) each cluster's contribution to the difference gets a random sign: rows of one cluster stay together, so a
    thousand rows of eight accounts count as eight. Fewer than 8 clusters
    are insufficient, because their signs cannot reach a small p-value.

    Raises `SampleError` when a sample is empty or not finite, when only one of the cluster arrays or no `rng` comes with clusters.

    >>> x = np.linspace(0, 1, 1000)
    >>> kolmogorov_smirnov(x, x).state.value, kolmogorov_smirnov(x, x + 5).state.value
    ('stable', 'drifted')
    """
    if not 0 < alpha < 1 or not 0 <= minimum_effect < 1:
        raise SampleError(f"alpha is {alpha} and minimum_effect {minimum_effect}; give 0 < alpha < 1 and 0 <= minimum_effect < 1.")
    ref, cur = finite_sample(reference, "reference"), finite_sample(current, "current")
    distance = kolmogorov_smirnov_distance(ref, cur)
    if reference_clusters is None and current_clusters is None:
        p_value, detectable = _independent(distance, len(ref), len(cur), alpha)
        return KolmogorovSmirnov(distance, p_value, detectable, alpha, minimum_effect, len(ref), len(cur), len(ref) + len(cur))
    if reference_clusters is None or current_clusters is None or rng is None:
        raise SampleError("Clusters need all three: reference_clusters, current_clusters and rng.")
    first, second = np.asarray(reference_clusters), np.asarray(current_clusters)
    if first.shape != ref.shape or second.shape != cur.shape:
        raise SampleError(f"Cluster labels have shapes {first.shape} and {second.shape}, values {ref.shape} and {cur.shape}.")
    _, codes = np.unique(np.concatenate([first, second]), return_inverse=True)
    n_clusters = int(codes.max()) + 1
    is_current = np.arange(len(codes)) >= len(ref)
    influence = cluster_influence(np.concatenate([ref, cur]), is_current, codes)
    p_value, detectable = clustered_test(influence, alpha=alpha, rng=rng, n_permutations=n_permutations)
    if n_clusters < FEWEST_CLUSTERS:
        p_value, detectable = 1.0, math.inf
    return KolmogorovSmirnov(distance, p_value, detectable, alpha, minimum_effect, len(ref), len(cur), n_clusters)
