"""What a series should have been at each point, from its own past only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from within_pipelines.prediction.anomaly.series import Floats

CYCLES = 8  # seasonal cycles that seasonality and scale are learned from
LEVEL_CYCLES = 2  # cycles of the current level: one incident of under a cycle cannot carry the median
_MINIMUM_CYCLES = 2
_MINIMUM_MEAN = 6  # a standard deviation of fewer values strays too far itself
# Consistent with the standard deviation of a normal distribution.
_MAD_TO_SIGMA = 1.4826
# log(x + offset): keeps a day of zero finite and damps the logarithm of small counts.
_OFFSET_SHARE = 0.1
# A series that never moved still needs a scale: one percent.
SMALLEST_SCALE = 0.01
# Values per working array, so that memory stays near 100 MB whatever the number of series.
_CELLS = 4_000_000


class Transform(NamedTuple):
    """How a series is brought to additive noise: log(x + offset), or x / offset for metrics that go below zero."""

    logarithm: bool
    offset: float

    def forward(self, x: Floats) -> Floats:
        """To working units; values below zero count as zero where logarithms are taken."""
        return np.log(np.maximum(x, 0.0) + self.offset) if self.logarithm else x / self.offset

    def back(self, y: Floats) -> Floats:
        """To metric units, not below zero where logarithms are taken."""
        return np.maximum(np.exp(np.minimum(y, 700.0)) - self.offset, 0.0) if self.logarithm else y * self.offset


def learn_transform(first: Floats, *, logarithm: bool = True) -> Transform:
    """Choose the transform from the values of the warm-up (NaN for missing); no logarithm where one of them is negative.

    >>> learn_transform(np.array([10.0, 20.0, 30.0]))
    Transform(logarithm=True, offset=2.0)
    """
    seen = first[~np.isnan(first)]
    size = float(np.median(np.abs(seen[seen != 0]))) if np.any(seen != 0) else 1.0
    return Transform(False, size) if np.any(seen < 0) or not logarithm else Transform(True, _OFFSET_SHARE * size)


@dataclass(frozen=True, slots=True)
class Forecast:
    """Expected value and scale of each point in working units, NaN where the past is too short (axes series, time)."""

    expected: Floats
    scale: Floats


def context(season: int) -> int:
    """Points of the past that a forecast can depend on."""
    return (LEVEL_CYCLES + 2 * CYCLES) * max(season, 4)


def warm_up(season: int) -> int:
    """Points before the first forecast of a series without gaps."""
    return 4 * max(season, 4)


def seasonal_median(y: Floats, season: int) -> Forecast:
    """Local level plus seasonal median, and the robust spread of what that left over.

    level = median of the last two cycles; season = median over 8 cycles of what the same slot lay above the level of its own day;
    scale = 1.4826 x median absolute residual of 8 cycles. Everything at time t uses times before t only."""
    cycle = max(season, 4)

    def per_block(block: Floats) -> tuple[Floats, Floats]:
        level = _trailing_median(block, LEVEL_CYCLES * cycle, least=cycle)
        above = block - level
        expected = level if season == 1 else level + _seasonal(above, season)
        residual = np.abs(block - expected)
        scale = _MAD_TO_SIGMA * _trailing_median(residual, CYCLES * cycle, least=cycle)
        return expected, np.maximum(scale, SMALLEST_SCALE)

    return _in_blocks(y, CYCLES * cycle, per_block)


def trailing_mean(y: Floats, season: int) -> Forecast:
    """The rule that people write first: mean and standard deviation of the same slot (weekday, hour of day) over the last 8 cycles."""
    lag = season if season > 1 else 1

    def per_block(block: Floats) -> tuple[Floats, Floats]:
        past = np.stack([_shift(block, lag * k) for k in range(1, CYCLES + 1)], axis=-1)
        there = ~np.isnan(past)
        n = there.sum(axis=-1)
        filled = np.where(there, past, 0.0)
        mean = filled.sum(axis=-1) / np.maximum(n, 1)
        spread = np.sqrt((there * (filled - mean[..., None]) ** 2).sum(axis=-1) / np.maximum(n - 1, 1))
        enough = n >= _MINIMUM_MEAN
        return np.where(enough, mean, np.nan), np.where(enough, np.maximum(spread, SMALLEST_SCALE), np.nan)

    return _in_blocks(y, CYCLES, per_block)


def _in_blocks(y: Floats, width: int, function: Callable[[Floats], tuple[Floats, Floats]]) -> Forecast:
    rows = max(1, _CELLS // max(1, y.shape[1] * width))
    parts = [function(y[start : start + rows]) for start in range(0, len(y), rows)]
    if not parts:
        return Forecast(np.empty_like(y), np.empty_like(y))
    return Forecast(np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]))


def _shift(x: Floats, by: int) -> Floats:
    result = np.full_like(x, np.nan)
    if by < x.shape[1]:
        result[:, by:] = x[:, :-by]
    return result


def _seasonal(above: Floats, season: int) -> Floats:
    """Median of the same slot in earlier cycles; needs two of them."""
    past = np.stack([_shift(above, season * k) for k in range(1, CYCLES + 1)], axis=-1)
    return _median(past, least=_MINIMUM_CYCLES)


def _trailing_median(x: Floats, length: int, *, least: int) -> Floats:
    """Median of the `length` points before each point; NaN when fewer than `least` are there."""
    padded = np.concatenate([np.full((len(x), length), np.nan), x[:, :-1]], axis=1)
    return _median(np.lib.stride_tricks.sliding_window_view(padded, length, axis=1), least=least)


def _median(values: Floats, *, least: int) -> Floats:
    """Median over the last axis without NaN; NaN when fewer than `least` values are there."""
    n = (~np.isnan(values)).sum(axis=-1)
    ordered = np.sort(values, axis=-1)  # NaN go last
    low = np.take_along_axis(ordered, (np.maximum(n - 1, 0) // 2)[..., None], axis=-1)[..., 0]
    high = np.take_along_axis(ordered, np.minimum(n // 2, values.shape[-1] - 1)[..., None], axis=-1)[..., 0]
    result: Floats = np.where(n >= least, 0.5 * (low + high), np.nan)
    return result


FORECASTERS: dict[str, Callable[[Floats, int], Forecast]] = {"seasonal_tail": seasonal_median, "trailing_z": trailing_mean}
# The baseline works on the values as they are.
LOGARITHMIC = frozenset({"seasonal_tail"})
