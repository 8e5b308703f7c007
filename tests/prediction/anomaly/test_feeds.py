from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl

from tests.prediction.anomaly.metrics import FIRST, daily, steady
from within_pipelines.prediction.anomaly import AnomalyDetector

SPLIT = FIRST + timedelta(days=120)


def fitted() -> tuple[AnomalyDetector, pl.DataFrame]:
    """Three accounts' spend and clicks."""
    frame = pl.concat([daily(steady(1)), daily(steady(2), metric="clicks")])
    return AnomalyDetector().fit(frame.filter(pl.col("timestamp") < SPLIT)), frame.filter(pl.col("timestamp") >= SPLIT)


def test_a_metric_that_stops_while_its_account_goes_on_is_missing_and_said_first() -> None:
    detector, new = fitted()
    last = new["timestamp"].max()
    stops = (pl.col("metric") == "clicks") & (pl.col("account_id") == "account-001") & (pl.col("timestamp") > last - timedelta(days=5))
    wild = (pl.col("account_id") == "account-000") & (pl.col("timestamp") == SPLIT + timedelta(days=3))
    new = new.with_columns(value=pl.when(wild).then(900.0).otherwise("value"))
    for frame in (new.filter(~stops), new.with_columns(value=pl.when(stops).then(None).otherwise("value"))):
        found = detector.detect(frame)
        assert [f["kind"] for f in found].count("missing") == 1
        assert found[0]["kind"] == "missing"
        assert (found[0]["metric"], found[0]["account_id"], found[0]["points"]) == ("clicks", "account-001", 5)
        assert found[0]["timestamp"] == last - timedelta(days=5)
        assert "anomaly" in {f["kind"] for f in found}
    whole = new.filter(~((pl.col("account_id") == "account-001") & (pl.col("timestamp") > last - timedelta(days=5))))
    assert "missing" not in {f["kind"] for f in detector.detect(whole)}  # an account that stops altogether may have been paused


def test_a_feed_that_repeats_its_last_value_is_stalled_and_raises_no_alarm() -> None:
    detector, new = fitted()
    stuck = (pl.col("account_id") == "account-002") & (pl.col("metric") == "spend") & (pl.col("timestamp") >= SPLIT + timedelta(days=33))
    frozen = new.with_columns(value=pl.when(stuck).then(400.0).otherwise("value"))
    found = detector.detect(frozen)
    assert (found[0]["kind"], found[0]["account_id"], found[0]["points"]) == ("stalled", "account-002", 6)
    assert found[0]["timestamp"] == SPLIT + timedelta(days=33)
    repeated = [f for f in found if f["kind"] == "anomaly" and f["value"] == 400.0]
    assert [f["timestamp"] for f in repeated] == [SPLIT + timedelta(days=33)]


def test_series_that_often_repeat_and_zeros_are_not_stalled() -> None:
    rng = np.random.default_rng(1)
    counts = rng.poisson(1.0, size=(1, 160)).astype(float)
    counts[0, -6:] = 1.0
    quiet = steady(5, series=1)
    quiet[0, -6:] = 0.0
    for values in (counts, quiet):
        frame = daily(values)
        detector = AnomalyDetector().fit(frame.filter(pl.col("timestamp") < SPLIT))
        assert {f["kind"] for f in detector.detect(frame.filter(pl.col("timestamp") >= SPLIT))} <= {"anomaly"}
