"""The numbers of an answer for many rows at once: score and its tier, band, money at risk."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.prediction.frames import matrix

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_TIERS: tuple[tuple[float, str], ...] = ((80.0, "healthy"), (60.0, "watch"), (40.0, "at risk"), (0.0, "critical"))


def tier_of(score: float) -> str:
    """healthy from 80, watch from 60, at risk from 40, critical below.

    >>> tier_of(85.0), tier_of(12.5)
    ('healthy', 'critical')
    """
    return next(name for floor, name in _TIERS if score >= floor)


def answer_numbers(
    rows: pl.DataFrame,
    *,
    usable: Bools,
    probability: Floats,
    centre: Floats,
    reach: Floats,
    stop: Floats,
    outside: Bools | None,
    unseen: Bools,
    drop: float,
    horizon: int,
) -> pl.DataFrame:
    """State, score and whatever hangs on it, one row per row of `rows`; null where not `usable`, and where NaN was given.

    `probability` is that of a drop of at least `drop` in the next `horizon` days, `centre` the predicted log ratio with `reach` to either
    side, `stop` the probability of stopping, `outside` whether the row is unlike those fitted on (None: not known of any), `unseen` whether
    its target is none that was learned, which is unlike them too."""
    spend, unreported = matrix(rows, ("spend_28", "spend_unknown_28")).T
    known = (spend > 0) & ~(unreported > 0)
    numbers = {
        "score": 100 * (1 - probability),
        "probability": probability,
        "log_ratio": centre,
        "log_ratio_low": centre - reach,
        "log_ratio_high": centre + reach,
        "stop_probability": stop,
        # Clicks and no spend in four weeks: what they cost was not reported, which is no risk of nothing. A part is not the whole.
        "money_at_risk": np.where(known, probability * drop * spend * horizon / 28, np.nan),
    }
    frame = pl.DataFrame({name: np.where(usable, values, np.nan) for name, values in numbers.items()})
    tier = pl.lit(_TIERS[-1][1])
    for floor, name in _TIERS[-2::-1]:
        tier = pl.when(pl.col("score") >= floor).then(pl.lit(name)).otherwise(tier)
    beyond = pl.lit(None, pl.Boolean) if outside is None else pl.lit(pl.Series(outside))
    return frame.with_columns(pl.all().fill_nan(None)).with_columns(
        out_of_support=pl.when(pl.Series(unseen)).then(True).when(pl.Series(usable)).then(beyond),
        state=pl.when(pl.Series(usable)).then(pl.lit("scored")).otherwise(pl.lit("insufficient_data")),
        tier=pl.when(pl.col("score").is_not_null()).then(tier),
    )
