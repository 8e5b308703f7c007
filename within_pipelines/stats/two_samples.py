"""The difference of two means: of two samples, or of the same units measured twice."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError
from within_pipelines.stats.permutation import Alternative, PermutationTest, permutation_p_value
from within_pipelines.stats.verdict import Estimate


@dataclass(frozen=True, slots=True)
class MeanDifference:
    """A difference with its interval, standard error, t statistic, degrees of freedom and p-value.

    Degrees of freedom are infinite where the reference is the normal distribution."""

    difference: Estimate
    standard_error: float
    statistic: float
    degrees_of_freedom: float
    p_value: float


def sample(values: ArrayLike, name: str, *, minimum: int = 2) -> NDArray[np.float64]:
    """`values` as a flat array of finite numbers.

    Raises `SampleError` that names the sample when it is not one or has fewer than `minimum` values."""
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or len(x) < minimum:
        raise SampleError(f"{name} has shape {x.shape}; give a flat list of at least {minimum} numbers.")
    if bad := int(np.sum(~np.isfinite(x))):
        raise SampleError(f"{name} holds {bad} of {len(x)} values that are not finite; impute or drop them first.")
    return x


def t_tail(statistic: float, df: float, alternative: Alternative) -> float:
    """The p-value of a t statistic; infinite `df` means the normal distribution."""
    from scipy.special import ndtr, stdtr

    def below(t: float) -> float:
        return float(ndtr(t)) if math.isinf(df) else float(stdtr(df, t))

    if alternative == "two-sided":
        return 2 * below(-abs(statistic))
    return below(-statistic) if alternative == "greater" else below(statistic)


def t_quantile(probability: float, df: float) -> float:
    """The quantile of the t distribution; infinite `df` means the normal distribution."""
    from scipy.special import ndtri, stdtrit

    return float(ndtri(probability)) if math.isinf(df) else float(stdtrit(df, probability))


def t_test(difference: float, standard_error: float, df: float, *, n: int, alternative: Alternative, level: float) -> MeanDifference:
    """The t test of a difference with known standard error and degrees of freedom, and its two-sided interval.

    A standard error of 0 gives p = 1 for a difference of 0 and p = 0 for any other in the tested direction.

    >>> t_test(1.96, 1.0, math.inf, n=100, alternative="two-sided", level=0.95).difference.low < 0.01
    True
    """
    if not 0 < level < 1:
        raise SampleError(f"level is {level}; give a confidence level between 0 and 1.")
    half = t_quantile((1 + level) / 2, df) * standard_error
    if standard_error > 0:
        statistic = difference / standard_error
    else:
        statistic = math.copysign(math.inf, difference) if difference else 0.0
    interval = Estimate(difference, difference - half, difference + half, n=n, level=level)
    return MeanDifference(interval, standard_error, statistic, df, t_tail(statistic, df, alternative))


def welch_t(first: ArrayLike, second: ArrayLike, *, alternative: Alternative = "two-sided", level: float = 0.95) -> MeanDifference:
    """Mean of the first sample minus mean of the second, variances not assumed equal (Welch, 1947).

    t = (m1 - m2) / sqrt(s1^2 / n1 + s2^2 / n2) with Satterthwaite's degrees of freedom. Rows must be independent.

    Raises `SampleError` for fewer than two values in a sample or values that are not finite.

    >>> found = welch_t([1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 6.0])
    >>> str(found.difference), round(found.p_value, 3)
    ('-1.500 [-5.542, 2.542]', 0.334)
    """
    a, b = sample(first, "first"), sample(second, "second")
    va, vb = float(a.var(ddof=1)) / len(a), float(b.var(ddof=1)) / len(b)
    total = va + vb
    df = total**2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1)) if total > 0 else float(len(a) + len(b) - 2)
    return t_test(float(a.mean() - b.mean()), math.sqrt(total), df, n=len(a) + len(b), alternative=alternative, level=level)


def paired_t(first: ArrayLike, second: ArrayLike, *, alternative: Alternative = "two-sided", level: float = 0.95) -> MeanDifference:
    """The mean of `first - second` over the same independent units (Student, 1908); for rows in clusters use `paired_difference`.

    Raises `SampleError` when the two have different lengths, fewer than two values, or values that are not finite.

    >>> found = paired_t([2.0, 3.0, 5.0], [1.0, 1.0, 2.0])
    >>> round(found.statistic, 3), found.degrees_of_freedom
    (3.464, 2)
    """
    a, b = sample(first, "first"), sample(second, "second")
    if a.shape != b.shape:
        raise SampleError(f"first and second have {len(a)} and {len(b)} values; a paired test needs the same units in both.")
    d = a - b
    return t_test(float(d.mean()), float(d.std(ddof=1)) / math.sqrt(len(d)), len(d) - 1, n=len(d), alternative=alternative, level=level)


def sign_flip_permutation(
    differences: ArrayLike,
    *,
    rng: np.random.Generator,
    clusters: ArrayLike | None = None,
    n_permutations: int = 999,
    alternative: Literal["greater", "less", "two-sided"] = "two-sided",
) -> PermutationTest:
    """The mean of paired differences against a world in which each cluster's differences might as well have the other sign (Fisher, 1935).

    Exact when, without an effect, the two measurements of a cluster could be exchanged. `n_units` is the number of clusters.

    Raises `SampleError` for fewer than two rows, rows that are not finite, or another number of cluster labels.

    >>> test = sign_flip_permutation([0.4, 0.6, 0.5, 0.7, 0.5, 0.3, 0.8, 0.6], rng=np.random.default_rng(7))
    >>> test.p_value < 0.05
    True
    """
    d = sample(differences, "differences")
    labels = np.arange(len(d)) if clusters is None else np.asarray(clusters)
    if labels.shape != d.shape:
        raise SampleError(f"differences and clusters have shapes {d.shape} and {labels.shape}; give one label per row.")
    _, codes = np.unique(labels, return_inverse=True)
    sums = np.bincount(codes, weights=d)
    signs = rng.integers(0, 2, size=(n_permutations, len(sums))) * 2.0 - 1.0
    null = np.sort(signs @ sums / len(d))
    observed = float(d.mean())
    return PermutationTest(observed, permutation_p_value(observed, null, alternative=alternative), tuple(null.tolist()), len(sums))
