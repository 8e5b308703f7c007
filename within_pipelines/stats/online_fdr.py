"""Tests that arrive one after another, day by day, with the false discovery rate kept over the whole stream."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError


def _gamma_lord(n: int) -> NDArray[np.float64]:
    """gamma_j proportional to log(max(j, 2)) / (j exp(sqrt(log j))), summing to 1 (Javanmard and Montanari, 2018)."""
    j = np.arange(1, n + 1, dtype=np.float64)
    weights: NDArray[np.float64] = 0.07720838 * np.log(np.maximum(j, 2)) / (j * np.exp(np.sqrt(np.log(j))))
    return weights


def _gamma_power(n: int) -> NDArray[np.float64]:
    """gamma_j proportional to j^-1.6, summing to 1 (Ramdas et al., 2018)."""
    j = np.arange(1, n + 1, dtype=np.float64)
    # The sum of j^-1.6 over all j is zeta(1.6) = 2.2857656.
    weights: NDArray[np.float64] = j**-1.6 / 2.2857656
    return weights


def _checked(p_values: ArrayLike, alpha: float) -> list[float]:
    p = np.asarray(p_values, dtype=np.float64)
    if not 0 < alpha < 1:
        raise SampleError(f"alpha is {alpha}; give a rate between 0 and 1.")
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise SampleError(f"p-values have shape {p.shape}; give a flat sequence of numbers between 0 and 1, oldest first.")
    found: list[float] = p.tolist()
    return found


def lord_level(p_values: ArrayLike, *, alpha: float = 0.05, initial_share: float = 0.5, horizon: int | None = None) -> float:
    """The level at which the next test may reject, given all earlier p-values, oldest first: LORD++.

    alpha_t = gamma_t w0 + (alpha - w0) gamma_{t - tau_1} + alpha sum over later rejections j of gamma_{t - tau_j}, with w0 =
    `initial_share`
    times alpha and tau_j the time of the j-th rejection (Ramdas, Yang, Wainwright and Jordan, 2017). The false discovery rate of all
    tests so far is at most `alpha` for independent p-values; every rejection earns level for later tests. gamma falls like
    log(t) / (t exp(sqrt(log t))); with a `horizon` it is 1 / horizon for so many tests and 0 after them, which keeps the level from
    dying within a period that is then begun anew.

    Up to the first discovery all levels together are at most w0, so the chance of any false one before it is at most w0 whatever hangs
    together (Bonferroni); a stream that is calm, or calm and then drifts for good, needs no independence. Where drift passes, levels that
    true discoveries earned meet windows that share days and a reference with them. No theorem covers that (lagged LORD of Zrnic, Ramdas
    and Jordan, 2021, asks for dependence that ends after some tests, and a shared reference never does), so it is simulated: windows of 7
    and 28 days, one day apart, of 24 accounts, nominal .1, memory 0 and .7 from day to day, drift that stays, passes, ends, or hits two
    days; the rate stayed at or below .04 in each (`tests/stats/test_online_fdr_overlap.py`).

    Raises `SampleError` for an alpha outside (0, 1), a p-value outside [0, 1], or a horizon below 1.

    >>> lord_level([]) < 0.05 and lord_level([0.9] * 20) < lord_level([0.9] * 19 + [1e-9])
    True
    >>> round(lord_level([0.9] * 5, horizon=25), 4), lord_level([0.9] * 25, horizon=25)
    (0.001, 0.0)
    """
    past = _checked(p_values, alpha)
    if horizon is not None and horizon < 1:
        raise SampleError(f"horizon is {horizon}; give at least one test.")
    gamma = _gamma_lord(len(past) + 1) if horizon is None else np.where(np.arange(len(past) + 1) < horizon, 1 / horizon, 0.0)
    start = initial_share * alpha
    rejected: list[int] = []
    level = 0.0
    for t in range(1, len(past) + 2):
        level = gamma[t - 1] * start
        for order, tau in enumerate(rejected):
            level += (alpha - start if order == 0 else alpha) * gamma[t - tau - 1]
        if t <= len(past) and past[t - 1] <= level:
            rejected.append(t)
    return float(level)


def saffron_level(p_values: ArrayLike, *, alpha: float = 0.05, candidate: float = 0.5, initial_share: float = 0.5) -> float:
    """The level of the next test by SAFFRON, which charges only tests with p > `candidate`: their
    number tells how many nulls are true.

    alpha_t = min(candidate, (1 - candidate) (w0 gamma_{t - C_0} + (alpha - w0) gamma_{t - tau_1 - C_1} + alpha sum gamma_{t - tau_j -
    C_j}))
    where C_j counts candidates after the j-th rejection (Ramdas, Zrnic, Wainwright and Jordan, 2018). It gains most where p-values
    of true nulls are uniform; for conservative ones use `addis_level`.

    Raises `SampleError` like `lord_level`.

    >>> saffron_level([0.9] * 20) < saffron_level([0.3] * 20) == saffron_level([])
    True
    """
    return _adaptive(_checked(p_values, alpha), alpha, candidate, 1.0, initial_share)


def addis_level(
    p_values: ArrayLike, *, alpha: float = 0.05, candidate: float = 0.25, discard: float = 0.5, initial_share: float = 0.5
) -> float:
    """The level of the next test by ADDIS: SAFFRON that also discards p-values above `discard`, so that conservative nulls cost nothing.

    With discard threshold d and candidate threshold l < d: alpha_t = min(l, (d - l) (w0 gamma_{...} + ...)), where time counts tests with
    p <= d only (Tian and Ramdas, 2019).

    Raises `SampleError` like `lord_level`, and unless 0 < candidate < discard <= 1.

    >>> addis_level([0.9] * 20) == addis_level([])
    True
    """
    if not 0 < candidate < discard <= 1:
        raise SampleError(f"candidate is {candidate} and discard {discard}; give 0 < candidate < discard <= 1.")
    return _adaptive(_checked(p_values, alpha), alpha, candidate, discard, initial_share)


def _adaptive(past: Sequence[float], alpha: float, candidate: float, discard: float, initial_share: float) -> float:
    gamma = _gamma_power(len(past) + 1)
    start = initial_share * alpha
    # Time since each rejection (and since the beginning) in tests that were neither discarded nor candidates.
    since: list[int] = [0]
    level = 0.0
    for t in range(len(past) + 1):
        earned = start * gamma[since[0]]
        for order, passed in enumerate(since[1:]):
            earned += (alpha - start if order == 0 else alpha) * gamma[passed]
        level = min(candidate, (discard - candidate) * earned)
        if t == len(past):
            break
        if candidate < past[t] <= discard:
            since = [passed + 1 for passed in since]
        elif past[t] <= level:
            since.append(0)
    if not math.isfinite(level):
        raise SampleError("The level is not finite; give p-values between 0 and 1.")
    return float(level)
