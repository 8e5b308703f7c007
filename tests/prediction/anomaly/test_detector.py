from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.prediction.anomaly.metrics import SPLIT, daily, fitted, hourly, new, old, steady
from within_pipelines.exceptions import NotFittedError, SampleError, SchemaError, SettingsError
from within_pipelines.prediction.anomaly import AnomalyDetector
from within_pipelines.prediction.champion import set_champion_source

KINDS = ("ensemble_tail", "trailing_z")


def test_the_founding_example_runs_as_written(capsys: pytest.CaptureFixture[str]) -> None:
    detector_class = AnomalyDetector
    history = pd.DataFrame({"timestamp": pd.date_range("2026-01-01", periods=160), "clicks": steady(4, series=1)[0]})
    history.loc[140, "clicks"] = 500.0
    normal_performance_data, new_performance_data = history[:120], history[120:]

    detector = detector_class(sensitivity=0.95)
    detector.fit(normal_performance_data)
    anomalies = detector.detect(new_performance_data)
    if anomalies:
        print(f"Found {len(anomalies)} anomalies")  # noqa: T201
        for anomaly in anomalies:
            print(f"Anomaly detected: {anomaly['metric']} at {anomaly['timestamp']}")  # noqa: T201

    assert "Anomaly detected: clicks at 2026-05-21 00:00:00" in capsys.readouterr().out


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 39), st.floats(0, 1e6), st.sampled_from(KINDS))
def test_a_later_value_changes_nothing_before_it(at: int, value: float, kind: str) -> None:
    detector, frame = fitted(kind=kind)
    moment = SPLIT + timedelta(days=at)
    changed = frame.with_columns(value=pl.when(pl.col("timestamp") >= moment).then(value).otherwise("value"))
    before = pl.col("timestamp") < moment
    assert_frame_equal(detector.score_series(changed).filter(before), detector.score_series(frame).filter(before), check_exact=True)


def test_row_order_company_and_batches_do_not_matter() -> None:
    detector, frame = fitted()
    scored = detector.score_series(frame)
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=5)
    order = ["account_id", "timestamp"]
    assert_frame_equal(detector.score_series(shuffled).sort(order), scored.sort(order), check_exact=True)
    alone = pl.col("account_id") == "account-001"
    assert_frame_equal(detector.score_series(frame.filter(alone)), scored.filter(alone), check_exact=True)
    pandas = detector.score_series(frame.to_pandas())
    assert pandas["p_value"].to_list() == scored["p_value"].to_list()


def test_a_hundred_times_the_money_gives_the_same_p_values() -> None:
    frame = daily(steady(2))
    large = frame.with_columns(pl.col("value") * 100)
    one, hundred = (AnomalyDetector().fit(old(f)).score_series(new(f)) for f in (frame, large))
    assert one["p_value"].to_list() == pytest.approx(hundred["p_value"].to_list())
    assert (one["expected"] * 100).to_list() == pytest.approx(hundred["expected"].to_list())


def test_immature_and_missing_values_are_stated_and_not_judged() -> None:
    detector, frame = fitted()
    last = frame["timestamp"].max()
    frame = frame.with_columns(
        maturity=pl.when(pl.col("timestamp") == last).then(0.5).otherwise(1.0),
        value=pl.when(pl.col("timestamp") == last).then(1.0).when(pl.col("timestamp") == SPLIT).then(None).otherwise("value"),
    )
    scored = detector.score_series(frame)
    assert scored.filter(pl.col("timestamp") == last)["state"].unique().to_list() == ["immature"]
    assert scored.filter(pl.col("timestamp") == SPLIT)["state"].unique().to_list() == ["missing"]
    unjudged = scored.filter(pl.col("state") != "scored")
    assert unjudged["p_value"].null_count() == unjudged.height == 6
    assert not unjudged["alarm"].any()


def test_a_series_that_fit_did_not_see_warms_up_first() -> None:
    detector, _ = fitted()
    stranger = daily(steady(9, series=1), metric="likes").with_columns(account_id=pl.lit("stranger"))
    states = detector.score_series(stranger)["state"].to_list()
    assert states[:28] == ["warming_up"] * 28
    assert set(states[28:]) == {"scored"}


def test_one_new_day_is_judged_by_what_was_remembered() -> None:
    detector, frame = fitted()
    whole = detector.score_series(frame)
    first = pl.col("timestamp") == SPLIT
    assert_frame_equal(detector.score_series(frame.filter(first)), whole.filter(first), check_exact=True)
    far = frame.filter(first).with_columns(timestamp=pl.col("timestamp").dt.offset_by("2y"))
    assert detector.score_series(far)["state"].to_list() == ["warming_up"] * 3


