"""Win probabilities follow who won, and what is known beside siblings is less than what is known alone."""

from __future__ import annotations

import numpy as np
import pytest

from within_pipelines.prediction.ad_score.contrasts import observe
from within_pipelines.prediction.ad_score.winning import beside_share, fit_sharpness, sampling_noise, win_probability


def test_noise_is_that_of_a_binomial_at_the_groups_rate() -> None:
    seen = observe(np.array([0.1, 0.3]), np.array([1000.0, 1000.0]), ["g", "g"])
    # The log-odds are smoothed by half a click, so the group's rate is .2 but for that.
    assert sampling_noise(seen) == pytest.approx([1 / (1000 * 0.2 * 0.8)] * 2, rel=0.01)


@pytest.mark.parametrize("bold", [0.5, 1.0, 2.0])
def test_predictions_that_are_too_bold_get_the_slope_that_tames_them(bold: float) -> None:
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(3000), 3)
    told = 0.2 * rng.standard_normal(group.size)
    truth = told + 0.2 * rng.standard_normal(group.size)
    rate = rng.binomial(5000, 1 / (1 + np.exp(3 - truth))) / 5000
    seen = observe(rate, np.full(group.size, 5000.0), group)
    assert fit_sharpness(seen, bold * told, residual=0.2) == pytest.approx(1 / bold, rel=0.08)


def test_a_coin_for_equal_predictions_and_more_noise_means_less_certainty() -> None:
    assert win_probability(np.zeros(1), residual=0.2)[0] == 0.5
    sure, unsure = (float(win_probability(np.array([0.3]), residual=0.2, noise=noise)[0]) for noise in (0.0, 0.5))
    assert 0.5 < unsure < sure < 1


def test_an_ad_among_n_shares_its_mean_by_hand() -> None:
    rng = np.random.default_rng(1)
    draws = rng.standard_normal((200_000, 4))
    left = (draws - draws.mean(axis=1, keepdims=True)).var()
    assert beside_share(np.zeros(4, np.intp)) == pytest.approx([left] * 4, abs=0.01)
