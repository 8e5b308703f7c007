"""Ratios of sums vary with their units, not with their events."""

from __future__ import annotations

import numpy as np
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.stats import ratio_delta, ratio_difference, two_proportion_z


def users(rng: np.random.Generator, n: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Clicks and impressions of users whose rates differ."""
    impressions = 1 + rng.poisson(8, n)
    return rng.binomial(impressions, rng.beta(20 * rate, 20 * (1 - rate), n)).astype(float), impressions.astype(float)


def test_one_impression_each_is_a_share() -> None:
    y = np.random.default_rng(1).random(500) < 0.2
    found = ratio_delta(y, np.ones(500), level=0.95)
    half = 1.959963984540054 * y.std(ddof=1) / np.sqrt(500)
    assert (found.value, found.low) == pytest.approx((y.mean(), y.mean() - half), abs=1e-12)


def test_a_ratio_is_a_regression_through_the_origin() -> None:
    sm = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(2)
    y, x = users(rng, 300, 0.1)
    # Weighted least squares of y/x on a constant with weights x has this point estimate and, with robust errors, this variance.
    fitted = sm.WLS(y / x, np.ones(300), weights=x).fit(cov_type="HC0")
    found = ratio_delta(y, x)
    half = 1.959963984540054 * float(fitted.bse[0]) * np.sqrt(300 / 299)
    assert (found.value, found.high) == pytest.approx((float(fitted.params[0]), float(fitted.params[0]) + half), abs=1e-9)


def test_the_error_rate_is_kept_where_counting_impressions_breaks_it() -> None:
    rng = np.random.default_rng(3)
    ours, naive = [], []
    for _ in range(800):
        (y1, x1), (y2, x2) = users(rng, 200, 0.1), users(rng, 200, 0.1)
        ours.append(ratio_difference(y1, x1, y2, x2).p_value < 0.05)
        naive.append(two_proportion_z(int(y1.sum()), int(x1.sum()), int(y2.sum()), int(x2.sum())).p_value < 0.05)
    assert np.mean(ours) == pytest.approx(0.05, abs=0.025)
    assert np.mean(naive) > 0.075
    better = [ratio_difference(*users(rng, 400, 0.14), *users(rng, 400, 0.1)).p_value < 0.05 for _ in range(100)]
    assert np.mean(better) > 0.9


def test_unfit_amounts_are_refused() -> None:
    with pytest.raises(SampleError, match="not all 0"):
        ratio_delta([1.0, 1.0], [0.0, 0.0])
    with pytest.raises(SampleError, match="2 numerators and 3 denominators"):
        ratio_delta([1.0, 1.0], [1.0, 1.0, 1.0])
