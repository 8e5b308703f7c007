"""The parts of the ad-score model agree with reference libraries and find what was planted."""

from __future__ import annotations

import numpy as np
import pytest

from within_pipelines.prediction.ad_score.contrasts import within_group
from within_pipelines.prediction.ad_score.model import (
    PENALTIES,
    Ridge,
    Sample,
    cross_fit,
    cross_fit_ridge,
    fit_ridge,
    fit_trees,
    open_trees,
    ridge_path,
    squared_error,
    stack_weights,
    standardiser,
    tree_contributions,
    tree_values,
)


def sample(seed: int = 0, *, groups: int = 60, effects: tuple[float, ...] = (0.5, -0.3, 0.0)) -> Sample:
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), 4)
    x = rng.standard_normal((group.size, len(effects))) + rng.standard_normal((groups, len(effects)))[group]
    weight = rng.uniform(0.5, 2.0, group.size)
    y = x @ np.array(effects) + 0.2 * rng.standard_normal(group.size)
    return Sample(x, within_group(y, weight, group, groups), weight, group)


@pytest.mark.parametrize("penalty", [1e-6, 10.0, 300.0])
def test_ridge_agrees_with_scikit_learn_on_centred_features(penalty: float) -> None:
    from sklearn.linear_model import Ridge as Reference

    s = sample()
    found = fit_ridge(s, penalty=penalty)
    z = (s.x - found.mean) / found.scale
    w = s.weight / s.weight.mean()
    reference = Reference(alpha=penalty, fit_intercept=False, tol=1e-12)
    reference.fit(within_group(z, w, s.group, s.n_groups), s.y, sample_weight=w)
    np.testing.assert_allclose(found.coefficients, reference.coef_, atol=1e-9)


def test_ridge_by_hand() -> None:
    # One group, x = -1, 1, y = -1, 1: scale 1, x'x = 2, x'y = 2, so the coefficient is 2 / (2 + penalty).
    s = Sample(np.array([[-1.0], [1.0]]), np.array([-1.0, 1.0]), np.ones(2), np.zeros(2, np.intp))
    assert [r.coefficients[0] for r in ridge_path(s, (0.0, 2.0, 6.0))] == pytest.approx([1, 0.5, 0.25])


def test_ridge_finds_planted_effects_and_a_larger_penalty_means_smaller_ones() -> None:
    found = fit_ridge(sample(), penalty=1e-6)
    assert found.coefficients / found.scale == pytest.approx([0.5, -0.3, 0.0], abs=0.03)
    sizes = [np.abs(r.coefficients).sum() for r in ridge_path(sample(), PENALTIES)]
    assert sizes == sorted(sizes, reverse=True)


def test_a_constant_or_missing_column_says_nothing_and_breaks_nothing() -> None:
    s = sample()
    wide = Sample(np.column_stack([s.x, np.full(s.y.size, 7.0), np.full(s.y.size, np.nan)]), s.y, s.weight, s.group)
    mean, scale = standardiser(wide.x, wide.weight)
    assert scale[3:].tolist() == [np.inf, np.inf]
    assert mean[3:] == pytest.approx([7.0, 0.0])
    found = fit_ridge(wide, penalty=10.0)
    np.testing.assert_allclose(found(wide.x), fit_ridge(s, penalty=10.0)(s.x), atol=1e-9)
    assert found(np.full((1, 5), np.nan)).tolist() == [0.0]


def test_standardising_by_hand_with_weights_and_gaps() -> None:
    mean, scale = standardiser(np.array([[0.0], [4.0], [np.nan]]), np.array([3.0, 1.0, 100.0]))
    assert mean.tolist() == [1.0]
    assert scale == pytest.approx([np.sqrt(3)])


def test_one_wild_value_is_clipped() -> None:
    ridge = Ridge(np.zeros(1), np.ones(1), np.array([0.1]))
    assert ridge(np.array([[1e9], [-1e9], [np.inf]])) == pytest.approx([0.6, -0.6, 0.6])
    assert ridge.contributions(np.array([[2.0]])).tolist() == [[0.2]]


def test_predictions_of_a_fold_do_not_depend_on_its_own_labels() -> None:
    s = sample()
    fold = s.group % 5
    disturbed = Sample(s.x, np.where(fold == 2, s.y[::-1] * 50, s.y), s.weight, s.group)
    trees = lambda part: lambda x: tree_values(open_trees(fit_trees(part, seed=1, threads=1, rounds=20)), x)
    for fitted in (lambda t: cross_fit_ridge(t, fold, penalties=(10.0,))[0], lambda t: cross_fit(t, fold, trees)):
        a, b = fitted(s), fitted(disturbed)
        # Sums of all less those of the fold: equal but for rounding.
        np.testing.assert_allclose(a[fold == 2], b[fold == 2], atol=1e-9)
        assert not np.allclose(a[fold == 1], b[fold == 1])


