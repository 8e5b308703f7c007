"""Laws of the feasible set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from within_pipelines.exceptions import SampleError
from within_pipelines.robustness import FeasibleSet

# impressions, clicks, spend in cents, a share, a one-hot block of three, impressions and clicks of the month.
ADS = FeasibleSet.of(
    [50, 10, 5.0, 0.1, 1, 1, 0, 50, 10],
    lower=[0, 0, 0, 0, 0, 0, 0, 0, 0],
    upper=[np.inf, np.inf, np.inf, 1, 1, 1, 1, np.inf, np.inf],
    step=[1, 1, 0.01, 0, 0, 0, 0, 1, 1],
    pairs=[(1, 0), (8, 7), (0, 7), (1, 8)],
    blocks=[(4, 5, 6)],
)


def rows(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    month = rng.integers(0, 400, n)
    week = rng.integers(0, month + 1)
    clicks_month = rng.integers(0, month + 1)
    clicks = np.minimum(rng.integers(0, week + 1), clicks_month)
    return np.column_stack(
        [week, clicks, rng.integers(0, 3000, n) / 100, rng.random(n), np.eye(3)[rng.integers(0, 3, n)], month, clicks_month]
    ).astype(float)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 300))
def test_whatever_is_projected_is_feasible_and_stays_where_it_is(seed: int, spread: float) -> None:
    origin = rows(30, seed)
    wild = origin + np.random.default_rng(seed).normal(size=origin.shape) * spread
    found = ADS.project(wild, origin)
    assert ADS.contains(found, origin).all()
    np.testing.assert_allclose(ADS.project(found, origin), found, atol=1e-9)
    assert ADS.contains(origin, origin).all()
    np.testing.assert_allclose(ADS.project(origin, origin), origin)


def test_each_rule_is_seen_when_it_is_broken() -> None:
    origin = np.array([[100.0, 20.0, 5.0, 0.5, 1, 0, 0, 300, 60]])
    for column, value in [(0, 151), (0, 100.5), (1, 31), (2, 5.005), (2, -0.01), (3, 0.61), (4, 0.0), (6, 1.0), (7, 99)]:
        spoiled = origin.copy()
        spoiled[0, column] = value
        assert not ADS.contains(spoiled, origin)[0], (column, value)
    more_clicks_than_views = np.array([[90.0, 95, 5, 0.5, 1, 0, 0, 300, 60]])
    assert not ADS.contains(more_clicks_than_views, more_clicks_than_views)[0]
    # The third category may not be chosen, the second may.
    switched = origin.copy()
    switched[0, 4:7] = [0, 1, 0]
    assert ADS.contains(switched, origin)[0]
    switched[0, 4:7] = [0, 0, 1]
    assert not ADS.contains(switched, origin)[0]
    assert ADS.project(switched, origin)[0, 6] == 0


def test_random_points_fill_the_set() -> None:
    origin = np.repeat(rows(1, 5), 400, axis=0)
    drawn = ADS.draw(origin, np.random.default_rng(1))
    assert ADS.contains(drawn, origin).all()
    assert len(np.unique(drawn[:, 7])) > 50
    assert drawn[:, 4].min() == 0
    assert drawn[:, 4].max() == 1


def test_what_makes_no_set_is_refused() -> None:
    with pytest.raises(SampleError, match="budget >= 0"):
        FeasibleSet.of([-1.0])
    with pytest.raises(SampleError, match="columns up to 3; there are 2"):
        FeasibleSet.of([1.0, 1.0], pairs=[(0, 3)])
