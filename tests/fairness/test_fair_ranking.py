"""The ad-score network pays for unequal groups: the gap shrinks, at a stated cost."""

from __future__ import annotations

import numpy as np
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.fairness import FairRanking
from within_pipelines.prediction.ad_score.model import Sample
from within_pipelines.prediction.ad_score.network import Network, fit_network
from within_pipelines.prediction.objective import RowObjective


def sample(seed: int, groups: int = 240) -> tuple[Sample, np.ndarray, np.ndarray]:
    """(sample, group of people per ad, true contrast): of two features that make siblings win, one is higher in ads aimed at one group."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), 4)
    people = np.where(group % 2 == 0, "women", "men")
    merit = rng.normal(size=len(group))
    proxy = 0.7 * rng.normal(size=len(group)) + 1.5 * (people == "men")
    truth = 0.6 * merit + 0.3 * proxy
    centre = np.bincount(group, truth) / 4
    observed = truth - centre[group] + 0.1 * rng.normal(size=len(group))
    x = np.column_stack([merit, proxy, rng.normal(size=len(group))])
    return Sample(x, observed, np.full(len(group), 1 / (0.5**2 + 0.1**2)), group), people, truth


def judged(network: Network, seed: int = 9) -> tuple[float, float]:
    """(gap of mean win scores between groups, share of sibling pairs ranked rightly) on ads of another sample."""
    unseen, people, truth = sample(seed)
    score = network(unseen.x)
    share = 1 / (1 + np.exp(-score))
    gap = abs(share[people == "women"].mean() - share[people == "men"].mean())
    s, t = score.reshape(-1, 4), truth.reshape(-1, 4)
    i, j = np.triu_indices(4, 1)
    return float(gap), float(np.mean((s[:, i] > s[:, j]) == (t[:, i] > t[:, j])))


@pytest.fixture(scope="module")
def fitted() -> dict[float | None, tuple[float, float]]:
    train, people, _ = sample(1)
    strengths = (None, 0.0, 3.0, 30.0)
    return {
        s: judged(fit_network(train, spread=0.5, seed=7, members=1, epochs=30, objective=None if s is None else FairRanking(people, s)))
        for s in strengths
    }


def test_the_gap_shrinks_at_a_stated_cost(fitted: dict[float | None, tuple[float, float]]) -> None:
    (plain_gap, plain), (some_gap, some), (strong_gap, strong) = fitted[None], fitted[3.0], fitted[30.0]
    assert plain_gap > 0.05
    assert strong_gap < some_gap < plain_gap
    assert strong_gap < 0.4 * plain_gap
    # What the proxy carries: the price is real, and no more than this.
    assert plain > 0.85
    assert plain - strong < 0.1
    assert 0 < plain - some < 0.04


def test_no_strength_is_no_change(fitted: dict[float | None, tuple[float, float]]) -> None:
    assert fitted[0.0] == pytest.approx(fitted[None], abs=1e-6)


def test_it_keeps_the_protocol_and_refuses_rows_without_a_group() -> None:
    fair = FairRanking(np.array(["a", "b"]), 1.0)
    assert isinstance(fair, RowObjective)
    with pytest.raises(SampleError, match="name the group of every row"):
        fair.of_rows(np.array([0, 2]))
