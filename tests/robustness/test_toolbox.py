"""What we say of the Adversarial Robustness Toolbox, shown: when a later release behaves otherwise, docs/robustness.md is out of date."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from within_pipelines.robustness import FeasibleSet, classifier_victim, threshold_search

pytest.importorskip("art", reason="adversarial-robustness-toolbox is not installed (extra `robustness`)")
pytestmark = pytest.mark.filterwarnings("ignore")
EPS = 0.2


@pytest.fixture(scope="module")
def network() -> Any:
    """A small network of two classes as ART sees it."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from art.estimators.classification import PyTorchClassifier
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    return PyTorchClassifier(module, loss=torch.nn.CrossEntropyLoss(), input_shape=(6,), nb_classes=2, device_type="cpu")


def rows(network: Any) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(1).normal(size=(20, 6)).astype(np.float32)
    return x, network.predict(x).argmax(axis=1)


def test_its_square_attack_takes_images_only(network: Any) -> None:
    from art.attacks.evasion import SquareAttack

    with pytest.raises(ValueError, match="can only be applied to image data"):
        SquareAttack(network, norm=np.inf, eps=EPS, max_iter=10, verbose=False).generate(*rows(network))


def test_its_autoattack_as_it_comes_needs_more_than_two_classes(network: Any) -> None:
    from art.attacks.evasion import AutoAttack

    with pytest.raises(IndexError, match="out of bounds for dimension 1 with size 2"):
        AutoAttack(network, norm=np.inf, eps=EPS, eps_step=0.05, batch_size=20).generate(*rows(network))


def test_its_zoo_attack_leaves_a_table_as_it_was(network: Any) -> None:
    from art.attacks.evasion import ZooAttack

    x, y = rows(network)
    attack = ZooAttack(network, max_iter=20, use_resize=False, use_importance=False, nb_parallel=5, verbose=False)
    np.testing.assert_array_equal(attack.generate(x, y), x)


def test_its_sign_opt_attack_refuses_a_binary_model(network: Any) -> None:
    from art.attacks.evasion import SignOPTAttack

    with pytest.raises(ValueError, match="not yet been tested for binary classification"):
        SignOPTAttack(network, targeted=False, max_iter=10, verbose=False).generate(*rows(network))


def test_its_deepfool_and_hopskipjump_go_beyond_an_eps_that_they_do_not_take(network: Any) -> None:
    from art.attacks.evasion import DeepFool, HopSkipJump

    x, y = rows(network)
    few = HopSkipJump(network, norm=np.inf, max_iter=2, max_eval=200, init_eval=20, init_size=50, verbose=False)
    for found in (DeepFool(network, max_iter=30, verbose=False).generate(x), few.generate(x)):
        turned = network.predict(found).argmax(axis=1) != y
        assert turned.mean() > 0.8
        assert (np.abs(found - x).max(axis=1)[turned] > EPS).mean() > 0.2


def test_its_wrapper_of_a_bare_booster_does_not_answer_as_the_booster_does() -> None:
    xgboost = pytest.importorskip("xgboost")
    from art.estimators.classification import XGBoostClassifier

    x = np.random.default_rng(2).normal(size=(400, 6))
    y = (x[:, 0] + x[:, 1] * x[:, 2] > 0).astype(int)
    model = xgboost.XGBClassifier(n_estimators=30, max_depth=3, n_jobs=1).fit(x, y)
    right = {
        name: float((XGBoostClassifier(model=wrapped, nb_features=6, nb_classes=2).predict(x).argmax(axis=1) == y).mean())
        for name, wrapped in (("scikit-learn's", model), ("the booster", model.get_booster()))
    }
    assert right["scikit-learn's"] == pytest.approx(model.score(x, y))
    assert right["the booster"] < 0.65 < 0.95 < model.score(x, y)


def test_its_decision_tree_attack_knows_neither_budget_nor_whole_numbers() -> None:
    from art.attacks.evasion import DecisionTreeAttack
    from art.estimators.classification.scikitlearn import ScikitlearnDecisionTreeClassifier
    from sklearn.tree import DecisionTreeClassifier

    rng = np.random.default_rng(3)
    x = rng.integers(0, 200, (500, 3)).astype(float)
    tree = DecisionTreeClassifier(max_depth=4, random_state=7).fit(x, x[:, 0] + x[:, 1] > 200)
    points, feasible = x[:60], FeasibleSet.of([10, 10, 10], lower=0, step=1)
    answer = tree.predict(points)
    moved = DecisionTreeAttack(ScikitlearnDecisionTreeClassifier(tree), verbose=False).generate(points)
    turned = tree.predict(moved) != answer
    assert turned.mean() > 0.9
    assert not feasible.contains(moved, points)[turned].any()
    thresholds = [np.unique(np.ceil(tree.tree_.threshold[tree.tree_.feature == column])) for column in range(3)]
    victim = classifier_victim(lambda q: tree.predict_proba(q)[:, 1] - 0.5, answer)
    ours = threshold_search(victim, points, feasible, thresholds=thresholds, rng=rng)
    assert feasible.contains(ours.x, points).all()
    assert ours.broken.sum() >= (turned & (np.abs(moved - points) <= 10).all(axis=1)).sum()
