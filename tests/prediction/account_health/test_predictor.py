"""Account health finds planted drops, is calibrated, adds up, and refuses what it cannot use."""

from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.prediction.worlds import FIRST, daily_rows, feature_rows
from within_pipelines.exceptions import SampleError, SchemaError, SettingsError
from within_pipelines.features import ACCOUNT_FEATURES
from within_pipelines.prediction import AccountHealthPredictor
from within_pipelines.prediction.calibration import calibration_slope
from within_pipelines.prediction.frames import matrix
from within_pipelines.prediction.metrics import auroc, brier_skill, debiased_ece


def truth(rows: pl.DataFrame) -> np.ndarray:
    return rows["degraded"].cast(pl.Float64).to_numpy()


def test_planted_drops_are_found_on_unseen_accounts_better_than_by_persistence(
    health_predictor: AccountHealthPredictor, health_rows: pl.DataFrame
) -> None:
    unseen = feature_rows(seed=4)
    rival = AccountHealthPredictor(kind="persistence").fit(health_rows)
    own, other = auroc(truth(unseen), health_predictor.probability(unseen)), auroc(truth(unseen), rival.probability(unseen))
    assert own > 0.72
    assert 0.55 < other < own - 0.05
    assert brier_skill(truth(unseen), health_predictor.probability(unseen)) > 0.1


def test_its_probabilities_are_calibrated_on_unseen_accounts(health_predictor: AccountHealthPredictor) -> None:
    unseen = feature_rows(60, seed=5)
    p = health_predictor.probability(unseen)
    assert debiased_ece(truth(unseen), p) < 0.08
    assert calibration_slope(truth(unseen), p) == pytest.approx(1, abs=0.35)


def test_the_band_covers_unseen_log_ratios_as_often_as_it_says() -> None:
    # The band's own coverage varies with its calibration part of 240 rows: a standard error of .02.
    unseen = feature_rows(60, seed=6)
    for level in (0.5, 0.9):
        band = AccountHealthPredictor(level=level).fit(feature_rows(seed=7)).band(unseen)
        assert band is not None
        inside = (band[0] <= unseen["log_ratio"].to_numpy()) & (unseen["log_ratio"].to_numpy() <= band[1])
        assert inside.mean() == pytest.approx(level, abs=0.07)


def test_labels_that_mean_nothing_give_a_coin(health_rows: pl.DataFrame) -> None:
    rng = np.random.default_rng(2)
    shuffled = AccountHealthPredictor().fit(health_rows, rng.permutation(health_rows["degraded"].to_numpy()))
    unseen = feature_rows(60, seed=4)
    # 2,400 rows: a standard error of about .013 for a fixed model, more for a model that chance tilts along the true direction.
    assert auroc(truth(unseen), shuffled.probability(unseen)) == pytest.approx(0.5, abs=0.12)
    assert shuffled.probability(unseen).std() < 0.1


def test_a_planted_decline_in_daily_rows_is_found_ahead() -> None:
    daily = daily_rows()
    cut = FIRST + timedelta(days=130)
    fitted = AccountHealthPredictor().fit(daily.filter(pl.col("date") < cut))
    from within_pipelines.prediction.account_health.inputs import labelled_rows

    unseen = labelled_rows(daily, horizon=7).filter(pl.col("origin") >= cut)
    assert auroc(truth(unseen), fitted.probability(unseen)) > 0.65


def test_daily_rows_of_pandas_and_polars_get_the_same_answers(health_predictor: AccountHealthPredictor) -> None:
    daily = daily_rows(3, days=60)
    pandas = daily.to_pandas()
    pandas.index = pd.Index([0] * len(pandas))
    found = health_predictor.predict(daily)
    assert [report.account_id for report in found] == ["A00", "A01", "A02"]
    assert found == health_predictor.predict(pandas)
    assert {report.state for report in found} == {"scored"}


