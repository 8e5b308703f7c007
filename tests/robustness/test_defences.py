"""Defences give back what an attack took, say what they cost, and do nothing where there is nothing to do."""

from __future__ import annotations

import numpy as np
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.prediction.ad_score.contrasts import within_group
from within_pipelines.prediction.ad_score.model import Sample
from within_pipelines.prediction.ad_score.network import fit_network
from within_pipelines.robustness import (
    AdversarialTraining,
    FeasibleSet,
    GaussianAugmentation,
    Guard,
    ReluNetwork,
    Trades,
    certify,
    classifier_victim,
    ensemble,
    monotone_constraints,
    pgd,
    smoothed,
)

EPS = 0.2


def sample(groups: int = 150, *, seed: int = 0) -> tuple[Sample, np.ndarray]:
    """One feature that tells much, forty that tell next to nothing and are easily pushed together."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), 4)
    truth = rng.normal(size=len(group))
    x = np.column_stack([truth + 0.5 * rng.normal(size=len(group)), 0.25 * truth[:, None] + rng.normal(size=(len(group), 40))])
    y = within_group(truth, np.ones(len(group)), group, groups)
    return Sample(x, y, np.full(len(group), 5.0), group), truth


def judged(network, data: Sample, truth: np.ndarray) -> tuple[float, float, np.ndarray, ReluNetwork]:
    """(clean, robust) pairwise accuracy of neighbours."""
    judge = ReluNetwork.mean_of(network.inner, network.bias, network.outer).paired()
    z = network._standardised(data.x)
    first, second = np.arange(0, len(truth), 2), np.arange(1, len(truth), 2)
    win = np.where(truth[first] > truth[second], first, second)
    pairs = np.concatenate([z[win], z[first + second - win]], axis=1)
    attacked = pgd(
        classifier_victim(judge, np.ones(len(pairs)), judge.gradient), pairs, FeasibleSet.of(np.full(82, EPS)),
        rng=np.random.default_rng(1), steps=10, restarts=1,
    )  # fmt: skip
    return float(np.mean(judge(pairs) > 0)), attacked.holds, pairs, judge


@pytest.mark.slow
def test_hardened_training_gives_back_a_third_of_the_gap_at_little_cost() -> None:
    train, _ = sample(800)
    test, truth = sample(seed=9)
    budget = np.full(41, EPS)
    clean, robust, pairs, plain = judged(fit_network(train, spread=1.0, seed=1, members=1, epochs=16), test, truth)
    assert clean - robust > 0.2, (clean, robust)
    for objective in (AdversarialTraining(budget, share=1.0), Trades(budget, beta=3.0)):
        c, r, _, _ = judged(fit_network(train, spread=1.0, seed=1, members=1, objective=objective, epochs=16), test, truth)
        assert (r - robust) / (clean - robust) > 1 / 3, (type(objective).__name__, clean, robust, c, r)
        assert clean - c < 0.08
    noisy = fit_network(train, spread=1.0, seed=1, members=1, objective=GaussianAugmentation(np.full(41, 0.5)), epochs=16)
    _, _, _, judge = judged(noisy, test, truth)
    radii = [
        certify(lambda q, j=j: (j(q) > 0).astype(int), pairs[:80], sigma=0.5, rng=np.random.default_rng(2), draws=300).radius
        for j in (plain, judge)
    ]
    assert np.mean(radii[1] > 0) >= 0.7
    assert np.median(radii[1]) > 0


def test_trades_pays_the_divergence_of_pairs_and_not_of_scores() -> None:
    """A hand calculation: one pair of weight w, clean difference 1, moved to 0 at worst; a shift of both siblings costs nothing."""
    import torch

    seen: dict[str, float] = {}

    def objective(x, loss, steady, score, apart):  # type: ignore[no-untyped-def]
        clean, moved, shifted = torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5]), torch.tensor([8.0, 7.0])
        if len(x) == 2 and not seen:
            half, p = 0.5, 1 / (1 + np.exp(-1.0))
            weight = float(apart(clean, moved)) * 2 / (p * np.log(p / half) + (1 - p) * np.log((1 - p) / half))
            seen.update(weight=weight, same=float(apart(clean, clean)), shift=float(apart(clean, shifted)))
        return loss(x)

    # One group of two ads: reliability 2 s^2 / (2 s^2 + both variances) over one degree of freedom.
    two = Sample(np.array([[1.0], [0.0]]), np.array([0.5, -0.5]), np.full(2, 1 / (1.0 + 0.5)), np.zeros(2, dtype=np.intp))
    fit_network(two, spread=1.0, seed=1, members=1, epochs=1, objective=objective)
    assert seen["weight"] == pytest.approx(2 / (2 + 1.0), rel=1e-5)
    assert seen["same"] == pytest.approx(0, abs=1e-7)
    assert seen["shift"] == pytest.approx(0, abs=1e-6)


def test_no_budget_is_the_same_training() -> None:
    train, _ = sample(40)
    plain = fit_network(train, spread=1.0, seed=1, members=1)
    again = fit_network(train, spread=1.0, seed=1, members=1, objective=lambda x, loss, steady, score, apart: loss(x))
    np.testing.assert_array_equal(plain.inner, again.inner)
    other = fit_network(train, spread=1.0, seed=1, members=1, objective=AdversarialTraining(np.full(41, 0.3)))
    assert not np.array_equal(plain.inner, other.inner)


def test_a_guard_clips_what_training_never_showed() -> None:
    x = np.random.default_rng(1).normal(size=(2000, 3))
    guard = Guard.learn(x)
    assert guard.outside(x).mean() < 0.01
    new = np.array([[0.0, 100.0, np.nan]])
    assert guard.outside(new).tolist() == [[False, True, False]]
    assert guard.clip(new)[0, 1] < 6
    assert np.isnan(guard.clip(new)[0, 2])
    with pytest.raises(SampleError, match="no rows"):
        Guard.learn(np.zeros((0, 2)))


def test_smoothing_an_ensemble_and_monotone_trees() -> None:
    spike = lambda z: np.where(np.abs(z[:, 0] - 1) < 0.01, 1e6, z[:, 0])
    at = np.array([[1.0, 0.0]])
    assert smoothed(spike, at, sigma=0.1, rng=np.random.default_rng(1))[0] == pytest.approx(1.0, abs=0.1)
    assert ensemble([spike, lambda z: z[:, 0], lambda z: z[:, 0] + 0.1])(at)[0] == pytest.approx(1.1)
    with pytest.raises(SampleError, match="at least one"):
        ensemble([])
    import xgboost

    rng = np.random.default_rng(2)
    x = rng.normal(size=(400, 2))
    y = ((x[:, 0] + 0.8 * rng.normal(size=400)) > 0).astype(int)
    signs = monotone_constraints(["a", "b"], rising=["a"])
    model = xgboost.XGBClassifier(n_estimators=30, max_depth=3, monotone_constraints=signs, n_jobs=1).fit(x, y)
    line = np.column_stack([np.linspace(-3, 3, 50), np.zeros(50)])
    assert (np.diff(model.predict_proba(line)[:, 1]) >= -1e-6).all()
    with pytest.raises(SampleError, match="Unknown features"):
        monotone_constraints(["a"], rising=["z"])
