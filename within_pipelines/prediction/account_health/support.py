"""Is this account like the ones that the model learned from?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# One training row in a thousand lies beyond each limit.
TAIL = 0.001
# A value is told as outside from a quarter of the width beyond the limits on: few hundred rows do not show how far their own kind reaches,
# and with some sixty features a narrower margin would flag every tenth row of the same world.
MARGIN = 0.25
# These move with the calendar, whatever the account does; they are moved into the training range like all others, and not judged.
CALENDAR = ("history_share", "weekday_sin", "weekday_cos")
UNKNOWN_SUPPORT = "support unknown: the model was fitted before the ranges of its training rows were kept; train it again"


@dataclass(frozen=True, slots=True)
class Ranges:
    """Per feature the range of its training values.

    - `low`, `high`: the quantiles 0.1 % and 99.9 % of what was known; NaN where nothing was,
    - `usual`: the median where every training row knew the feature, NaN where some did not,
    - `rows`: how many training rows there were."""

    low: Floats
    high: Floats
    usual: Floats
    rows: int

    @classmethod
    def learn(cls, x: Floats) -> Self:
        """The ranges of the columns of `x` (NaN where unknown).

        >>> found = Ranges.learn(np.array([[0.0, 5.0, np.nan], [1.0, 5.0, 2.0]]))
        >>> found.low.tolist(), found.high.tolist(), found.rows
        ([0.0, 5.0, 2.0], [1.0, 5.0, 2.0], 2)
        """
        low, high, usual = (np.full(x.shape[1], np.nan) for _ in range(3))
        for column in range(x.shape[1]):
            known = x[np.isfinite(x[:, column]), column]
            if known.size:
                low[column], high[column] = np.quantile(known, [TAIL, 1 - TAIL], method="inverted_cdf")
            if known.size == len(x):
                usual[column] = np.median(known)
        return cls(low, high, usual, len(x))

    def clip(self, x: Floats) -> Floats:
        """`x` moved into the training range, so that no part of the model extrapolates. A feature that every training row knew counts as
        usual where it is unknown, because no part has learned what its absence means; others stay unknown."""
        inside = np.fmin(np.fmax(x, self.low), self.high)
        # fmin and fmax prefer a number to NaN, but what is unknown stays so here.
        result: Floats = np.where(np.isnan(x), self.usual, inside)
        return result

    def of(self, chosen: NDArray[np.intp]) -> Ranges:
        """The ranges of some of the features."""
        return Ranges(self.low[chosen], self.high[chosen], self.usual[chosen], self.rows)

    @property
    def judged(self) -> Bools:
        """Whether a feature varied in training. One that did not, or was never known, has no weight in the model and is not judged."""
        result: Bools = self.high - self.low > 1e-9
        return result

    def outside(self, x: Floats) -> NDArray[np.int8]:
        """Per row and feature: -1 far below the training values, 1 far above (by a quarter of the range's width), 2 unknown where every
        training row knew it, 0 elsewhere.

        >>> Ranges(np.array([0.0]), np.array([1.0]), np.array([0.5]), 99).outside(np.array([[-0.2], [-0.3], [1.3], [np.nan]])).ravel()
        array([ 0, -1,  1,  2], dtype=int8)
        """
        reach = MARGIN * (self.high - self.low)
        with np.errstate(invalid="ignore"):
            side = (x > self.high + reach).astype(np.int8) - (x < self.low - reach).astype(np.int8)
        side[np.isnan(x) & np.isfinite(self.usual)] = 2
        return np.where(self.judged, side, 0).astype(np.int8)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, null for NaN."""

        def plain(values: Floats) -> list[float | None]:
            return [float(value) if np.isfinite(value) else None for value in values]

        return {"low": plain(self.low), "high": plain(self.high), "usual": plain(self.usual), "rows": self.rows}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The ranges that `to_dict` wrote."""
        low, high, usual = (np.array(values[name], dtype=np.float64) for name in ("low", "high", "usual"))
        return cls(low, high, usual, int(values["rows"]))


_SIDES = {-1: "below", 1: "above"}


def support_reasons(ranges: Ranges, features: Sequence[str], x: Floats) -> list[tuple[str, ...]]:
    """Per row, why it lies outside of what the training rows support, the farthest feature first; empty when it does not.

    >>> few = Ranges(np.array([0.0]), np.array([1.0]), np.array([0.5]), 99)
    >>> support_reasons(few, ["volume_events_28"], np.array([[0.4], [3.0]]))
    [(), ('volume_events_28 is 3, above the 0 to 1 of the 99 training rows',)]
    """
    side = np.where([name not in CALENDAR for name in features], ranges.outside(x), 0)
    found: list[tuple[str, ...]] = [()] * len(x)
    for row in np.flatnonzero(side.any(axis=1)).tolist():
        told = []
        for column in np.flatnonzero(side[row]).tolist():
            name, low, high = features[column], float(ranges.low[column]), float(ranges.high[column])
            if side[row, column] == 2:
                told.append((0.0, f"{name} is unknown; each of the {ranges.rows} training rows had it"))
                continue
            value = float(x[row, column])
            far = max(value - high, low - value) / (high - low)
            where = _SIDES[int(side[row, column])]
            told.append((far, f"{name} is {value:.3g}, {where} the {low:.3g} to {high:.3g} of the {ranges.rows} training rows"))
        found[row] = tuple(reason for _, reason in sorted(told, key=lambda each: -each[0]))
    return found
