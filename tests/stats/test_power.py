"""The power that is promised is the power that is had."""

from __future__ import annotations

import numpy as np
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.stats import (
    power_of_means,
    power_of_proportions,
    sample_size_means,
    sample_size_proportions,
    sequential_power,
    two_proportion_z,
)


@pytest.mark.parametrize(("alternative", "theirs"), [("two-sided", "two-sided"), ("greater", "larger")])
def test_power_of_means_agrees_with_statsmodels(alternative: str, theirs: str) -> None:
    reference = pytest.importorskip("statsmodels.stats.power").NormalIndPower()
    for n, effect, ratio in ((50, 0.3, 1.0), (200, 0.1, 2.0), (30, 0.8, 0.5)):
        expected = reference.power(effect, n, 0.05, ratio=ratio, alternative=theirs)
        assert power_of_means(n, 2 * effect, 2.0, ratio=ratio, alternative=alternative) == pytest.approx(expected, abs=1e-9)


def test_power_of_proportions_agrees_with_statsmodels() -> None:
    module = pytest.importorskip("statsmodels.stats.proportion")
    expected = module.power_proportions_2indep(0.04, 0.10, 1000, ratio=1.5, alternative="two-sided", return_results=False)
    assert power_of_proportions(1000, 0.14, 0.10, ratio=1.5) == pytest.approx(float(expected), abs=1e-9)


def test_sizes_are_the_smallest_that_reach_the_power() -> None:
    n = sample_size_means(0.25, 1.0, power=0.9)
    assert power_of_means(n, 0.25, 1.0) >= 0.9 > power_of_means(n - 1, 0.25, 1.0)
    n = sample_size_proportions(0.02, 0.03)
    assert power_of_proportions(n, 0.02, 0.03) >= 0.8 > power_of_proportions(n - 1, 0.02, 0.03)
    assert sample_size_means(-0.25, 1.0, alternative="less") == sample_size_means(0.25, 1.0, alternative="greater")


def test_the_promised_power_is_seen_in_simulation() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.binomial(800, 0.14, 800), rng.binomial(800, 0.10, 800)
    seen = np.mean([two_proportion_z(int(x), 800, int(y), 800).p_value < 0.05 for x, y in zip(a, b, strict=True)])
    assert seen == pytest.approx(power_of_proportions(800, 0.14, 0.10), abs=0.05)


def test_peeking_costs_power_and_no_effect_is_found_at_most_at_alpha() -> None:
    fixed = power_of_means(1000, 0.13, 1.0)
    peeking = sequential_power(1000, 0.13, 1.0, looks=28, scale=0.13)
    assert 0.3 < peeking < fixed
    assert sequential_power(1000, 0.0, 1.0, looks=28, scale=0.13) <= 0.05
    assert sequential_power(1000, 0.4, 1.0, looks=28, scale=0.13) > 0.99


def test_senseless_plans_are_refused() -> None:
    with pytest.raises(SampleError, match="effect in that direction"):
        sample_size_means(0.1, 1.0, alternative="less")
    with pytest.raises(SampleError, match="two different shares"):
        sample_size_proportions(0.1, 0.1)
    with pytest.raises(SampleError, match="inside"):
        power_of_proportions(100, 0.0, 0.1)
    with pytest.raises(SampleError, match="sd is 0"):
        power_of_means(100, 1.0, 0.0)
    with pytest.raises(SampleError, match="ratio is 0"):
        power_of_means(100, 1.0, 1.0, ratio=0.0)
    with pytest.raises(SampleError, match="at least one look"):
        sequential_power(100, 0.1, 1.0, looks=0, scale=0.1)
