"""What training never saw neither swings the score nor goes unsaid."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.prediction.worlds import daily_rows, feature_rows
from within_pipelines.prediction import AccountHealthPredictor
from within_pipelines.prediction.account_health.support import MARGIN, Ranges, support_reasons
from within_pipelines.prediction.artifact import read_artifact, write_artifact

AMOUNTS = ("impressions", "clicks", "spend", "conversions")


@pytest.fixture(scope="module")
def daily() -> pl.DataFrame:
    return daily_rows()


@pytest.fixture(scope="module")
def of_daily(daily: pl.DataFrame) -> AccountHealthPredictor:
    return AccountHealthPredictor().fit(daily)


def times(daily: pl.DataFrame, factor: int) -> pl.DataFrame:
    return daily.with_columns(pl.col(name) * factor for name in AMOUNTS)


def test_sixteen_times_the_volume_is_flagged_and_moves_the_score_no_further_than_training_reaches(
    of_daily: AccountHealthPredictor, daily: pl.DataFrame
) -> None:
    usual, large, huge = (of_daily.predict(times(daily, factor)) for factor in (1, 16, 256))
    assert [report.out_of_support for report in usual] == [False] * 16
    assert [report.support_reasons for report in usual] == [()] * 16
    for report in (*large, *huge):
        assert report.state == "scored"
        assert report.out_of_support
        assert any(reason.startswith("volume_events_28 is ") and " above the " in reason for reason in report.support_reasons)
    small, more, most = (np.array([report.score for report in found], dtype=float) for found in (usual, large, huge))
    # It was 33 points on average, and 70 for one account, while features were only held within five standard deviations.
    assert np.abs(more - small).mean() < 12
    assert np.corrcoef(small, more)[0, 1] > 0.85
    # All that still moves at 256 times is how certain the days' ratios are, not the volume.
    assert np.abs(most - more).max() < 3


@pytest.mark.parametrize("kind", ["logistic_xgboost", "persistence"])
def test_no_part_extrapolates(health_rows: pl.DataFrame, kind: str) -> None:
    fitted = AccountHealthPredictor(kind=kind).fit(health_rows)
    wild = health_rows.head(40).with_columns(log_efficiency_7=pl.lit(40.0), volume_events_28=pl.lit(-9.0))
    wilder = wild.with_columns(log_efficiency_7=pl.lit(4000.0), volume_events_28=pl.lit(-900.0))
    ends = wild.with_columns(log_efficiency_7=health_rows["log_efficiency_7"].max(), volume_events_28=health_rows["volume_events_28"].min())
    for found in (wild, wilder):
        np.testing.assert_array_equal(fitted.probability(found), fitted.probability(ends))
        np.testing.assert_array_equal(fitted.band(found), fitted.band(ends))
    explained = fitted.explain(wild)
    total = explained.select(*fitted.features, "intercept").sum_horizontal().to_numpy()
    np.testing.assert_allclose(total, explained["log_odds"].to_numpy(), atol=1e-9)


def test_rows_of_the_same_world_are_seldom_flagged_and_those_of_another_are(health_predictor: AccountHealthPredictor) -> None:
    same = health_predictor.out_of_support(feature_rows(60, seed=5))
    assert same is not None
    assert same.mean() < 0.02
    other = feature_rows(10, seed=5).with_columns(log_cpc_7=pl.lit(9.0))
    assert health_predictor.out_of_support(other).all()  # type: ignore[union-attr]
    table = health_predictor.predict(other).to_frame()
    assert table["out_of_support"].all()
    batches = pl.concat(health_predictor.score_batches(other, rows=64))
    assert batches["out_of_support"].to_list() == table["out_of_support"].to_list()
    (first, *_), *_ = table["support_reasons"].to_list()
    assert first.startswith("log_cpc_7 is 9, above the -1.09 to 0.977")
    assert first.endswith(" of the 960 training rows")


def test_a_feature_that_every_training_row_had_is_missed_when_unknown(health_predictor: AccountHealthPredictor) -> None:
    row = feature_rows(1, origins=1, seed=5).with_columns(log_cpc_7=pl.lit(None, pl.Float64))
    (report,) = health_predictor.predict(row)
    assert report.out_of_support
    assert report.support_reasons == ("log_cpc_7 is unknown; each of the 960 training rows had it",)
    usual = health_predictor.probability(row.with_columns(log_cpc_7=pl.lit(health_predictor_median(health_predictor))))
    np.testing.assert_allclose(health_predictor.probability(row), usual)


def health_predictor_median(predictor: AccountHealthPredictor) -> float:
    ranges = predictor._fitted_blend().ranges
    assert ranges is not None
    return float(ranges.usual[predictor.features.index("log_cpc_7")])


def test_a_feature_that_some_training_rows_lacked_may_be_unknown_and_a_constant_one_is_not_judged(health_rows: pl.DataFrame) -> None:
    odd = health_rows.with_columns(
        log_cpm_7=pl.lit(1.0),
        log_ctr_7=pl.lit(None, pl.Float64),
        log_cpc_7=pl.when(pl.int_range(pl.len()) % 5 > 0).then("log_cpc_7"),
    )
    fitted = AccountHealthPredictor().fit(odd)
    row = odd.head(1).with_columns(log_cpm_7=pl.lit(7.0), log_ctr_7=pl.lit(3.0), log_cpc_7=pl.lit(None, pl.Float64))
    (report,) = fitted.predict(row)
    assert (report.out_of_support, report.support_reasons) == (False, ())
    moved = row.with_columns(log_cpm_7=pl.lit(-70.0), log_ctr_7=pl.lit(-30.0))
    np.testing.assert_array_equal(fitted.probability(row), fitted.probability(moved))


def test_features_that_the_answer_does_not_depend_on_are_not_judged(health_rows: pl.DataFrame) -> None:
    fitted = AccountHealthPredictor(kind="persistence").fit(health_rows)
    assert fitted.predict(health_rows.head(1).with_columns(log_cpc_7=pl.lit(9.0)))[0].out_of_support is False
    assert fitted.predict(health_rows.head(1).with_columns(log_efficiency_7=pl.lit(9.0)))[0].out_of_support is True
    young = AccountHealthPredictor().fit(feature_rows(60, origins=12))  # the richer parts have earned nothing yet
    assert young.predict(health_rows.head(1).with_columns(log_cpc_7=pl.lit(9.0)))[0].out_of_support is False


def test_an_older_account_than_any_in_training_is_no_stranger(health_rows: pl.DataFrame) -> None:
    growing = health_rows.with_columns(history_share=pl.col("origin").rank("dense") / 112)
    fitted = AccountHealthPredictor().fit(growing)
    assert fitted.predict(growing.head(1).with_columns(history_share=pl.lit(1.0)))[0].out_of_support is False


def test_the_ranges_are_kept_and_a_model_from_before_says_that_it_cannot_tell(
    health_predictor: AccountHealthPredictor, health_rows: pl.DataFrame, tmp_path: Path
) -> None:
    strange = health_rows.head(5).with_columns(log_cpc_7=pl.lit(9.0))
    health_predictor.save(tmp_path / "now")
    assert AccountHealthPredictor.load(tmp_path / "now").predict(strange) == health_predictor.predict(strange)
    written = read_artifact(tmp_path / "now")
    state = json.loads(written.text("model.json"))
    del state["blend"]["ranges"], state["targets"]
    manifest = {name: value for name, value in written.manifest.items() if name not in ("files", "format_version")}
    files = {"model.json": json.dumps(state).encode(), "trees.ubj": written.bytes("trees.ubj")}
    write_artifact(tmp_path / "before", files, manifest)
    old = AccountHealthPredictor.load(tmp_path / "before")
    (report, *_) = old.predict(strange)
    assert report.state == "scored"
    assert report.out_of_support is None
    assert report.support_reasons[0].startswith("support unknown: the model was fitted before")
    assert old.predict(strange).to_frame()["out_of_support"].to_list() == [None] * 5
    assert old.out_of_support(strange) is None
    assert old.targets is None
    # It answers as it always did, beyond its range.
    assert not np.allclose(old.probability(strange), health_predictor.probability(strange))
    assert old.predict(strange.with_columns(target=pl.lit("ctr")))[0].state == "scored"


def test_ranges_agree_with_a_hand_calculation() -> None:
    x = np.column_stack([np.arange(2001.0), np.full(2001, 3.0), np.r_[np.nan, np.zeros(1000), np.ones(1000)]])
    ranges = Ranges.learn(x)
    assert ranges.low.tolist() == [2.0, 3.0, 0.0]
    assert ranges.high.tolist() == [1998.0, 3.0, 1.0]
    assert ranges.judged.tolist() == [True, False, True]
    beyond = 1998 + MARGIN * 1996
    asked = np.array([[beyond, 9.0, np.nan], [beyond + 1, -9.0, -0.26], [np.nan, 3.0, 1.2]])
    np.testing.assert_array_equal(ranges.clip(asked), [[1998, 3, np.nan], [1998, 3, 0], [1000, 3, 1]])
    assert ranges.outside(asked).tolist() == [[0, 0, 0], [1, 0, -1], [2, 0, 0]]
    again = Ranges.from_dict(json.loads(json.dumps(ranges.to_dict())))
    np.testing.assert_array_equal(again.clip(asked), ranges.clip(asked))
    told = support_reasons(ranges, ["a", "b", "c"], asked)
    assert told[0] == ()
    assert [reason.split()[0] for reason in told[1]] == ["c", "a"]  # the farther one first
    assert told[2] == ("a is unknown; each of the 2001 training rows had it",)


def test_repeating_every_training_row_changes_no_range() -> None:
    x = np.random.default_rng(3).normal(size=(137, 4))
    np.testing.assert_array_equal(Ranges.learn(np.repeat(x, 50, axis=0)).low, Ranges.learn(x).low)
