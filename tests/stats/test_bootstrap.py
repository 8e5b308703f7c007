"""Laws of the cluster bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from within_pipelines.exceptions import SampleError
from within_pipelines.stats import cluster_bootstrap, cluster_mean, paired_difference, resampled_rows


def test_a_resample_holds_whole_clusters_only() -> None:
    labels = np.array(["b", "a", "b", "c", "a", "b"])
    for rows in resampled_rows(labels, rng=np.random.default_rng(3), n_resamples=200):
        drawn = labels[rows]
        assert sum(np.sum(drawn == label) / np.sum(labels == label) for label in "abc") == 3
        for label in "abc":
            counts = np.bincount(rows, minlength=6)[labels == label]
            assert len(set(counts.tolist())) == 1


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.floats(-100, 100)), min_size=2, max_size=40).filter(
        lambda rows: len({label for label, _ in rows}) > 1
    ),
    st.integers(0, 2**31),
)
def test_the_interval_contains_the_value_and_the_fast_mean_agrees_with_the_general_one(rows: list[tuple[int, float]], seed: int) -> None:
    labels = np.array([label for label, _ in rows])
    values = np.array([value for _, value in rows])
    fast = cluster_mean(values, labels, rng=np.random.default_rng(seed), n_resamples=100)
    slow = cluster_bootstrap(lambda r: float(values[r].mean()), labels, rng=np.random.default_rng(seed), n_resamples=100)
    for estimate in (fast, slow):
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.n == len(set(labels.tolist()))
    assert fast.value == pytest.approx(slow.value, abs=1e-9)


def test_the_fast_mean_has_the_distribution_of_the_general_one() -> None:
    rng = np.random.default_rng(5)
    labels = np.repeat(np.arange(30), rng.integers(1, 9, 30))
    values = rng.normal(size=30)[labels] + rng.normal(size=len(labels))
    weights = rng.uniform(0.5, 2, len(labels))
    fast = cluster_mean(values, labels, weights=weights, rng=rng, n_resamples=20_000)
    slow = cluster_bootstrap(lambda r: float(np.average(values[r], weights=weights[r])), labels, rng=rng, n_resamples=5_000)
    width = fast.high - fast.low
    assert fast.low == pytest.approx(slow.low, abs=0.06 * width)
    assert fast.high == pytest.approx(slow.high, abs=0.06 * width)


def test_the_interval_agrees_with_scipys_percentile_bootstrap_when_clusters_are_many_single_rows() -> None:
    from scipy.stats import bootstrap

    values = np.random.default_rng(8).gamma(2, size=400)
    ours = cluster_mean(values, np.arange(400), rng=np.random.default_rng(1), n_resamples=20_000)
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)).confidence_interval
    width = ours.high - ours.low
    assert ours.low == pytest.approx(theirs.low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.03 * width)


@pytest.mark.parametrize(("n_clusters", "rows_each"), [(8, 20), (40, 5)])
def test_coverage_on_clustered_rows_is_nominal(n_clusters: int, rows_each: int) -> None:
    # 1,000 repetitions: a true coverage of .95 gives .95 +- .014 (two standard errors); the bound below is -3 standard errors and a
    # point for the bootstrap's own small-sample error. An interval that treats rows as independent covers about half as often.
    rng = np.random.default_rng(20)
    labels = np.repeat(np.arange(n_clusters), rows_each)
    covered = naive = 0
    for _ in range(1000):
        values = rng.normal(size=n_clusters)[labels] + rng.normal(scale=0.5, size=len(labels))
        estimate = cluster_mean(values, labels, rng=rng, n_resamples=400)
        covered += estimate.low <= 0 <= estimate.high
        naive += abs(values.mean()) <= 1.96 * values.std() / np.sqrt(len(values))
    assert 0.92 <= covered / 1000 <= 0.98
    assert naive / 1000 < 0.85


def test_pairing_removes_what_both_share() -> None:
    rng = np.random.default_rng(2)
    hard = rng.normal(scale=5, size=200)
    better, worse = hard + rng.normal(0.2, 0.5, 200), hard + rng.normal(0, 0.5, 200)
    difference = paired_difference(better, worse, np.arange(200), rng=rng)
    assert difference.high - difference.low < 0.25
    assert difference.low > 0


def test_equal_seeds_give_equal_intervals_and_row_order_does_not_matter() -> None:
    values, labels = np.arange(12.0), np.repeat(list("abcd"), 3)
    first = cluster_mean(values, labels, rng=np.random.default_rng(4))
    again = cluster_mean(values[::-1], labels[::-1], rng=np.random.default_rng(4))
    assert (first.low, first.value, first.high) == pytest.approx((again.low, again.value, again.high))


def test_a_statistic_that_is_rarely_defined_is_refused_with_the_count() -> None:
    with pytest.raises(SampleError, match=r"undefined on \d+ of 200 resamples"):
        cluster_bootstrap(
            lambda rows: 1.0 if len(set(rows.tolist())) > 3 else float("nan"), range(4), rng=np.random.default_rng(1), n_resamples=200
        )


def test_a_few_undefined_resamples_are_left_out() -> None:
    calls = iter(range(10_000))
    estimate = cluster_bootstrap(
        lambda rows: float("nan") if next(calls) % 50 == 49 else float(rows.mean()), range(30), rng=np.random.default_rng(1)
    )
    assert estimate.low < 14.5 < estimate.high


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rng: cluster_mean([1.0, 2.0], ["a", "a"], rng=rng), "at least two independent clusters"),
        (lambda rng: cluster_mean([], [], rng=rng), "at least one row"),
        (lambda rng: cluster_mean([1.0], ["a", "b"], rng=rng), "one of each per row"),
        (lambda rng: cluster_mean([1.0, np.nan], ["a", "b"], rng=rng), "1 of 4 values and weights are not finite"),
        (lambda rng: cluster_mean([1.0, 2.0], ["a", "b"], weights=[-1, 2], rng=rng), "negative in 1 rows"),
        (lambda rng: cluster_mean([1.0] * 9, range(9), weights=[1] + [0] * 8, rng=rng), "too few clusters have weight"),
        (lambda rng: cluster_mean([1.0, 2.0], ["a", "b"], rng=rng, n_resamples=10), "at least 100"),
        (lambda rng: cluster_mean([1.0, 2.0], ["a", "b"], rng=rng, level=95), "between 0 and 1"),
        (lambda rng: cluster_bootstrap(lambda rows: float("nan"), ["a", "b"], rng=rng), "statistic of all 2 rows is nan"),
        (lambda rng: paired_difference([1.0], [1.0, 2.0], ["a", "b"], rng=rng), "needs the same rows in both"),
    ],
)
def test_an_unfit_sample_is_refused_with_its_numbers(call, message: str) -> None:
    with pytest.raises(SampleError, match=message):
        call(np.random.default_rng(1))
