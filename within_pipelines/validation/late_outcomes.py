"""Outcomes arrive late: which units count on a day, and what counts for those whose outcome never came."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Literal

import polars as pl

from within_pipelines.exceptions import SampleError, SchemaError

Missing = Literal["zero", "exclude"]


def matured(outcomes: pl.DataFrame, metrics: Sequence[str], *, on: date, maturity_days: int, missing: Missing = "zero") -> pl.DataFrame:
    """The rows whose exposure is at least `maturity_days` old on `on`, with what had been reported by then.

    `outcomes` holds `unit`, `arm`, `day` (of exposure), `known_on` (day on which the outcome was reported; null when it never was) and a
    column per metric. Younger rows are left out although some have an outcome: early outcomes are not like late ones, so counting them
    as they come favours whichever arm converts faster. An outcome that is null, or was reported after `on`, counts as 0 (`"zero"`: no
    conversion is a result) or leaves the row out (`"exclude"`: a failed measurement is none). The same rule holds for both arms.

    Raises `SchemaError` for a missing column and `SampleError` for a negative maturity or an unknown rule.

    >>> rows = pl.DataFrame({"unit": ["a", "b"], "arm": ["canary", "control"], "day": [date(2026, 5, 1)] * 2,
    ...     "known_on": [date(2026, 5, 2), None], "won": [1.0, None]})
    >>> matured(rows, ["won"], on=date(2026, 5, 8), maturity_days=7)["won"].to_list()
    [1.0, 0.0]
    >>> matured(rows, ["won"], on=date(2026, 5, 7), maturity_days=7).height
    0
    """
    if lacking := [name for name in ("unit", "arm", "day", "known_on", *metrics) if name not in outcomes.columns]:
        raise SchemaError(f"The outcomes lack {', '.join(lacking)}; give unit, arm, day, known_on and {', '.join(metrics)}.")
    if maturity_days < 0 or missing not in ("zero", "exclude"):
        raise SampleError(f"maturity_days is {maturity_days}, missing is {missing!r}; give days >= 0 and 'zero' or 'exclude'.")
    old = outcomes.filter(pl.col("day") <= on - timedelta(days=maturity_days))
    known = pl.col("known_on").is_not_null() & (pl.col("known_on") <= on)
    seen = old.with_columns(pl.when(known).then(pl.col(name).cast(pl.Float64)).alias(name) for name in metrics)
    seen = seen.with_columns(pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name) for name in metrics)
    return seen.with_columns(pl.col(list(metrics)).fill_null(0.0)) if missing == "zero" else seen.drop_nulls(list(metrics))