def test_rows_may_come_in_any_order(health_rows: pl.DataFrame, health_predictor: AccountHealthPredictor, tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(health_rows.height).tolist()
    assert AccountHealthPredictor().fit(health_rows[order]).save(tmp_path / "a") == health_predictor.save(tmp_path / "b")
    shuffled = health_predictor.predict(health_rows[order]).to_frame()
    assert_frame_equal(shuffled, health_predictor.predict(health_rows).to_frame()[order], abs_tol=1e-9)


@pytest.mark.parametrize("kind", ["logistic_xgboost", "persistence"])
def test_contributions_add_up_to_the_prediction(health_rows: pl.DataFrame, kind: str, tmp_path: Path) -> None:
    fitted = AccountHealthPredictor(kind=kind).fit(health_rows)
    explained = fitted.explain(health_rows)
    total = explained.select(*fitted.features, "intercept").sum_horizontal().to_numpy()
    np.testing.assert_allclose(total, explained["log_odds"].to_numpy(), atol=1e-6)
    rounding = explained["intercept"].to_numpy() - fitted.contributions(matrix(health_rows, fitted.features))[:, -1]
    assert np.abs(rounding).max() < 1e-5, "no more than single precision loses"
    p = fitted.probability(health_rows)
    np.testing.assert_allclose(explained["log_odds"].to_numpy(), np.log(p / (1 - p)), atol=1e-9)
    fitted.save(tmp_path / "a")
    np.testing.assert_array_equal(AccountHealthPredictor.load(tmp_path / "a").probability(health_rows), p)


def test_risk_factors_are_the_groups_that_raise_the_risk(health_predictor: AccountHealthPredictor, health_rows: pl.DataFrame) -> None:
    usual = health_rows.head(1).with_columns(pl.lit(0.0).alias(name) for name in ACCOUNT_FEATURES.columns if name != "history_share")
    sunk = usual.with_columns(slope_cvr_28=-0.9, log_efficiency_7=-0.2, log_cpc_7=0.1)
    calm, worse = health_predictor.predict(usual)[0], health_predictor.predict(sunk)[0]
    assert worse.probability is not None
    assert calm.probability is not None
    assert worse.probability > calm.probability + 0.2
    assert worse.risk_factors[0].group == "conversion"
    assert worse.risk_factors[0].leading_feature == "slope_cvr_28"
    assert worse.risk_factors[0].value == -0.9
    assert worse.recommendations[0].startswith("Clicks convert differently than usual")
    assert "slope_cvr_28 -0.9" in worse.recommendations[0]
    assert [f.log_odds for f in worse.risk_factors] == sorted((f.log_odds for f in worse.risk_factors), reverse=True)
    assert all(f.log_odds > 0 for f in worse.risk_factors)


@pytest.mark.parametrize("clicks", [99.0, 0.0, None, float("nan")])
def test_too_little_volume_is_a_state_and_no_number(
    health_predictor: AccountHealthPredictor, health_rows: pl.DataFrame, clicks: float | None
) -> None:
    row = health_rows.head(1).with_columns(clicks_28=pl.lit(clicks, pl.Float64))
    report = health_predictor.predict(row)[0]
    assert report.state == "insufficient_data"
    numbers = (report.score, report.probability, report.log_ratio, report.tier, report.money_at_risk)
    assert numbers == (None,) * 5
    wanted = 0 if clicks is None or clicks != clicks else clicks
    assert report.evidence["reason"] == f"{wanted:.0f} clicks in 28 days are fewer than 100"
    assert health_predictor.predict(row.to_pandas()) == health_predictor.predict(row)


def test_a_row_without_a_single_feature_is_a_state_with_its_own_reason(
    health_predictor: AccountHealthPredictor, health_rows: pl.DataFrame
) -> None:
    unknown = health_rows.head(1).with_columns(pl.lit(None, pl.Float64).alias(name) for name in ACCOUNT_FEATURES.columns)
    report = health_predictor.predict(unknown)[0]
    assert report.state == "insufficient_data"
    assert report.evidence["reason"] == "no feature of the account is known on this day"


def test_one_missing_feature_or_spend_is_borne(health_predictor: AccountHealthPredictor, health_rows: pl.DataFrame) -> None:
    row = health_rows.head(1).with_columns(
        pl.lit(None, pl.Float64).alias(name) for name in ("log_cpc_7", "spend_28", "baseline_efficiency")
    )
    report = health_predictor.predict(row)[0]
    assert report.state == "scored"
    assert report.money_at_risk is None
    assert report.evidence["money_at_risk_reason"] == "no spend was reported in 28 days"


def test_without_the_continuous_label_there_is_no_band(health_rows: pl.DataFrame, tmp_path: Path) -> None:
    fitted = AccountHealthPredictor().fit(health_rows.drop("log_ratio"))
    assert fitted.band(health_rows) is None
    fitted.save(tmp_path / "a")
    report = AccountHealthPredictor.load(tmp_path / "a").predict(health_rows.head(1))[0]
    assert (report.log_ratio, report.log_ratio_low, report.log_ratio_high) == (None, None, None)
    assert report.state == "scored"


def test_too_few_known_ratios_make_no_band(health_rows: pl.DataFrame) -> None:
    sparse = health_rows.with_columns(log_ratio=pl.when(pl.col("origin") < FIRST + timedelta(days=27)).then("log_ratio"))
    assert AccountHealthPredictor().fit(sparse).band(health_rows) is None


def test_a_constant_and_an_empty_column_are_borne(health_rows: pl.DataFrame) -> None:
    odd = health_rows.with_columns(log_cpm_7=pl.lit(1.0), log_ctr_7=pl.lit(None, pl.Float64))
    assert np.isfinite(AccountHealthPredictor().fit(odd).probability(odd)).all()


def test_a_refused_refit_leaves_the_model_as_it_was(health_rows: pl.DataFrame, tmp_path: Path) -> None:
    fitted = AccountHealthPredictor(kind="persistence").fit(health_rows)
    before = fitted.save(tmp_path / "before")
    with pytest.raises(SampleError):
        fitted.fit(health_rows.head(3))
    assert fitted.save(tmp_path / "after") == before


def late(frame: pl.DataFrame) -> date:
    return frame["origin"].max() - timedelta(days=21)  # type: ignore[operator,return-value]


@pytest.mark.parametrize(
    ("change", "labels", "error", "told"),
    [
        (lambda f: f.head(3), None, SampleError, "3 rows with at least 100 clicks in 28 days are too few; give at least 60"),
        (lambda f: f.with_columns(clicks_28=10.0), None, SampleError, "0 rows with at least 100 clicks"),
        (lambda f: f.with_columns(clicks_28=float("nan")), None, SampleError, "0 rows with at least 100 clicks"),
        (lambda f: f, np.ones(960), SampleError, r"The fitting part holds \d+ rows with \d+ drops; both outcomes are needed"),
        (
            lambda f: f.with_columns(degraded=pl.col("degraded") & (pl.col("origin") < late(f) - timedelta(days=30))),
            None,
            SampleError,
            r"The calibration part holds \d+ rows with 0 drops; both outcomes are needed, so give a longer history or more accounts",
        ),
        (lambda f: f, np.full(960, 0.5), SampleError, "labels hold values other than 0 and 1; give True where efficiency fell"),
        (lambda f: f, np.r_[np.nan, np.ones(959)], SampleError, "labels holds 1 of 960 values that are missing or not finite"),
        (lambda f: f, np.ones(3), SampleError, "labels holds 3 values for 960 rows"),
        (lambda f: f.drop("degraded", "log_ratio"), None, SchemaError, "The table lacks degraded; give labels, or the label column"),
        (lambda f: f.drop("silence"), None, SchemaError, "The table lacks silence; give whole rows"),
        (lambda f: daily_rows(2, days=50), np.ones(100), SampleError, "labels belong to feature rows; daily facts make their own"),
        (lambda f: feature_rows(70, origins=1), None, SampleError, "The fitting part holds 0 rows"),
        (lambda f: f.vstack(f.head(3)), None, SampleError,
         "3 of 963 feature rows repeat the platform, account_id, campaign_id, origin of another row; keep one of each"),
    ],
)  # fmt: skip
def test_unusable_training_data_are_refused(health_rows: pl.DataFrame, change: Any, labels: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        AccountHealthPredictor().fit(change(health_rows), labels)


def test_unusable_settings_are_refused() -> None:
    with pytest.raises(SettingsError, match="kind='magic' is unknown; give one of logistic_xgboost, persistence"):
        AccountHealthPredictor(kind="magic")
    with pytest.raises(SettingsError, match=r"level=1\.0 is no interval level"):
        AccountHealthPredictor(level=1.0)
    with pytest.raises(SettingsError, match="horizon=0 is no number of days; give 1 to 112"):
        AccountHealthPredictor(horizon=0)
    with pytest.raises(SettingsError, match="drop=0 is no share of the usual level; give a number between 0 and 1"):
        AccountHealthPredictor(drop=0)
    for setting, wrong in (
        ("kind", ["persistence"]), ("level", None), ("level", "a"), ("level", True), ("horizon", "7"), ("horizon", 7.5), ("horizon", True),
        ("drop", "a"), ("drop", None), ("usual_days", "28"), ("usual_days", 28.5), ("minimum_clicks", "a"), ("minimum_clicks", None),
    ):  # fmt: skip
        with pytest.raises(SettingsError, match=rf"^{setting}={re.escape(repr(wrong))} is .*; give "):
            AccountHealthPredictor(**{setting: wrong})
    assert AccountHealthPredictor(horizon=np.int64(14), drop=np.float32(0.5)).horizon == 14  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="usual_days=6 is no length of the usual level; give 7 to 112 days"):
        AccountHealthPredictor(usual_days=6)
    with pytest.raises(SettingsError, match="minimum_clicks=nan is no volume; give a number of at least 0"):
        AccountHealthPredictor(minimum_clicks=float("nan"))


def test_the_drop_that_counts_can_be_chosen_and_changes_label_score_and_money(health_rows: pl.DataFrame, tmp_path: Path) -> None:
    small, large = (AccountHealthPredictor(drop=drop).fit(health_rows) for drop in (0.1, 0.4))
    unseen = feature_rows(40, seed=8)
    for drop, fitted in ((0.1, small), (0.4, large)):
        truth_of = (unseen["log_ratio"] < np.log(1 - drop)).cast(pl.Float64).to_numpy()
        assert fitted.probability(unseen).mean() == pytest.approx(truth_of.mean(), abs=0.06)
        assert auroc(truth_of, fitted.probability(unseen)) > 0.7
    report, row = large.predict(unseen)[0], unseen.row(0, named=True)
    assert report.drop == 0.4
    assert report.money_at_risk == pytest.approx(report.probability * 0.4 * row["spend_28"] * 7 / 28)  # type: ignore[operator]
    large.save(tmp_path / "large")
    again = AccountHealthPredictor.load(tmp_path / "large")
    assert (again.drop, again.minimum_clicks, again.usual_days, again.horizon) == (0.4, 100.0, 28, 7)
    assert again.predict(unseen)[0] == report
    with pytest.raises(SchemaError, match=r"lacks log_ratio, from which a drop of 0\.4 is told"):
        AccountHealthPredictor(drop=0.4).fit(health_rows.drop("log_ratio"))


def test_daily_rows_are_labelled_with_the_settings_of_the_predictor() -> None:
    daily = daily_rows()
    default, other = (
        AccountHealthPredictor(kind="persistence", **s).fit(daily) for s in ({}, {"usual_days": 14, "horizon": 14, "drop": 0.3})
    )
    rare, often = (model.predict(daily) for model in (other, default))
    assert [r.account_id for r in rare] == [r.account_id for r in often]
    assert np.mean([r.probability or 0 for r in rare]) < np.mean([r.probability or 0 for r in often])
    assert {r.horizon for r in rare} == {14}


def test_the_stated_volume_can_be_chosen(health_rows: pl.DataFrame) -> None:
    few = health_rows.with_columns(clicks_28=pl.lit(40.0))
    fitted = AccountHealthPredictor(kind="persistence", minimum_clicks=30).fit(few)
    assert fitted.predict(few.head(1))[0].state == "scored"
    reason = fitted.predict(few.head(1).with_columns(clicks_28=pl.lit(29.0)))[0].evidence["reason"]
    assert reason == "29 clicks in 28 days are fewer than 30"


def test_too_short_a_history_is_a_state(health_predictor: AccountHealthPredictor) -> None:
    report = health_predictor.predict(daily_rows(1, days=13))[0]
    assert (report.state, report.score) == ("insufficient_data", None)
    assert report.evidence["reason"] == "13 days of history are fewer than 14"
    assert health_predictor.predict(daily_rows(1, days=14))[0].state == "scored"


def test_batches_say_what_predict_says_in_bounded_pieces(health_predictor: AccountHealthPredictor, health_rows: pl.DataFrame) -> None:
    number = pl.int_range(pl.len())
    rows = health_rows.with_columns(
        clicks_28=pl.when(number % 7 == 3).then(5.0).otherwise("clicks_28"),
        target=pl.when(number % 11 == 5).then(pl.lit("never seen")).otherwise("target"),
    )
    pieces = list(health_predictor.score_batches(rows, rows=250))
    assert [piece.height for piece in pieces] == [250, 250, 250, 210]
    columns = [
        "platform", "account_id", "campaign_id", "origin", "state", "score", "probability", "tier", "log_ratio", "log_ratio_low",
        "log_ratio_high", "money_at_risk", "currency", "target", "out_of_support",
    ]  # fmt: skip
    told = health_predictor.predict(rows).to_frame()
    # The shape of a batch may change the last bit of a sum.
    assert_frame_equal(pl.concat(pieces).select(columns), told.select(columns), abs_tol=1e-9)
    streamed = health_predictor.score_batches(part.to_pandas() for part in rows.iter_slices(300))
    assert_frame_equal(pl.concat(streamed), pl.concat(pieces), abs_tol=1e-9)
    for wrong in (1.5, "9", None):
        with pytest.raises(SettingsError, match=f"rows={wrong!r} is no batch size; give a whole number of at least 1"):
            next(health_predictor.score_batches(rows, rows=wrong))  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="band_quantile='2' is no width"):
        health_predictor.predict(rows, band_quantile="2")  # type: ignore[arg-type]
    with pytest.raises(SampleError, match="rows=0 is no batch size; give at least 1"):
        next(health_predictor.score_batches(rows, rows=0))


