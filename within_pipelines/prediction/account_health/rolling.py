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
# Weeks are the independent units of such a comparison; fewer of them cannot tell.
MINIMUM_WEEKS = 6
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


def earned_share(lean: Floats, rich: Floats, outcome: Floats, days: Ints) -> float:
    """The share of the rich log-odds beside the lean ones: the normal probability of t, the mean weekly gain in log loss of an even mix
    over the lean model in standard errors over the weeks. It moves slowly where chance decides (a half at t = 0), so that refits mix
    alike; 0 when there are fewer than 6 weeks to judge by.

    >>> days = np.repeat(np.arange(0, 70, 7), 50)
    >>> y = (np.arange(500) % 2).astype(float)
    >>> knowing = np.where(y > 0, 1.0, -1.0) + np.linspace(-0.1, 0.1, 500)
    >>> earned_share(np.zeros(500), knowing, y, days) > 0.9, round(earned_share(knowing, np.zeros(500), y, days), 6)
    (True, 0.0)
    """
    from scipy.special import ndtr

    weeks, week_of = np.unique((days - days.min()) // 7, return_inverse=True)
    if len(weeks) < MINIMUM_WEEKS:
        return 0.0
    size = np.bincount(week_of)

    def weekly_loss(log_odds: Floats) -> Floats:
        loss = np.logaddexp(0, log_odds) - outcome * log_odds
        result: Floats = np.bincount(week_of, loss) / size
        return result

    gain = weekly_loss(lean) - weekly_loss(0.5 * (lean + rich))
    error = float(gain.std(ddof=1) / np.sqrt(len(weeks)))
    return float(ndtr(float(gain.mean()) / max(error, 1e-12)))
