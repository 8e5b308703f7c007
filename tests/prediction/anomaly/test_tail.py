from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from within_pipelines.prediction.anomaly.tail import Tail, Tails, default_survival


def test_the_default_agrees_with_students_t() -> None:
    z = np.linspace(-8, 8, 41)
    assert default_survival(z) == pytest.approx(stats.t(4).sf(z), abs=1e-9)


@pytest.mark.parametrize("shape", [-0.1, 0.0, 0.3])
def test_a_planted_pareto_tail_is_recovered(shape: float) -> None:
    sample = stats.genpareto(shape).rvs(50_000, random_state=1)
    tail = Tail.of(sample)
    assert tail.shape == pytest.approx(shape, abs=0.08)
    far = stats.genpareto(shape).isf([0.02, 0.001, 0.0001])
    assert np.log(tail(far[:2])) == pytest.approx(np.log([0.02, 0.001]), abs=0.25)
    assert np.log(tail(far[2:])) == pytest.approx(np.log([0.0001]), abs=0.8)  # five of the sample lie beyond


def test_four_excesses_agree_with_a_hand_calculation() -> None:
    from within_pipelines.prediction.anomaly.tail import _pareto

    excesses = np.array([0.1, 0.3, 0.6, 1.4])
    mean = 2.4 / 4
    weighted = sum(x * (1 - (i - 0.35) / 4) for i, x in enumerate(excesses, start=1)) / 4
    shape, scale = _pareto(excesses)
    assert shape == pytest.approx(2 - mean / (mean - 2 * weighted))
    assert scale == pytest.approx(mean * (1 - shape))


def test_survival_falls_and_is_continuous_at_the_threshold() -> None:
    tail = Tail.of(np.random.default_rng(2).standard_t(3, size=3000))
    z = np.linspace(-5, 50, 2000)
    survival = tail(z)
    assert np.all(np.diff(survival) <= 0)
    threshold = tail.knots[-1]
    assert tail(np.array([threshold + 1e-9]))[0] == pytest.approx(tail(np.array([threshold]))[0], rel=1e-6)
    assert np.isnan(tail(np.array([np.nan]))).all()


def test_limits_are_where_the_p_value_falls_to_the_level() -> None:
    rng = np.random.default_rng(3)
    tails = Tails.of({"spend": rng.normal(size=2000), "ctr": rng.standard_t(3, size=2000)})
    for metric in ("spend", "ctr", "never seen"):
        below, above = tails.limits(metric, 0.01)
        assert tails.p_value(metric, np.array([below, above])) == pytest.approx([0.01, 0.01], rel=1e-3)
    assert tails.limits("ctr", 0.01)[1] > tails.limits("spend", 0.01)[1]


def test_little_data_is_shrunk_to_what_is_believed_of_all() -> None:
    few = Tails.of({"spend": np.zeros(50)})
    z = np.array([0.5, 3.0])
    assert few.side("spend", z, upper=True) == pytest.approx(default_survival(z))
    many = np.random.default_rng(4).normal(size=5000)
    mixed = Tails.of({"spend": many, "new": np.random.default_rng(5).normal(size=150) * 4})
    own, pooled = (mixed.side(name, np.array([6.0]), upper=True)[0] for name in ("new", "unknown"))
    alone = Tail.of(np.random.default_rng(5).normal(size=150) * 4)(np.array([6.0]))[0]
    assert pooled < own < alone


def test_equal_residuals_do_not_break_the_fit() -> None:
    tail = Tail.of(np.zeros(500))
    assert tail(np.array([0.0]))[0] > 0.05
    assert tail(np.array([1.0]))[0] < 1e-6


def test_tails_survive_json() -> None:
    tails = Tails.of({"spend": np.random.default_rng(6).normal(size=1000)})
    again = Tails.from_dict(json.loads(json.dumps(tails.to_dict())))
    z = np.linspace(-9, 9, 50)
    assert np.array_equal(again.p_value("spend", z), tails.p_value("spend", z))
