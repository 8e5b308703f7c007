"""The network learns which sibling wins, explains itself exactly, and is the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from within_pipelines.prediction.ad_score.contrasts import pairs_within, within_group
from within_pipelines.prediction.ad_score.model import Sample
from within_pipelines.prediction.ad_score.network import Network, fit_network, soft_labels


def sample(seed: int = 0, *, groups: int = 400, noise: float = 0.2) -> Sample:
    """Contrasts that depend on the product of two inputs, which no line can learn."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), 4)
    x = rng.standard_normal((group.size, 4))
    truth = 0.2 * x[:, 0] + 0.8 * x[:, 1] * x[:, 2]
    weight = np.full(group.size, 1 / (noise**2 + 0.5))
    y = within_group(truth + noise * rng.standard_normal(group.size), weight, group, groups)
    return Sample(x, y, weight, group)


def right(found: np.ndarray, s: Sample) -> float:
    first, second = pairs_within(s.group)
    return float(np.mean((found[first] > found[second]) == (s.y[first] > s.y[second])))


@pytest.fixture(scope="module")
def fitted() -> Network:
    return fit_network(sample(), spread=0.7, seed=1)


def test_it_learns_what_no_line_can(fitted: Network) -> None:
    new = sample(9)
    straight = 0.5 * new.x[:, 0]
    assert right(fitted(new.x), new) > right(straight, new) + 0.1
    assert right(fitted(new.x), new) > 0.65


def test_labels_that_mean_nothing_give_a_coin() -> None:
    s, new = sample(groups=150), sample(9)
    nothing = [Sample(s.x, np.random.default_rng(k).permutation(s.y), s.weight, s.group) for k in range(6)]
    found = [fit_network(part, spread=0.7, seed=k, members=1)(new.x) for k, part in enumerate(nothing)]
    # Four inputs leave few directions to be wrong in, so single runs scatter by about .1.
    assert np.mean([right(one, new) for one in found]) == pytest.approx(0.5, abs=0.1)


def test_contributions_add_up_and_a_usual_ad_has_none(fitted: Network) -> None:
    x = sample(3, groups=20).x
    x[0, 2] = np.nan
    np.testing.assert_allclose(fitted.contributions(x).sum(axis=1), fitted(x), atol=1e-12)
    assert fitted.contributions(x)[0, 2] == 0
    assert fitted(fitted.mean[None]) == pytest.approx(0)
    assert fitted(np.full((1, 4), np.nan)) == pytest.approx(0)


def test_contributions_are_the_integral_of_the_gradient_along_the_line() -> None:
    net = Network(
        np.zeros(2), np.ones(2), np.array([[[1.0, -2.0], [0.5, 1.0]]]), np.array([[-0.3, 0.4]]), np.array([[2.0, 1.5]]), np.zeros((1, 1))
    )
    z = np.array([1.2, 0.7])

    def gradient(step: float, column: int) -> float:
        on = (step * z @ net.inner[0] + net.bias[0]) > 0
        return float(z[column] * (net.inner[0][column] * on) @ net.outer[0])

    kinks = [0.3 / (z @ net.inner[0])[0], -0.4 / (z @ net.inner[0])[1]]
    wanted = [quad(gradient, 0, 1, args=(column,), points=sorted(kinks))[0] for column in (0, 1)]
    np.testing.assert_allclose(net.contributions(z[None])[0], wanted, atol=1e-9)


def test_a_seed_gives_the_same_numbers_and_leaves_torch_as_it_was(fitted: Network) -> None:
    import torch

    torch.manual_seed(5)
    before, threads = torch.random.get_rng_state().clone(), torch.get_num_threads()
    again = fit_network(sample(), spread=0.7, seed=1)
    np.testing.assert_array_equal(again.inner, fitted.inner)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert not np.array_equal(fit_network(sample(), spread=0.7, seed=2).inner, fitted.inner)


def test_the_learning_curve_falls(fitted: Network) -> None:
    assert fitted.losses.shape == (2, 8)
    assert (fitted.losses[:, -1] < fitted.losses[:, 0]).all()


def test_soft_labels_by_hand() -> None:
    # Spread 1, noise variance 1 each: reliability 2 / (2 + 2) = .5, so P = Phi(gap .5 / sqrt(.5 x 2)).
    s = Sample(np.zeros((2, 1)), np.array([0.5, -0.5]), np.array([0.5, 0.5]), np.zeros(2, np.intp))
    first, second, better, weight = soft_labels(s, 1.0)
    assert (first.tolist(), second.tolist(), weight.tolist()) == ([0], [1], [0.5])
    assert better == pytest.approx([0.6914624612740131])


def test_soft_labels_are_the_shares_of_a_simulation() -> None:
    rng = np.random.default_rng(0)
    spread, noise = 0.3, 0.4
    truth = spread * rng.standard_normal((200_000, 2))
    seen = truth + noise * rng.standard_normal(truth.shape)
    near = np.abs(seen[:, 0] - seen[:, 1] - 0.4) < 0.02
    s = Sample(np.zeros((2, 1)), np.array([0.2, -0.2]), np.full(2, 1 / (noise**2 + spread**2)), np.zeros(2, np.intp))
    assert soft_labels(s, spread)[2] == pytest.approx([np.mean(truth[near, 0] > truth[near, 1])], abs=0.02)


def test_a_group_of_many_ads_weighs_as_its_degrees_of_freedom() -> None:
    group = np.r_[np.zeros(40, np.intp), np.ones(2, np.intp)]
    s = Sample(np.zeros((42, 1)), np.zeros(42), np.ones(42), group)
    first, _, _, weight = soft_labels(s, 0.5)
    of_group = [weight[group[first] == k].sum() for k in (0, 1)]
    assert of_group[0] / of_group[1] == pytest.approx(20)
    big = Sample(np.random.default_rng(1).standard_normal((42, 2)), np.random.default_rng(2).standard_normal(42), np.ones(42), group)
    assert np.isfinite(fit_network(big, spread=0.5, seed=1, members=1).inner).all()