def test_history_is_what_was_said_with_what_was_known_then(health_predictor: AccountHealthPredictor, health_rows: pl.DataFrame) -> None:
    daily = daily_rows(2, days=90)
    past = health_predictor.history(daily, weeks=4)
    assert past["account_id"].to_list() == ["A00"] * 4 + ["A01"] * 4
    last = daily["date"].max()
    assert past["origin"].to_list()[:4] == [last - timedelta(days=back) for back in (21, 14, 7, 0)]  # type: ignore[operator]
    then = health_predictor.predict(daily.filter(pl.col("date") <= last - timedelta(days=14)))  # type: ignore[operator]
    assert past["score"][1] == pytest.approx(then[0].score, abs=1e-9)
    with pytest.raises(SchemaError, match=r"history\(\) takes daily facts; feature rows hold their origins already"):
        health_predictor.history(health_rows)


def later(rows: pl.DataFrame, shift: float) -> pl.DataFrame:
    """The days after `rows`, in a world whose log ratios have moved by `shift`."""
    return feature_rows(24, origins=20, seed=31).with_columns(
        origin=pl.col("origin") + (rows["origin"].max() - FIRST + timedelta(days=3)), log_ratio=pl.col("log_ratio") + shift
    )


def test_an_update_widens_the_band_of_a_world_that_has_moved(health_rows: pl.DataFrame, tmp_path: Path) -> None:
    def width(model: AccountHealthPredictor) -> float:
        band = model.band(health_rows)
        assert band is not None
        return float(np.mean(band[1] - band[0]))

    calm, moved = (AccountHealthPredictor().fit(health_rows) for _ in range(2))
    before, probabilities = width(calm), calm.probability(health_rows)
    new = later(health_rows, 0.8)
    calm.update(later(health_rows, 0.0))
    moved.update(new)
    assert width(calm) == pytest.approx(before, rel=0.15)
    assert width(moved) > 1.3 * before
    np.testing.assert_array_equal(moved.probability(health_rows), probabilities)
    assert moved.learned_until == new["origin"].max()
    moved.save(tmp_path / "moved")
    assert width(AccountHealthPredictor.load(tmp_path / "moved")) == width(moved)


