"""Laws of the attacks: feasible, never stronger than what is possible, stronger with a larger budget."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.robustness import (
    AttackResult,
    FeasibleSet,
    ReluNetwork,
    TreeEnsemble,
    Victim,
    auto_pgd,
    black_box,
    boundary,
    carlini_wagner,
    classifier_victim,
    deepfool,
    fgsm,
    gradient_masking,
    hop_skip_jump,
    pgd,
    score_victim,
    square,
    strongest,
    threshold_search,
)
from within_pipelines.robustness.attack import Best
from within_pipelines.robustness.black_box import _start, _Walk

Attack = Callable[[Victim, np.ndarray, FeasibleSet], AttackResult]
WHITE: dict[str, Attack] = {
    "fgsm": fgsm,
    "pgd": lambda v, x, f: pgd(v, x, f, rng=np.random.default_rng(1)),
    "auto_pgd": lambda v, x, f: auto_pgd(v, x, f, rng=np.random.default_rng(1)),
    "deepfool": deepfool,
    "carlini_wagner": carlini_wagner,
}
BLACK: dict[str, Attack] = {
    "square": lambda v, x, f: square(v, x, f, rng=np.random.default_rng(1), queries=150),
    "threshold_search": lambda v, x, f: threshold_search(v, x, f, rng=np.random.default_rng(1)),
    "boundary": lambda v, x, f: boundary(v, x, f, rng=np.random.default_rng(1)),
    "hop_skip_jump": lambda v, x, f: hop_skip_jump(v, x, f, rng=np.random.default_rng(1), rounds=3),
}
EVERY = WHITE | BLACK
WEIGHTS = np.array([0.02, -0.15, 1.0, -1.0, 0.5])


def ads(n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    shown = rng.integers(50, 90, n)
    x = np.column_stack([shown, rng.integers(0, 20, n), rng.normal(size=(n, 3))]).astype(float)
    return x, (linear(x) > 0).astype(int)


def linear(x: np.ndarray) -> np.ndarray:
    return x @ WEIGHTS


def slope(x: np.ndarray) -> np.ndarray:
    return np.repeat(WEIGHTS[None], len(x), axis=0)


SET = FeasibleSet.of([10, 3, 0.3, 0.3, 0.3], lower=[0, 0, -9, -9, -9], step=[1, 1, 0, 0, 0], pairs=[(1, 0)])


def possible() -> np.ndarray:
    """Which rows of a linear model can fall: all features at their worst end (clicks stay far below impressions here)."""
    x, y = ads()
    sign = np.where(y > 0, 1.0, -1.0)
    low, high = SET.bounds(x)
    worst = np.where(sign[:, None] * WEIGHTS > 0, low, high)
    return sign * linear(worst) <= 0


@pytest.mark.parametrize("name", EVERY)
def test_an_attack_stays_feasible_and_finds_no_more_than_there_is(name: str) -> None:
    x, y = ads()
    result = EVERY[name](classifier_victim(linear, y, slope), x, SET)
    assert SET.contains(result.x, x).all()
    assert not (result.broken & ~possible()).any()
    np.testing.assert_allclose(result.margin, np.where(y > 0, 1, -1) * linear(result.x))
    # Most of what can be broken is; the straight model leaves nothing to hide.
    floor = 0.8 if name == "hop_skip_jump" else 0.9
    assert result.broken.sum() >= floor * possible().sum()


@pytest.mark.parametrize("name", EVERY)
def test_a_constant_model_cannot_be_attacked(name: str) -> None:
    x, _ = ads(30)
    constant = classifier_victim(lambda z: np.full(len(z), 0.1), np.ones(30), np.zeros_like)
    result = EVERY[name](constant, x, SET.scaled(1000.0))
    assert result.success == 0
    np.testing.assert_allclose(result.x, x)
    # Answers that were wrong before are no success; a robust accuracy counts them all the same.
    mixed = EVERY[name](classifier_victim(lambda z: np.full(len(z), 0.1), np.arange(30) % 3, np.zeros_like), x, SET.scaled(1000.0))
    assert mixed.success == 0
    assert mixed.holds == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", ["boundary", "hop_skip_jump"])
def test_a_walk_along_the_boundary_finds_what_drawing_does_not_and_comes_near(name: str) -> None:
    rng = np.random.default_rng(4)
    weights, x = rng.normal(size=60), rng.normal(size=(150, 60))
    feasible = FeasibleSet.of(np.full(60, 0.1))
    made = lambda: classifier_victim(lambda z: z @ weights, x @ weights > 0)
    found = EVERY[name](made(), x, feasible)
    drawn = Best(made(), x)
    rows, start = _start(made(), x, feasible, drawn, np.random.default_rng(1), 100)
    inside = feasible.contains(start, x[rows])
    assert found.broken.sum() > 1.3 * inside.sum() > 0
    # Of what both reach the walk's change is far smaller.
    both = rows[inside & found.broken[rows]]
    change = np.linalg.norm((found.x - x)[both], axis=1)
    assert np.median(change) < 0.7 * np.median(np.linalg.norm(start[np.isin(rows, both)] - x[both], axis=1))


class Straight(_Walk):
    """Goes towards the row alone."""

    def step(self, at: np.ndarray, noise: np.ndarray) -> None:
        super().step(at, 0 * noise)


class Even(_Walk):
    """Every step of a tenth of the distance."""

    def step(self, at: np.ndarray, noise: np.ndarray) -> None:
        super().step(at, noise)
        self._around[:] = self._towards[:] = 0.1


class Around(_Walk):
    """Steps around that never turn towards the row."""

    def step(self, at: np.ndarray, noise: np.ndarray) -> None:
        self._towards[:] = 0.0
        super().step(at, noise)


def times_the_least_distance(weights: np.ndarray, x: np.ndarray, feasible: FeasibleSet, **options: np.ndarray) -> float:
    """How much longer than it must be the boundary attack's change of a linear model's answer is, in budgets: the median over rows."""
    made = classifier_victim(lambda z: z @ weights, x @ weights > 0)
    found = boundary(made, x, feasible, rng=np.random.default_rng(1), **options)
    assert found.success == 1
    able = np.where(feasible.mutable, weights * feasible.scale, 0.0)
    least = np.abs(x @ weights) / np.linalg.norm(able)
    change = np.linalg.norm((found.x - x) / feasible.scale, axis=1)
    assert (change >= 0.999 * least).all()
    return float(np.median(change / least))


def test_the_walk_along_the_boundary_comes_to_the_least_distance_and_not_without_any_of_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    weights, x = rng.normal(size=50), rng.normal(size=(40, 50))
    # One feature is counted in wholes and has no budget for one: no way leads through it, however much it weighs.
    weights[0] = 20.0
    x[:, 0] = 0.0
    budget, step = np.full(50, 30.0), np.zeros(50)
    budget[0], step[0] = 0.5, 1.0
    feasible = FeasibleSet.of(budget, step=step)
    assert times_the_least_distance(weights, x, feasible) < 1.3
    for mutant in (Straight, Even, Around):
        with monkeypatch.context() as patched:
            patched.setattr(black_box, "_Walk", mutant)
            assert times_the_least_distance(weights, x, feasible) > 1.6, mutant.__name__


def test_the_walk_begins_at_the_nearest_input_that_is_known_to_be_answered_otherwise() -> None:
    rng = np.random.default_rng(4)
    weights, x = rng.normal(size=50), rng.normal(size=(40, 50))
    feasible = FeasibleSet.of(np.full(50, 30.0))
    # Just behind the plane, the ones nearest to where they are needed among others that are answered as the row is, or are far.
    behind = x - 1.05 * (x @ weights / (weights @ weights))[:, None] * weights
    known = np.concatenate([x, 20 * rng.normal(size=(40, 50)), behind])
    given = {"steps": 0, "tries": len(known)}
    assert times_the_least_distance(weights, x, feasible, starts=known, **given) < 1.1
    assert times_the_least_distance(weights, x, feasible, **given) > 2


@pytest.mark.parametrize("name", ["fgsm", "auto_pgd", "square", "threshold_search"])
def test_success_rises_with_the_budget(name: str) -> None:
    x, y = ads()
    rates = [EVERY[name](classifier_victim(linear, y, slope), x, SET.scaled(k)).success for k in (0.0, 0.5, 1.0, 2.0, 8.0)]
    assert rates[0] == 0
    assert rates == sorted(rates)
    assert rates[-1] > rates[1] + 0.3


def test_nothing_moves_without_a_budget_and_black_boxes_have_no_gradient() -> None:
    x, y = ads(20)
    fixed = FeasibleSet.of(np.zeros(5))
    for attack in EVERY.values():
        np.testing.assert_array_equal(attack(classifier_victim(linear, y, slope), x, fixed).x, x)
        assert attack(classifier_victim(linear, y[:0], slope), x[:0], SET).x.shape == (0, 5)
    with pytest.raises(SampleError, match="has no gradient"):
        fgsm(classifier_victim(linear, y), x, SET)
    with pytest.raises(SampleError, match="20 numbers were wanted"):
        square(Victim(lambda z, rows: np.ones(3)), x, SET, rng=np.random.default_rng(1))


def test_the_strongest_is_at_least_as_strong_as_each_and_repeats() -> None:
    x, y = ads()
    network = ReluNetwork(np.random.default_rng(5).normal(size=(5, 12)) / 4, np.zeros(12), np.random.default_rng(6).normal(size=12))
    y = (network(x) > 0).astype(int)
    runs = [strongest(classifier_victim(network, y, network.gradient), x, SET, rng=np.random.default_rng(2), queries=100) for _ in range(2)]
    worst, own = runs[0]
    assert all((worst.margin <= result.margin).all() for result in own.values())
    np.testing.assert_array_equal(worst.x, runs[1][0].x)
    assert SET.contains(worst.x, x).all()


def test_a_score_is_broken_when_it_leaves_its_tolerance() -> None:
    x, _ = ads(40)
    victim = score_victim(linear, linear(x), tolerance=0.5, gradient=slope)
    result = pgd(victim, x, SET, rng=np.random.default_rng(1))
    assert result.success == 1.0
    assert (np.abs(linear(result.x) - linear(x)) >= 0.5).all()
    assert pgd(score_victim(linear, linear(x), tolerance=9.0, gradient=slope), x, SET, rng=np.random.default_rng(1)).success == 0


def test_threshold_search_breaks_trees_that_a_gradient_cannot_see() -> None:
    xgboost = pytest.importorskip("xgboost")
    rng = np.random.default_rng(4)
    x = rng.normal(size=(300, 4))
    y = (x[:, 0] + x[:, 1] * x[:, 2] > 0).astype(int)
    model = xgboost.XGBClassifier(n_estimators=20, max_depth=3, n_jobs=1).fit(x, y)
    trees = TreeEnsemble.of_xgboost(model)
    box = FeasibleSet.of(np.full(4, 0.4))
    rows, labels = x[:60], (trees(x[:60]) > 0).astype(int)
    found = threshold_search(classifier_victim(trees, labels), rows, box, thresholds=trees.thresholds(), rng=rng)
    low, high = rows - 0.4, rows + 0.4
    exact = [
        (trees.minimum(a, b).value <= 0) if one else (trees.maximum(a, b).value >= 0) for a, b, one in zip(low, high, labels, strict=True)
    ]
    assert not (found.broken & ~np.array(exact)).any()
    assert found.broken.sum() >= 0.85 * np.sum(exact)


def test_masked_gradients_are_seen_and_honest_ones_are_not() -> None:
    x, y = ads(80)
    honest, _ = gradient_masking(classifier_victim(linear, y, slope), x, SET, rng=np.random.default_rng(1), queries=100)
    assert not honest.masked, honest.signs
    assert honest.unbounded == 1.0
    stairs = lambda z: np.floor(20 * linear(z)) / 20 + 0.01
    flat, _ = gradient_masking(classifier_victim(stairs, y, np.zeros_like), x, SET, rng=np.random.default_rng(1), queries=100)
    assert flat.flat == 1.0
    assert flat.only_black.low > 0.05
    wrong, _ = gradient_masking(classifier_victim(linear, y, lambda z: -slope(z)), x, SET, rng=np.random.default_rng(1), queries=100)
    assert any("without the gradient" in sign for sign in wrong.signs)
    assert any("without a budget" in sign for sign in wrong.signs)
    # A budget too small for any attack tells nothing; without one the gradient should turn all, and a wrong one turns few.
    near = SET.scaled(0.005)
    hidden, _ = gradient_masking(classifier_victim(linear, y, lambda z: -slope(z)), x, near, rng=np.random.default_rng(1), queries=60)
    assert hidden.only_black.low < 0.02
    assert [sign[:16] for sign in hidden.signs] == ["without a budget"]
    told, _ = gradient_masking(classifier_victim(linear, y, slope), x, near, rng=np.random.default_rng(1), queries=60)
    assert not told.masked, told.signs
    constant, _ = gradient_masking(classifier_victim(lambda z: np.full(len(z), 0.1), np.ones(80), np.zeros_like), x, SET,
                                   rng=np.random.default_rng(1), queries=60)  # fmt: skip
    assert constant.stuck.value == constant.unbounded == 0
    noise = np.random.default_rng(9)
    shaky = classifier_victim(lambda z: linear(z) + noise.normal(size=len(z)), y, slope)
    assert any("two answers" in sign for sign in gradient_masking(shaky, x, SET, rng=np.random.default_rng(1), queries=50)[0].signs)


def test_networks_that_bend_are_not_said_to_hide() -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        network = ReluNetwork(rng.normal(size=(6, 16)), rng.normal(size=16), rng.normal(size=16))
        x = rng.normal(size=(60, 6))
        victim = classifier_victim(network, network(x) > 0, network.gradient)
        found, _ = gradient_masking(victim, x, FeasibleSet.of(np.full(6, 0.2)), rng=rng, queries=60)
        assert not found.masked, found.signs


@pytest.mark.slow
def test_pgd_agrees_with_the_toolbox_on_the_same_network() -> None:
    pytest.importorskip("art", reason="adversarial-robustness-toolbox is not installed (extra `robustness`)")
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from art.attacks.evasion import ProjectedGradientDescent
        from art.estimators.classification import PyTorchClassifier
    rng = np.random.default_rng(8)
    inner, outer = rng.normal(size=(6, 16)), rng.normal(size=16)
    network = ReluNetwork(inner, np.zeros(16), outer)
    x = rng.normal(size=(200, 6))
    y = (network(x) > 0).astype(int)
    first, last = torch.nn.Linear(6, 16), torch.nn.Linear(16, 2)
    with torch.no_grad():
        first.weight.copy_(torch.tensor(inner.T))
        first.bias.zero_()
        last.weight.copy_(torch.tensor(np.stack([-outer, outer]) / 2))
        last.bias.zero_()
    module = torch.nn.Sequential(first, torch.nn.ReLU(), last)
    classifier = PyTorchClassifier(module, loss=torch.nn.CrossEntropyLoss(), input_shape=(6,), nb_classes=2, device_type="cpu")
    attack = ProjectedGradientDescent(classifier, norm=np.inf, eps=0.2, eps_step=0.05, max_iter=20, num_random_init=1, verbose=False)
    theirs = attack.generate(x.astype(np.float32), y).astype(float)
    broken = np.where(y > 0, 1, -1) * network(theirs) <= 0
    ours = pgd(classifier_victim(network, y, network.gradient), x, FeasibleSet.of(np.full(6, 0.2)), rng=rng)
    assert ours.broken.mean() == pytest.approx(broken.mean(), abs=0.03)
    assert ours.broken.mean() >= broken.mean() - 0.005
