"""Mitigation removes planted gaps at a stated price, and agrees with fairlearn and with itself across backends."""

from __future__ import annotations

import numpy as np
import pytest

from within_pipelines.exceptions import NotFittedError, SampleError
from within_pipelines.fairness import (
    LEGAL_CAVEAT,
    AdversarialClassifier,
    Decorrelation,
    FairLogistic,
    GapPenalty,
    GroupThresholds,
    fair_budget,
    fair_xgboost_objective,
    reweighing_weights,
)


def world(seed: int = 3, n: int = 800) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of which one betrays the group, an outcome that is unequal, and the group."""
    rng = np.random.default_rng(seed)
    group = rng.choice(["a", "b"], n)
    x = np.column_stack([rng.normal(size=n) + 1.2 * (group == "a"), rng.normal(size=n)])
    return x, (x.sum(axis=1) + rng.normal(size=n) > 0.6).astype(float), group


def gap(chosen: np.ndarray, group: np.ndarray) -> float:
    return float(np.ptp([chosen[group == g].mean() for g in np.unique(group)]))


def test_reweighing_makes_outcome_and_group_independent() -> None:
    _, y, group = world()
    weights = reweighing_weights(y, group)
    rates = [np.average(y[group == g], weights=weights[group == g]) for g in ("a", "b")]
    assert rates[0] == pytest.approx(rates[1])
    assert rates[0] == pytest.approx(y.mean())
    assert np.all(reweighing_weights(y, group, strength=0.0) == 1.0)
    with pytest.raises(SampleError, match="a strength from 0 to 1"):
        reweighing_weights(y, group, strength=2.0)


@pytest.mark.filterwarnings("ignore")
def test_decorrelation_equals_fairlearns() -> None:
    from fairlearn.preprocessing import CorrelationRemover

    x, _, group = world()
    z = (group == "a").astype(float)[:, None]
    for alpha in (0.4, 1.0):
        ours = Decorrelation.fit(x, z, alpha=alpha).apply(x, z)
        theirs = CorrelationRemover(sensitive_feature_ids=[2], alpha=alpha).fit_transform(np.column_stack([x, z]))
        assert ours == pytest.approx(theirs, abs=1e-9)
    assert np.corrcoef(Decorrelation.fit(x, z).apply(x, z)[:, 0], z[:, 0])[0, 1] == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(SampleError, match="equally many rows"):
        Decorrelation.fit(x, z[:5])


@pytest.mark.parametrize("odds", [False, True])
def test_the_penalty_is_the_same_by_hand_by_difference_and_in_torch(odds: bool) -> None:
    import torch

    _, y, group = world(n=60)
    p = np.random.default_rng(5).random(60)
    penalty = GapPenalty.of(group, y if odds else None)
    strata = [y == 0, y == 1] if odds else [np.ones(60, dtype=bool)]
    by_hand = sum(
        np.mean(group[s] == g) * (p[s & (group == g)].mean() - p[s].mean()) ** 2 for s in strata for g in ("a", "b")
    )  # fmt: skip
    assert penalty.value(p) == pytest.approx(by_hand)
    step = 1e-6 * np.eye(60)
    numeric = [(penalty.value(p + d) - penalty.value(p - d)) / 2e-6 for d in step]
    assert penalty.gradient(p) == pytest.approx(np.array(numeric), abs=1e-8)
    scores = torch.tensor(p, requires_grad=True)
    loss = penalty.torch_loss(scores)
    loss.backward()
    assert loss.item() == pytest.approx(by_hand)
    assert scores.grad is not None
    assert scores.grad.numpy() == pytest.approx(penalty.gradient(p))


def test_a_regularised_logistic_trades_accuracy_for_parity() -> None:
    x, y, group = world()
    fits = [FairLogistic.fit(x, y, group, strength=s).probability(x) for s in (0.0, 3.0, 100.0)]
    gaps = [gap(p, group) for p in fits]
    losses = [float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))) for p in fits]
    assert gaps[0] > 0.25
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 0.05
    assert losses[0] < losses[1] < losses[2]
    odds = FairLogistic.fit(x, y, group, strength=100.0, criterion="equalized_odds").probability(x)
    plain = max(gap(fits[0][y == v], group[y == v]) for v in (0, 1))
    assert max(gap(odds[y == v], group[y == v]) for v in (0, 1)) < 0.4 * plain


@pytest.mark.filterwarnings("ignore")
def test_without_a_penalty_it_is_plain_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    x, y, group = world()
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    theirs = LogisticRegression(C=1 / (1e-3 * len(y)), tol=1e-10, max_iter=1000).fit(z, y).predict_proba(z)[:, 1]
    assert FairLogistic.fit(x, y, group, strength=0.0, l2=1e-3).probability(x) == pytest.approx(theirs, abs=1e-3)


def test_boosted_trees_learn_under_the_same_penalty() -> None:
    import xgboost

    x, y, group = world()
    rows = xgboost.DMatrix(x, y)

    def gap_at(strength: float) -> float:
        objective = fair_xgboost_objective(GapPenalty.of(group), strength=strength)
        booster = xgboost.train({"max_depth": 2, "eta": 0.3, "base_score": 0.0, "seed": 1}, rows, 40, obj=objective)
        return gap(1 / (1 + np.exp(-booster.predict(rows, output_margin=True))), group)

    assert gap_at(0.0) > 0.25
    assert gap_at(20.0) < 0.4 * gap_at(0.0)


@pytest.mark.parametrize("criterion", ["demographic_parity", "equalized_odds"])
@pytest.mark.parametrize("limit", [0.0, 0.05])
def test_group_thresholds_keep_the_gap_and_cost_little(criterion: str, limit: float) -> None:
    x, y, group = world(n=1600)
    half = np.arange(1600) < 800
    scores = FairLogistic.fit(x[half], y[half], group[half], strength=0.0).probability(x)
    chosen = GroupThresholds.fit(scores[half], y[half], group[half], gap=limit, criterion=criterion)  # type: ignore[arg-type]
    assert chosen.expected_gap <= limit + 1e-6
    p = chosen.probability(scores[~half], group[~half])
    kept, true = group[~half], y[~half]
    parts = [np.ones(len(true), dtype=bool)] if criterion == "demographic_parity" else [true == 1, true == 0]
    assert max(gap(p[s], kept[s]) for s in parts) <= limit + 0.1
    plain = np.mean((scores[~half] >= 0.5) == true)
    accuracy = np.mean(true * p + (1 - true) * (1 - p))
    assert plain - 0.12 <= accuracy <= plain + 0.03
    assert gap((scores[~half] >= 0.5).astype(float), kept) > 0.25
    assert chosen.caveat == LEGAL_CAVEAT
    drawn = chosen.select(scores[~half], kept, rng=np.random.default_rng(1))
    assert set(drawn) <= {0.0, 1.0}


def test_thresholds_are_the_best_of_all_that_keep_the_gap() -> None:
    rng = np.random.default_rng(6)
    p = rng.random(30)
    group = np.repeat(["a", "b"], 15)
    y = (p > 0.5).astype(float)
    chosen = GroupThresholds.fit(p, y, group, gap=0.2, shrinkage=1e9)
    # Brute force over all pairs of cuts on the same calibrated probabilities.
    from within_pipelines.fairness.thresholds import _calibrated, _probability

    a, b, offsets = _calibrated(p, y, group, ["a", "b"], 1e9)
    q = {g: np.sort(_probability(p[group == g], a, b, offsets[g]))[::-1] for g in ("a", "b")}
    right = {g: [v[:c].sum() + (1 - v[c:]).sum() for c in range(16)] for g, v in q.items()}
    best = max(right["a"][i] + right["b"][j] for i in range(16) for j in range(16) if abs(i - j) / 15 <= 0.2)
    assert chosen.expected_accuracy * 30 >= best - 1e-6


def test_thresholds_refuse_what_they_have_not_seen() -> None:
    chosen = GroupThresholds.fit([0.2, 0.8] * 10, [0, 1] * 10, ["a"] * 10 + ["b"] * 10, gap=0.1)
    with pytest.raises(SampleError, match=r"\['c'\] were not seen"):
        chosen.probability([0.5], ["c"])
    with pytest.raises(SampleError, match=r"scores lie in \[0, 1\]"):
        GroupThresholds.fit([2.0], [1], ["a"], gap=0.1)


def test_adversarial_debiasing_is_stable_over_seeds() -> None:
    x, y, group = world(n=400)
    plain = AdversarialClassifier(strength=0.0, steps=80).fit(x, y, group).probability(x)
    fits = [AdversarialClassifier(strength=3.0, steps=80, seed=seed).fit(x, y, group).probability(x) for seed in range(4)]
    gaps = [gap(p, group) for p in fits]
    accuracies = [float(np.mean((p > 0.5) == y)) for p in fits]
    assert gap(plain, group) > 0.25
    assert max(gaps) < 0.4 * gap(plain, group)
    assert np.std(gaps) < 0.02
    assert np.std(accuracies) < 0.02
    assert min(accuracies) > 0.6
    with pytest.raises(NotFittedError):
        AdversarialClassifier().probability(x)
    with pytest.raises(SampleError, match="one of each per row"):
        AdversarialClassifier().fit(x, y[:5], group)


def test_adversarial_debiasing_within_outcomes_lowers_the_gap_of_errors_and_is_stable() -> None:
    x, y, group = world(n=400)

    def odds(p: np.ndarray) -> float:
        return max(gap(p[y == outcome], group[y == outcome]) for outcome in (0, 1))

    plain = AdversarialClassifier(strength=0.0, equalized_odds=True, steps=80).fit(x, y, group).probability(x)
    fits = [
        AdversarialClassifier(strength=3.0, equalized_odds=True, steps=80, seed=seed).fit(x, y, group).probability(x) for seed in range(4)
    ]
    gaps, accuracies = [odds(p) for p in fits], [float(np.mean((p > 0.5) == y)) for p in fits]
    assert odds(plain) > 0.15
    assert max(gaps) < 0.6 * odds(plain)
    assert np.std(gaps) < 0.02
    assert np.std(accuracies) < 0.02
    assert min(accuracies) > 0.6
    # What differs because outcomes do may stay: more of it than parity of all answers leaves.
    parity = AdversarialClassifier(strength=3.0, steps=80).fit(x, y, group).probability(x)
    assert gap(fits[0], group) > gap(parity, group)


def test_a_budget_reaches_groups_alike_at_a_stated_cost() -> None:
    reach = [{"women": 1.0, "men": 9.0}, {"women": 6.0, "men": 2.0}, {"women": 3.0, "men": 3.0}]
    plan = fair_budget([3.0, 1.0, 1.2], reach, budget=1000, eligible={"women": 1, "men": 1})
    assert sum(plan.spend) == pytest.approx(1000)
    assert min(plan.reached.values()) / max(plan.reached.values()) >= 0.8 - 1e-9
    assert 0 < plan.cost_of_parity < 0.5
    grid = [(a, b, 1000 - a - b) for a in range(0, 1001, 10) for b in range(0, 1001 - a, 10)]
    able = []
    for a, b, c in grid:
        women, men = a + 6 * b + 3 * c, 9 * a + 2 * b + 3 * c
        if min(women, men) >= 0.8 * max(women, men):
            able.append(3 * a + b + 1.2 * c)
    assert plan.results == pytest.approx(max(able), rel=0.02)
    loose = fair_budget([3.0, 1.0, 1.2], reach, budget=1000, eligible={"women": 1, "men": 1}, ratio=0.0)
    assert loose.spend[0] == pytest.approx(1000)
    assert loose.cost_of_parity == pytest.approx(0.0)
    with pytest.raises(SampleError, match="add an option"):
        fair_budget([1.0], [{"women": 1.0}], budget=10, eligible={"women": 1, "men": 1})
    with pytest.raises(SampleError, match="positive budget"):
        fair_budget([1.0], [{"women": 1.0}], budget=0, eligible={"women": 1, "men": 1})
