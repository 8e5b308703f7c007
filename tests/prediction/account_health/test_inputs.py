"""Daily tables of many shapes become the same facts and features."""

from __future__ import annotations

import contextlib
from datetime import date, timedelta
from typing import Any

import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.prediction.worlds import FIRST, daily_rows, feature_rows
from within_pipelines.exceptions import SampleError, SchemaError, WithinError
from within_pipelines.lake import ASSUMED_LAG, FACT_COLUMNS
from within_pipelines.prediction.account_health.inputs import daily_facts, is_feature_table, labelled_rows
from within_pipelines.prediction.account_health.inputs import feature_rows as features_of


@pytest.fixture(scope="module")
def daily() -> pl.DataFrame:
    return daily_rows(3, days=60)


def test_plain_rows_get_the_lakes_columns(daily: pl.DataFrame) -> None:
    facts = daily_facts(daily)
    assert set(FACT_COLUMNS.names) <= set(facts.columns)
    assert facts["spend_micros"][0] == round(daily["spend"][0] * 1_000_000)
    assert facts["revenue_micros"].null_count() == facts.height
    assert (facts["as_of"].dt.date() == daily["date"] + ASSUMED_LAG).all()
    assert facts["currency"].unique().to_list() == ["EUR"]


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.to_pandas(),
        lambda f: f.to_pandas().astype({"date": "datetime64[ns]"}).set_index(pd.Index([1] * f.height)),
        lambda f: f.with_columns(pl.col("date").cast(pl.String)),
        lambda f: f.rename({"date": "day", "spend": "cost"}),
        lambda f: f.with_columns(pl.col("date").cast(pl.Datetime("us"))).lazy(),
        lambda f: f.with_columns(spend_micros=(pl.col("spend") * 1e6).round().cast(pl.Int64)).drop("spend"),
    ],
)
def test_pandas_text_days_other_names_and_units_mean_the_same(daily: pl.DataFrame, change: Any) -> None:
    assert_frame_equal(daily_facts(change(daily)), daily_facts(daily))


def test_facts_of_the_lake_stay_as_they_are(daily: pl.DataFrame) -> None:
    facts = daily_facts(daily)
    assert_frame_equal(daily_facts(facts), facts)


def test_features_are_those_of_the_newest_day(daily: pl.DataFrame) -> None:
    found = features_of(daily)
    assert found["origin"].unique().to_list() == [FIRST + timedelta(days=59)]
    assert found["account_id"].to_list() == ["A00", "A01", "A02"]
    assert found["campaign_id"].to_list() == [""] * 3
    assert is_feature_table(found)
    assert features_of(found) is not None
    assert features_of(daily, origins=[FIRST + timedelta(days=40)])["origin"][0] == FIRST + timedelta(days=40)


def test_a_feature_table_passes_through_and_may_lack_the_campaign() -> None:
    rows = feature_rows(2, origins=3)
    assert_frame_equal(features_of(rows), rows)
    assert features_of(rows.drop("campaign_id"))["campaign_id"].to_list() == [""] * 6


def test_an_absent_feature_is_not_an_unknown_one() -> None:
    with pytest.raises(SchemaError, match=r"The table lacks clicks_28, log_cpc_7; give whole rows of features\.account_features"):
        features_of(feature_rows(2, origins=3).drop("log_cpc_7", "clicks_28"))


def test_origins_that_are_no_days_are_refused() -> None:
    with pytest.raises(SchemaError, match="The column origin holds String; give days"):
        features_of(feature_rows(2, origins=3).with_columns(origin=pl.lit("today")))