def test_an_outcome_beyond_a_factor_of_a_million_is_a_mistake(health_rows: pl.DataFrame) -> None:
    predictor = AccountHealthPredictor().fit(health_rows)
    before = predictor.band_quantile
    wild = later(health_rows, 0.0).with_columns(log_ratio=pl.when(pl.int_range(pl.len()) < 3).then(-14.0).otherwise("log_ratio"))
    with pytest.raises(SampleError, match=r"log_ratio lies beyond a factor of a million in 3 of \d+ feature rows"):
        predictor.update(wild)
    with pytest.raises(SampleError, match="beyond a factor of a million"):
        AccountHealthPredictor().fit(wild)
    assert predictor.band_quantile == before


@pytest.mark.parametrize("width", [-1.0, float("nan"), float("inf")])
def test_a_band_of_no_width_is_refused(health_predictor: AccountHealthPredictor, health_rows: pl.DataFrame, width: float) -> None:
    with pytest.raises(SettingsError, match=r"band_quantile=.* is no width"):
        health_predictor.predict(health_rows[:5], band_quantile=width)


def test_an_outcome_is_learned_once(health_rows: pl.DataFrame) -> None:
    fitted = AccountHealthPredictor(kind="persistence").fit(health_rows)
    with pytest.raises(SampleError, match=r"24 of 24 rows have origins up to 2026-05-02, which were learned from already; give later ones"):
        fitted.update(health_rows.filter(pl.col("origin") == FIRST))
    new = later(health_rows, 0.0)
    assert fitted.update(new.with_columns(log_ratio=pl.lit(None, pl.Float64))).learned_until == health_rows["origin"].max()
    with pytest.raises(SchemaError, match="lacks log_ratio; the band learns from the log ratios that came about"):
        fitted.update(new.drop("log_ratio"))
    assert fitted.update(new).learned_until == new["origin"].max()


