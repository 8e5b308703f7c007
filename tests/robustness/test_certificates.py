"""Laws of the certificates: no attack inside a certified radius, no radius beyond a constant's, exact where brute force is."""

from __future__ import annotations

import itertools
from statistics import NormalDist

import numpy as np
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.robustness import (
    FeasibleSet,
    ReluNetwork,
    TreeEnsemble,
    auto_pgd,
    certify,
    classifier_victim,
    clopper_pearson_lower,
    median_bounds,
    square,
)

LINE = np.array([3.0, -4.0])


def classify(x: np.ndarray) -> np.ndarray:
    return (x @ LINE > 0).astype(int)


def test_clopper_pearson_is_the_hand_computed_bound() -> None:
    from scipy.stats import binom

    # All of n: alpha^(1/n). One of two: P(X >= 1 | p) = 1 - (1 - p)^2 = alpha.
    assert clopper_pearson_lower(50, 50, alpha=0.05) == pytest.approx(0.05 ** (1 / 50))
    assert clopper_pearson_lower(1, 2, alpha=0.05) == pytest.approx(1 - np.sqrt(0.95))
    assert clopper_pearson_lower(0, 9, alpha=0.05) == 0
    for k, n in [(7, 10), (93, 100), (990, 1000)]:
        p = clopper_pearson_lower(k, n, alpha=0.001)
        assert binom.sf(k - 1, n, p) == pytest.approx(0.001)
    with pytest.raises(SampleError, match="is no share"):
        clopper_pearson_lower(3, 2)


def test_a_radius_is_what_the_paper_says_of_the_counts() -> None:
    x = np.array([[0.2, -0.1]])
    found = certify(classify, x, sigma=0.5, rng=np.random.default_rng(1), draws=400, alpha=0.01)
    again = np.random.default_rng(1)
    again.standard_normal((100, 2))
    votes = classify(x + again.standard_normal((400, 2)) * 0.5).sum()
    expected = 0.5 * NormalDist().inv_cdf(clopper_pearson_lower(int(votes), 400, alpha=0.01))
    assert found.radius[0] == pytest.approx(expected)


def test_a_certified_radius_never_exceeds_the_true_distance_nor_a_constant_models() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(200, 2))
    found = certify(classify, x, sigma=0.5, rng=rng, draws=1000, alpha=0.001)
    distance = np.abs(x @ LINE) / 5
    sure = found.label >= 0
    # alpha is 1 in 1000 per row.
    assert np.mean(found.radius[sure] > distance[sure]) <= 0.01
    assert (found.label[sure] == classify(x)[sure]).all()
    assert np.median(found.radius[sure]) > 0.1
    constant = certify(lambda z: np.ones(len(z), dtype=int), x[:3], sigma=0.5, rng=rng, draws=1000, alpha=0.001)
    ceiling = 0.5 * NormalDist().inv_cdf(0.001 ** (1 / 1000))
    np.testing.assert_allclose(constant.radius, ceiling)
    assert (found.radius <= ceiling + 1e-12).all()


def test_a_coin_abstains_and_accuracy_falls_with_the_radius() -> None:
    rng = np.random.default_rng(3)
    coin = certify(lambda z: rng.integers(0, 2, len(z)), np.zeros((60, 2)), sigma=0.5, rng=rng, draws=300)
    assert np.mean(coin.label == -1) >= 0.97
    x = rng.normal(size=(150, 2))
    curve = certify(classify, x, sigma=0.5, rng=rng).accuracy(classify(x), [0.0, 0.2, 0.5, 1.0, 9.0])
    assert curve == sorted(curve, reverse=True)
    assert curve[0] > 0.8
    assert curve[-1] == 0


