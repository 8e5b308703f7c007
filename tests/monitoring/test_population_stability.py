"""Laws of the population stability index."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from within_pipelines.exceptions import SampleError
from within_pipelines.monitoring import DriftState, population_stability_index

samples = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=80)


@settings(max_examples=40, deadline=None)
@given(samples, samples, st.integers(2, 12))
def test_it_is_never_negative_zero_for_itself_and_blind_to_row_order(a: list[float], b: list[float], n_bins: int) -> None:
    result = population_stability_index(a, b, n_bins=n_bins)
    assert result.index >= 0
    assert population_stability_index(a, a * 3, n_bins=n_bins).index == 0
    assert population_stability_index(a[::-1], sorted(b), n_bins=n_bins).index == pytest.approx(result.index, abs=1e-12)


def test_two_bins_agree_with_a_hand_calculation() -> None:
    result = population_stability_index([0] * 50 + [1] * 50, [0] * 80 + [1] * 20, n_bins=2)
    p, q = 50.5 / 101, 80.5 / 101
    assert result.index == pytest.approx((q - p) * math.log(q / p) + (p - q) * math.log((1 - q) / (1 - p)))
    assert (result.n_reference, result.n_current, result.n_bins) == (100, 100, 2)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(-50, 50))
def test_data_moved_by_50_sigma_always_drift_and_scale_does_not_matter(seed: int, centre: float) -> None:
    rng = np.random.default_rng(seed)
    reference = rng.normal(centre, 1, 500)
    assert population_stability_index(reference, rng.normal(centre + 50, 1, 500)).drifted
    current = rng.normal(centre + 0.3, 1, 500)
    one, other = population_stability_index(reference, current), population_stability_index(reference * 8, current * 8)
    assert one.index == pytest.approx(other.index)


def test_chance_reaches_what_is_expected_of_it_and_small_samples_are_insufficient() -> None:
    rng = np.random.default_rng(3)
    found = [population_stability_index(rng.normal(size=500), rng.normal(size=400)) for _ in range(300)]
    assert np.mean([one.index for one in found]) == pytest.approx(found[0].expected_by_chance, rel=0.1)
    assert not any(one.drifted for one in found)
    assert population_stability_index(rng.normal(size=20), rng.normal(size=20) + 9).state is DriftState.INSUFFICIENT


def test_a_constant_reference_sees_another_value() -> None:
    assert population_stability_index([3.0] * 200, [3.0] * 200).state is DriftState.STABLE
    assert population_stability_index([3.0] * 200, [4.0] * 200).drifted
    assert population_stability_index([3.0] * 200, [2.0] * 200).state is DriftState.STABLE  # both lie at or below the only edge


def test_missing_values_are_refused_with_their_count() -> None:
    with pytest.raises(SampleError, match="current holds 2 of 3 values that are not finite; impute or drop"):
        population_stability_index([1.0], [1.0, float("nan"), float("inf")])
    with pytest.raises(SampleError, match="reference has shape"):
        population_stability_index([], [1.0])
    with pytest.raises(SampleError, match="at least 2 bins"):
        population_stability_index([1.0], [1.0], n_bins=1)
