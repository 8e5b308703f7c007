"""Ratios of sums (clicks per impression, revenue per cost) when units, not events, are independent."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from within_pipelines.exceptions import SampleError
from within_pipelines.stats.permutation import Alternative
from within_pipelines.stats.two_samples import MeanDifference, sample, t_quantile, t_test
from within_pipelines.stats.verdict import Estimate


def _ratio(numerator: ArrayLike, denominator: ArrayLike, name: str) -> tuple[float, float, int]:
    y, x = sample(numerator, f"{name} numerator"), sample(denominator, f"{name} denominator")
    if y.shape != x.shape:
        raise SampleError(f"{name} has {len(y)} numerators and {len(x)} denominators; give one of each per unit.")
    if not x.sum() > 0 or np.any(x < 0):
        raise SampleError(f"{name} denominators sum to {x.sum():g}; give non-negative amounts that are not all 0.")
    value = float(y.sum() / x.sum())
    # Linear in the two means: each unit's share in the error of the ratio.
    influence = (y - value * x) / x.mean()
    return value, float(influence.var(ddof=1)) / len(x), len(x)


def ratio_delta(numerator: ArrayLike, denominator: ArrayLike, *, level: float = 0.95) -> Estimate:
    """sum(numerator) / sum(denominator) with the delta method's interval; one pair of numbers per independent unit.

    Variance: var(y - R x) / (n mean(x)^2) (Deng, Knoblich and Lu, 2018). Counting every impression as independent instead makes the
    interval too narrow as soon as users or accounts differ.

    >>> str(ratio_delta([1.0, 2.0, 3.0, 6.0], [10.0, 10.0, 20.0, 20.0]))
    '0.200 [0.108, 0.292]'
    """
    value, variance, n = _ratio(numerator, denominator, "The ratio's")
    half = t_quantile((1 + level) / 2, math.inf) * math.sqrt(variance)
    return Estimate(value, value - half, value + half, n=n, level=level)


def ratio_difference(
    numerator_first: ArrayLike,
    denominator_first: ArrayLike,
    numerator_second: ArrayLike,
    denominator_second: ArrayLike,
    *,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
) -> MeanDifference:
    """Ratio of the first arm minus ratio of the second, by the delta method; one pair of numbers per independent unit.

    Normal approximation: give at least about 30 units an arm.

    >>> found = ratio_difference([1., 2., 3., 6.], [10., 10., 20., 20.], [1., 1., 2., 3.], [10., 10., 20., 20.])
    >>> round(found.difference.value, 3), round(found.p_value, 3)
    (0.083, 0.092)
    """
    first, of_first, n_first = _ratio(numerator_first, denominator_first, "The first arm's")
    second, of_second, n_second = _ratio(numerator_second, denominator_second, "The second arm's")
    error = math.sqrt(of_first + of_second)
    return t_test(first - second, error, math.inf, n=n_first + n_second, alternative=alternative, level=level)
