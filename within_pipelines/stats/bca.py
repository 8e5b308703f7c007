"""The bias-corrected and accelerated bootstrap, by rows or by whole clusters."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError
from within_pipelines.stats.bootstrap import MOST_UNDEFINED, resampled_rows
from within_pipelines.stats.verdict import Estimate


def bca_ends(value: float, draws: ArrayLike, left_out: ArrayLike, *, level: float = 0.95) -> tuple[float, float]:
    """Both ends from the bootstrap `draws` and the jackknife values `left_out` (one unit left out each) (Efron, 1987).

    z0 = quantile of the share of draws below the value (ties count half); a = sum(d^3) / (6 sum(d^2)^1.5) with d = mean - left_out; the
    ends are the draws' quantiles at Phi(z0 + (z0 + z) / (1 - a (z0 + z))).

    Raises `SampleError` when every draw lies on one side of the value: then no correction exists."""
    from scipy.special import ndtr, ndtri

    sample, jackknife = np.asarray(draws, dtype=np.float64), np.asarray(left_out, dtype=np.float64)
    share = (float(np.mean(sample < value)) + float(np.mean(sample <= value))) / 2
    if not 0 < share < 1:
        raise SampleError(f"All {len(sample)} resamples lie on one side of the statistic {value:g}; a BCa interval does not exist.")
    z0 = float(ndtri(share))
    d = jackknife.mean() - jackknife
    spread = float(np.sum(d**2))
    acceleration = float(np.sum(d**3)) / (6 * spread**1.5) if spread > 0 else 0.0
    tails = []
    for probability in ((1 - level) / 2, (1 + level) / 2):
        z = z0 + float(ndtri(probability))
        tails.append(float(ndtr(z0 + z / (1 - acceleration * z))))
    low, high = np.quantile(sample, tails)
    return float(low), float(high)


def bca_bootstrap(
    statistic: Callable[[NDArray[np.int64]], float],
    clusters: ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = 2000,
    level: float = 0.95,
) -> Estimate:
    """The statistic of all rows with its BCa interval from resampling whole clusters; for independent rows give each its own label.

    Second-order correct for skewed statistics (ratios, quantiles), where `cluster_bootstrap`'s percentile interval sits off centre; that
    one is wider for few clusters, so prefer it below about 20.

    Raises `SampleError` for fewer than two clusters or 1000 resamples, and when the statistic is not finite on all rows or on more than
    5 % of the resamples.

    >>> x = np.random.default_rng(1).exponential(size=60)
    >>> found = bca_bootstrap(lambda rows: float(x[rows].mean()), np.arange(60), rng=np.random.default_rng(7))
    >>> found.low < x.mean() < found.high, found.high - x.mean() > x.mean() - found.low
    (True, True)
    """
    if n_resamples < 1000 or not 0 < level < 1:
        raise SampleError(f"n_resamples is {n_resamples} and level {level}; BCa reads far tails: give >= 1000 and a level in (0, 1).")
    draws = np.array([float(statistic(rows)) for rows in resampled_rows(clusters, rng=rng, n_resamples=n_resamples)])
    _, codes = np.unique(np.asarray(clusters), return_inverse=True)
    value = float(statistic(np.arange(len(codes))))
    left_out = np.array([float(statistic(np.flatnonzero(codes != cluster))) for cluster in range(int(codes.max()) + 1)])
    defined = draws[np.isfinite(draws)]
    if not math.isfinite(value) or not np.isfinite(left_out).all() or len(defined) < (1 - MOST_UNDEFINED) * n_resamples:
        raise SampleError(
            f"The statistic is {value} on all rows and undefined on {n_resamples - len(defined)} of {n_resamples} resamples; "
            "the sample is too small for an interval."
        )
    if np.ptp(defined) == 0:
        return Estimate(value, value, value, n=len(left_out), level=level)
    low, high = bca_ends(value, defined, left_out, level=level)
    return Estimate(value, min(low, value), max(high, value), n=len(left_out), level=level)
