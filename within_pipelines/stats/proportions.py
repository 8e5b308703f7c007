"""Shares and the difference of two shares."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from within_pipelines.exceptions import SampleError
from within_pipelines.stats.verdict import Estimate


def _check(successes: float, n: float) -> None:
    if not (n > 0 and 0 <= successes <= n):
        raise SampleError(f"{successes} successes of {n}; give n > 0 and successes between 0 and n.")


def wilson_interval(successes: int, n: int, *, level: float = 0.95) -> Estimate:
    """A share with Wilson's score interval (1927), which keeps its coverage near 0 and 1 and for small n.

    Raises `SampleError` unless 0 <= successes <= n and n > 0.

    >>> str(wilson_interval(8, 10))
    '0.800 [0.490, 0.943]'
    """
    _check(successes, n)
    z = NormalDist().inv_cdf((1 + level) / 2)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # Rounding must not push an end past the share itself.
    return Estimate(p, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)), n=n, level=level)


@dataclass(frozen=True, slots=True)
class TwoProportions:
    """Difference of two shares (first minus second) with the pooled z statistic and its two-sided p-value."""

    difference: float
    z: float
    p_value: float
    n_first: int
    n_second: int


def two_proportion_z(successes_first: int, n_first: int, successes_second: int, n_second: int) -> TwoProportions:
    """The pooled two-proportion z test. Both shares 0 or both 1 give z = 0 and p = 1.

    The normal approximation needs about five expected successes and failures in each sample.

    >>> round(two_proportion_z(60, 100, 40, 100).p_value, 4)
    0.0047
    """
    _check(successes_first, n_first)
    _check(successes_second, n_second)
    pooled = (successes_first + successes_second) / (n_first + n_second)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / n_first + 1 / n_second))
    difference = successes_first / n_first - successes_second / n_second
    z = difference / spread if spread > 0 else 0.0
    return TwoProportions(difference, z, math.erfc(abs(z) / math.sqrt(2)), n_first, n_second)
