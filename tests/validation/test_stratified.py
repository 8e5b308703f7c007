"""A growing share and returning units neither bias the difference nor shrink its interval."""

from __future__ import annotations

import numpy as np
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.validation import stratified_difference


def test_it_is_least_squares_with_an_intercept_per_stratum_and_clustered_errors() -> None:
    sm = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(1)
    n = 600
    day, unit = rng.integers(0, 6, n), rng.integers(0, 80, n)
    arm = unit % 3 == 0
    y = 0.5 * arm + day + rng.normal(size=80)[unit] + 0.3 * rng.normal(size=n)
    design = np.column_stack([arm, *(day == d for d in range(6))]).astype(float)
    fitted = sm.OLS(y, design).fit(cov_type="cluster", cov_kwds={"groups": unit, "use_correction": False})
    found = stratified_difference(y, arm, day, unit)
    assert found is not None
    assert found.difference == pytest.approx(fitted.params[0], abs=1e-9)
    clusters = len(np.unique(unit))
    assert found.variance == pytest.approx(fitted.bse[0] ** 2 * clusters / (clusters - 1), rel=1e-9)


def test_a_trend_under_a_growing_share_does_not_count() -> None:
    rng = np.random.default_rng(2)
    day = np.repeat(np.arange(4), 2000)
    arm = rng.random(8000) < np.array([0.05, 0.2, 0.5, 0.8])[day]
    y = day + rng.normal(size=8000)
    found = stratified_difference(y, arm, day, np.arange(8000))
    assert found is not None
    assert y[arm].mean() - y[~arm].mean() > 0.5
    assert abs(found.difference) < 4 * np.sqrt(found.variance) < 0.2


@pytest.mark.parametrize("returning", [False, True])
def test_the_standard_error_is_that_of_the_estimate(returning: bool) -> None:
    rng = np.random.default_rng(3)
    z = []
    for _ in range(400):
        unit = np.tile(np.arange(100), 8) if returning else np.arange(800)
        arm = rng.permutation(np.arange(unit.max() + 1) % 2 == 0)[unit]
        y = rng.normal(size=unit.max() + 1)[unit] + 0.5 * rng.normal(size=800)
        found = stratified_difference(y, arm, np.repeat(np.arange(8), 100), unit)
        assert found is not None
        z.append(found.difference / np.sqrt(found.variance))
    assert np.std(z) == pytest.approx(1.0, abs=0.12)


def test_a_small_arm_without_luck_has_the_spread_of_both() -> None:
    y = np.r_[np.zeros(20), np.random.default_rng(4).random(500) < 0.1]
    found = stratified_difference(y, np.arange(520) < 20, np.zeros(520), np.arange(520))
    assert found is not None
    assert found.variance > 0.8 * 0.09 / 20


def test_strata_with_one_arm_say_nothing() -> None:
    assert stratified_difference([1.0, 2.0], [True, False], [0, 1], ["a", "b"]) is None
    assert stratified_difference([], [], [], []) is None
    assert stratified_difference([1.0, 2.0], [True, False], [0, 0], ["a", "b"]) is None


def test_unfit_rows_are_refused() -> None:
    with pytest.raises(SampleError, match="one per row"):
        stratified_difference([1.0, 2.0], [True], [0, 1], ["a", "b"])
    with pytest.raises(SampleError, match="1 of 2 values are not finite"):
        stratified_difference([1.0, np.nan], [True, False], [0, 0], ["a", "b"])
