from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from within_pipelines.prediction.anomaly import forecast as module
from within_pipelines.prediction.anomaly.forecast import Forecasts, Past, Transform, Windows, forecast, learn_transform
from within_pipelines.prediction.anomaly.series import DAY_US, HOUR_US, Rhythm
from within_pipelines.prediction.anomaly.stream import weekdays

DAILY, HOURLY, WEEKLY = (Windows.of(Rhythm(step, 0)) for step in (DAY_US, HOUR_US, 7 * DAY_US))


def of(y: np.ndarray, windows: Windows, *, kind: str = "ensemble_tail", start: int = 0) -> Forecasts:
    """Forecasts of series from their beginning."""
    past = Past.empty(len(y), windows, len(module.MEMBERS[kind]))
    step = DAY_US if windows.day == 1 else DAY_US // windows.day
    return forecast(past, y, kind=kind, windows=windows, start=start, weekday=weekdays(step, start, y.shape[1]))


def median(values: np.ndarray, least: int) -> float:
    """Median of what is there."""
    there = values[~np.isnan(values)]
    return float(np.median(there)) if len(there) >= least else np.nan


def reference(y: np.ndarray, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """Seasonal, level (without weekdays) and plain member by their definition, point by point, and their scales."""
    n, season = len(y), windows.season
    expected = np.full((3, n), np.nan)
    level = np.array([median(y[max(0, t - windows.level) : t], windows.cycle) for t in range(n)])
    for t in range(n):
        same = [t - season * k for k in range(1, 9) if t >= season * k]
        expected[0, t] = median(y[same], 2)
        expected[1, t] = level[t] + median((y - level)[same], 2)
        expected[2, t] = median(y[max(0, t - windows.plain) : t], windows.cycle)
    scale = np.full((3, n), np.nan)
    for t in range(n):
        day = t - t % windows.day
        for member in range(3):
            past = np.abs(y - expected[member])[max(0, day - windows.spread) : day]
            scale[member, t] = max(1.4826 * median(past, windows.cycle), 0.01)
    return expected, scale


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([DAILY, HOURLY]), st.floats(0, 0.3))
def test_the_fast_forecasts_agree_with_their_definition(seed: int, windows: Windows, missing: float) -> None:
    rng = np.random.default_rng(seed)
    length = 150 if windows is DAILY else 24 * 4  # before the weekday has an effect
    y = rng.normal(size=(2, length)) + 3 * np.sin(2 * np.pi * np.arange(length) / windows.season)
    y[rng.random(y.shape) < missing] = np.nan
    found = of(y, windows)
    for row in range(2):
        expected, scale = reference(y[row], windows)
        assert found.expected[row, [0, 1, 3]] == pytest.approx(expected, nan_ok=True)
        assert found.scale[row, [0, 1, 3]] == pytest.approx(scale, nan_ok=True)


def test_a_pure_rhythm_is_forecast_exactly() -> None:
    y = np.tile([1.0, 2.0, 3.0, 4.0, 5.0, 9.0, 0.0], 20)[None]
    found = of(y, DAILY)
    first = DAILY.warm_up
    assert np.isnan(found.scale[0, 1, first - 1])
    for member in (0, 1, 2):
        assert found.expected[0, member, first:] == pytest.approx(y[0, first:])
        assert found.scale[0, member, first:] == pytest.approx(module.SMALLEST_SCALE)


def test_the_regression_recovers_a_planted_memory() -> None:
    rng = np.random.default_rng(1)
    y = np.zeros((30, 400))
    for t in range(1, 400):
        y[:, t] = 0.7 * y[:, t - 1] + rng.normal(size=30)
    found = of(y, DAILY)
    assert found.past.weights[:, 0].mean() == pytest.approx(0.6, abs=0.1)  # shrunk by its prior and by deviations that are cut off
    assert np.abs(found.past.weights[:, 1:]).mean() < 0.15
    errors = np.abs(y[:, None] - found.expected)[:, :, 150:].mean(axis=(0, 2))
    assert errors[2] < 0.85 * errors[0]
    scaled = of(1000 * y, DAILY).past.weights
    assert scaled == pytest.approx(found.past.weights)


def test_the_weekday_of_hourly_series_is_learned() -> None:
    rng = np.random.default_rng(2)
    hours = np.arange(24 * 7 * 6)
    weekday = weekdays(HOUR_US, 0, len(hours))
    y = np.sin(2 * np.pi * hours / 24) - 0.5 * (weekday >= 5) + 0.05 * rng.normal(size=(3, len(hours)))
    found = of(y, HOURLY)
    late = np.abs(y[:, None] - found.expected)[:, :, 24 * 7 * 4 :]
    assert late[:, 1].mean() < 0.6 * late[:, 0].mean()
    assert found.past.weekday[0, :, 0][[5, 6]].mean() - found.past.weekday[0, :, 0][:5].mean() == pytest.approx(-0.5, abs=0.15)


def test_the_simple_rule_agrees_with_a_hand_calculation() -> None:
    found = of(np.arange(70.0)[None], DAILY, kind="trailing_z")
    past = np.array([63.0 - 7 * k for k in range(1, 9)])
    assert (found.expected[0, 0, 63], found.scale[0, 0, 63]) == (pytest.approx(past.mean()), pytest.approx(past.std(ddof=1)))
    assert np.isnan(found.expected[0, 0, 41])
    assert found.expected[0, 0, 42] == pytest.approx(np.mean([0, 7, 14, 21, 28, 35]))


def test_what_lies_before_the_context_no_longer_moves_the_medians() -> None:
    y = np.random.default_rng(2).normal(size=(1, 400))
    other = y.copy()
    other[:, : 400 - DAILY.context - 1] += 5
    one, two = of(y, DAILY), of(other, DAILY)
    for member in (0, 1, 3):
        assert one.expected[0, member, -1] == two.expected[0, member, -1]
        assert one.scale[0, member, -1] == two.scale[0, member, -1]


def test_slow_series_have_a_level_and_no_season() -> None:
    y = np.array([[1.0, 1.0, 1.0, 1.0, 5.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]])
    found = of(y, WEEKLY)
    assert found.expected[0, 1, 5:] == pytest.approx([1] * 7)
    assert (WEEKLY.season, WEEKLY.level, HOURLY.level, DAILY.level) == (1, 8, 168, 14)
    assert of(np.empty((0, 10)), DAILY).expected.shape == (0, 4, 10)


def test_transforms_are_their_own_inverse() -> None:
    values = np.array([0.0, 0.5, 10.0, 1e7])
    for transform in (learn_transform(values), learn_transform(-values), learn_transform(values, logarithm=False)):
        keep = np.sign(transform.back(transform.forward(values)) + 1)
        assert transform.back(transform.forward(values)) * keep == pytest.approx(values * keep)
    assert learn_transform(np.array([np.nan, 0.0])) == Transform(True, 0.1)
    assert learn_transform(np.array([-4.0, 2.0])) == Transform(False, 3.0)
