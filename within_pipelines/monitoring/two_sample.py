"""Distances between two samples of one number, all from one ordering: Kolmogorov-Smirnov, Cramer-von Mises, Wasserstein."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError
from within_pipelines.monitoring.state import finite_sample

Numbers = NDArray[np.floating[Any]]
# Of the smaller sample one point in so many is looked up first.
_STRIDE = 64


@dataclass(frozen=True, slots=True)
class TwoSample:
    """How two samples of one number differ; p-values are asymptotic and take rows as independent.

    `ks` is the largest difference of the distribution functions (0 to 1). `cvm` is Cramer and von Mises' T with mid-ranks. `wasserstein`
    is the area between the distribution functions in the feature's units, and `wasserstein_sd` the same over the reference's standard
    deviation (0 when that is 0)."""

    ks: float
    ks_p_value: float
    cvm: float
    cvm_p_value: float
    wasserstein: float
    wasserstein_sd: float
    n_reference: int
    n_current: int


def in_order(sample: NDArray[np.floating[Any]]) -> Numbers:
    """A sorted copy; polars' sort of floats takes half of numpy's time."""
    ordered: Numbers = pl.Series(sample).sort().to_numpy()
    return ordered


def ks_of_ordered(ref: Numbers, cur: Numbers) -> float:
    """sup |F_ref - F_cur| of two sorted samples.

    Between two points of `cur` its distribution function is flat and the other one rises, so the largest difference lies at a point of
    `cur` or just before one: two look-ups per point of the smaller sample are enough. Both functions rise, so between two points that were
    looked up the difference is at most the one's end less the other's start: only stretches where that exceeds what was found are looked
    into."""
    if len(ref) < len(cur):
        ref, cur = cur, ref
    n, m = len(ref), len(cur)
    places = np.unique(np.append(np.arange(0, m, _STRIDE), m - 1))
    left, right = _below(ref, cur[places])
    found = max(0, _largest(places, left, right, n, m))
    # In units of 1 / (n m), as in `_largest`: the last place of a stretch with the first place's look-up, and the other way round.
    above, below = places[1:] * n - right[:-1] * m, left[1:] * m - (places[:-1] + 1) * n
    stretches = np.flatnonzero((np.maximum(above, below) > found) & (np.diff(places) > 1))
    inside = places[stretches, None] + np.arange(1, _STRIDE)
    inside = inside[inside < places[stretches + 1, None]]
    if len(inside):
        found = max(found, _largest(inside, *_below(ref, cur[inside]), n, m))
    return found / (n * m)


def _below(ref: Numbers, points: Numbers) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """How many values of the sorted `ref` are below each of the sorted `points`, and how many at most it."""
    left = np.searchsorted(ref, points, side="left")
    # Only points that the other sample has as well lie elsewhere when seen from the right.
    right = left.copy()
    tied = np.flatnonzero(ref[np.minimum(left, len(ref) - 1)] == points)
    right[tied] = np.searchsorted(ref, points[tied], side="right")
    return left, right


def _largest(places: NDArray[np.intp], left: NDArray[np.intp], right: NDArray[np.intp], n: int, m: int) -> int:
    """The largest difference at or just before the points at `places` of the smaller sample, in units of 1 / (n m): whole numbers."""
    return max(int((places * n - right * m).max()) + n, int((left * m - places * n).max()))


def ks_p_value(distance: float, n: int, m: int) -> float:
    """P(distance or more) for independent rows of one continuous distribution: the one-sample law at n m / (n + m), as scipy's
    asymptotic form."""
    from scipy.stats import kstwo

    return float(np.clip(kstwo.sf(distance, max(1, round(n * m / (n + m)))), 0.0, 1.0))


def ks_detectable(alpha: float, n: int, m: int) -> float:
    """The smallest distance that is significant at `alpha` for independent rows, from the law's tail 2 exp(-2 d^2 n m / (n + m)).

    >>> round(ks_detectable(0.05, 1000, 1000), 4)
    0.0607
    """
    return math.sqrt(math.log(2 / alpha) * (n + m) / (2 * n * m))


def cramer_von_mises_limit(x: float) -> float:
    """P(W^2 <= x) of the limiting law, by the series of Csorgo and Faraway (1996, equation 1.2).

    >>> round(cramer_von_mises_limit(0.46136), 4)
    0.95
    """
    from scipy.special import gammaln, kv

    if x <= 0:
        return 0.0
    k = np.arange(40)
    argument = (4 * k + 1) ** 2 / (16 * x)
    with np.errstate(under="ignore"):
        terms = np.exp(gammaln(k + 0.5) - gammaln(k + 1) - argument) * np.sqrt(4 * k + 1) * kv(0.25, argument)
    return float(np.clip(terms.sum() / (math.pi**1.5 * math.sqrt(x)), 0.0, 1.0))


def _cramer_von_mises(first: Numbers, second: Numbers, n: int, m: int) -> tuple[float, float]:
    """T and its p-value from mid-ranks of the two ordered samples in the pooled one (Anderson, 1962)."""
    total, product = n + m, n * m
    u = n * float(np.sum((first - np.arange(1, n + 1)) ** 2)) + m * float(np.sum((second - np.arange(1, m + 1)) ** 2))
    statistic = u / (product * total) - (4 * product - 1) / (6 * total)
    mean = (1 + 1 / total) / 6
    variance = (total + 1) * (4 * product * total - 3 * (n**2 + m**2) - 2 * product) / (45 * total**2 * 4 * product)
    standard = 1 / 6 + (statistic - mean) / math.sqrt(45 * variance)
    # Below .003 the series loses its digits and the p-value is 1 to 12 of them.
    return statistic, 1.0 if standard < 0.003 else max(0.0, 1.0 - cramer_von_mises_limit(standard))


def compare_ordered(ref: Numbers, cur: Numbers) -> TwoSample:
    """All distances of two sorted samples."""
    n, m = len(ref), len(cur)
    left, right = np.searchsorted(ref, cur, side="left"), np.searchsorted(ref, cur, side="right")
    at = np.arange(m)
    ks = max(0.0, float(((at + 1) / m - right / n).max()), float((left / n - at / m).max()))
    # Mid-rank in the pooled sample: values below, and the middle of those that are equal.
    other_left, other_right = np.searchsorted(cur, ref, side="left"), np.searchsorted(cur, ref, side="right")
    own = _tied_ranks(ref)
    first = own + (other_left + other_right) / 2
    second = _tied_ranks(cur) + (left + right) / 2
    cvm, cvm_p = _cramer_von_mises(first, second, n, m)
    pooled = np.sort(np.concatenate([ref, cur]), kind="stable")
    steps = np.diff(pooled.astype(np.float64))
    gap = np.searchsorted(ref, pooled[:-1], side="right") / n - np.searchsorted(cur, pooled[:-1], side="right") / m
    area = float(np.sum(np.abs(gap) * steps))
    spread = float(np.std(ref, dtype=np.float64))
    return TwoSample(ks, ks_p_value(ks, n, m), cvm, cvm_p, area, area / spread if spread > 0 else 0.0, n, m)


def _tied_ranks(ordered: Numbers) -> NDArray[np.float64]:
    """Mid-ranks within one sorted sample."""
    n = len(ordered)
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    if len(starts) == n:
        return np.arange(1, n + 1, dtype=np.float64)
    counts = np.diff(np.r_[starts, n])
    ranks: NDArray[np.float64] = np.repeat(starts + (counts + 1) / 2, counts)
    return ranks


def two_sample(reference: ArrayLike, current: ArrayLike) -> TwoSample:
    """Compare two samples of one number by three distances at once. For clustered rows use `table_drift`.

    Statistics equal scipy's `ks_2samp(method="asymp")`, `cramervonmises_2samp(method="asymptotic")` and `wasserstein_distance`.

    Raises `SampleError` when a sample is empty or not finite, or holds a single value where two are needed.

    >>> found = two_sample([1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0])
    >>> found.ks, found.wasserstein
    (0.5, 2.0)
    """
    ref, cur = finite_sample(reference, "reference"), finite_sample(current, "current")
    if len(ref) < 2 or len(cur) < 2:
        raise SampleError(f"{len(ref)} reference and {len(cur)} current values; a comparison of distributions needs two of each.")
    return compare_ordered(np.sort(ref), np.sort(cur))