def test_no_attack_succeeds_within_the_certified_radius_of_a_smoothed_model() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(60, 2))
    found = certify(classify, x, sigma=0.5, rng=rng)
    kept = np.flatnonzero(found.radius > 0.05)
    # The smoothed model of a line is the line: attack it with all the Euclidean radius allows along its normal.
    towards = -np.sign(x @ LINE)[:, None] * LINE / 5
    for share in (0.5, 0.99):
        assert (classify(x[kept] + share * found.radius[kept, None] * towards[kept]) == found.label[kept]).all()


def test_median_bounds_hold_for_every_change_within_the_radius() -> None:
    rng = np.random.default_rng(5)
    f = lambda z: np.tanh(z[:, 0]) * 3 + z[:, 1]
    x = rng.normal(size=(40, 2))
    found = median_bounds(f, x, sigma=0.3, radius=0.2, rng=rng, draws=1000)
    assert (found.low <= found.median).all()
    assert (found.median <= found.high).all()
    for _ in range(5):
        step = rng.normal(size=x.shape)
        moved = x + 0.2 * step / np.sqrt((step**2).sum(axis=1))[:, None]
        centre = median_bounds(f, moved, sigma=0.3, radius=0.0, rng=rng, draws=1000).median
        assert (centre >= found.low).all()
        assert (centre <= found.high).all()
    flat = median_bounds(lambda z: np.full(len(z), 7.0), x[:2], sigma=0.3, radius=0.2, rng=rng)
    np.testing.assert_array_equal(flat.low, flat.high)
    few = median_bounds(f, x[:2], sigma=0.1, radius=0.5, rng=rng, draws=100)
    assert np.isinf(few.high).all()


def trees_of(seed: int, *, base: float = 0.3) -> tuple[TreeEnsemble, object, np.ndarray]:
    import xgboost

    rng = np.random.default_rng(seed)
    x = rng.normal(size=(300, 3))
    y = (x[:, 0] * x[:, 1] + x[:, 2] > 0).astype(int)
    model = xgboost.XGBClassifier(n_estimators=8, max_depth=3, base_score=base, n_jobs=1).fit(x, y)
    return TreeEnsemble.of_xgboost(model), model, x


def test_trees_are_read_with_their_intercept() -> None:
    import xgboost

    for base in (0.1, 0.5, 0.8):
        trees, model, x = trees_of(1, base=base)
        raw = model.get_booster().predict(xgboost.DMatrix(x), output_margin=True)
        np.testing.assert_allclose(trees(x), raw, atol=1e-5)
        assert trees.intercept == pytest.approx(np.log(base / (1 - base)))
    regression = xgboost.XGBRegressor(n_estimators=5, max_depth=2, n_jobs=1).fit(x, 100 + x[:, 0])
    np.testing.assert_allclose(TreeEnsemble.of_xgboost(regression)(x), regression.predict(x), atol=1e-3)


def brute_force(trees: TreeEnsemble, low: np.ndarray, high: np.ndarray) -> tuple[float, float]:
    cells = [
        np.concatenate([[a], t[(t > a) & (t <= b)]]) for t, a, b in zip(trees.thresholds(), np.float32(low), np.float32(high), strict=True)
    ]
    values = trees(np.array(list(itertools.product(*cells))))
    return float(values.min()), float(values.max())


def test_branch_and_bound_equals_brute_force() -> None:
    for seed in (1, 2):
        trees, _, x = trees_of(seed)
        for row, width in zip(x[:8], (0.05, 0.2, 0.5, 1.0, 2.0, 0.3, 0.7, 0.1), strict=True):
            low, high = row - width, row + width
            least, most = brute_force(trees, low, high)
            found, top = trees.minimum(low, high), trees.maximum(low, high)
            assert found.exact
            assert top.exact
            assert found.value == pytest.approx(least, abs=1e-9)
            assert top.value == pytest.approx(most, abs=1e-9)
            bound = trees.bounds(low, high)
            assert bound[0] <= least + 1e-9
            assert bound[1] >= most - 1e-9
            assert float(trees(found.x[None])[0]) == pytest.approx(found.value)
        cut_short = trees.minimum(x[0] - 2, x[0] + 2, most_boxes=1)
        assert cut_short.bound <= brute_force(trees, x[0] - 2, x[0] + 2)[0]


