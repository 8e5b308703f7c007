"""Laws of accuracy against gap."""

from __future__ import annotations

import numpy as np
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.fairness import FrontierPoint, accuracy_gap_frontier


def sample(shift: float, n: int = 1200, seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(probabilities, outcomes, groups, accounts of four rows); the first group is more likely by `shift`."""
    rng = np.random.default_rng(seed)
    account = np.repeat(np.arange(n // 4), 4)
    group = np.where(account % 2 == 0, "a", "b")
    p = np.clip(rng.beta(2, 2, n) + shift * (group == "a"), 0.01, 0.99)
    return p, (rng.random(n) < p).astype(float), group, account


def frontier(shift: float, **options) -> dict[tuple[str, float], FrontierPoint]:
    p, y, group, account = sample(shift)
    found = accuracy_gap_frontier(p, y, group, clusters=account, rng=np.random.default_rng(5), **options)
    return {(point.method, point.knob): point for point in found}


def test_a_planted_gap_is_shown_and_closed_at_a_price() -> None:
    found = frontier(0.3)
    plain = found["as it is", 0.5]
    assert plain.gap.low > 0.3
    closed = found["group thresholds", 0.0]
    assert closed.gap.value < 0.1
    assert plain.accuracy.value > closed.accuracy.value > 0.6
    # Each knob moves along the frontier, within the error of the fold that it was not chosen on; a penalty evens means and not the cut.
    ways = (("group thresholds", (0.0, 0.05, 0.1, 0.2), 0.04), ("regularised", (100.0, 10.0, 1.0, 0.0), 0.1))
    for method, knobs, error in ways:
        gaps = [found[method, knob].gap.value for knob in knobs]
        assert np.all(np.diff(gaps) >= -error), method
        assert gaps[-1] > gaps[0]
    assert found["regularised", 100.0].gap.value < 0.5 * plain.gap.value
    for knob in (0.05, 0.1, 0.2):
        assert found["group thresholds", knob].gap.value <= knob + 0.06


def test_groups_that_are_alike_cost_nothing() -> None:
    found = frontier(0.0)
    assert all(point.gap.value < 0.12 for point in found.values())
    assert all(abs(point.accuracy.value - found["as it is", 0.5].accuracy.value) < 0.02 for point in found.values())


def test_it_is_cross_fitted() -> None:
    """Scores without any information: what is chosen on the same rows would beat chance on them."""
    rng = np.random.default_rng(1)
    right = []
    for _ in range(12):
        y, group = (rng.random(40) < 0.5).astype(float), np.repeat(["a", "b"], 20)
        points = accuracy_gap_frontier(rng.random(40), y, group, clusters=range(40), rng=rng, gaps=(1.0,), strengths=(), n_resamples=100)
        right.append(points[1].accuracy.value)
    # .5 within three standard errors of .023.
    assert np.mean(right) <= 0.57


def test_a_hand_calculation_as_it_is() -> None:
    p, y, group = [0.9, 0.2, 0.9, 0.9] * 3, [1, 0, 0, 1] * 3, ["a", "a", "b", "b"] * 3
    (point,) = accuracy_gap_frontier(p, y, group, clusters=range(12), rng=np.random.default_rng(1), gaps=(), strengths=())
    assert (point.accuracy.value, point.gap.value, point.gap.n) == (0.75, 0.5, 12)


def test_refusals() -> None:
    p, y, group, account = sample(0.0, 40)
    rng = np.random.default_rng(1)
    with pytest.raises(SampleError, match="give one each"):
        accuracy_gap_frontier(p + 2, y, group, clusters=account, rng=rng)
    with pytest.raises(SampleError, match="a gap needs two"):
        accuracy_gap_frontier(p, y, ["a"] * 40, clusters=account, rng=rng)
    with pytest.raises(SampleError, match="10 folds need at least as many"):
        accuracy_gap_frontier(p, y, group, clusters=account, rng=rng, folds=10)
