"""Intervals for rows that share units and moments."""

from __future__ import annotations

import numpy as np
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.stats import cluster_bootstrap, two_way_bootstrap, two_way_rows


def test_a_row_is_drawn_as_often_as_its_unit_times_its_moment() -> None:
    unit, moment = np.repeat(np.arange(4), 5), np.tile(np.arange(5), 4)
    for rows in two_way_rows(unit, moment, rng=np.random.default_rng(1), n_resamples=30):
        counts = np.bincount(rows, minlength=20).reshape(4, 5)
        assert np.linalg.matrix_rank(counts) == 1
        assert len(rows) == 20


def test_on_average_each_row_is_drawn_once() -> None:
    unit, moment = np.array([0, 0, 1, 2, 2, 3]), np.array([0, 1, 1, 0, 2, 2])
    draws = [np.bincount(rows, minlength=6) for rows in two_way_rows(unit, moment, rng=np.random.default_rng(2), n_resamples=4000)]
    # Samples that come out empty are drawn again, which lifts the mean a little.
    assert np.mean(draws, axis=0) == pytest.approx(np.ones(6), abs=0.12)


@pytest.mark.slow
def test_a_shared_week_is_not_taken_for_granted() -> None:
    # Rows share a shock per week. The two-way interval covers the true mean at least as often as it says; the one-way one does not.
    rng = np.random.default_rng(3)
    unit, week = np.repeat(np.arange(15), 12), np.tile(np.arange(12), 15)
    two, one = [], []
    for _ in range(120):
        y = rng.normal(size=12)[week] + 0.5 * rng.normal(size=15)[unit] + rng.normal(size=180)
        mean = lambda rows, y=y: float(y[rows].mean())
        wide = two_way_bootstrap(mean, unit, week, rng=rng, n_resamples=150, level=0.9)
        narrow = cluster_bootstrap(mean, unit, rng=rng, n_resamples=150, level=0.9)
        two.append(wide.low <= 0 <= wide.high)
        one.append(narrow.low <= 0 <= narrow.high)
    assert np.mean(two) > 0.86
    assert np.mean(one) < 0.7


def test_the_same_seed_gives_the_same_interval_and_a_constant_has_none() -> None:
    y, unit, week = np.arange(30.0), np.repeat(np.arange(6), 5), np.tile(np.arange(5), 6)
    found = [two_way_bootstrap(lambda i: float(y[i].mean()), unit, week, rng=np.random.default_rng(4)) for _ in range(2)]
    assert found[0] == found[1]
    assert found[0].n == 5
    flat = two_way_bootstrap(lambda i: 3.0, unit, week, rng=np.random.default_rng(4), n_resamples=100)
    assert (flat.low, flat.value, flat.high) == (3.0, 3.0, 3.0)


def test_unusable_samples_are_refused() -> None:
    rng = np.random.default_rng(5)
    with pytest.raises(SampleError, match="1 units and 3 moments; a two-way interval needs at least two of both"):
        two_way_bootstrap(lambda i: 1.0, [1, 1, 1], [1, 2, 3], rng=rng)
    with pytest.raises(SampleError, match=r"units and moments have shapes \(2,\) and \(3,\)"):
        two_way_bootstrap(lambda i: 1.0, [1, 2], [1, 2, 3], rng=rng)
    with pytest.raises(SampleError, match="n_resamples is 10; give at least 100"):
        two_way_bootstrap(lambda i: 1.0, [1, 2], [1, 2], rng=rng, n_resamples=10)
    with pytest.raises(SampleError, match="The statistic of all 2 rows is nan"):
        two_way_bootstrap(lambda i: float("nan"), [1, 2], [1, 2], rng=rng)
    half = lambda i: float("nan") if 0 not in i else 1.0
    with pytest.raises(SampleError, match=r"undefined on \d+ of 100 resamples; the sample is too small"):
        two_way_bootstrap(half, [1, 2], [1, 2], rng=rng, n_resamples=100)
