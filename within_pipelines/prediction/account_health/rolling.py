"""Answers for days that a fit has not seen, and the share of the richer parts that they justify."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

# The newest three quarters of the origins are answered, a quarter at a time, by fits on what came before.
_CUTS: tuple[float, ...] = (0.25, 0.5, 0.75)
# Weeks are the independent units of such a comparison; fewer than two months of them cannot tell.
MINIMUM_WEEKS = 8
_LEAST_ROWS = 20


def later_blocks(days: Ints, outcome: Floats, *, horizon: int) -> Iterator[tuple[Bools, Bools]]:
    """(rows to fit on, rows to answer), oldest first: between the two lie more than `horizon` days, so that no label reaches over.

    Blocks whose older part is too small or holds one outcome only are left out. `days` are the origins as day numbers."""
    origins = np.unique(days)
    edges = [int(origins[int(len(origins) * cut)]) for cut in _CUTS]
    for start, end in zip(edges, [*edges[1:], int(origins[-1]) + 1], strict=True):
        older, block = days < start - horizon, (days >= start) & (days < end)
        if older.sum() >= _LEAST_ROWS and np.ptp(outcome[older]) > 0 and block.any():
            yield older, block


def overlap_of(days: Ints, *, horizon: int) -> float:
    """How many labels share a day: the horizon over the usual step between origins, at least 1.

    >>> overlap_of(np.array([0, 3, 6, 9]), horizon=7), overlap_of(np.array([0, 14]), horizon=7)
    (2.3333333333333335, 1.0)
    """
    steps = np.diff(np.unique(days))
    return max(1.0, horizon / float(np.median(steps))) if steps.size else 1.0


def earned_share(mixes: dict[float, Floats], outcome: Floats, days: Ints) -> float:
    """The share whose log-odds (`mixes`, by share; 0 is the lean model) had the lowest log loss, if it beat share 0 by more than one
    standard error over the weeks; else 0, and 0 when there are fewer than 8 weeks.

    >>> days = np.repeat(np.arange(0, 70, 7), 50)
    >>> y = (np.arange(500) % 2).astype(float)
    >>> knowing = np.where(y > 0, 1.0, -1.0)
    >>> earned_share({0.0: np.zeros(500), 1.0: knowing}, y, days), earned_share({0.0: knowing, 1.0: np.zeros(500)}, y, days)
    (1.0, 0.0)
    """
    weeks, week_of = np.unique((days - days.min()) // 7, return_inverse=True)
    if len(weeks) < MINIMUM_WEEKS:
        return 0.0
    size = np.bincount(week_of)

    def weekly_loss(log_odds: Floats) -> Floats:
        loss = np.logaddexp(0, log_odds) - outcome * log_odds
        result: Floats = np.bincount(week_of, loss) / size
        return result

    plain = weekly_loss(mixes[0.0])
    best, best_gain = 0.0, 0.0
    for share, log_odds in mixes.items():
        gain = plain - weekly_loss(log_odds)
        error = gain.std(ddof=1) / np.sqrt(len(weeks))
        if gain.mean() > error and gain.mean() > best_gain:
            best, best_gain = share, float(gain.mean())
    return best
