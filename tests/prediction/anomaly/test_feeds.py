from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

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


HOURS = [datetime(2026, 1, 1) + timedelta(hours=hour) for hour in range(24 * 30)]  # noqa: DTZ001
KEPT = 24 * 28


def wide(**more: np.ndarray) -> pl.DataFrame:
    """Hours of spend and clicks, a number column each."""
    rng = np.random.default_rng(3)
    spend, clicks = 100 * np.exp(0.1 * rng.standard_normal((2, len(HOURS))))
    return pl.DataFrame({"timestamp": HOURS, "spend": spend, "clicks": clicks, **more})


@pytest.mark.parametrize("absent", ["null", "none", "column", "pandas"])
def test_a_known_metric_without_a_value_in_the_whole_table_is_missing_as_update_says(absent: str) -> None:
    frame = wide()
    detector, new = AnomalyDetector().fit(frame[:KEPT]), frame[KEPT:]
    empty = {
        "null": new.with_columns(clicks=pl.lit(None, dtype=pl.Float64)),
        "none": new.with_columns(clicks=pl.lit(None)),
        "column": new.drop("clicks"),
        "pandas": new.to_pandas().assign(clicks=None),
    }[absent]
    told = [f for f in detector.detect(empty) if f["kind"] != "anomaly"]
    assert told == [{"kind": "missing", "metric": "clicks", "timestamp": HOURS[KEPT - 1], "value": frame["clicks"][KEPT - 1], "points": 48}]
    assert list(detector.judge(empty).feeds) == told  # nothing was remembered
    assert [f for f in detector.detect(empty[:35]) if f["kind"] == "missing"] == []
    assert [f["points"] for f in detector.detect(empty[:36]) if f["kind"] == "missing"] == [36]
    same = ("kind", "metric", "timestamp", "value")
    assert [{k: f[k] for k in same} for f in detector.update(empty) if f["kind"] == "missing"] == [{k: told[0][k] for k in same}]
    assert [f for f in detector.detect(empty) if f["kind"] == "missing"] == []  # told once, also by the stream
    assert [f for f in detector.detect(wide()[KEPT:]) if f["kind"] == "missing"] == []


def test_of_a_long_table_only_known_series_whose_account_goes_on_are_missing() -> None:
    detector, new = fitted()
    gone = (pl.col("metric") == "clicks") & (pl.col("account_id") == "account-001")
    silent = pl.col("account_id") == "account-002"  # may have been paused
    never = new.filter(gone).with_columns(metric=pl.lit("revenue"), value=pl.lit(None, dtype=pl.Float64))
    told = [f for f in detector.detect(pl.concat([new.filter(~gone & ~silent), never])) if f["kind"] == "missing"]
    assert [(f["platform"], f["account_id"], f["metric"]) for f in told] == [("google_ads", "account-001", "clicks")]
    assert (told[0]["timestamp"], told[0]["points"]) == (SPLIT - timedelta(days=1), 40)
    last = new["timestamp"].max()
    by_clock = [f for f in detector.detect(new.filter(~gone & ~silent), now=last) if f["kind"] == "missing"]
    assert [(f["account_id"], f["metric"]) for f in by_clock] == [
        ("account-001", "clicks"), ("account-002", "clicks"), ("account-002", "spend"),
    ]  # fmt: skip
    assert [(f["account_id"], f["metric"], f["points"]) for f in detector.detect(new.clear(), now=SPLIT + timedelta(days=2))] == [
        (f"account-{n:03d}", metric, 3) for n in range(3) for metric in ("clicks", "spend")
    ]
    unnamed = detector.detect(new.filter(~gone).drop("platform"))
    assert "missing" not in {f["kind"] for f in unnamed}  # other accounts, as far as the table says


def test_a_single_value_is_enough_of_a_feed_that_was_known_before() -> None:
    frame = wide()
    detector, new = AnomalyDetector().fit(frame[:KEPT]), frame[KEPT:]
    one = new.with_columns(clicks=pl.when(pl.col("timestamp") == HOURS[KEPT + 2]).then("clicks"))
    rows = one.unpivot(index="timestamp", variable_name="metric").drop_nulls()
    for table in (one, rows):
        told = [(f["metric"], f["timestamp"], f["points"]) for f in detector.detect(table) if f["kind"] == "missing"]
        assert told == [("clicks", HOURS[KEPT + 2], 45)]
    fresh = AnomalyDetector().fit(frame[:KEPT].drop("clicks"))
    assert [f for f in fresh.detect(rows) if f["kind"] == "missing"] == []


def test_a_ratio_whose_totals_were_ever_there_is_not_missing() -> None:
    frame = wide().with_columns(cpc=pl.col("spend") / pl.col("clicks"))
    detector, new = AnomalyDetector().fit(frame[:KEPT]), frame[KEPT:]
    without = (new.drop("cpc"), new.drop("cpc", "clicks"), new.with_columns(cpc=pl.when(pl.col("timestamp") < HOURS[KEPT + 3]).then("cpc")))
    for table, missing in zip((*without, without[2].drop("clicks")), ([], ["clicks"], [], ["clicks"]), strict=True):
        assert [f["metric"] for f in detector.detect(table) if f["kind"] == "missing"] == missing
    alone = AnomalyDetector().fit(frame[:KEPT].drop("clicks"))
    assert [f["metric"] for f in alone.detect(new.drop("clicks", "cpc")) if f["kind"] == "missing"] == ["cpc"]
    assert [f for f in alone.detect(new.drop("cpc")) if f["kind"] == "missing"] == []  # the totals come with the table


def test_what_had_ended_before_the_end_of_fit_is_no_news_and_an_end_just_then_is() -> None:
    frame = wide()
    for kept, told in ((24 * 20, []), (KEPT - 10, ["clicks"])):
        ended = frame.with_columns(clicks=pl.when(pl.col("timestamp") < HOURS[kept]).then("clicks"))
        detector = AnomalyDetector().fit(ended[:KEPT])
        for table in (ended[KEPT:], ended[KEPT:].drop("clicks")):
            found = [f for f in detector.detect(table) if f["kind"] == "missing"]
            assert [f["metric"] for f in found] == told
            assert all((f["timestamp"], f["points"]) == (HOURS[kept - 1], 58) for f in found)
        assert [f["metric"] for f in detector.update(ended[KEPT:]) if f["kind"] == "missing"] == told


def test_a_series_whose_id_column_is_gone_is_still_named() -> None:
    frame = daily(steady(4, series=2)).with_columns(account_id=pl.lit("one"), campaign_id=pl.col("account_id"))
    whole = frame.filter(pl.col("campaign_id") == "account-000").drop("campaign_id")
    detector = AnomalyDetector().fit(pl.concat([frame, whole.with_columns(campaign_id=pl.lit(""))]).filter(pl.col("timestamp") < SPLIT))
    told = [f for f in detector.detect(whole.filter(pl.col("timestamp") >= SPLIT)) if f["kind"] == "missing"]
    assert [f["campaign_id"] for f in told] == ["account-000", "account-001"]
