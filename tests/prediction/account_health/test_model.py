"""The parts of the health model agree with reference libraries."""

from __future__ import annotations

import json

import numpy as np
import pytest

from within_pipelines.prediction.account_health.model import (
    LinearPart,
    fit_logistic,
    fit_ridge,
    fit_trees,
    open_trees,
    tree_contributions,
    tree_log_odds,
)
from within_pipelines.prediction.calibration import sigmoid

RNG = np.random.default_rng(8)
X = RNG.normal([0, 5, 100], [1, 2, 30], (500, 3))
LOG_ODDS = -0.5 + X[:, 0] - 0.4 * (X[:, 1] - 5)
Y = (RNG.random(500) < sigmoid(LOG_ODDS)).astype(float)
Z = np.clip((X - X.mean(axis=0)) / X.std(axis=0), -5, 5)


@pytest.mark.parametrize("ridge", [0.01, 1.0, 30.0])
def test_logistic_agrees_with_scikit_learn_at_the_same_penalty(ridge: float) -> None:
    from sklearn.linear_model import LogisticRegression

    reference = LogisticRegression(C=1 / ridge, tol=1e-10, max_iter=2000).fit(Z, Y)
    found = fit_logistic(X, Y, ridge=ridge)
    np.testing.assert_allclose(found.coefficients, reference.coef_[0], atol=1e-4)
    assert found.intercept == pytest.approx(reference.intercept_[0], abs=1e-4)
    np.testing.assert_allclose(found(X), reference.decision_function(Z), atol=1e-3)


@pytest.mark.parametrize("ridge", [0.01, 30.0])
def test_ridge_agrees_with_scikit_learn_at_the_same_penalty(ridge: float) -> None:
    from sklearn.linear_model import Ridge

    target = LOG_ODDS + RNG.normal(0, 0.3, 500)
    centred = Z - Z.mean(axis=0)
    reference = Ridge(alpha=ridge).fit(centred, target)
    found = fit_ridge(X, target, ridge=ridge)
    np.testing.assert_allclose(found.coefficients, reference.coef_, atol=1e-3)
    np.testing.assert_allclose(found(X), reference.predict(centred), atol=1e-3)


def test_logistic_finds_planted_coefficients() -> None:
    rng = np.random.default_rng(9)
    x = rng.normal([0, 5, 100], [1, 2, 30], (20_000, 3))
    y = (rng.random(20_000) < sigmoid(-0.5 + x[:, 0] - 0.4 * (x[:, 1] - 5))).astype(float)
    found = fit_logistic(x, y, ridge=1e-6)
    # The standard errors are .02, .01 and .001.
    assert found.coefficients / found.scale == pytest.approx([1.0, -0.4, 0.0], abs=0.06)


def test_ridge_by_hand() -> None:
    # x = -1, 1 has scale 1; the coefficient is 2 * 3 / (2 + 4) around the mean 10.
    found = fit_ridge(np.array([[-1.0], [1.0]]), np.array([7.0, 13.0]), ridge=4.0)
    assert found.coefficients.tolist() == [1.0]
    assert found.intercept == 10.0
    assert found(np.array([[2.0]])).tolist() == [12.0]


def test_separable_labels_stay_finite() -> None:
    found = fit_logistic(X, (X[:, 0] > 0).astype(float), ridge=0.01)
    assert np.isfinite(found.coefficients).all()
    assert ((found(X) > 0) == (X[:, 0] > 0)).mean() > 0.98


def test_constant_and_missing_columns_say_nothing() -> None:
    wide = np.column_stack([X, np.full(500, 3.0), np.full(500, np.nan)])
    found, plain = fit_logistic(wide, Y, ridge=1.0), fit_logistic(X, Y, ridge=1.0)
    assert found.scale[3:].tolist() == [np.inf, np.inf]
    np.testing.assert_allclose(found(wide), plain(X), atol=1e-9)
    assert found(np.full((1, 5), np.nan))[0] == pytest.approx(found.intercept)


def test_contributions_add_up_and_one_wild_value_is_clipped() -> None:
    found = fit_logistic(X, Y, ridge=1.0)
    np.testing.assert_allclose(found.contributions(X).sum(axis=1) + found.intercept, found(X), atol=1e-12)
    wild = X[:1].copy()
    wild[0, 0] = 1e12
    assert abs(found.contributions(wild)[0, 0]) == pytest.approx(5 * abs(found.coefficients[0]))


def test_a_linear_part_survives_json_with_its_constant_columns() -> None:
    found = fit_logistic(np.column_stack([X, np.ones(500)]), Y, ridge=1.0)
    again = LinearPart.from_dict(json.loads(json.dumps(found.to_dict())))
    np.testing.assert_array_equal(again(np.column_stack([X, np.ones(500)])), found(np.column_stack([X, np.ones(500)])))
    assert again.scale[3] == np.inf


@pytest.mark.slow
def test_tree_contributions_add_up_and_agree_with_shap() -> None:
    booster = open_trees(fit_trees(X, Y, seed=1, threads=1, rounds=40))
    x = X.copy()
    x[0] = np.nan
    parts = tree_contributions(booster, x)
    np.testing.assert_allclose(parts.sum(axis=1), tree_log_odds(booster, x), atol=1e-5)
    shap = pytest.importorskip("shap")
    try:
        explainer = shap.TreeExplainer(booster)
    except (ValueError, NotImplementedError) as error:
        pytest.skip(f"the installed shap cannot read the installed xgboost's model: {error}")
    np.testing.assert_allclose(explainer.shap_values(x), parts[:, :-1], atol=1e-5)


def test_trees_are_the_same_bytes_for_the_same_seed_and_rank_drops_first() -> None:
    raw = fit_trees(X, Y, seed=1, threads=1)
    assert fit_trees(X, Y, seed=1, threads=1) == raw
    assert fit_trees(X, Y, seed=2, threads=1) != raw
    score = tree_log_odds(open_trees(raw), X)
    assert score[Y > 0.5].mean() > score[Y < 0.5].mean() + 0.5
