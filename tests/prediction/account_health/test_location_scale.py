"""The location-scale part finds planted means and scatters, and its contributions are integrated gradients."""

from __future__ import annotations

import json

import numpy as np
import pytest

from within_pipelines.prediction.account_health.location_scale import LocationScale, fit_location_scale
from within_pipelines.prediction.account_health.model import LinearPart
from within_pipelines.prediction.calibration import sigmoid

THRESHOLD = float(np.log(0.8))


def world(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features, log ratios, drops, and the true probability of a drop."""
    from scipy.special import ndtr

    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 3))
    mean, scale = 0.1 + 0.2 * x[:, 0], np.exp(-1.2 + 0.5 * x[:, 1])
    ratio = mean + scale * rng.standard_normal(n)
    return x, ratio, (ratio < THRESHOLD).astype(float), ndtr((THRESHOLD - mean) / scale)


@pytest.fixture(scope="module")
def part() -> LocationScale:
    x, ratio, drop, _ = world(20_000, 1)
    return fit_location_scale(x, ratio, drop, threshold=THRESHOLD, ridge=1.0, scale_ridge=1.0)


def test_planted_mean_and_scatter_are_found(part: LocationScale) -> None:
    assert part.location.coefficients == pytest.approx([0.2, 0.0, 0.0], abs=0.01)
    assert part.log_scale.coefficients == pytest.approx([0.0, 0.42, 0.0], abs=0.06)  # the floor of residuals flattens the small ones
    x, _, _, truth = world(5000, 2)
    assert np.corrcoef(sigmoid(part.log_odds(x)), truth)[0, 1] > 0.98
    assert np.abs(sigmoid(part.log_odds(x)) - truth).mean() < 0.02


def test_less_volume_means_more_drops_from_noise_alone() -> None:
    # The same mean for all; only the scatter differs. A model of the mean alone would say one probability.
    rng = np.random.default_rng(3)
    volume = rng.uniform(2, 7, (8000, 1))
    ratio = np.exp(-0.5 * volume[:, 0]) * 2 * rng.standard_normal(8000)
    found = fit_location_scale(volume, ratio, (ratio < THRESHOLD).astype(float), threshold=THRESHOLD, ridge=1.0, scale_ridge=1.0)
    small, large = sigmoid(found.log_odds(np.array([[2.5], [6.5]])))
    assert small > 0.33
    assert large < 0.08


def test_contributions_add_up_and_agree_with_integrating_gradients_by_steps(part: LocationScale) -> None:
    x = np.random.default_rng(4).normal(0, 1.5, (40, 3))
    x[0] = np.nan
    parts = part.contributions(x)
    np.testing.assert_allclose(parts.sum(axis=1), part.log_odds(x), atol=1e-10)
    inside = (part.log_scale(x) > part.lowest) & (part.log_scale(x) < part.highest)
    assert inside.sum() > 30
    usual, target = np.where(np.isfinite(x), part.location.mean, np.nan), x
    steps, total = 2000, np.zeros((40, 3))
    for step in range(steps):
        at = usual + (step + 0.5) / steps * (target - usual)
        for j in range(3):
            ahead, behind = at.copy(), at.copy()
            ahead[:, j] += 1e-5
            behind[:, j] -= 1e-5
            total[:, j] += (part.log_odds(ahead) - part.log_odds(behind)) / 2e-5 * (target - usual)[:, j] / steps
    np.testing.assert_allclose(parts[inside][:, :3], np.nan_to_num(total)[inside], atol=2e-3)


def test_the_usual_unit_has_no_contributions_and_the_bounds_hold_the_sum(part: LocationScale) -> None:
    usual = part.contributions(part.location.mean[None])
    assert usual[0, :3].tolist() == pytest.approx([0, 0, 0], abs=1e-12)
    wild = np.array([[0.5, 9.0, 0.0], [0.5, -9.0, 0.0]])
    assert part.scale(wild) == pytest.approx(np.exp([part.highest, part.lowest]))
    np.testing.assert_allclose(part.contributions(wild).sum(axis=1), part.log_odds(wild), atol=1e-10)


def test_by_hand() -> None:
    one, zero = np.ones(1), np.zeros(1)
    part = LocationScale(LinearPart(zero, one, np.array([0.5]), 0.2), LinearPart(zero, one, zero, 0.0), -1.0, 1.0, -0.3, 0.1, 2.0)
    # log-odds = .1 + 2 (-.3 - .2 - .5 x) / 1
    assert part.log_odds(np.array([[1.0]])).tolist() == pytest.approx([-1.9])
    assert part.contributions(np.array([[1.0]])).tolist() == [pytest.approx([-1.0, -0.9])]
    assert part.typical_scale == 1.0


def test_it_survives_json_exactly(part: LocationScale) -> None:
    again = LocationScale.from_dict(json.loads(json.dumps(part.to_dict())))
    x = world(50, 5)[0]
    np.testing.assert_array_equal(again.log_odds(x), part.log_odds(x))
