from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from within_pipelines.prediction.anomaly.surprise import (
    BINS,
    KNOTS,
    Memory,
    blend,
    half_weight,
    intervals_of,
    limits,
    own_tables,
    pooled_tables,
    surprise,
)
from within_pipelines.prediction.anomaly.tail import Calibration, Tails


def counts_of(z: np.ndarray) -> np.ndarray:
    """Counts of |z| per interval."""
    return np.histogram(np.abs(z), [*KNOTS, np.inf])[0].astype(float)


@pytest.mark.parametrize("law", [stats.norm, stats.t(3), stats.laplace])
def test_the_own_tail_recovers_a_planted_law(law: stats.rv_continuous) -> None:
    z = law.rvs(size=100_000, random_state=1)
    table = own_tables(counts_of(z))
    for knot, tolerance in ((1.0, 0.02), (2.0, 0.05), (3.0, 0.15)):
        at = np.searchsorted(KNOTS, knot)
        assert table[at] == pytest.approx(-np.log10(2 * law.sf(KNOTS[at])), abs=tolerance)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 400))
def test_rarity_grows_with_the_deviation_and_never_claims_more_than_was_seen(seed: int, n: int) -> None:
    z = np.random.default_rng(seed).standard_t(2, size=n)
    table = own_tables(counts_of(z))
    assert table[0] == 0
    assert np.all(np.diff(table) >= 0)
    assert table[-1] <= np.log10(100 * (n + 1)) + 1e-9


def test_few_residuals_have_no_opinion_and_many_overrule_the_others() -> None:
    pooled = np.broadcast_to(KNOTS, (1, 2, 1, BINS)).copy()
    few, many = (counts_of(np.random.default_rng(1).normal(size=n))[None, None] for n in (99, 100_000))
    assert np.array_equal(blend(few, pooled, 50.0), pooled)
    assert blend(many, pooled, 50.0)[0, 0, 0, 1:20] == pytest.approx(own_tables(many)[0, 0, 1:20], abs=0.01)
    half = blend(counts_of(np.full(200, 0.1))[None, None], pooled, 200.0)
    assert half == pytest.approx(0.5 * (pooled + own_tables(counts_of(np.full(200, 0.1)))))


def test_two_series_prove_little_about_how_much_series_differ() -> None:
    assert 45 < half_weight(np.array([[0.1, 0.1], [0.1, 0.1]])) < 70
    assert half_weight(np.empty((0, 2))) == pytest.approx(50)
    assert half_weight(np.array([[0.3, 0.3], [0.02, 0.02]] * 50)) < 10


def test_intervals_are_half_open_and_missing_is_missing() -> None:
    interval, place = intervals_of(np.array([0.0, -0.25, 0.26, 1e9, np.nan]))
    assert interval.tolist() == [0, 1, 1, BINS - 1, 255]
    assert place[0] == 0
    assert place[3] == 1
    assert np.isnan(place[4])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.5, 4.0))
def test_limits_are_where_the_surprise_reaches_the_limit(seed: int, limit: float) -> None:
    rng = np.random.default_rng(seed)
    points, members = 30, 3
    table = np.cumsum(rng.exponential(0.1, size=(points, 2, members, BINS)), axis=-1)
    table[..., 0] = 0
    expected, scale = rng.normal(size=(points, members)), rng.uniform(0.1, 2, size=(points, members))
    low, high = limits(table, expected, scale, limit)
    for value, side in ((low, 0), (high, 1)):
        for shift, reached in ((1e-6, True), (-1e-6, False)):
            y = value + (shift if side else -shift)
            memory = Memory(np.zeros((points, members, BINS)), np.zeros((points, members, BINS)), table)
            found = surprise(memory, table, y[:, None], expected[..., None], scale[..., None], season=7, start=1, half=None)
            size = (found.above if side else found.below)[:, 0]
            assert np.all((size >= limit) == reached)


def test_a_rise_is_no_surprise_below() -> None:
    table = np.broadcast_to(KNOTS, (1, 2, 1, BINS)).copy()
    memory = Memory.empty(table)
    one = np.ones((1, 1, 1))
    found = surprise(memory, table, np.array([[3.0]]), 0 * one, one, season=7, start=1, half=None)
    assert (found.below.item(), found.above.item()) == (0.0, pytest.approx(3.0))
    assert np.isnan(surprise(memory, table, np.array([[np.nan]]), 0 * one, one, season=7, start=1, half=None).size.item())


def test_pooled_tables_agree_with_the_tails_they_come_from() -> None:
    rng = np.random.default_rng(4)
    law = Tails.of({"spend": rng.standard_t(4, size=5000)})
    table = pooled_tables([law], ["spend", "new"])
    at = np.searchsorted(KNOTS, 2.0)
    assert table[0, 1, 0, at] == pytest.approx(-np.log10(2 * law.side("spend", KNOTS[[at]], upper=True)[0]))
    assert table.shape == (2, 2, 1, BINS)


def test_the_calibration_turns_agreeing_members_back_into_their_p_value() -> None:
    rng = np.random.default_rng(5)
    p = rng.uniform(size=20_000)
    calibration = Calibration.of(-np.log10(p))
    for level in (0.2, 0.01, 0.001):
        assert float(calibration(np.array([-np.log10(level)]))[0]) == pytest.approx(level, rel=0.25)
        assert calibration.limit(level) == pytest.approx(-np.log10(level), abs=0.12)
    independent = -np.log10(rng.uniform(size=(20_000, 4))).mean(axis=1)
    assert Calibration.of(independent).limit(0.001) < 1.8  # four that hardly agree need far less
    again = Calibration.from_dict(calibration.to_dict())
    assert again.limit(0.01) == calibration.limit(0.01)
