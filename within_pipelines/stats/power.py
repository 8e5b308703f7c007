"""How much data a test needs, told before it starts."""

from __future__ import annotations

import math

from within_pipelines.exceptions import SampleError
from within_pipelines.stats.permutation import Alternative
from within_pipelines.stats.sequential import mixture_half_width
from within_pipelines.stats.two_samples import t_quantile


def _check(alpha: float, ratio: float) -> None:
    if not 0 < alpha < 1 or not ratio > 0:
        raise SampleError(f"alpha is {alpha} and ratio is {ratio}; give an error rate in (0, 1) and a ratio of arm sizes above 0.")


def power_of_means(
    n_first: float, effect: float, sd: float, *, ratio: float = 1.0, alpha: float = 0.05, alternative: Alternative = "two-sided"
) -> float:
    """The chance that a z test of two means finds a true difference `effect` of units with standard deviation `sd`.

    `n_first` units in the first arm, `ratio * n_first` in the second. Two-sided power counts both tails.

    >>> round(power_of_means(100, 0.4, 1.0), 3)
    0.807
    """
    from scipy.special import ndtr

    _check(alpha, ratio)
    if not (n_first > 0 and sd > 0):
        raise SampleError(f"n_first is {n_first} and sd is {sd}; give numbers above 0.")
    z = effect / (sd * math.sqrt((1 + 1 / ratio) / n_first))
    if alternative == "two-sided":
        critical = t_quantile(1 - alpha / 2, math.inf)
        return float(ndtr(z - critical) + ndtr(-z - critical))
    return float(ndtr((z if alternative == "greater" else -z) - t_quantile(1 - alpha, math.inf)))


def sample_size_means(
    effect: float, sd: float, *, power: float = 0.8, ratio: float = 1.0, alpha: float = 0.05, alternative: Alternative = "two-sided"
) -> int:
    """Units in the first arm so that `power_of_means` reaches `power`: the smallest whole number.

    Raises `SampleError` when the effect is 0, points away from the alternative, or power is not between alpha and 1.

    >>> sample_size_means(0.4, 1.0)
    99
    """
    _check(alpha, ratio)
    wanted = effect != 0 and (alternative == "two-sided" or (effect > 0) == (alternative == "greater"))
    if not wanted or not alpha < power < 1:
        raise SampleError(
            f"effect is {effect} ({alternative}) and power {power}; give an effect in that direction and a power above alpha={alpha}."
        )
    one_tail = alpha / 2 if alternative == "two-sided" else alpha
    quantiles = t_quantile(1 - one_tail, math.inf) + t_quantile(power, math.inf)
    # The formula leaves out the far tail, so the exact number is this one or a little below.
    n = max(1, math.ceil((1 + 1 / ratio) * (quantiles * sd / effect) ** 2))
    while n > 1 and power_of_means(n - 1, effect, sd, ratio=ratio, alpha=alpha, alternative=alternative) >= power:
        n -= 1
    return n


def power_of_proportions(n_first: float, first: float, second: float, *, ratio: float = 1.0, alpha: float = 0.05) -> float:
    """The chance that the two-sided pooled z test tells the shares `first` and `second` apart.

    Critical value under the pooled variance, spread under the true one (Fleiss, Levin and Paik, 2003).

    >>> round(power_of_proportions(1000, 0.10, 0.14), 3)
    0.786
    """
    from scipy.special import ndtr

    _check(alpha, ratio)
    if not (0 < first < 1 and 0 < second < 1 and n_first > 0):
        raise SampleError(f"shares are {first} and {second}, n_first is {n_first}; give shares inside (0, 1) and n_first above 0.")
    pooled = (first + ratio * second) / (1 + ratio)
    under_null = math.sqrt(pooled * (1 - pooled) * (1 + 1 / ratio) / n_first)
    under_truth = math.sqrt((first * (1 - first) + second * (1 - second) / ratio) / n_first)
    critical = t_quantile(1 - alpha / 2, math.inf) * under_null
    difference = first - second
    return float(ndtr((difference - critical) / under_truth) + ndtr((-difference - critical) / under_truth))


def sample_size_proportions(first: float, second: float, *, power: float = 0.8, ratio: float = 1.0, alpha: float = 0.05) -> int:
    """Units in the first arm so that `power_of_proportions` reaches `power`.

    Raises `SampleError` when the shares are equal or power is not between alpha and 1.

    >>> sample_size_proportions(0.10, 0.14)
    1035
    """
    if first == second or not alpha < power < 1:
        raise SampleError(f"shares are {first} and {second}, power {power}; give two different shares and a power above alpha={alpha}.")
    low, high = 1, 2
    while power_of_proportions(high, first, second, ratio=ratio, alpha=alpha) < power:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if power_of_proportions(middle, first, second, ratio=ratio, alpha=alpha) < power:
            low = middle
        else:
            high = middle
    return high


def sequential_power(
    n_first: float,
    effect: float,
    sd: float,
    *,
    looks: int,
    scale: float,
    ratio: float = 1.0,
    alpha: float = 0.05,
    draws: int = 4000,
    seed: int = 0,
) -> float:
    """The chance that the two-sided mixture test finds a true difference `effect` by the last of `looks` equally spaced looks.

    `n_first` units have come into the first arm by the last look. Simulated from the exact joint normal law of the looks; equal seeds
    give equal answers, the Monte Carlo error is at most 0.5 / sqrt(draws).

    >>> fixed, peeking = power_of_means(1000, 0.1, 1.0), sequential_power(1000, 0.1, 1.0, looks=28, scale=0.1)
    >>> fixed > peeking > fixed / 3
    True
    """
    import numpy as np

    _check(alpha, ratio)
    if looks < 1 or draws < 100:
        raise SampleError(f"looks is {looks} and draws is {draws}; give at least one look and 100 draws.")
    rng = np.random.default_rng(seed)
    last = sd * sd * (1 + 1 / ratio) / n_first
    variances = last * looks / np.arange(1, looks + 1)
    # A Brownian motion in information time: independent daily estimates, averaged.
    daily = effect + np.sqrt(last * looks) * rng.standard_normal((draws, looks))
    estimates = np.cumsum(daily, axis=1) / np.arange(1, looks + 1)
    half = np.array([mixture_half_width(float(v), scale=scale, alpha=alpha) for v in variances])
    return float(np.mean((np.abs(estimates) > half).any(axis=1)))
