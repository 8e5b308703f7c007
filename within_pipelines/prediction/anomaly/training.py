"""Split metric series by time and fit a detector on the older part."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl

from within_pipelines.exceptions import SampleError, SchemaError
from within_pipelines.prediction.anomaly.detector import AnomalyDetector

# The newest part on which the detector is judged.
TEST_SHARE = 0.3
FEWEST_DAYS = 63  # four weeks of warm-up, two to learn tails, three to judge


def split_anomaly(training_set: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """(train, calibrate, test) of a long table of metric series: test is the newest 30 % of the days.

    `calibrate` is empty: the detector's residuals are one step ahead, so its tails are calibrated out of sample on `train` itself.
    Raises `SchemaError` without the columns timestamp, metric, value and `SampleError` for fewer than 63 days."""
    missing = [name for name in ("timestamp", "metric", "value") if name not in training_set.columns]
    if missing:
        raise SchemaError(f"The training set lacks {missing}; give the table of features.metric_series.")
    first: Any = training_set["timestamp"].min()
    last: Any = training_set["timestamp"].max()
    days = 0 if last is None else (last - first).days + 1
    if days < FEWEST_DAYS:
        raise SampleError(f"The training set spans {days} days; give at least {FEWEST_DAYS}, so that there is a past and a test.")
    boundary = last - timedelta(days=int(days * TEST_SHARE) - 1)
    older = pl.col("timestamp") < boundary
    return training_set.filter(older), training_set.clear(), training_set.filter(~older)


def train_anomaly(training_set: pl.DataFrame, *, seed: int = 7, kind: str = "ensemble_tail", sensitivity: float = 0.95) -> AnomalyDetector:
    """Fit a detector on the older part of `training_set`; the newest 30 % stay unseen for `evaluate_anomaly`.

    Fitting draws nothing at random, so `seed` changes nothing; it is there because every model is trained with one."""
    train, _, _ = split_anomaly(training_set)
    return AnomalyDetector(sensitivity, kind=kind).fit(train)
