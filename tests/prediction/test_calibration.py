"""Probabilities mean what they say after calibration."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from within_pipelines.exceptions import SampleError
from within_pipelines.prediction.calibration import PlattScaling, calibration_slope, fit_platt, logit, sigmoid
from within_pipelines.prediction.metrics import debiased_ece


@settings(max_examples=40, deadline=None)
@given(st.floats(-15, 15))
def test_logit_undoes_sigmoid(x: float) -> None:
    assert logit(sigmoid(np.array([x])))[0] == pytest.approx(x, abs=1e-6)


def test_extremes_stay_finite() -> None:
    assert sigmoid(np.array([-1e9, 0.0, 1e9])).tolist() == [0.0, 0.5, 1.0]
    assert np.isfinite(logit(np.array([0.0, 1.0]))).all()


def test_platt_agrees_with_logistic_regression_on_smoothed_targets() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(4)
    raw = rng.normal(0, 2, 600)
    y = (rng.random(600) < sigmoid(-0.4 + 0.6 * raw)).astype(float)
    high, low = (y.sum() + 1) / (y.sum() + 2), 1 / ((1 - y).sum() + 2)
    target = np.where(y > 0.5, high, low)
    # Each row twice, once per class, weighted by its smoothed target. Our ridge of 1e-9 is next to none.
    twice = np.r_[raw, raw][:, None]
    reference = LogisticRegression(C=1e9, tol=1e-10, max_iter=1000)
    reference.fit(twice, np.r_[np.ones(600), np.zeros(600)], sample_weight=np.r_[target, 1 - target])
    found = fit_platt(raw, y, ridge=1e-9)
    assert found.slope == pytest.approx(reference.coef_[0, 0], abs=1e-4)
    assert found.intercept == pytest.approx(reference.intercept_[0], abs=1e-4)


def test_platt_by_hand_without_information() -> None:
    # All raw log-odds 0: the intercept alone gives the mean smoothed target, (2 * 3/4 + 2 * 1/4) / 4 = 1/2; the slope keeps its prior.
    found = fit_platt(np.zeros(4), np.array([0.0, 1.0, 1.0, 0.0]))
    assert found.intercept == pytest.approx(0, abs=1e-9)
    assert found.slope == pytest.approx(1)


def test_calibration_repairs_planted_overconfidence() -> None:
    rng = np.random.default_rng(5)
    raw = rng.normal(0, 1, 20_000)
    y = (rng.random(raw.size) < sigmoid(raw)).astype(float)
    loud = 3 * raw + 1
    fixed = fit_platt(loud[:10_000], y[:10_000])
    assert fixed.slope == pytest.approx(1 / 3, abs=0.02)
    later = sigmoid(fixed(loud[10_000:]))
    assert debiased_ece(y[10_000:], sigmoid(loud[10_000:])) > 0.1
    assert debiased_ece(y[10_000:], later) < 0.02
    assert calibration_slope(y[10_000:], later) == pytest.approx(1, abs=0.06)
    assert calibration_slope(y[10_000:], sigmoid(loud[10_000:])) == pytest.approx(1 / 3, abs=0.03)


def test_a_slope_alone_leaves_even_odds_even() -> None:
    found = fit_platt(np.array([-2.0, -1.0, 1.0, 2.0]), np.array([0.0, 0.0, 1.0, 1.0]), intercept=False)
    assert found.intercept == 0
    assert found(np.zeros(1))[0] == 0


def test_separable_outcomes_give_finite_numbers() -> None:
    found = fit_platt(np.r_[np.full(50, -5.0), np.full(50, 5.0)], np.r_[np.zeros(50), np.ones(50)])
    assert 0 < found.slope < 5
    assert math.isfinite(found.intercept)


def test_one_class_is_refused() -> None:
    with pytest.raises(SampleError, match="Calibration needs both outcomes; 3 rows hold 3 positive ones"):
        fit_platt(np.zeros(3), np.ones(3))


def test_the_slope_is_undefined_without_both_classes_or_with_a_constant_prediction() -> None:
    assert math.isnan(calibration_slope(np.ones(4), np.array([0.1, 0.2, 0.3, 0.4])))
    assert math.isnan(calibration_slope(np.array([0.0, 1.0]), np.array([0.3, 0.3])))


def test_calibration_keeps_the_order() -> None:
    raw = np.array([-1.0, 0.0, 2.0])
    assert PlattScaling(0.5, 2.0)(raw).tolist() == [-1.5, 0.5, 4.5]