@pytest.mark.parametrize("columns", [3, 400])
def test_cross_fitting_equals_fitting_without_the_fold(columns: int) -> None:
    rng = np.random.default_rng(4)
    s = sample()
    s = Sample(np.column_stack([s.x, rng.standard_normal((s.y.size, columns - 3))]), s.y, s.weight, s.group)
    fold = s.group % 5
    found, _ = cross_fit_ridge(s, fold, penalties=(20.0,))
    mean, scale = standardiser(s.x, s.weight)
    z = np.clip((s.x - mean) / scale, -6, 6)
    for k in range(5):
        w = s.weight / s.weight.mean()
        centred = within_group(z, s.weight, s.group, s.n_groups)
        seen = fold != k
        left = (centred[seen] * w[seen][:, None]).T @ centred[seen] + 20 * np.eye(columns)
        wanted = z[~seen] @ np.linalg.solve(left, centred[seen].T @ (w[seen] * s.y[seen]))
        np.testing.assert_allclose(found[~seen], wanted, atol=1e-8)


def test_ridge_with_more_features_than_ads_is_the_same_ridge() -> None:
    rng = np.random.default_rng(4)
    s = sample(groups=10)
    wide = Sample(np.column_stack([s.x, rng.standard_normal((40, 60))]), s.y, s.weight, s.group)
    found = fit_ridge(wide, penalty=5.0)
    z = np.clip((wide.x - found.mean) / found.scale, -6, 6)
    w = wide.weight / wide.weight.mean()
    centred = within_group(z, wide.weight, wide.group, wide.n_groups)
    wanted = np.linalg.solve((centred * w[:, None]).T @ centred + 5 * np.eye(63), centred.T @ (w * wide.y))
    np.testing.assert_allclose(found.coefficients, wanted, atol=1e-9)


def test_the_penalty_is_the_one_with_the_least_error_on_unseen_groups() -> None:
    s = sample()
    fold = s.group % 5
    _, chosen = cross_fit_ridge(s, fold, penalties=PENALTIES)
    errors = {p: squared_error(s, cross_fit_ridge(s, fold, penalties=(p,))[0]) for p in PENALTIES}
    assert chosen == min(errors, key=lambda p: errors[p])


def test_squared_error_by_hand_ignores_the_level_of_a_group() -> None:
    s = Sample(np.zeros((2, 1)), np.array([-1.0, 1.0]), np.array([1.0, 1.0]), np.zeros(2, np.intp))
    assert squared_error(s, np.array([99.0, 101.0])) == 0
    assert squared_error(s, np.array([101.0, 99.0])) == 4


@pytest.mark.slow
def test_tree_contributions_add_up_and_agree_with_shap() -> None:
    s = sample()
    booster = open_trees(fit_trees(s, seed=1, threads=1, rounds=40))
    x = s.x.copy()
    x[0] = np.nan
    parts = tree_contributions(booster, x)
    np.testing.assert_allclose(parts.sum(axis=1), tree_values(booster, x), atol=1e-5)
    shap = pytest.importorskip("shap")
    try:
        explainer = shap.TreeExplainer(booster)
    except (ValueError, NotImplementedError) as error:
        pytest.skip(f"the installed shap cannot read the installed xgboost's model: {error}")
    np.testing.assert_allclose(explainer.shap_values(x), parts[:, :-1], atol=1e-5)


def test_trees_are_the_same_bytes_for_the_same_seed_and_survive_their_format() -> None:
    s = sample()
    raw = fit_trees(s, seed=1, threads=1, rounds=20)
    assert fit_trees(s, seed=1, threads=1, rounds=20) == raw
    assert fit_trees(s, seed=2, threads=1, rounds=20) != raw
    assert bytes(open_trees(raw).save_raw("ubj")) == raw


def test_trees_learn_what_no_line_can() -> None:
    s = sample(groups=300)
    y = within_group(np.abs(s.x[:, 0]), s.weight, s.group, s.n_groups)
    s = Sample(s.x, y, s.weight, s.group)
    fold = s.group % 5
    linear, _ = cross_fit_ridge(s, fold, penalties=(10.0,))
    trees = cross_fit(s, fold, lambda part: lambda x: tree_values(open_trees(fit_trees(part, seed=1, threads=1)), x))
    assert squared_error(s, trees) < 0.6 * squared_error(s, linear)
    of_linear, of_trees = stack_weights(s, [linear, trees])
    assert of_trees > 0.8
    assert of_linear < 0.3


def test_stacking_by_hand() -> None:
    s = sample()
    assert stack_weights(s, [s.y]) == pytest.approx([1.0])
    assert stack_weights(s, [2 * s.y]) == pytest.approx([0.5])
    assert stack_weights(s, [s.y / 10]) == pytest.approx([2.0])  # never more than doubled
    assert stack_weights(s, [-s.y]) == pytest.approx([0.0])  # never turned round
    assert stack_weights(s, [np.ones(s.y.size)]) == pytest.approx([0.0])
    noise = np.random.default_rng(1).standard_normal(s.y.size)
    assert stack_weights(s, [s.y + noise, s.y - noise]) == pytest.approx([0.5, 0.5], abs=1e-6)


def test_stacking_agrees_with_scikit_learn() -> None:
    from sklearn.linear_model import LinearRegression

    s = sample()
    rng = np.random.default_rng(2)
    parts = [s.y + rng.standard_normal(s.y.size), s.y + 2 * rng.standard_normal(s.y.size), rng.standard_normal(s.y.size)]
    centred = np.column_stack([within_group(p, s.weight, s.group, s.n_groups) for p in parts])
    reference = LinearRegression(fit_intercept=False, positive=True).fit(centred, s.y, sample_weight=s.weight)
    np.testing.assert_allclose(stack_weights(s, parts), reference.coef_, atol=1e-9)
