"""Look as often as you like: p-values and intervals that hold at every look at once.

Boundary of the normal mixture (Robbins, 1970; Johari, Pekelis and Walsh, 2017; Waudby-Smith et al., 2021/2024). An estimate D of an
effect with variance V is, after enough data, a Brownian motion in information time 1 / V. Betting on every effect at once, weighted by
N(0, scale^2), gives with r = scale^2 / V the wealth

    two-sided: W = exp(z^2 r / (2 (1 + r))) / sqrt(1 + r)                      z = (D - null) / sqrt(V)
    one-sided: W = 2 Phi(x) exp(x^2 / 2) / sqrt(1 + r),  x = z sqrt(r / (1 + r))

which under the null exceeds 1 / a at any look with probability at most a (Ville, 1939). The scale must be fixed before the first look;
the boundary is tightest when V is a fraction of scale^2, so the effect that should be found is a good choice."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError
from within_pipelines.stats.permutation import Alternative
from within_pipelines.stats.verdict import Estimate


def _check_boundary(variance: float, scale: float, alpha: float) -> None:
    if not (variance > 0 and math.isfinite(variance)):
        raise SampleError(f"variance is {variance}; give the variance of the estimate, a finite number above 0.")
    if not (scale > 0 and math.isfinite(scale)):
        raise SampleError(f"scale is {scale}; give the size of the effect that should be found, a finite number above 0.")
    if not 0 < alpha < 1:
        raise SampleError(f"alpha is {alpha}; give an error rate between 0 and 1.")


def mixture_half_width(variance: float, *, scale: float, alpha: float = 0.05, one_sided: bool = False) -> float:
    """How far an estimate of this variance may stray from the truth before the normal mixture's boundary is crossed.

    Two-sided sqrt(V (1 + 1/r) log((1 + r) / a^2)); one-sided sqrt(2 V (1 + 1/r) log((1 + sqrt(1 + r) / a) / 2)), r = scale^2 / V. The
    one-sided form bounds Phi(x) by 1 - exp(-x^2 / 2) / 2, so it is slightly wide.

    >>> round(mixture_half_width(0.01, scale=0.3), 4), round(mixture_half_width(0.01, scale=0.3, one_sided=True), 4)
    (0.3036, 0.2777)
    """
    _check_boundary(variance, scale, alpha)
    r = scale * scale / variance
    if one_sided:
        return math.sqrt(2 * variance * (1 + 1 / r) * math.log((1 + math.sqrt(1 + r) / alpha) / 2))
    return math.sqrt(variance * (1 + 1 / r) * math.log((1 + r) / alpha**2))


def confidence_sequence(difference: float, variance: float, *, scale: float, n: int, alpha: float = 0.05) -> Estimate:
    """One look of the asymptotic confidence sequence: over all looks together the truth stays inside with probability 1 - alpha.

    `difference` is the estimate so far, `variance` the variance of that estimate (squared standard error), `scale` the effect that should
    be found, fixed in advance. Asymptotic: start looking when the estimate is roughly normal (about 30 units an arm).

    Raises `SampleError` when the variance or the scale is not above 0 or alpha lies outside (0, 1).

    >>> str(confidence_sequence(0.5, 0.01, scale=0.3, n=400))
    '0.500 [0.196, 0.804]'
    """
    half = mixture_half_width(variance, scale=scale, alpha=alpha)
    return Estimate(difference, difference - half, difference + half, n=n, level=1 - alpha)


@dataclass(frozen=True, slots=True)
class SequentialTest:
    """Always-valid p-values, one a look: the running minimum of 1 / wealth. `first_rejection` counts looks from 0; None when never."""

    p_values: tuple[float, ...]
    alpha: float

    @property
    def p_value(self) -> float:
        """The p-value so far; it never rises again."""
        return self.p_values[-1]

    @property
    def first_rejection(self) -> int | None:
        """The first look at which the null was rejected at `alpha`."""
        return next((look for look, p in enumerate(self.p_values) if p <= self.alpha), None)


def mixture_wealth(
    differences: ArrayLike, variances: ArrayLike, *, scale: float, null: float = 0.0, alternative: Alternative = "two-sided"
) -> NDArray[np.float64]:
    """The wealth W of the module's formula at each look; arrays of any shape.

    >>> mixture_wealth([0.0, 0.5], [0.01, 0.01], scale=0.3).round(2).tolist()
    [0.32, 24311.57]
    """
    from scipy.special import log_ndtr

    d, v = np.asarray(differences, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    r = scale * scale / v
    z = (d - null) / np.sqrt(v)
    if alternative == "less":
        z = -z
    log_wealth = z * z * r / (2 * (1 + r)) - np.log1p(r) / 2
    if alternative != "two-sided":
        log_wealth = log_wealth + math.log(2) + log_ndtr(z * np.sqrt(r / (1 + r)))
    wealth: NDArray[np.float64] = np.exp(np.minimum(log_wealth, 700.0))
    return wealth


def mixture_sprt(
    differences: ArrayLike,
    variances: ArrayLike,
    *,
    scale: float,
    null: float = 0.0,
    alternative: Alternative = "two-sided",
    alpha: float = 0.05,
) -> SequentialTest:
    """The mixture sequential probability ratio test: reject at the first look whose p-value is <= alpha, and stop there or go on.

    `differences` and `variances` hold the estimate and its squared standard error at each look, oldest first. `"less"` has power against
    effects below `null`, `"greater"` against effects above.

    Raises `SampleError` when there is no look, the lengths differ, a number is not finite, or a variance is not above 0.

    >>> mixture_sprt([0.1, 0.3, 0.4], [0.04, 0.02, 0.01], scale=0.3).first_rejection
    2
    """
    d, v = np.asarray(differences, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    if d.ndim != 1 or d.shape != v.shape or len(d) == 0 or not (np.isfinite(d).all() and np.isfinite(v).all()):
        raise SampleError(f"differences and variances have shapes {d.shape} and {v.shape}; give one finite number of each per look.")
    _check_boundary(float(v.min()), scale, alpha)
    p = np.minimum(1.0, 1 / mixture_wealth(d, v, scale=scale, null=null, alternative=alternative))
    return SequentialTest(tuple(np.minimum.accumulate(p).tolist()), alpha)


def empirical_bernstein_sequence(
    values: ArrayLike, *, low: float = 0.0, high: float = 1.0, alpha: float = 0.05
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper ends, after each value, of a confidence sequence for the mean of bounded values; no normality, any sample size.

    The predictable plug-in empirical Bernstein sequence (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by
    betting", 2024, theorem 2): sum(l x) / sum(l) +- (log(2/a) + sum(v psi(l))) / sum(l), with v = 4 (x - mean before)^2,
    psi(l) = (-log(1 - l) - l) / 4 and bets l = min(1/2, sqrt(2 log(2/a) / (variance before * t log(1 + t)))).

    For the difference of two arms with assignment probability p give the inverse-propensity values y / p (treated) and -y / (1 - p)
    (control) with their bounds.

    Raises `SampleError` when a value lies outside [low, high] or there is none.

    >>> low, high = empirical_bernstein_sequence(np.tile([0.0, 1.0], 2000))
    >>> bool(low[-1] < 0.5 < high[-1]), round(float(high[-1] - low[-1]), 2)
    (True, 0.07)
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or len(x) == 0 or not high > low or not np.all((x >= low) & (x <= high)):
        raise SampleError(f"values has shape {x.shape}; give a flat list of at least one number between low={low:g} and high={high:g}.")
    if not 0 < alpha < 1:
        raise SampleError(f"alpha is {alpha}; give an error rate between 0 and 1.")
    x = (x - low) / (high - low)
    t = np.arange(1, len(x) + 1)
    mean = (0.5 + np.cumsum(x)) / (t + 1)
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / (t + 1)
    # What is known before each value: half a success in one trial to begin with.
    mean_before, variance_before = np.r_[0.5, mean[:-1]], np.r_[0.25, variance[:-1]]
    cost = math.log(2 / alpha)
    bets = np.minimum(0.5, np.sqrt(2 * cost / (variance_before * t * np.log1p(t))))
    spent = np.cumsum(4 * (x - mean_before) ** 2 * (-np.log1p(-bets) - bets) / 4)
    staked = np.cumsum(bets)
    centre, half = np.cumsum(bets * x) / staked, (cost + spent) / staked
    # The truth is in every interval so far, hence in what they share.
    lower = np.maximum.accumulate(np.maximum(0.0, centre - half))
    upper = np.minimum.accumulate(np.minimum(1.0, centre + half))
    return low + (high - low) * lower, low + (high - low) * upper
