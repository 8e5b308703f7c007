"""Laws of the Kolmogorov-Smirnov detector."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from within_pipelines.exceptions import SampleError
from within_pipelines.monitoring import DriftState, kolmogorov_smirnov, kolmogorov_smirnov_distance

samples = st.lists(st.one_of(st.integers(-5, 5).map(float), st.floats(-1e9, 1e9)), min_size=1, max_size=60)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # scipy's, where its exact form gives up or its sample size rounds to 0
@settings(max_examples=60, deadline=None)
@given(samples, samples)
def test_statistic_and_p_value_equal_scipys(a: list[float], b: list[float]) -> None:
    from scipy.stats import ks_2samp

    ours = kolmogorov_smirnov(a, b)
    assert ours.distance == pytest.approx(ks_2samp(a, b, method="exact").statistic, abs=1e-12)
    if len(a) > 1 and len(b) > 1:
        theirs = ks_2samp(a, b, method="asymp")
        assert ours.p_value == pytest.approx(theirs.pvalue, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(samples, samples)
def test_it_is_a_symmetric_distance_that_monotone_maps_leave_alone(a: list[float], b: list[float]) -> None:
    distance = kolmogorov_smirnov_distance(a, b)
    assert 0 <= distance <= 1
    assert kolmogorov_smirnov_distance(b, a) == pytest.approx(distance)
    assert kolmogorov_smirnov_distance(a, a[::-1] * 2) == pytest.approx(0, abs=1e-12)
    assert kolmogorov_smirnov_distance([4 * x for x in a], [4 * x for x in b]) == pytest.approx(distance)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_distance_equals_alibi_detects() -> None:
    if importlib.util.find_spec("alibi_detect") is None:
        pytest.skip("alibi-detect is not installed (extra `alibi`)")
    from alibi_detect.cd.ks import KSDrift

    rng = np.random.default_rng(4)
    reference, current = rng.normal(size=(300, 3)), rng.normal(0.2, 1.3, size=(200, 3))
    theirs = KSDrift(reference, p_val=0.05).predict(current)["data"]["distance"]
    ours = [kolmogorov_smirnov_distance(reference[:, i], current[:, i]) for i in range(3)]
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def accounts(rng: np.random.Generator, n: int, days: int, *, shift: float = 0.0, level: np.ndarray | None = None) -> tuple:
    """Rows of n accounts: an account's level, a shock that its whole window shares, and small daily noise."""
    own = rng.normal(size=n) if level is None else level
    labels = np.repeat(np.arange(n), days)
    values = (own + rng.normal(scale=0.7, size=n))[labels] + rng.normal(scale=0.3, size=n * days) + shift
    return values, labels


def test_false_alarms_on_clustered_rows_stay_nominal_where_the_row_test_cries_wolf() -> None:
    # 300 windows at .05: nominal + three standard errors is .088. The same 30 accounts, 28 days before and 7 days now.
    rng = np.random.default_rng(21)
    clustered = by_row = 0
    for _ in range(300):
        level = rng.normal(size=30)
        reference, first = accounts(rng, 30, 28, level=level)
        current, second = accounts(rng, 30, 7, level=level)
        clustered += kolmogorov_smirnov(
            reference, current, reference_clusters=first, current_clusters=second, rng=rng, minimum_effect=0.0, n_permutations=199
        ).drifted
        by_row += kolmogorov_smirnov(reference, current, minimum_effect=0.0).drifted
    assert clustered / 300 <= 0.088
    assert by_row / 300 > 0.3


def test_false_alarms_stay_nominal_when_the_accounts_are_other_ones() -> None:
    rng = np.random.default_rng(22)
    alarms = 0
    for _ in range(300):
        reference, first = accounts(rng, 25, 20)
        current, second = accounts(rng, 15, 8)
        alarms += kolmogorov_smirnov(
            reference, current, reference_clusters=first, current_clusters=second + 100, rng=rng, minimum_effect=0.0, n_permutations=199
        ).drifted
    assert alarms / 300 <= 0.088


def test_a_shift_of_one_sigma_is_found_and_a_trifle_is_not_whatever_the_sample_size() -> None:
    rng = np.random.default_rng(23)
    found = 0
    for _ in range(100):
        level = rng.normal(size=40)
        reference, first = accounts(rng, 40, 28, level=level)
        current, second = accounts(rng, 40, 7, level=level, shift=1.0)
        found += kolmogorov_smirnov(
            reference, current, reference_clusters=first, current_clusters=second, rng=rng, n_permutations=199
        ).drifted
    assert found >= 90
    trifle = kolmogorov_smirnov(rng.normal(size=200_000), rng.normal(0.03, 1, size=200_000))
    assert trifle.p_value < 1e-6
    assert trifle.state is DriftState.STABLE


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(8, 40))
def test_data_moved_by_50_sigma_always_drift(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    reference, first = accounts(rng, n, 10)
    current, second = accounts(rng, n, 5, shift=50 * reference.std())
    assert kolmogorov_smirnov(reference, current, reference_clusters=first, current_clusters=second, rng=rng).drifted
    assert kolmogorov_smirnov(reference, current).drifted


def test_too_few_rows_or_clusters_are_insufficient_and_never_calm() -> None:
    rng = np.random.default_rng(24)
    assert kolmogorov_smirnov(rng.normal(size=40), rng.normal(size=40)).state is DriftState.INSUFFICIENT
    reference, first = accounts(rng, 7, 1000)
    result = kolmogorov_smirnov(reference, reference + 50, reference_clusters=first, current_clusters=first, rng=rng)
    assert result.state is DriftState.INSUFFICIENT
    assert result.n_units == 7


def test_refusals() -> None:
    with pytest.raises(SampleError, match="reference holds 1 of 2"):
        kolmogorov_smirnov([1.0, float("nan")], [1.0])
    with pytest.raises(SampleError, match="need all three"):
        kolmogorov_smirnov([1.0], [1.0], reference_clusters=["a"])
    with pytest.raises(SampleError, match="Cluster labels have shapes"):
        kolmogorov_smirnov([1.0], [1.0], reference_clusters=["a", "b"], current_clusters=["a"], rng=np.random.default_rng(1))
    with pytest.raises(SampleError, match="alpha is 2"):
        kolmogorov_smirnov([1.0], [1.0], alpha=2)
