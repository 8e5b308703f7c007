"""Conformal bounds hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.prediction.conformal import conformal_quantile


def test_the_rank_by_hand() -> None:
    assert conformal_quantile(np.arange(9.0, 0.0, -1.0), level=0.9) == 9.0
    assert conformal_quantile(np.arange(1.0, 20.0), level=0.5) == 10.0


@pytest.mark.parametrize(("n", "level"), [(19, 0.9), (60, 0.9), (40, 0.5), (99, 0.95)])
def test_a_new_case_is_covered_at_least_at_the_level_and_hardly_more_often(n: int, level: float) -> None:
    rng = np.random.default_rng(n)
    inside = [rng.exponential() <= conformal_quantile(rng.exponential(size=n), level=level) for _ in range(4000)]
    # Exact coverage is ceil((n + 1) level) / (n + 1); three standard errors of 4,000 draws.
    exact = np.ceil((n + 1) * level - 1e-9) / (n + 1)
    assert level <= exact <= level + 1 / (n + 1)
    assert np.mean(inside) == pytest.approx(exact, abs=3 * np.sqrt(exact * (1 - exact) / 4000))


def test_the_order_of_scores_does_not_matter() -> None:
    scores = np.random.default_rng(3).normal(size=50)
    assert conformal_quantile(scores, level=0.8) == conformal_quantile(np.sort(scores), level=0.8)


def test_too_few_cases_are_refused_with_the_number_that_would_do() -> None:
    with pytest.raises(SampleError, match="8 calibration cases cannot support 90% intervals; at least 9 are needed"):
        conformal_quantile(np.arange(8.0), level=0.9)
    assert conformal_quantile(np.arange(9.0), level=0.9) == 8.0


@pytest.mark.parametrize("level", [0.0, 1.0, 90.0, float("nan")])
def test_a_level_outside_zero_and_one_is_refused(level: float) -> None:
    with pytest.raises(SampleError, match="is no level; give a number between 0 and 1"):
        conformal_quantile(np.arange(100.0), level=level)


def test_scores_that_are_not_finite_are_refused_with_their_count() -> None:
    with pytest.raises(SampleError, match="2 of 20 calibration scores are not finite"):
        conformal_quantile(np.r_[np.arange(18.0), np.nan, np.inf], level=0.9)
