"""Laws of training on wrong labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from within_pipelines.exceptions import SampleError
from within_pipelines.robustness import label_noise, noise_curve, noised

RNG = np.random.default_rng(11)
X = RNG.normal(size=(200, 3))
Y = (X @ [1.0, -1.0, 0.5] + RNG.normal(size=200) > 0).astype(float)


def ridge(y: np.ndarray) -> np.ndarray:
    """A small model: strongly penalised least squares."""
    return X @ np.linalg.solve(X.T @ X + 10 * np.eye(3), X.T @ (y - y.mean()))


def neighbour(y: np.ndarray) -> np.ndarray:
    """A model that believes every label: each row's score is its own."""
    return y.copy()


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1), st.integers(0, 999), st.booleans())
def test_so_many_labels_are_wrong_and_no_more(share: float, seed: int, binary: bool) -> None:
    y = Y if binary else np.arange(200.0)
    wrong = noised(y, share, rng=np.random.default_rng(seed))
    n = round(share * 200)
    assert np.sum(wrong != y) == (n if binary or n > 1 else 0)
    if binary:
        assert set(wrong.tolist()) <= {0.0, 1.0}
    else:
        assert sorted(wrong) == sorted(y)


def test_a_model_that_learns_nothing_cannot_move_and_no_noise_moves_nothing() -> None:
    for noise in label_noise(lambda y: np.ones(5), Y, rng=np.random.default_rng(1)):
        assert (noise.score_change.value, noise.rank_stability.value) == (0, 1)
    (none,) = label_noise(ridge, Y, rng=np.random.default_rng(1), shares=(0.0,))
    assert (none.score_change.high, none.rank_stability.low, none.n_wrong) == (0, 1, 0)


def test_a_hand_calculation() -> None:
    """A model that repeats its labels moves by 1 wherever one is wrong."""
    found = label_noise(neighbour, Y, rng=np.random.default_rng(2), shares=(0.05, 0.2))
    assert [noise.score_change.value for noise in found] == pytest.approx([0.05, 0.2])
    assert [noise.n_wrong for noise in found] == [10, 40]
    assert found[0].rank_stability.value > found[1].rank_stability.value > 0.4


def test_more_noise_moves_more_and_a_penalty_holds_better_than_belief() -> None:
    rng = np.random.default_rng(3)
    small, large = label_noise(ridge, Y, rng=rng, shares=(0.05, 0.3))
    assert small.score_change.high < large.score_change.low
    assert small.rank_stability.low > large.rank_stability.value
    assert small.rank_stability.low > 0.9
    (believed,) = label_noise(neighbour, Y, rng=rng, shares=(0.05,))
    assert believed.rank_stability.high < small.rank_stability.low


def test_the_interval_covers_the_mean_of_many_refits() -> None:
    (truth,) = label_noise(ridge, Y, rng=np.random.default_rng(4), shares=(0.1,), repeats=400)
    rng = np.random.default_rng(5)
    covered = [label_noise(ridge, Y, rng=rng, shares=(0.1,), repeats=8)[0].score_change for _ in range(100)]
    # .95 less three standard errors of .022.
    assert np.mean([e.low <= truth.score_change.value <= e.high for e in covered]) >= 0.88


def test_refusals() -> None:
    with pytest.raises(SampleError, match="share is 2"):
        noised(Y, 2, rng=np.random.default_rng(1))
    with pytest.raises(SampleError, match="at least 2"):
        label_noise(ridge, Y, rng=np.random.default_rng(1), repeats=1)
    with pytest.raises(SampleError, match="one finite score per row"):
        label_noise(lambda y: y * np.nan, Y, rng=np.random.default_rng(1))


def test_wrong_labels_cost_a_model_that_believes_them_and_hardly_one_that_averages() -> None:
    """Unseen rows are the same inputs with labels of their own."""
    rng = np.random.default_rng(12)
    new = (X @ [1.0, -1.0, 0.5] + rng.normal(size=200) > 0).astype(float)
    right = lambda scores, at: float(np.mean((scores[at] > 0.5) == new[at]))
    weighed = lambda y: 0.5 + ridge(y)
    ask = {"clusters": np.arange(200) // 4, "rng": rng, "shares": (0.0, 0.1, 0.4), "n_resamples": 200}
    averaged, believed = noise_curve(weighed, Y, right, **ask), noise_curve(neighbour, Y, right, **ask)
    assert [point.n_wrong for point in averaged] == [0, 20, 80]
    assert averaged[0].change.value == averaged[0].change.high == 0
    assert averaged[0].quality.low < right(weighed(Y), np.arange(200)) < averaged[0].quality.high
    # A label that is believed is right less often by the share that is wrong times twice its worth.
    worth = 2 * right(Y, np.arange(200)) - 1
    for point in believed[1:]:
        assert point.change.low < -point.share * worth < point.change.high
    assert averaged[1].change.high > -0.03 > believed[2].change.high
    with pytest.raises(SampleError, match="repeats is 0"):
        noise_curve(ridge, Y, right, repeats=0, **ask)