def test_labelled_rows_end_a_horizon_before_the_last_day(daily: pl.DataFrame) -> None:
    rows = labelled_rows(daily, horizon=7)
    assert rows["origin"].max() == FIRST + timedelta(days=52)
    assert rows["origin"].min() >= FIRST + timedelta(days=28)  # type: ignore[operator]
    assert rows["degraded"].null_count() == 0
    assert rows["mature"].all()


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        (lambda f: f.drop("clicks", "account_id"), SchemaError, "The table lacks account_id, clicks; give daily rows per account"),
        (
            lambda f: f.with_columns(
                date=pl.when(pl.int_range(pl.len()) < 2).then(pl.lit("soon")).otherwise(pl.col("date").cast(pl.String))
            ),
            SampleError,
            "2 of 180 rows have no usable day; write days as YYYY-MM-DD",
        ),
        (lambda f: pl.concat([f, f.head(5)]), SampleError, "5 of 185 rows repeat the platform, account_id, event_date of another row"),
        (lambda f: f.head(0), SampleError, "The table holds no rows; give at least 28 days per account"),
    ],
)
def test_unusable_daily_rows_are_refused(daily: pl.DataFrame, change: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        features_of(change(daily))


def test_too_few_days_to_learn_from_are_refused(daily: pl.DataFrame) -> None:
    with pytest.raises(SampleError, match="30 days are too few; give at least 36"):
        labelled_rows(daily.filter(pl.col("date") < FIRST + timedelta(days=30)), horizon=7)
    with pytest.raises(SampleError, match="The table holds no days; give daily rows"):
        labelled_rows(daily.head(0), horizon=7)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda f: f.with_columns(clicks=-pl.col("clicks")), "clicks: 180 of 180 values are below 0; correct them"),
        (lambda f: f.with_columns(conversions=pl.lit(float("inf"))), "conversions: 180 of 180 values are infinite"),
        (lambda f: f.with_columns(spend=pl.lit("12 EUR")), "spend: 180 of 180 values are no number; correct them, or leave them empty"),
        (lambda f: f.with_columns(account_id=pl.lit(None, pl.String)), "180 of 180 rows have no account_id; name the account"),
        (lambda f: f.with_columns(clicks=pl.col("clicks") + 0.5), "clicks: 180 of 180 values are fractions of a count; correct them"),
        (lambda f: f.with_columns(impressions=pl.lit("9.25")), "impressions: 180 of 180 values are fractions of a count"),
    ],
)
def test_amounts_that_cannot_be_are_refused_with_their_count(daily: pl.DataFrame, change: Any, told: str) -> None:
    with pytest.raises(SampleError, match=told):
        daily_facts(change(daily))
    # Rows that look like the lake's are looked at no less.
    known = daily_facts(daily).select("as_of", "spend_micros", "platform")
    kept = daily if "spend: " in told else daily.drop("spend")
    with pytest.raises(SampleError, match=told):
        daily_facts(change(pl.concat([kept.drop("platform"), known], how="horizontal")))


@pytest.mark.parametrize("lake", [False, True])
def test_columns_of_another_kind_are_refused_by_name(daily: pl.DataFrame, lake: bool) -> None:
    rows = daily_facts(daily).rename({"event_date": "date"}) if lake else daily
    with pytest.raises(SchemaError, match="The column of days holds Int32; write days as YYYY-MM-DD"):
        daily_facts(rows.with_columns(date=pl.lit(20_260_105)))
    with pytest.raises(SchemaError, match="The column clicks holds Date; give numbers"):
        daily_facts(rows.with_columns(clicks=pl.col("date")))
    with pytest.raises(SampleError, match="1 of 180 rows have no usable day"):
        daily_facts(rows.with_columns(date=pl.when(pl.int_range(pl.len()) > 0).then("date")))


@pytest.mark.parametrize(
    ("moved", "told"), [(date(1970, 1, 1), "1970-01-01 .1 rows"), (date(2500, 1, 1), "179 rows up to it. and 2500-01-01")]
)
def test_a_day_far_from_all_others_is_refused(daily: pl.DataFrame, moved: date, told: str) -> None:
    rows = daily.with_columns(date=pl.when(pl.int_range(pl.len()) > 0).then("date").otherwise(moved))
    for table in (rows, daily_facts(daily).with_columns(event_date=rows["date"])):
        with pytest.raises(SampleError, match=told):
            daily_facts(table)


def test_rows_of_the_lake_are_told_apart_by_when_they_were_known(daily: pl.DataFrame) -> None:
    facts = daily_facts(daily)
    later = facts.with_columns(pl.col("as_of") + timedelta(days=1), commit_seq=pl.lit(2, pl.Int64))
    assert daily_facts(pl.concat([facts, later])).height == 2 * facts.height
    with pytest.raises(SampleError, match="180 of 360 rows repeat the platform"):
        daily_facts(pl.concat([facts, facts]))
    with pytest.raises(SchemaError, match="The column as_of holds String; give moments with a time zone"):
        daily_facts(facts.with_columns(pl.col("as_of").cast(pl.String)))


