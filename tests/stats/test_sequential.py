"""Peeking every day costs nothing when the boundary is meant for it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from within_pipelines.exceptions import SampleError
from within_pipelines.stats import (
    confidence_sequence,
    empirical_bernstein_sequence,
    mixture_half_width,
    mixture_sprt,
    mixture_wealth,
)

LOOKS, A_DAY = 28, 400


def daily_looks(rng: np.random.Generator, *, effect: float, trials: int) -> tuple[np.ndarray, np.ndarray]:
    """Estimates of a difference of two conversion rates and their variances after each of 28 days, for many experiments."""
    rate = 0.10
    first = np.cumsum(rng.binomial(A_DAY, rate * (1 + effect), (trials, LOOKS)), axis=1)
    second = np.cumsum(rng.binomial(A_DAY, rate, (trials, LOOKS)), axis=1)
    n = A_DAY * np.arange(1, LOOKS + 1)
    a, b = first / n, second / n
    return a - b, (a * (1 - a) + b * (1 - b)) / n


def test_the_wealth_is_the_mixture_over_effects() -> None:
    d, v, scale = 0.13, 0.004, 0.2
    likelihood = lambda effect: math.exp(d * effect / v - effect**2 / (2 * v)) * norm.pdf(effect, scale=scale)
    both = quad(likelihood, -2, 2, epsabs=1e-13)[0]
    above = 2 * quad(likelihood, 0, 2, epsabs=1e-13)[0]
    assert float(mixture_wealth(d, v, scale=scale)) == pytest.approx(both, rel=1e-9)
    assert float(mixture_wealth(d, v, scale=scale, alternative="greater")) == pytest.approx(above, rel=1e-9)
    assert float(mixture_wealth(-d, v, scale=scale, alternative="less")) == pytest.approx(above, rel=1e-9)


def test_interval_and_p_value_agree() -> None:
    half = mixture_half_width(0.01, scale=0.3)
    assert mixture_sprt([half], [0.01], scale=0.3).p_value == pytest.approx(0.05)
    one = mixture_half_width(0.01, scale=0.3, one_sided=True)
    assert 0.04 < mixture_sprt([one], [0.01], scale=0.3, alternative="greater").p_value <= 0.05
    assert one < half


def test_peeking_inflates_the_z_test_and_not_the_mixture() -> None:
    rng = np.random.default_rng(11)
    d, v = daily_looks(rng, effect=0.0, trials=3000)
    peeked = np.mean((np.abs(d) / np.sqrt(v) > 1.96).any(axis=1))
    fixed = np.mean(np.abs(d[:, -1]) / np.sqrt(v[:, -1]) > 1.96)
    mixture = np.mean((mixture_wealth(d, v, scale=0.01) >= 20).any(axis=1))
    one_sided = np.mean((mixture_wealth(d, v, scale=0.01, alternative="less") >= 20).any(axis=1))
    assert peeked > 0.2
    assert fixed == pytest.approx(0.05, abs=0.015)
    assert mixture <= 0.05
    assert one_sided <= 0.05


def test_the_confidence_sequence_covers_at_all_looks_at_once() -> None:
    rng = np.random.default_rng(12)
    d, v = daily_looks(rng, effect=-0.1, trials=2000)
    half = np.vectorize(lambda variance: mixture_half_width(variance, scale=0.01))(v[:, ::3])
    missed = (np.abs(d[:, ::3] + 0.01) > half).any(axis=1)
    assert np.mean(missed) <= 0.05


def test_a_fall_by_a_fifth_is_found_within_weeks() -> None:
    d, v = daily_looks(np.random.default_rng(13), effect=-0.2, trials=800)
    crossed = mixture_wealth(d, v, scale=0.01, alternative="less") >= 20
    assert crossed.any(axis=1).mean() > 0.95
    assert np.median(crossed.argmax(axis=1)[crossed.any(axis=1)]) + 1 <= 14


def test_p_values_never_rise_and_the_first_rejection_is_told() -> None:
    test = mixture_sprt([0.1, 0.5, 0.1], [0.04, 0.01, 0.005], scale=0.3)
    assert list(test.p_values) == sorted(test.p_values, reverse=True)
    assert test.first_rejection == 1
    assert mixture_sprt([0.0], [1.0], scale=0.3).first_rejection is None


def test_a_look_holds_its_estimate_and_level() -> None:
    look = confidence_sequence(0.5, 0.01, scale=0.3, n=400, alpha=0.1)
    assert (look.n, look.level) == (400, 0.9)
    assert look.low < 0.5 < look.high


def test_the_bernstein_sequence_covers_skewed_shares_at_every_value() -> None:
    rng = np.random.default_rng(14)
    missed = 0
    for _ in range(400):
        low, high = empirical_bernstein_sequence(rng.random(600) < 0.03, alpha=0.05)
        missed += bool(((low > 0.03) | (high < 0.03)).any())
    assert missed / 400 <= 0.05
    low, high = empirical_bernstein_sequence(rng.random(20_000) < 0.5)
    assert high[-1] - low[-1] < 0.06  # covering by being useless does not count


def test_bounds_scale_the_bernstein_sequence() -> None:
    x = np.random.default_rng(15).random(300)
    low, high = empirical_bernstein_sequence(x)
    scaled = empirical_bernstein_sequence(10 * x - 3, low=-3, high=7)
    np.testing.assert_allclose(scaled, (10 * low - 3, 10 * high - 3))


@pytest.mark.parametrize(
    ("d", "v", "options", "text"),
    [
        ([0.1], [0.0], {}, "variance is 0.0"),
        ([0.1], [1.0], {"scale": 0.0}, "scale is 0.0"),
        ([0.1], [1.0], {"alpha": 1.0}, "alpha is 1.0"),
        ([], [], {}, "one finite number of each per look"),
        ([math.nan], [1.0], {}, "one finite number of each per look"),
    ],
)
def test_unfit_looks_are_refused(d: list[float], v: list[float], options: dict[str, float], text: str) -> None:
    with pytest.raises(SampleError, match=text):
        mixture_sprt(d, v, **({"scale": 0.3} | options))


def test_values_outside_their_bounds_are_refused() -> None:
    with pytest.raises(SampleError, match="between low=0 and high=1"):
        empirical_bernstein_sequence([0.5, 1.5])
