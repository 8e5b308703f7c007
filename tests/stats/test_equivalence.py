"""Equivalence is shown, not assumed from a missing difference."""

from __future__ import annotations

import numpy as np
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.stats import equivalence, non_inferiority, welch_t


def test_tost_agrees_with_statsmodels() -> None:
    reference = pytest.importorskip("statsmodels.stats.weightstats")
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.1, 1, 80), rng.normal(0, 2, 120)
    ours = equivalence(welch_t(a, b), low=-0.5, high=0.7)
    p, lower, upper = reference.ttost_ind(a, b, -0.5, 0.7, usevar="unequal")
    assert ours.p_value == pytest.approx(p, abs=1e-9)
    assert non_inferiority(welch_t(a, b), margin=0.5).p_value == pytest.approx(lower[1], abs=1e-9)
    assert non_inferiority(welch_t(a, b), margin=0.7, higher_is_better=False).p_value == pytest.approx(upper[1], abs=1e-9)


def test_the_interval_decides_the_same() -> None:
    rng = np.random.default_rng(2)
    for _ in range(50):
        found = equivalence(welch_t(rng.normal(size=40), rng.normal(size=40)), low=-0.6, high=0.6)
        assert found.shown == (found.difference.low > -0.6 and found.difference.high < 0.6)


def test_at_the_margin_the_error_rate_is_kept_and_equal_arms_are_recognised() -> None:
    rng = np.random.default_rng(3)
    at_margin = [equivalence(welch_t(rng.normal(0.3, 1, 200), rng.normal(0, 1, 200)), low=-0.3, high=0.3).shown for _ in range(1200)]
    worse = [non_inferiority(welch_t(rng.normal(-0.3, 1, 200), rng.normal(0, 1, 200)), margin=0.3).shown for _ in range(1200)]
    equal = [equivalence(welch_t(rng.normal(0, 1, 300), rng.normal(0, 1, 300)), low=-0.3, high=0.3).shown for _ in range(200)]
    assert np.mean(at_margin) <= 0.05 + 0.02
    assert np.mean(worse) == pytest.approx(0.05, abs=0.02)
    assert np.mean(equal) > 0.85


def test_without_spread_the_margin_itself_is_not_inside() -> None:
    same = welch_t([1.0, 1.0], [1.0, 1.0])
    assert non_inferiority(same, margin=0.1).shown
    assert not non_inferiority(same, margin=0.0).shown


def test_senseless_margins_are_refused() -> None:
    same = welch_t([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(SampleError, match="a number >= 0"):
        non_inferiority(same, margin=-1)
    with pytest.raises(SampleError, match="low < high"):
        equivalence(same, low=1, high=-1)
    with pytest.raises(SampleError, match=r"alpha is 0\.6"):
        non_inferiority(same, margin=1, alpha=0.6)
