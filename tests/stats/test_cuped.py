"""What was known before is taken out, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.stats import cuped_difference, welch_t


def arms(rng: np.random.Generator, n: int, effect: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    before = rng.normal(size=2 * n)
    after = 0.8 * before + 0.6 * rng.normal(size=2 * n)
    return after[:n] + effect, before[:n], after[n:], before[n:]


def test_the_difference_is_that_of_a_regression_with_the_covariate() -> None:
    sm = pytest.importorskip("statsmodels.api")
    a, xa, b, xb = arms(np.random.default_rng(1), 60, 0.3)
    design = np.column_stack([np.ones(120), np.repeat([1.0, 0.0], 60), np.r_[xa, xb]])
    fitted = sm.OLS(np.r_[a, b], design).fit()
    found = cuped_difference(a, xa, b, xb)
    assert (found.test.difference.value, found.coefficient) == pytest.approx((fitted.params[1], fitted.params[2]), abs=1e-9)
    assert found.test.standard_error == pytest.approx(fitted.bse[1], rel=0.02)


def test_error_rate_power_and_gain() -> None:
    rng = np.random.default_rng(2)
    null = [cuped_difference(*arms(rng, 40, 0.0)).test.p_value < 0.05 for _ in range(1000)]
    assert np.mean(null) == pytest.approx(0.05, abs=0.022)
    found = [(cuped_difference(a, xa, b, xb), welch_t(a, b)) for a, xa, b, xb in (arms(rng, 60, 0.3) for _ in range(200))]
    with_it, without = (np.mean([test.p_value < 0.05 for test in tests]) for tests in ([c.test for c, _ in found], [w for _, w in found]))
    assert with_it > without + 0.2
    assert np.mean([c.variance_removed for c, _ in found]) == pytest.approx(0.64, abs=0.05)


def test_a_covariate_without_spread_changes_nothing() -> None:
    a, _, b, _ = arms(np.random.default_rng(3), 30, 0.5)
    found = cuped_difference(a, np.ones(30), b, np.ones(30))
    assert found.test.difference.value == pytest.approx(a.mean() - b.mean(), abs=1e-12)
    assert found.variance_removed == 0


def test_lengths_must_agree() -> None:
    with pytest.raises(SampleError, match="one per unit"):
        cuped_difference([1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