def test_the_richer_parts_join_where_they_help_and_stay_out_of_a_short_history(health_predictor: AccountHealthPredictor) -> None:
    assert health_predictor.share > 0.9  # the planted cvr and cpc are not among the lean features
    assert AccountHealthPredictor().fit(feature_rows(60, origins=12)).share == 0.0


def test_a_row_given_twice_is_refused_and_not_answered_twice(health_predictor: AccountHealthPredictor, health_rows: pl.DataFrame) -> None:
    with pytest.raises(SampleError, match="2 of 5 feature rows repeat the platform, account_id, campaign_id, origin of another row"):
        health_predictor.predict(pl.concat([health_rows.head(3), health_rows.head(2)]))
    with pytest.raises(SampleError, match="1 of 4 feature rows repeat"):
        next(health_predictor.score_batches(pl.concat([health_rows.head(3), health_rows.head(1)])))


def test_features_without_a_finite_value_are_told_as_unknown(health_rows: pl.DataFrame) -> None:
    fitted = AccountHealthPredictor(kind="persistence").fit(health_rows)
    (report,) = fitted.predict(health_rows.head(1).with_columns(log_efficiency_7=pl.lit(float("inf"))))
    assert report.evidence["reason"] == "no feature of the account is known on this day"
    with pytest.raises(SchemaError, match="The column degraded holds List"):
        AccountHealthPredictor().fit(health_rows.drop("log_ratio").with_columns(degraded=pl.concat_list(pl.lit(1.0))))


def test_what_asks_for_nothing_is_refused_in_words(health_predictor: AccountHealthPredictor, health_rows: pl.DataFrame) -> None:
    for ask in (health_predictor.predict, health_predictor.explain):
        with pytest.raises(SampleError, match="The table holds no feature rows; give at least one"):
            ask(health_rows.head(0))
    for weeks, step in ((0, 7), (8, 0), (-1, 7), (8, -1)):
        with pytest.raises(SampleError, match=f"weeks={weeks} and step={step} lead to no earlier day; give at least 1 of each"):
            health_predictor.history(daily_rows(1, days=60), weeks=weeks, step=step)
    with pytest.raises(SchemaError, match="A NoneType is no table"):
        next(health_predictor.score_batches(None))  # type: ignore[arg-type]
    assert list(health_predictor.score_batches(health_rows.head(0))) == []