def test_hourly_series_have_a_daily_season() -> None:
    rng = np.random.default_rng(8)
    hours = np.arange(24 * 40)
    values = (2 + np.sin(2 * np.pi * hours / 24)) * np.exp(0.1 * rng.normal(size=(2, len(hours))))
    frame = hourly(values)
    split = datetime(2026, 1, 31, 0, 0, 1)  # noqa: DTZ001
    detector = AnomalyDetector().fit(frame.filter(pl.col("timestamp") < split))
    night = split + timedelta(hours=24 * 5 + 18)  # the trough: the day's mean would be a spike here
    spiked = frame.filter(pl.col("timestamp") >= split).with_columns(
        value=pl.when((pl.col("timestamp") == night) & (pl.col("series_id") == "s001")).then(2.0).otherwise("value")
    )
    found = [f for f in detector.detect(spiked) if f["series_id"] == "s001"]
    assert [(f["timestamp"], f["direction"]) for f in found] == [(night, "up")]


def test_a_constant_series_is_quiet_until_it_moves() -> None:
    frame = daily(np.full((1, 160), 50.0))
    detector = AnomalyDetector().fit(old(frame))
    assert detector.detect(new(frame)) == []
    moved = new(frame).with_columns(value=pl.when(pl.col("timestamp") == SPLIT).then(80.0).otherwise("value"))
    assert [f["direction"] for f in detector.detect(moved)] == ["up"]
    silent = daily(np.zeros((1, 160)))
    assert AnomalyDetector().fit(old(silent)).detect(new(silent)) == []


def test_metrics_below_zero_are_judged_without_a_logarithm() -> None:
    rng = np.random.default_rng(2)
    frame = daily(rng.normal(size=(1, 160)), metric="profit")
    detector = AnomalyDetector().fit(old(frame))
    dropped = new(frame).with_columns(value=pl.when(pl.col("timestamp") == SPLIT).then(-30.0).otherwise("value"))
    first = detector.detect(dropped)[0]
    assert (first["timestamp"], first["direction"], "impact" in first) == (SPLIT, "down", False)


