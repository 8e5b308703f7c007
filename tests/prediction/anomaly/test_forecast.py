from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from within_pipelines.prediction.anomaly import forecast
from within_pipelines.prediction.anomaly.forecast import Transform, context, learn_transform, seasonal_median, trailing_mean, warm_up


def reference(y: np.ndarray, season: int) -> tuple[np.ndarray, np.ndarray]:
    """The definition, point by point."""
    n = len(y)
    level, expected, scale = (np.full(n, np.nan) for _ in range(3))

    def median(values: list[float], least: int) -> float:
        there = [v for v in values if not np.isnan(v)]
        return float(np.median(there)) if len(there) >= least else np.nan

    for t in range(n):
        level[t] = median(list(y[max(0, t - 2 * season) : t]), season)
    for t in range(n):
        expected[t] = level[t] + median([y[t - season * k] - level[t - season * k] for k in range(1, 9) if t >= season * k], 2)
    for t in range(n):
        past = np.abs(y - expected)[max(0, t - 8 * season) : t]
        scale[t] = max(1.4826 * median(list(past), season), 0.01)
    return expected, scale


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([7, 24]), st.floats(0, 0.3))
def test_the_fast_forecast_agrees_with_its_definition(seed: int, season: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(2, 150)) + 3 * np.sin(2 * np.pi * np.arange(150) / season)
    y[rng.random(y.shape) < missing] = np.nan
    found = seasonal_median(y, season)
    for row in range(2):
        expected, scale = reference(y[row], season)
        assert found.expected[row] == pytest.approx(expected, nan_ok=True)
        assert found.scale[row] == pytest.approx(scale, nan_ok=True)


def test_a_pure_rhythm_is_forecast_exactly() -> None:
    y = np.tile([1.0, 2.0, 3.0, 4.0, 5.0, 9.0, 0.0], 20)[None]
    found = seasonal_median(y, 7)
    first = warm_up(7)
    assert np.isnan(found.scale[0, first - 1])
    assert found.expected[0, first:] == pytest.approx(y[0, first:])
    assert found.scale[0, first:] == pytest.approx(forecast.SMALLEST_SCALE)


def test_the_simple_rule_agrees_with_a_hand_calculation() -> None:
    y = np.arange(70.0)[None]
    found = trailing_mean(y, 7)
    past = np.array([63.0 - 7 * k for k in range(1, 9)])
    assert (found.expected[0, 63], found.scale[0, 63]) == (pytest.approx(past.mean()), pytest.approx(past.std(ddof=1)))
    assert np.isnan(found.expected[0, 41])
    assert found.expected[0, 42] == pytest.approx(np.mean([0, 7, 14, 21, 28, 35]))


def test_blocks_of_series_give_what_all_at_once_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    y = np.random.default_rng(1).normal(size=(9, 120))
    whole = seasonal_median(y, 7)
    monkeypatch.setattr(forecast, "_CELLS", 10_000)
    parts = seasonal_median(y, 7)
    assert np.array_equal(whole.expected, parts.expected, equal_nan=True)
    assert np.array_equal(whole.scale, parts.scale, equal_nan=True)


def test_the_context_is_all_that_a_forecast_depends_on() -> None:
    y = np.random.default_rng(2).normal(size=(1, 400))
    other = y.copy()
    other[:, : 400 - context(7) - 1] += 5
    assert seasonal_median(y, 7).expected[0, -1] == seasonal_median(other, 7).expected[0, -1]
    assert seasonal_median(y, 7).scale[0, -1] == seasonal_median(other, 7).scale[0, -1]


def test_slow_series_have_a_level_and_no_season() -> None:
    found = seasonal_median(np.array([[1.0, 1.0, 1.0, 1.0, 5.0, 1.0, 1.0, 1.0, 1.0]]), 1)
    assert found.expected[0, 5:] == pytest.approx([1, 1, 1, 1])
    assert seasonal_median(np.empty((0, 10)), 7).expected.shape == (0, 10)


def test_transforms_are_their_own_inverse() -> None:
    values = np.array([0.0, 0.5, 10.0, 1e7])
    for transform in (learn_transform(values), learn_transform(-values), learn_transform(values, logarithm=False)):
        keep = np.sign(transform.back(transform.forward(values)) + 1)
        assert transform.back(transform.forward(values)) * keep == pytest.approx(values * keep)
    assert learn_transform(np.array([np.nan, 0.0])) == Transform(True, 0.1)
    assert learn_transform(np.array([-4.0, 2.0])) == Transform(False, 3.0)