def test_a_certified_row_of_trees_is_broken_by_no_attack_and_others_mostly_are() -> None:
    trees, _, x = trees_of(3)
    rows, labels = x[:60], (trees(x[:60]) > 0).astype(int)
    budget = np.full(3, 0.2)
    certified = trees.certified(rows, labels, budget)
    found = square(classifier_victim(trees, labels), rows, FeasibleSet.of(budget), rng=np.random.default_rng(1), queries=400)
    assert not (certified & found.broken).any()
    assert 0 < certified.mean() < 1
    assert found.broken.sum() >= 0.8 * (~certified).sum()


def test_trees_agree_with_veritas() -> None:
    veritas = pytest.importorskip("veritas", reason="dtai-veritas is not installed (extra `robustness`)")
    trees, model, x = trees_of(4)
    ensemble = veritas.get_addtree(model, silent=True)
    for row in x[:6]:
        low, high = row - 0.4, row + 0.4
        box = [veritas.Interval(float(a), float(np.nextafter(np.float32(b), np.float32(np.inf)))) for a, b in zip(low, high, strict=True)]
        search = veritas.Config(veritas.HeuristicType.MIN_OUTPUT).get_search(ensemble, box)
        search.step_for(5.0, 100)
        assert trees.minimum(low, high).value == pytest.approx(search.get_solution(0).output, abs=1e-4)


def test_network_bounds_are_sound_and_crown_is_the_tighter() -> None:
    rng = np.random.default_rng(6)
    network = ReluNetwork(rng.normal(size=(6, 24)), rng.normal(size=24), rng.normal(size=24), 0.5)
    x = rng.normal(size=(30, 6))
    budget = np.array([0.2, 0.1, 0.0, 0.3, 0.1, 0.1])
    interval, crown = network.interval_bounds(x, budget), network.crown_bounds(x, budget)
    seen = np.array([network(x + rng.choice([-1, 1, rng.uniform(-1, 1)], size=x.shape) * budget) for _ in range(500)])
    for low, high in (interval, crown):
        assert (seen >= low - 1e-9).all()
        assert (seen <= high + 1e-9).all()
    assert np.mean(crown[1] - crown[0]) < 0.8 * np.mean(interval[1] - interval[0])
    exact = ReluNetwork(np.eye(2), np.full(2, 9.0), np.array([1.0, -1.0]))
    low, high = exact.crown_bounds(np.array([[0.0, 0.0]]), np.array([0.5, 0.25]))
    assert (low[0], high[0]) == pytest.approx((-0.75, 0.75))


def test_no_attack_succeeds_within_a_crown_radius() -> None:
    rng = np.random.default_rng(7)
    network = ReluNetwork(rng.normal(size=(4, 16)), rng.normal(size=16), rng.normal(size=16))
    x = rng.normal(size=(50, 4))
    y = (network(x) > 0).astype(int)
    radius = network.certified_radius(x, np.ones(4))
    assert np.median(radius) > 0
    smallest = float(np.quantile(radius, 0.5))
    inside = radius >= smallest
    victim = classifier_victim(network, y[inside], network.gradient)
    attacked = auto_pgd(victim, x[inside], FeasibleSet.of(np.full(4, smallest * 0.999)), rng=rng)
    assert attacked.success == 0
    far = auto_pgd(classifier_victim(network, y, network.gradient), x, FeasibleSet.of(np.full(4, 4.0)), rng=rng)
    assert far.success > 0.8


def test_trees_say_that_they_cannot_answer_for_missing_values() -> None:
    trees, _, x = trees_of(1)
    hole = x[:3].copy()
    hole[1, 0] = np.nan
    with pytest.raises(SampleError, match="1 rows have missing values"):
        trees(hole)
    with pytest.raises(SampleError, match="An end of the box is missing"):
        trees.minimum(hole[1] - 1, hole[1] + 1)
