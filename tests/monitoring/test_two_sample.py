"""Distances of two samples equal scipy's, whatever the ties and sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from within_pipelines.exceptions import SampleError
from within_pipelines.monitoring import two_sample
from within_pipelines.monitoring.two_sample import in_order, ks_detectable, ks_of_ordered

VALUES = st.lists(st.integers(-6, 6).map(float), min_size=2, max_size=40)


@given(VALUES, VALUES)
@settings(max_examples=80, deadline=None)
def test_statistics_equal_those_of_scipy_with_ties(first: list[float], second: list[float]) -> None:
    found = two_sample(first, second)
    ks = stats.ks_2samp(first, second, method="asymp")
    assert found.ks == pytest.approx(ks.statistic, abs=1e-12)
    assert found.ks_p_value == pytest.approx(ks.pvalue, abs=1e-9)
    assert found.wasserstein == pytest.approx(stats.wasserstein_distance(first, second), abs=1e-9)
    assert ks_of_ordered(np.sort(first), np.sort(second)) == pytest.approx(ks.statistic, abs=1e-12)


@pytest.mark.parametrize("decimals", [0, 1, 3, 9])
@pytest.mark.parametrize("shift", [0.0, 0.01, 1.0, 20.0])
def test_the_largest_distance_is_found_in_long_samples_wherever_it_lies(decimals: int, shift: float) -> None:
    rng = np.random.default_rng(11)
    for n, m in ((5000, 3000), (64, 4097), (129, 65), (2000, 1), (700, 700)):
        first, second = rng.normal(size=n).round(decimals), (shift + rng.normal(size=m)).round(decimals)
        distance = ks_of_ordered(np.sort(first), np.sort(second))
        assert distance == pytest.approx(stats.ks_2samp(first, second, method="asymp").statistic, abs=1e-12)
        assert distance == pytest.approx(ks_of_ordered(np.sort(-second), np.sort(-first)), abs=1e-12)


@pytest.mark.parametrize("decimals", [1, 9])
def test_cramer_von_mises_equals_that_of_scipy(decimals: int) -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=300).round(decimals), rng.normal(0.2, 1.3, size=170).round(decimals)
    found, theirs = two_sample(a, b), stats.cramervonmises_2samp(a, b, method="asymptotic")
    assert found.cvm == pytest.approx(theirs.statistic, abs=1e-9)
    assert found.cvm_p_value == pytest.approx(theirs.pvalue, abs=1e-9)


def test_two_points_agree_with_a_hand_calculation() -> None:
    found = two_sample([0.0, 2.0], [1.0, 3.0])
    assert (found.ks, found.wasserstein, found.wasserstein_sd) == (0.5, 1.0, 1.0)
    # Ranks 1, 3 and 2, 4: U = 2 (0 + 1) + 2 (1 + 4) = 12; T = 12 / 16 - 15 / 24 = .125.
    assert found.cvm == pytest.approx(0.125)


def test_a_constant_has_no_spread_to_measure_in() -> None:
    found = two_sample([1.0, 1.0], [2.0, 2.0])
    assert (found.ks, found.wasserstein, found.wasserstein_sd) == (1.0, 1.0, 0.0)


def test_what_is_detectable_is_what_becomes_significant() -> None:
    distance = ks_detectable(0.01, 4000, 3000)
    assert stats.kstwo.sf(distance, round(4000 * 3000 / 7000)) == pytest.approx(0.01, rel=0.03)


def test_floats_are_put_in_order() -> None:
    values = np.random.default_rng(1).normal(size=500).astype(np.float32)
    assert np.array_equal(in_order(values), np.sort(values))


def test_single_values_are_refused() -> None:
    with pytest.raises(SampleError, match="1 reference and 2 current values"):
        two_sample([1.0], [1.0, 2.0])