class OneFolder:
    """A champion source with one artifact."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def artifact_folder(self, model: str) -> Path | None:
        """The folder, for the anomaly model only."""
        return self.folder if model == "anomaly" else None


def test_an_unfitted_detector_takes_the_champion_or_says_what_to_do(tmp_path: Path) -> None:
    detector, frame = fitted(kind="trailing_z")
    with pytest.raises(NotFittedError, match="not fitted and no champion is registered"):
        AnomalyDetector().detect(frame)
    with pytest.raises(NotFittedError, match="nothing to save"):
        AnomalyDetector().save(tmp_path / "empty")
    detector.save(tmp_path / "champion")
    set_champion_source(OneFolder(tmp_path / "champion"))
    try:
        fresh = AnomalyDetector()
        assert fresh.detect(frame) == detector.detect(frame)
        assert fresh.model_kind == "trailing_z"
    finally:
        set_champion_source(None)


def test_times_may_come_as_text_dates_or_aware_datetimes() -> None:
    frame = daily(steady(1))
    p = AnomalyDetector().fit(old(frame)).score_series(new(frame))["p_value"].to_list()
    for convert in (
        pl.col("timestamp").cast(pl.String),
        pl.col("timestamp").cast(pl.Datetime("ns")),
        pl.col("timestamp").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
        pl.col("timestamp").cast(pl.Datetime("us")).dt.strftime("%Y-%m-%d %H:%M:%S+00:00"),
        pl.col("timestamp").cast(pl.Datetime("us")).dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
    ):
        detector = AnomalyDetector().fit(old(frame).with_columns(convert))
        scored = detector.score_series(new(frame).with_columns(convert))
        assert scored["p_value"].to_list() == p
        assert scored["timestamp"].to_list() == new(frame).with_columns(convert)["timestamp"].to_list()


def test_wide_tables_are_read_with_their_index_or_ids() -> None:
    values = steady(1, series=1)[0]
    wide = pd.DataFrame({"spend": values, "note": "x"}, index=pd.date_range("2026-01-01", periods=160))
    scored = AnomalyDetector().fit(wide[:120]).score_series(wide[120:])
    assert scored["metric"].unique().to_list() == ["spend"]
    named = pl.DataFrame({"date": wide.index.to_numpy(), "value": values, "account_id": "a"})
    assert AnomalyDetector().fit(named).score_series(named)["metric"].unique().to_list() == ["value"]


def test_empty_and_hopeless_input_has_a_stated_answer() -> None:
    detector, frame = fitted()
    assert detector.detect(frame.clear()) == []
    with pytest.raises(SampleError, match="hold no value in 0 rows"):
        AnomalyDetector().fit(frame.clear())
    with pytest.raises(SampleError, match="hold no value in 120 rows"):
        AnomalyDetector().fit(frame.with_columns(value=pl.lit(None, pl.Float64)))
    nothing = detector.score_series(frame.with_columns(value=pl.lit(float("nan"))))
    assert nothing["state"].unique().to_list() == ["missing"]
    three = AnomalyDetector().fit(frame[:3])
    assert three.score_series(frame[:3])["state"].unique().to_list() == ["warming_up"]


def test_bad_input_is_refused_with_a_reason() -> None:
    detector, frame = fitted()
    text = pl.col("timestamp").cast(pl.String)
    aware = frame.with_columns(pl.col("timestamp").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))
    mixed = pd.DataFrame({"timestamp": [datetime(2026, 1, 1), datetime(2026, 1, 2, tzinfo=UTC)], "spend": [1.0, 2.0]}, dtype=object)  # noqa: DTZ001
    cases: list[tuple[object, type[Exception], str]] = [
        (frame.drop("timestamp"), SchemaError, "no time column"),
        (frame.select("timestamp", "platform"), SchemaError, "no numbers among"),
        (frame.with_columns(pl.col("value").cast(pl.String)), SchemaError, "holds String in 'value'"),
        (frame.with_columns(timestamp=pl.lit(3)), SchemaError, "holds Int32 in its time column"),
        (frame.with_columns(timestamp=pl.lit("yesterday")), SampleError, "120 of 120 missing or unreadable times"),
        (frame.with_columns(value=pl.lit(float("inf"))), SampleError, "120 of 120 infinite values"),
        (pl.concat([frame, frame[:1]]), SampleError, "2 rows that share series and timestamp"),
        (
            frame.with_columns(timestamp=pl.when(pl.int_range(pl.len()) > 5).then(text).otherwise(text + "T00:00:00Z")),
            SchemaError,
            "6 of 120",
        ),
        (mixed, SchemaError, "mixes times with and without a time zone"),
        (aware, SchemaError, "was fitted without a time zone and now comes with a time zone"),
        ({"timestamp": [1]}, SchemaError, "is no table"),
    ]
    for data, kind, message in cases:
        with pytest.raises(kind, match=message):
            detector.detect(data)
    hours = [datetime(2026, 1, 1) + timedelta(hours=h) for h in (0, 24, 48, 49, 72, 96)]  # noqa: DTZ001
    with pytest.raises(SampleError, match="median step of 24 h but 1 of 6 values fall between steps"):
        AnomalyDetector().fit(pl.DataFrame({"timestamp": hours, "spend": [1.0] * 6}))
    for sensitivity in (0, 1, -3.0, float("nan"), "a", "0.9", None, True, [0.9]):
        with pytest.raises(SettingsError, match=rf"sensitivity is {re.escape(repr(sensitivity))}; give a number between 0 and 1"):
            AnomalyDetector(sensitivity)  # type: ignore[arg-type]
    for kind in ("prophet", None, ["ensemble_tail"]):
        with pytest.raises(SettingsError, match=rf"kind {re.escape(repr(kind))} is unknown"):
            AnomalyDetector(kind=kind)  # type: ignore[arg-type]
    assert AnomalyDetector(np.float64(0.9)).expected_false_alarms_per_month == pytest.approx(0.09)


def test_a_maturity_that_is_no_share_is_refused() -> None:
    frame = daily(steady(1, series=1)).with_columns(maturity=pl.lit(1.0))
    with pytest.raises(SchemaError, match="The normal data holds String in 'maturity'; give numbers: the share of its final size"):
        AnomalyDetector().fit(frame.with_columns(maturity=pl.lit("ripe")))
    for wrong in (-0.1, 80.0):
        few = frame.with_columns(maturity=pl.when(pl.int_range(pl.len()) < 3).then(wrong).otherwise(None))
        with pytest.raises(SampleError, match=rf"holds 3 of {frame.height} maturities outside of 0 to 1; give shares \(0.8 for 80 %\)"):
            AnomalyDetector().fit(few)


@pytest.mark.parametrize("kind", KINDS)
def test_an_explanation_adds_up_to_the_surprise_that_orders_the_p_values(kind: str) -> None:
    detector, frame = fitted(kind=kind)
    told, scored = detector.explain(frame), detector.score_series(frame, limits=False)
    parts = [name for name in told.columns if name.endswith("_surprise")]
    assert len(parts) == (4 if kind == "ensemble_tail" else 1)
    assert told.select(pl.mean_horizontal(parts)).to_series().to_list() == pytest.approx(told["surprise"].to_list())
    by_surprise = told.with_columns(p_value=scored["p_value"]).sort("surprise", descending=True)["p_value"].to_numpy()
    assert np.all(np.diff(by_surprise) >= 0)
    assert (told["surprise"] > 0).all()
    assert detector.explain(frame.clear()).is_empty()


def test_limits_left_out_change_nothing_else() -> None:
    detector, frame = fitted()
    without = detector.score_series(frame, limits=False)
    assert without["low"].null_count() == without.height
    assert_frame_equal(without.drop("low", "high"), detector.score_series(frame).drop("low", "high"), check_exact=True)


def test_a_severity_is_what_is_usual_until_something_goes_on_for_days() -> None:
    detector, frame = fitted()
    during = pl.col("timestamp").is_between(SPLIT + timedelta(days=20), SPLIT + timedelta(days=24))
    scored = detector.score_series(frame.with_columns(value=pl.when(during).then(300.0).otherwise("value")))
    severity = dict(scored.group_by("timestamp").agg(pl.col("severity").median()).iter_rows())
    quiet = [severity[SPLIT + timedelta(days=day)] for day in range(10, 20)]
    assert 0.5 < np.median(quiet) < 2
    rising = [severity[SPLIT + timedelta(days=day)] for day in (20, 22, 24)]
    assert rising[0] > 3 * max(quiet)
    assert severity[SPLIT + timedelta(days=38)] < rising[-1] / 3
