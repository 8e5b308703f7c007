"""What account health learns from: feature rows with a label each, and the refusal of samples that teach nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.exceptions import SampleError, SchemaError
from within_pipelines.prediction.account_health.inputs import checked_features, is_feature_table, labelled_rows, refuse_repeated
from within_pipelines.prediction.frames import as_polars, as_vector, numbers, require

MINIMUM_ROWS = 60
_CALIBRATION_SHARE = 0.25


def labelled(data: Any, labels: Any, *, horizon: int, drop: float, usual_days: int) -> pl.DataFrame:
    """Feature rows with the label `_y`: 1 where efficiency fell by `drop` over the next `horizon` days, null where unknown.

    Daily facts make their own labels. Feature rows take `labels`, else their column `degraded`; for a `drop` other than 0.2, or without
    that column, the label is `log_ratio` < log(1 - drop).

    Raises `SampleError` for repeated rows, labels that are not 0/1, and labels beside daily facts; `SchemaError` for feature rows that lack
    a column."""
    frame = as_polars(data)
    if is_feature_table(frame):
        frame = checked_features(frame)
        refuse_repeated(frame)
    elif labels is None:
        frame = labelled_rows(frame, horizon=horizon, drop=drop, usual_days=usual_days)
    else:
        raise SampleError("labels belong to feature rows; daily facts make their own, so give one of the two.")
    if labels is None and "log_ratio" in frame.columns and (drop != 0.2 or "degraded" not in frame.columns):
        ratio = pl.col("log_ratio").cast(pl.Float64)
        return frame.with_columns(_y=pl.when(ratio.is_finite()).then((ratio < np.log1p(-drop)).cast(pl.Float64)))
    if labels is None:
        require(frame, ["degraded"], why="give labels, or the label column that the training set has.")
        if drop != 0.2:
            raise SchemaError(f"The table lacks log_ratio, from which a drop of {drop} is told; give it, or labels.")
        frame = frame.with_columns(_y=numbers(frame, "degraded"))
        if "stopped" in frame.columns:
            # Rows without a label of efficiency, but known to have stopped or not, teach the second head only.
            only_second = frame["stopped"].is_not_null() & frame["_y"].is_null()
            as_vector(frame.filter(~only_second)["_y"], rows=int((~only_second).sum()), what="labels")
            _refuse_other_values(frame["_y"].drop_nulls().to_numpy())
            return frame
        labels = frame["_y"]
    y = as_vector(labels, rows=frame.height, what="labels")
    _refuse_other_values(y)
    return frame.with_columns(_y=pl.Series(y))


def refuse_too_few(rows: pl.DataFrame, *, minimum_clicks: float) -> None:
    """Raise `SampleError` when fewer than 60 rows of the stated volume are there to learn from."""
    if rows.height < MINIMUM_ROWS:
        raise SampleError(
            f"{rows.height} rows with at least {minimum_clicks:.0f} clicks in 28 days are too few; give at least {MINIMUM_ROWS}."
        )


def refuse_one_sided(days: NDArray[np.int64], y: NDArray[np.float64], *, horizon: int) -> None:
    """Raise `SampleError` when the older three quarters of the origins (`days`), or the newest quarter, hold one outcome only."""
    origins = np.unique(days)
    cut = int(origins[int(len(origins) * (1 - _CALIBRATION_SHARE))])
    for name, part in (("fitting", y[days < cut - horizon]), ("calibration", y[days >= cut])):
        if not part.size or np.ptp(part) == 0:
            raise SampleError(
                f"The {name} part holds {part.size} rows with {int(part.sum())} drops; both outcomes are needed, "
                "so give a longer history or more accounts."
            )


def _refuse_other_values(y: NDArray[np.float64]) -> None:
    if not np.isin(y, [0.0, 1.0]).all():
        raise SampleError("labels hold values other than 0 and 1; give True where efficiency fell and False elsewhere.")
