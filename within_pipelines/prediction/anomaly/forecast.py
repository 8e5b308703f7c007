"""What a series should have been at each point, from its own past only.

Each forecaster works on many series side by side and on any number of new columns behind a history of fixed length, so that a point gets
the same bits whether it comes alone or with others: every number is an order statistic of the same window or a recursion in time order."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from within_pipelines.prediction.anomaly.series import DAY_US, Floats, Ints, Rhythm

CYCLES = 8  # seasonal cycles that seasonality and scale are learned from
_MINIMUM_CYCLES = 2
_MINIMUM_MEAN = 6  # a standard deviation of fewer values strays too far itself
# Consistent with the standard deviation of a normal distribution.
_MAD_TO_SIGMA = 1.4826
# log(x + offset): keeps a day of zero finite and damps the logarithm of small counts.
_OFFSET_SHARE = 0.1
# A series that never moved still needs a scale: one percent.
SMALLEST_SCALE = 0.01
# The share of what was learned that one more cycle replaces.
FORGETTING = 1.0 / 60.0
# Regression on deviations in units of scale: an outlier counts as this many, and the prior as so many observations at zero.
_CLIP, _PRIOR = 4.0, 20.0
_LAGS = 3
_WEEKDAY_PRIOR, _WEEKDAY_MEMORY = 2.0, 8.0


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
class Windows:
    """How many points each forecaster looks back, for one rhythm.

    Below a day: the season is a day, level and plain median span a week. Daily: the season is a week, the level two weeks, the plain
    median four. Slower: no season."""

    day: int
    season: int
    level: int
    plain: int

    @classmethod
    def of(cls, rhythm: Rhythm) -> Windows:
        """The windows of a rhythm."""
        season = rhythm.season
        if rhythm.step < DAY_US and season > 1:
            return cls(season, season, 7 * season, 7 * season)
        cycle = max(season, 4)
        return cls(1, season, 2 * cycle, 4 * cycle)

    @property
    def cycle(self) -> int:
        """Points that are the least for a median: a season, at least 4."""
        return max(self.season, 4)

    @property
    def spread(self) -> int:
        """Points that the scale is learned from."""
        return CYCLES * self.cycle

    @property
    def context(self) -> int:
        """Points of the past that are remembered, so that restated days can be judged again."""
        return self.level + 2 * CYCLES * self.cycle

    @property
    def warm_up(self) -> int:
        """Values of a series from which its transform is learned; nothing is judged before."""
        return 4 * self.cycle


MEMBERS: dict[str, tuple[str, ...]] = {
    "ensemble_tail": ("seasonal", "level", "ridge", "plain"),
    "trailing_z": ("same_slot",),
}
# All members of the ensemble but the regression on what has just happened.
_PATTERNS = tuple(number for number, name in enumerate(MEMBERS["ensemble_tail"]) if name != "ridge")
# The baseline works on the values as they are.
LOGARITHMIC = frozenset({"ensemble_tail"})


@dataclass(frozen=True, slots=True)
class Past:
    """What the forecasters remember of S series after their last column; NaN where there was nothing. Never changed in place.

    `y` (S, context) values in working units; `above` (S, 8 seasons) their distance from the level; `swing` (S, season) clipped deviations
    from the seasonal median in units of scale; `leftover` (S, day) residuals of the level member before the weekday effect; `residual`
    (S, members, spread) absolute residuals; `scale` (S, members); `gram` (S, 3, 3) and `moment` (S, 3) of the regression with their
    parts of the unfinished cycle in `pending` (S, 3, 4); `weights` (S, 3); `weekday` (S, 7, 2) mean effect and count."""

    y: Floats
    above: Floats
    swing: Floats
    leftover: Floats
    residual: Floats
    scale: Floats
    gram: Floats
    moment: Floats
    pending: Floats
    weights: Floats
    weekday: Floats

    @classmethod
    def empty(cls, n: int, windows: Windows, members: int) -> Past:
        """Before the first column of `n` series."""
        nan = np.nan
        return cls(
            y=np.full((n, windows.context), nan),
            above=np.full((n, CYCLES * windows.season), nan),
            swing=np.full((n, max(windows.season, 2)), nan),
            leftover=np.full((n, windows.day), nan),
            residual=np.full((n, members, windows.spread), nan),
            scale=np.full((n, members), nan),
            gram=np.zeros((n, _LAGS, _LAGS)),
            moment=np.zeros((n, _LAGS)),
            pending=np.zeros((n, _LAGS, _LAGS + 1)),
            weights=np.zeros((n, _LAGS)),
            weekday=np.zeros((n, 7, 2)),
        )


@dataclass(frozen=True, slots=True)
class Forecasts:
    """Each member's expected value and scale of every new column (S, members, T), NaN where the past is too short, and the new past.

    `patterns` are the members that say what is usual; the others follow what has just happened, so that to them an incident that lasts is
    no longer one."""

    expected: Floats
    scale: Floats
    past: Past
    patterns: tuple[int, ...]


def over_members(x: Floats) -> Floats:
    """Sum over axis 1, one after the other, so that the number of columns changes no bit."""
    total = x[:, 0]
    for member in range(1, x.shape[1]):
        total = total + x[:, member]
    return total


def forecast(past: Past, y: Floats, *, kind: str, windows: Windows, start: int, weekday: Ints) -> Forecasts:
    """Forecast the columns `y` (S, T) in working units, the first of which lies at grid position `start`.

    `weekday` (T,) numbers the days of the week. Members of "ensemble_tail": *seasonal*, the median of the same slot in 8 cycles; *level*,
    the median level plus what the slot lay above the level of its own time, plus the weekday's effect below daily steps; *ridge*, the
    seasonal median plus a regression of deviations on those one and two points and a season before (Hoerl and Kennard 1970, renewed each
    season); *plain*, the median alone. Each scale is 1.4826 x median absolute residual of 8 cycles, renewed each day."""
    if kind == "trailing_z":
        return _same_slot(past, y, windows)
    _n, columns = y.shape
    days = np.nonzero((start + np.arange(columns)) % windows.day == 0)[0]
    history = np.concatenate([past.y, y], axis=1)
    level = _trailing(history, columns, windows.level, least=windows.cycle)
    plain = level if windows.plain == windows.level else _trailing(history, columns, windows.plain, least=windows.cycle)
    seasonal = _slots(history, columns, windows.season)
    above = np.concatenate([past.above, y - level], axis=1)
    base = level + _slots(above, columns, windows.season) if windows.season > 1 else level
    effect, weekday_state, leftover = _weekday_effect(past, y - base, windows, days, weekday)

    # The regression needs the seasonal member's scale, and has a residual and a scale of its own.
    first = _absolute(past.residual[:, 0], y - seasonal)
    seasonal_scale = _renewed(past.scale[:, 0], first, columns, days, windows)
    ridge, learned = _regression(past, (y - seasonal) / seasonal_scale, windows, start)
    expected = np.stack([seasonal, base + effect, seasonal + seasonal_scale * ridge, plain], axis=1)
    # Before there is a scale there is no regression: the seasonal median stands in.
    expected[:, 2] = np.where(np.isnan(seasonal_scale), seasonal, expected[:, 2])
    residual = np.concatenate([past.residual, np.abs(y[:, None] - expected)], axis=2)
    scale = np.stack(
        [seasonal_scale, *(_renewed(past.scale[:, m], residual[:, m], columns, days, windows) for m in range(1, expected.shape[1]))], axis=1
    )
    new = Past(
        y=_last(history, past.y),
        above=_last(above, past.above),
        leftover=leftover,
        residual=_last(residual, past.residual),
        scale=scale[:, :, -1].copy() if columns else past.scale,
        weekday=weekday_state,
        **learned,
    )
    return Forecasts(expected, scale, new, _PATTERNS)


def _same_slot(past: Past, y: Floats, windows: Windows) -> Forecasts:
    """The rule that people write first: mean and standard deviation of the same slot (weekday, hour of day) over the last 8 cycles."""
    history = np.concatenate([past.y, y], axis=1)
    earlier = _lagged(history, y.shape[1], windows.season)
    there = ~np.isnan(earlier)
    n = there.sum(axis=0)
    filled = np.where(there, earlier, 0.0)
    mean = filled.sum(axis=0) / np.maximum(n, 1)
    spread = np.sqrt((there * (filled - mean) ** 2).sum(axis=0) / np.maximum(n - 1, 1))
    enough = n >= _MINIMUM_MEAN
    expected = np.where(enough, mean, np.nan)
    scale = np.where(enough, np.maximum(spread, SMALLEST_SCALE), np.nan)
    same = {name: getattr(past, name) for name in Past.__slots__}
    return Forecasts(expected[:, None], scale[:, None], Past(**{**same, "y": _last(history, past.y)}), (0,))


def _weekday_effect(past: Past, left: Floats, windows: Windows, days: Ints, weekday: Ints) -> tuple[Floats, Floats, Floats]:
    """What the day of the week adds, learned from whole days that have passed, shrunk to zero where few were seen (below daily steps)."""
    leftover = np.concatenate([past.leftover, left], axis=1)
    if windows.day == 1:
        return np.zeros_like(left), past.weekday, _last(leftover, past.leftover)
    state = past.weekday.copy()
    effect = np.empty_like(left)
    edges = [*days.tolist(), left.shape[1]]
    rows = np.arange(len(left))

    def fill(first: int, last: int) -> None:
        mean, count = state[:, weekday[first:last], 0], state[:, weekday[first:last], 1]
        effect[:, first:last] = mean * count / (count + _WEEKDAY_PRIOR)

    fill(0, edges[0])
    for first, last in pairwise(edges):
        # The day that ended before column `first`; its weekday is the one before.
        gone = leftover[:, first : first + windows.day]
        middle = _median(gone, least=max(windows.day // 2, 2))
        day = int(weekday[first] - 1) % 7
        seen = ~np.isnan(middle)
        count = state[:, day, 1] + seen
        step = np.where(seen, (np.where(seen, middle, 0.0) - state[:, day, 0]) / np.clip(count, 1.0, _WEEKDAY_MEMORY), 0.0)
        state[rows, day, 0] += step
        state[rows, day, 1] = np.minimum(count, _WEEKDAY_MEMORY)
        fill(first, last)
    return effect, state, _last(leftover, past.leftover)


def _regression(past: Past, u: Floats, windows: Windows, start: int) -> tuple[Floats, dict[str, Floats]]:
    """One step ahead prediction of clipped deviations `u` (S, T) from lags 1, 2 and a season, and what was learned."""
    n, columns = u.shape
    u = np.clip(u, -_CLIP, _CLIP)
    swing = np.concatenate([past.swing, u], axis=1)
    known = np.nan_to_num(swing)
    held = past.swing.shape[1]
    x = np.stack([known[:, held - lag : held - lag + columns] for lag in (1, 2, max(windows.season, 2))], axis=-1)
    target = np.nan_to_num(u)
    products = np.concatenate([x[..., :, None] * x[..., None, :], (x * target[..., None])[..., None]], axis=-1)
    products[np.isnan(u)] = 0.0
    gram, moment, pending, weights = past.gram, past.moment, past.pending, past.weights
    predicted = np.empty((n, columns))
    boundaries = np.nonzero((start + np.arange(columns)) % windows.season == 0)[0].tolist() if windows.season > 1 else list(range(columns))
    edges = [0, *boundaries, columns]
    for number, (first, last) in enumerate(pairwise(edges)):
        if number:
            gram = (1.0 - FORGETTING) * gram + pending[..., :_LAGS]
            moment = (1.0 - FORGETTING) * moment + pending[..., _LAGS]
            pending = np.zeros_like(pending)
            weights = np.linalg.solve(gram + _PRIOR * np.eye(_LAGS), moment[..., None])[..., 0]
        part = x[:, first:last]
        predicted[:, first:last] = (
            part[..., 0] * weights[:, None, 0] + part[..., 1] * weights[:, None, 1] + part[..., 2] * weights[:, None, 2]
        )
        if last > first:
            # A running sum adds one point after the other, so that an interruption changes no bit.
            pending = np.cumsum(np.concatenate([pending[:, None], products[:, first:last]], axis=1), axis=1)[:, -1]
    return predicted, {"swing": _last(swing, past.swing), "gram": gram, "moment": moment, "pending": pending, "weights": weights}


def _absolute(before: Floats, residual: Floats) -> Floats:
    return np.concatenate([before, np.abs(residual)], axis=1)


def _renewed(current: Floats, residual: Floats, columns: int, days: Ints, windows: Windows) -> Floats:
    """Scale of every new column: learned at the first column of each day from the 8 cycles before, and kept until the next."""
    scale = np.repeat(current[:, None], columns, axis=1)
    if len(days):
        view = np.lib.stride_tricks.sliding_window_view(residual, windows.spread, axis=1)
        fresh = np.maximum(_MAD_TO_SIGMA * _median(view[:, days], least=windows.cycle), SMALLEST_SCALE)
        which = np.searchsorted(days, np.arange(columns), side="right") - 1
        scale = np.where(which >= 0, fresh[:, np.maximum(which, 0)], scale)
    return scale


def _last(whole: Floats, like: Floats) -> Floats:
    """The newest columns, as many as `like` has."""
    return whole[..., whole.shape[-1] - like.shape[-1] :].copy()


def _lagged(history: Floats, columns: int, lag: int) -> Floats:
    """Values 1..8 lags before each of the last `columns` columns (8, S, columns)."""
    held = history.shape[1] - columns
    return np.stack([history[:, held - lag * k : held - lag * k + columns] for k in range(1, CYCLES + 1)])


def _slots(history: Floats, columns: int, season: int) -> Floats:
    """Median of the same slot in earlier cycles; needs two of them."""
    return _median(np.moveaxis(_lagged(history, columns, season), 0, -1), least=_MINIMUM_CYCLES)


def _trailing(history: Floats, columns: int, length: int, *, least: int) -> Floats:
    """Median of the `length` points before each of the last `columns` columns; NaN when fewer than `least` are there."""
    held = history.shape[1] - columns
    before = history[:, held - length : held + columns - 1]
    return _median(np.lib.stride_tricks.sliding_window_view(before, length, axis=1), least=least)


def _median(values: Floats, *, least: int) -> Floats:
    """Median over the last axis without NaN; NaN when fewer than `least` values are there."""
    ordered = np.sort(values, axis=-1)  # NaN go last
    n = values.shape[-1] - np.isnan(ordered).sum(axis=-1)
    low = np.take_along_axis(ordered, (np.maximum(n - 1, 0) // 2)[..., None], axis=-1)[..., 0]
    high = np.take_along_axis(ordered, np.minimum(n // 2, values.shape[-1] - 1)[..., None], axis=-1)[..., 0]
    result: Floats = np.where(n >= least, 0.5 * (low + high), np.nan)
    return result
