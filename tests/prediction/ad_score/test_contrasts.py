"""Siblings are compared with each other, and sampling noise is told from truth."""

from __future__ import annotations

import numpy as np
import pytest

from within_pipelines.prediction.ad_score.contrasts import between_ad_variance, group_mean, observe, pairs_within, within_group


def test_log_odds_and_their_variance_by_hand() -> None:
    seen = observe(np.array([0.02, 0.0]), np.array([1000.0, 500.0]), ["g", "g"])
    assert seen.log_odds == pytest.approx([np.log(20.5 / 980.5), np.log(0.5 / 500.5)])
    assert seen.variance == pytest.approx([1 / 20.5 + 1 / 980.5, 1 / 0.5 + 1 / 500.5])
    assert seen.n_groups == 1


def test_the_stated_variance_is_that_of_simulated_log_odds() -> None:
    rng = np.random.default_rng(1)
    clicks = rng.binomial(20_000, 0.02, 20_000)
    seen = observe(clicks / 20_000, np.full(20_000, 20_000.0), np.zeros(20_000))
    assert seen.log_odds.var() == pytest.approx(seen.variance.mean(), rel=0.05)
    assert seen.log_odds.mean() == pytest.approx(np.log(0.02 / 0.98), abs=0.001)


def test_no_rows_have_no_groups() -> None:
    assert observe(np.zeros(0), np.zeros(0), []).n_groups == 0
    first, second = pairs_within(np.zeros(0, np.intp))
    assert first.size == second.size == 0


def test_group_means_of_a_vector_and_a_matrix_by_hand() -> None:
    values, weights, group = np.array([1.0, 3.0, 10.0]), np.array([1.0, 3.0, 2.0]), np.array([0, 0, 1])
    assert group_mean(values, weights, group, 2).tolist() == [2.5, 10.0]
    both = group_mean(np.column_stack([values, -values]), weights, group, 2)
    assert both.tolist() == [[2.5, -2.5], [10.0, -10.0]]
    assert within_group(values, weights, group, 2).tolist() == [-1.5, 0.5, 0.0]


def test_the_spread_between_siblings_agrees_with_dersimonian_and_laird() -> None:
    from statsmodels.stats.meta_analysis import combine_effects

    rng = np.random.default_rng(2)
    shown = rng.integers(500, 5000, 30).astype(float)
    rate = rng.binomial(shown.astype(int), 1 / (1 + np.exp(3 - 0.5 * rng.standard_normal(30)))) / shown
    seen = observe(rate, shown, np.zeros(30))
    reference = combine_effects(seen.log_odds, seen.variance, method_re="chi2")
    assert between_ad_variance(seen) == pytest.approx(reference.tau2, rel=1e-9)


@pytest.mark.parametrize("spread", [0.1, 0.4])
def test_the_planted_spread_between_siblings_is_found(spread: float) -> None:
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(500), 4)
    truth = -3 + 0.8 * rng.standard_normal(500)[group] + spread * rng.standard_normal(2000)
    shown = np.full(2000, 5000)
    rate = rng.binomial(shown, 1 / (1 + np.exp(-truth))) / shown
    assert np.sqrt(between_ad_variance(observe(rate, shown.astype(float), group))) == pytest.approx(spread, rel=0.1)


def test_the_spread_is_never_less_than_noise_can_hide() -> None:
    # Two groups of three alike: four degrees of freedom, weights w, denominator 4 w; alike results say nothing about less than this.
    variance = 1 / 10.5 + 1 / 90.5
    found = between_ad_variance(observe(np.full(6, 0.1), np.full(6, 100.0), np.repeat([0, 1], 3)))
    assert found == pytest.approx(1.644854 * np.sqrt(8) * variance / 4)
    many = between_ad_variance(observe(np.full(30_000, 0.1), np.full(30_000, 1e6), np.repeat(np.arange(10_000), 3)))
    assert many == 1e-4


def test_every_pair_of_siblings_comes_once() -> None:
    group = np.random.default_rng(4).integers(0, 5, 30)
    first, second = pairs_within(group)
    found = {frozenset(pair) for pair in zip(first.tolist(), second.tolist(), strict=True)}
    wanted = {frozenset((i, j)) for i in range(30) for j in range(i) if group[i] == group[j]}
    assert found == wanted
    assert len(found) == first.size
