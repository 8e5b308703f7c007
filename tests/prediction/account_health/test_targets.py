"""What efficiency is measured by is told, and no model answers for a measure that it never saw."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from tests.prediction.worlds import FIRST, daily_rows
from within_pipelines.exceptions import SchemaError
from within_pipelines.prediction import AccountHealthPredictor
from within_pipelines.prediction.account_health.scores import tier_of

LAST_WEEK = pl.col("date") > FIRST + timedelta(days=162)


@pytest.fixture(scope="module")
def daily() -> pl.DataFrame:
    return daily_rows()


@pytest.fixture(scope="module")
def fitted(daily: pl.DataFrame) -> AccountHealthPredictor:
    return AccountHealthPredictor().fit(daily)


def test_every_answer_and_the_model_say_what_efficiency_is_measured_by(
    fitted: AccountHealthPredictor, daily: pl.DataFrame, tmp_path: Path
) -> None:
    reports = fitted.predict(daily)
    assert {report.target for report in reports} == {"conversions_per_cost"}
    assert all(report.evidence["target_reason"].endswith(" conversions in 28 days") for report in reports)
    assert reports.to_frame()["target"].unique().to_list() == ["conversions_per_cost"]
    assert list(fitted.targets or {}) == ["conversions_per_cost"]
    assert fitted.details["efficiency_measured_by"] == f"conversions_per_cost ({(fitted.targets or {})['conversions_per_cost']} rows)"
    fitted.save(tmp_path / "a")
    assert AccountHealthPredictor.load(tmp_path / "a").targets == fitted.targets


@pytest.mark.parametrize(
    ("change", "target", "why"),
    [
        (lambda f: f.drop("conversions"), "clicks_per_cost", "no conversions were reported in 28 days, so clicks stand for them"),
        (lambda f: f.with_columns(conversions=pl.lit(None, pl.Float64)), "clicks_per_cost", "no conversions were reported in 28 days"),
        (lambda f: f.with_columns(conversions=pl.lit(0.1)), "clicks_per_cost", "3 conversions in 28 days are fewer than 20"),
        (lambda f: f.drop("spend"), "ctr", "no spend was reported in 28 days, so there is nothing per cost"),
        (lambda f: f.drop("spend", "conversions"), "ctr", "no spend was reported in 28 days, so there is nothing per cost"),
    ],
)
def test_a_column_that_is_missing_moves_no_target_in_silence(
    fitted: AccountHealthPredictor, daily: pl.DataFrame, change: Callable[[pl.DataFrame], pl.DataFrame], target: str, why: str
) -> None:
    for report in fitted.predict(change(daily)):
        assert report.state == "insufficient_data"
        assert (report.score, report.probability, report.log_ratio, report.stop_probability, report.money_at_risk) == (None,) * 5
        assert report.target == target
        assert report.evidence["reason"].startswith(f"its efficiency is measured by {target} ({why}")
        assert report.evidence["reason"].endswith(
            "which no training row had; give the columns that conversions_per_cost needs, or train on accounts like this one"
        )
        assert report.out_of_support
        assert report.support_reasons == (report.evidence["reason"],)


def test_training_without_conversions_says_what_it_learned_instead(daily: pl.DataFrame) -> None:
    # Clicks cost twice as much in every other fortnight.
    waves = ((pl.col("date") - FIRST).dt.total_days() + pl.col("account_id").str.slice(1).cast(pl.Int64)) // 14 % 2
    without = daily.with_columns(spend=pl.col("spend") * (1 + waves)).drop("conversions")
    clicks = AccountHealthPredictor(kind="persistence").fit(without)
    assert list(clicks.targets or {}) == ["clicks_per_cost"]
    assert clicks.predict(daily)[0].state == "insufficient_data"
    assert clicks.predict(daily.drop("conversions"))[0].target == "clicks_per_cost"
    assert clicks.predict(daily.drop("conversions"))[0].state == "scored"


def test_a_target_with_few_training_rows_is_not_answered_and_teaches_no_band(health_rows: pl.DataFrame) -> None:
    rare = health_rows.with_columns(target=pl.when(pl.int_range(pl.len()) < 19).then(pl.lit("ctr")).otherwise("target"))
    fitted = AccountHealthPredictor(kind="persistence").fit(rare)
    asked = health_rows.head(1).with_columns(target=pl.lit("ctr"))
    assert "which 19 training rows had and 20 are needed" in fitted.predict(asked)[0].evidence["reason"]
    (batch,) = fitted.score_batches(asked)
    assert (batch["state"][0], batch["score"][0], batch["target"][0]) == ("insufficient_data", None, "ctr")
    later = health_rows.with_columns(origin=pl.col("origin") + timedelta(days=200), target=pl.lit("ctr"), log_ratio=pl.lit(-3.0))
    before = fitted.band_quantile
    assert fitted.update(later).band_quantile == before
    enough = health_rows.with_columns(target=pl.when(pl.int_range(pl.len()) < 20).then(pl.lit("ctr")).otherwise("target"))
    assert AccountHealthPredictor(kind="persistence").fit(enough).predict(asked)[0].state == "scored"


def test_rows_that_do_not_name_their_target_are_refused_and_an_unknown_one_gets_no_score(
    health_predictor: AccountHealthPredictor, health_rows: pl.DataFrame
) -> None:
    with pytest.raises(SchemaError, match=r"The table lacks target; give whole rows of features\.account_features"):
        health_predictor.predict(health_rows.drop("target"))
    (report,) = health_predictor.predict(health_rows.head(1).with_columns(target=pl.lit(None, pl.String)))
    assert report.state == "insufficient_data"
    assert report.evidence["reason"].startswith("what its efficiency is measured by is not known")


@pytest.mark.parametrize("unknown", [("spend",), ("conversions",), ("spend", "conversions")])
def test_a_newest_week_that_was_not_reported_is_not_a_healthy_one(
    fitted: AccountHealthPredictor, daily: pl.DataFrame, unknown: tuple[str, ...]
) -> None:
    blind = daily.with_columns(pl.when(~LAST_WEEK).then(name).alias(name) for name in unknown)
    for report in fitted.predict(blind):
        assert (report.state, report.score, report.tier) == ("insufficient_data", None, None)
        assert report.evidence["reason"] == (
            "the efficiency of the last 7 days is not known: spend and conversions were not reported together on any of them, or were 0; "
            "complete those days, or ask for the last day that is complete"
        )
    # One reported day of the seven is something to judge by.
    newest = daily.with_columns(
        pl.when(~LAST_WEEK | (pl.col("date") == FIRST + timedelta(days=166))).then(name).alias(name) for name in unknown
    )
    assert {report.state for report in fitted.predict(newest)} == {"scored"}


def test_a_paused_unit_has_no_efficiency_to_judge_either(fitted: AccountHealthPredictor, daily: pl.DataFrame) -> None:
    amounts = ("impressions", "clicks", "spend", "conversions")
    paused = daily.with_columns(pl.when(~LAST_WEEK).then(name).otherwise(0).alias(name) for name in amounts)
    for report in fitted.predict(paused):
        assert (report.state, report.score) == ("insufficient_data", None)
        assert report.evidence["reason"] == (
            "nothing was delivered in the last 7 days: a paused unit has no efficiency to judge; ask again when it has run for a few days"
        )


def test_rows_whose_last_week_is_unknown_are_not_learned_from(health_rows: pl.DataFrame, tmp_path: Path) -> None:
    blind = pl.int_range(pl.len()) % 6 == 2
    some = health_rows.with_columns(recent_efficiency=pl.when(~blind).then("recent_efficiency"))
    first = AccountHealthPredictor(kind="persistence").fit(some).save(tmp_path / "a")
    assert AccountHealthPredictor(kind="persistence").fit(health_rows.filter(~blind)).save(tmp_path / "b") == first


def test_money_at_risk_is_no_part_of_a_spend_and_in_no_invented_currency(fitted: AccountHealthPredictor, daily: pl.DataFrame) -> None:
    recent = pl.col("date") > FIRST + timedelta(days=150)
    partly = daily.with_columns(spend=pl.when(~(recent & (pl.col("date") <= FIRST + timedelta(days=155)))).then("spend"))
    for report in fitted.predict(partly):
        assert report.state == "scored"
        assert report.money_at_risk is None
        assert report.evidence["money_at_risk_reason"] == (
            "spend was not reported on 5 of the last 28 days; complete it, or leave those rows out"
        )
    for unnamed in (
        daily.drop("currency"),
        daily.with_columns(currency=pl.lit(None, pl.String)),
        daily.with_columns(currency=pl.lit("XXX")),
    ):
        (report, *_) = fitted.predict(unnamed)
        assert report.currency is None
        assert report.money_at_risk == pytest.approx(fitted.predict(daily)[0].money_at_risk)
        assert report.evidence["currency_reason"] == "the table names no currency; the amount is in that of its spend"
        assert fitted.history(unnamed, weeks=1)["currency"].null_count() == 16
    (known, *_) = fitted.predict(daily)
    assert known.currency == "EUR"
    assert not {"currency_reason", "money_at_risk_reason"} & set(known.evidence)
    assert known.score is not None
    assert known.tier == tier_of(known.score)
