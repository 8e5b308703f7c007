"""Means compared: agreement with scipy, error rates and power in simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as reference

from within_pipelines.exceptions import SampleError
from within_pipelines.stats import paired_t, sign_flip_permutation, welch_t

ALTERNATIVES = ("two-sided", "greater", "less")


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_welch_agrees_with_scipy(alternative: str) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(1, 2, 37), rng.exponential(size=61)
    ours, theirs = welch_t(a, b, alternative=alternative), reference.ttest_ind(a, b, equal_var=False, alternative=alternative)
    interval = reference.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert ours.p_value == pytest.approx(theirs.pvalue, abs=1e-9)
    assert ours.statistic == pytest.approx(theirs.statistic, abs=1e-9)
    assert ours.degrees_of_freedom == pytest.approx(theirs.df, abs=1e-9)
    assert (ours.difference.low, ours.difference.high) == pytest.approx(tuple(interval), abs=1e-9)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_paired_t_agrees_with_scipy(alternative: str) -> None:
    rng = np.random.default_rng(2)
    a = rng.normal(size=40)
    b = a + rng.normal(0.2, 0.5, 40)
    ours, theirs = paired_t(a, b, alternative=alternative), reference.ttest_rel(a, b, alternative=alternative)
    assert (ours.p_value, ours.statistic) == pytest.approx((theirs.pvalue, theirs.statistic), abs=1e-9)


def test_welch_keeps_its_error_rate_where_variances_and_sizes_differ_and_finds_a_shift() -> None:
    rng = np.random.default_rng(3)
    null = [welch_t(rng.normal(0, 4, 15), rng.normal(0, 1, 60)).p_value < 0.05 for _ in range(1500)]
    shifted = [welch_t(rng.normal(1, 1, 40), rng.normal(0, 1, 40)).p_value < 0.05 for _ in range(200)]
    assert np.mean(null) == pytest.approx(0.05, abs=0.018)
    assert np.mean(shifted) > 0.95


def test_sign_flips_of_few_units_are_the_whole_null() -> None:
    d = [3.0, 1.0, 2.0, -0.5]
    test = sign_flip_permutation(d, rng=np.random.default_rng(4), n_permutations=20_000)
    exact = reference.permutation_test((d,), np.mean, permutation_type="samples").pvalue
    assert test.p_value == pytest.approx(exact, abs=0.015)


def test_sign_flips_of_clusters_keep_their_error_rate_and_find_a_shift() -> None:
    rng = np.random.default_rng(5)
    clusters = np.repeat(np.arange(20), 10)
    noise = lambda: rng.standard_t(3, 20)[clusters] + 0.1 * rng.normal(size=200)
    null = [sign_flip_permutation(noise(), rng=rng, clusters=clusters, n_permutations=99).p_value <= 0.1 for _ in range(500)]
    blind = [sign_flip_permutation(noise(), rng=rng, n_permutations=99).p_value <= 0.1 for _ in range(100)]
    assert np.mean(null) == pytest.approx(0.1, abs=0.045)
    assert np.mean(blind) > 0.4  # rows taken for independent
    assert sign_flip_permutation(noise() + 3, rng=rng, clusters=clusters).p_value < 0.05


def test_no_spread_decides_by_the_difference_alone() -> None:
    assert paired_t([1.0, 1.0], [1.0, 1.0]).p_value == 1.0
    assert paired_t([2.0, 2.0], [1.0, 1.0]).p_value == 0.0
    assert paired_t([2.0, 2.0], [1.0, 1.0], alternative="less").p_value == 1.0


def test_unfit_samples_are_refused_by_name() -> None:
    with pytest.raises(SampleError, match=r"second has shape \(1,\)"):
        welch_t([1.0, 2.0], [1.0])
    with pytest.raises(SampleError, match="first holds 1 of 2 values that are not finite"):
        welch_t([1.0, np.nan], [1.0, 2.0])
    with pytest.raises(SampleError, match="3 and 2 values"):
        paired_t([1.0, 2.0, 3.0], [1.0, 2.0])
    with pytest.raises(SampleError, match="one label per row"):
        sign_flip_permutation([1.0, 2.0], rng=np.random.default_rng(0), clusters=["a"])
    with pytest.raises(SampleError, match="level is 1"):
        welch_t([1.0, 2.0], [1.0, 2.0], level=1)