def test_text_that_says_a_number_is_one_and_micros_are_rounded(daily: pl.DataFrame) -> None:
    text = daily.with_columns(pl.col("impressions", "clicks", "spend").cast(pl.String))
    assert_frame_equal(daily_facts(text), daily_facts(daily))
    micros = daily.with_columns(spend_micros=pl.lit(12.3 * 1e6 + 0.9)).drop("spend")
    assert daily_facts(micros)["spend_micros"].unique().to_list() == [12_300_001]


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        (lambda f: f.with_columns(log_cpc_7=pl.lit("n/a")), SampleError, "log_cpc_7 holds 6 of 6 values .* such as 'n/a'"),
        (lambda f: f.with_columns(clicks_28=pl.lit("many")), SampleError, "clicks_28 holds 6 of 6 values .* such as 'many'"),
        (lambda f: f.with_columns(spend_28=pl.col("origin")), SchemaError, "The column spend_28 holds Date; give numbers"),
        (lambda f: f.with_columns(log_ratio=pl.lit("?")), SampleError, "The column log_ratio holds 6 of 6 values that are no numbers"),
        (lambda f: f.with_columns(origin=pl.lit(20_260_105)), SchemaError, "The column origin holds Int32; give days"),
        (lambda f: f.with_columns(origin=pl.lit(None, pl.Date)), SampleError, "6 of 6 feature rows have no origin"),
    ],
)  # fmt: skip
def test_feature_rows_that_cannot_be_are_refused_in_our_words(change: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        features_of(change(feature_rows(2, origins=3)))


def test_text_and_whole_numbers_in_feature_rows_are_read_as_numbers() -> None:
    rows = feature_rows(2, origins=3).with_columns(clicks_28=pl.lit(300.0), log_cpc_7=pl.lit(0.25))
    odd = rows.with_columns(clicks_28=pl.lit(300), log_cpc_7=pl.lit("0.25"))
    assert_frame_equal(features_of(odd), features_of(rows))


def test_what_was_not_reported_stays_empty(daily: pl.DataFrame) -> None:
    facts = daily_facts(daily.with_columns(conversions=pl.lit(None, pl.Float64), spend=pl.lit(float("nan"))))
    assert facts["conversions"].null_count() == facts["spend_micros"].null_count() == facts.height


def test_days_with_and_without_a_time_zone_mean_the_same(daily: pl.DataFrame) -> None:
    pandas = daily.to_pandas()
    aware = [pd.to_datetime(pandas["date"]).dt.tz_localize(zone) for zone in ("America/New_York", "Europe/Berlin", "Asia/Tokyo")]
    for days in aware:
        assert_frame_equal(daily_facts(pandas.assign(date=days)), daily_facts(daily))
    # Beside times of New York a midnight without a zone would count as the evening before.
    mixed = [pd.Timestamp(day, tz=None if i % 2 else "America/New_York") for i, day in enumerate(pandas["date"])]
    with pytest.raises(SchemaError, match="The column date mixes times with and without a time zone"):
        daily_facts(pandas.assign(date=pd.Series(mixed, dtype=object)))


ODD: dict[str, pl.Expr] = {
    "text": pl.lit("n/a"), "category": pl.lit("n/a").cast(pl.Categorical), "day": pl.lit(FIRST), "length": pl.lit(timedelta(3)),
    "list": pl.concat_list(pl.lit(1.0), pl.lit(2.0)), "huge": pl.lit(1e300), "infinite": pl.lit(float("inf")), "null": pl.lit(None),
    "text of nan": pl.lit("nan"),
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_whatever_a_column_holds_the_answer_or_the_error_is_ours(daily: pl.DataFrame, odd: str) -> None:
    rows = feature_rows(2, origins=3)
    facts = daily_facts(daily)
    tables = [
        *(rows.with_columns(ODD[odd].alias(name)) for name in ("platform", "account_id", "target", "clicks_28", "log_cpc_7", "origin")),
        *(daily.with_columns(ODD[odd].alias(name)) for name in daily.columns),
        *(facts.with_columns(ODD[odd].alias(name)) for name in ("platform", "campaign_id", "spend_micros", "conversions", "as_of_source")),
    ]
    for table in tables:
        with contextlib.suppress(WithinError):
            found = features_of(table)
            assert found.schema["clicks_28"] == pl.Float64
            assert found["account_id"].null_count() == 0


def test_amounts_beyond_any_account_are_refused_and_names_that_are_missing_are_empty(daily: pl.DataFrame) -> None:
    with pytest.raises(SampleError, match="spend: 180 of 180 values are larger than any account's"):
        daily_facts(daily.with_columns(spend=pl.lit(1e13)))
    assert daily_facts(daily.with_columns(spend_micros=pl.lit(1e13)).drop("spend"))["spend_micros"][0] == 10**13
    unnamed = features_of(daily.with_columns(platform=pl.lit(None, pl.String)))
    assert unnamed["platform"].to_list() == [""] * 3
    with pytest.raises(SchemaError, match=r"The column account_id holds Duration.*; give text"):
        daily_facts(daily.with_columns(account_id=pl.lit(timedelta(3))))
