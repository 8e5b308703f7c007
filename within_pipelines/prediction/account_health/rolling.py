"""Answers for days that a fit has not seen, and the share of the richer parts that they justify."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from within_pipelines.prediction.account_health.blend import HealthBlend
from within_pipelines.prediction.calibration import PlattScaling, fit_log_odds, sigmoid
from within_pipelines.prediction.metrics import brier_skill, log_loss

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

# The newest three quarters of the origins are answered, a quarter at a time, by fits on what came before.
_CUTS: tuple[float, ...] = (0.25, 0.5, 0.75)
# Weeks are the independent units of such a comparison; fewer of them cannot tell.
MINIMUM_WEEKS = 6
_LEAST_ROWS = 20
# Rich fits gain most from more days, and the final one has more than any that was judged: standard errors in their favour.
_YET_TO_LEARN = 1.0
# Rows of one week share its shock, so later weeks move the level by chance as much as by drift: this many independent rows speak for
# leaving the level as it is. How far apart the answers lie suffers less from that.
_LEVEL_RIDGE, _SPREAD_RIDGE = 100.0, 10.0


@dataclass(frozen=True, slots=True)
class Later:
    """What fits on older days said of the days after them: `blends`, mixed by `share`, with the rows that each answered, oldest first.

    `share` is what the richer parts have earned there, `platt` calibrates those answers, `curves` are `learning_curves`."""

    blends: list[tuple[HealthBlend, Bools]]
    share: float
    platt: PlattScaling
    curves: dict[str, dict[str, Any]]


def answered_later(
    fitted: Callable[[Bools], HealthBlend], x: Floats, outcome: Floats, days: Ints, *, horizon: int, overlap: float, rich: bool
) -> Later:
    """Fit on the rows before each of the `later_blocks` and answer the block; `fitted` fits the model on some rows of `x`.

    Where the fits have no richer parts (not `rich`), their share is 0."""
    parts = list(later_blocks(days, outcome, horizon=horizon))
    fits = [(fitted(older), block) for older, block in parts]
    later = np.concatenate([np.flatnonzero(block) for _, block in fits])
    lean, full = (np.concatenate([blend.with_share(share).log_odds(x[block]) for blend, block in fits]) for share in (0.0, 1.0))
    # The first quarter's fit has too little to learn the richer parts from; what it says of them holds for no later fit.
    newer = days[later] >= np.median(np.unique(days))
    share = earned_share(lean[newer], full[newer], outcome[later][newer], days[later][newer]) if rich and newer.any() else 0.0
    blends = [(blend.with_share(share), block) for blend, block in fits]
    newest = blends[-1][1]
    history = [(int(older.sum()), blend.log_odds(x[newest])) for (blend, _), (older, _) in zip(blends, parts, strict=True)]
    platt = calibrated((1 - share) * lean + share * full, outcome[later], overlap=overlap)
    return Later(blends, share, platt, learning_curves(history, outcome[newest]))


def later_blocks(days: Ints, outcome: Floats, *, horizon: int) -> Iterator[tuple[Bools, Bools]]:
    """(rows to fit on, rows to answer), oldest first: between the two lie more than `horizon` days, so that no label reaches over.

    Blocks whose older part is too small or holds one outcome only are left out. `days` are the origins as day numbers."""
    origins = np.unique(days)
    edges = [int(origins[int(len(origins) * cut)]) for cut in _CUTS]
    for start, end in zip(edges, [*edges[1:], int(origins[-1]) + 1], strict=True):
        older, block = days < start - horizon, (days >= start) & (days < end)
        if older.sum() >= _LEAST_ROWS and np.ptp(outcome[older]) > 0 and block.any():
            yield older, block


def learning_curves(fits: Sequence[tuple[int, Floats]], outcome: Floats) -> dict[str, dict[str, Any]]:
    """What more history brings: log loss and Brier skill on the newest block, before calibration, of fits on more and more of what came
    before it. `fits` holds (rows fitted on, log-odds for the block), `outcome` the block's outcomes; empty for fewer than two fits.

    >>> weak, strong = np.array([0.1, -0.1, 0.1]), np.array([2.0, -2.0, 2.0])
    >>> found = learning_curves([(100, weak), (200, strong)], np.array([1.0, 0.0, 1.0]))["log_loss"]
    >>> found["x"], [round(value, 2) for value in found["y"]]
    ([100, 200], [0.64, 0.13])
    """
    if len(fits) < 2:
        return {}
    rows = [n for n, _ in fits]
    measured = {"log_loss": log_loss, "brier_skill": brier_skill}
    return {
        name: {
            "x": rows,
            "y": [float(measure(outcome, sigmoid(log_odds))) for _, log_odds in fits],
            "x_label": "rows fitted on, the oldest first",
            "y_label": f"{name.replace('_', ' ')} on the newest {outcome.size} rows",
        }
        for name, measure in measured.items()
    }


def overlap_of(days: Ints, *, horizon: int) -> float:
    """How many labels share a day: the horizon over the usual step between origins, at least 1.

    >>> overlap_of(np.array([0, 3, 6, 9]), horizon=7), overlap_of(np.array([0, 14]), horizon=7)
    (2.3333333333333335, 1.0)
    """
    steps = np.diff(np.unique(days))
    return max(1.0, horizon / float(np.median(steps))) if steps.size else 1.0


def earned_share(lean: Floats, rich: Floats, outcome: Floats, days: Ints) -> float:
    """The share of the rich log-odds beside the lean ones: the normal probability of t + 1, t the mean weekly gain in log loss of an even
    mix over the lean model in standard errors over the weeks. The one is for what these fits of earlier days could not learn yet. The
    share moves slowly where chance decides, so that refits mix alike; it is 0 when there are fewer than 6 weeks to judge by.

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
    return float(ndtr(float(gain.mean()) / max(error, 1e-12) + _YET_TO_LEARN))


def calibrated(raw: Floats, outcome: Floats, *, overlap: float) -> PlattScaling:
    """Calibration of later days' log-odds: raw + level + (slope - 1) (raw - its mean), both shrunk towards changing nothing.

    Source: Platt (1999), with a prior for what weeks share. `overlap` is the number of rows whose labels share a day. A slope that comes
    out below 0 is chance; then every row gets the rate of the later days.

    >>> rng = np.random.default_rng(0)
    >>> raw = rng.normal(0, 1, 40_000)
    >>> y = (rng.random(40_000) < 1 / (1 + np.exp(-0.3 - 1.5 * raw))).astype(float)
    >>> found = calibrated(raw, y, overlap=1.0)
    >>> abs(found.slope - 1.5) < 0.05, abs(found.intercept - 0.3) < 0.05
    (True, True)
    """
    mean = float(raw.mean())
    design = np.column_stack([np.ones_like(raw), raw - mean])
    penalty = overlap * np.array([_LEVEL_RIDGE, _SPREAD_RIDGE])
    level, slope = fit_log_odds(design, outcome, penalty=penalty, prior=np.array([mean, 1.0]))
    if slope <= 0:
        rate = float(np.clip(outcome.mean(), 1e-3, 1 - 1e-3))
        return PlattScaling(float(np.log(rate / (1 - rate))), 0.0)
    return PlattScaling(float(level - slope * mean), float(slope))
