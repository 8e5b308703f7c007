"""Units that stop are a second question with a second answer."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl

from tests.prediction.worlds import FIRST, feature_rows
from within_pipelines.prediction import AccountHealthPredictor
from within_pipelines.prediction.account_health.inputs import labelled_rows
from within_pipelines.prediction.account_health.stopping import fit_stopping
from within_pipelines.prediction.metrics import auroc


def with_stops(rows: pl.DataFrame, *, seed: int = 1) -> pl.DataFrame:
    """Units whose spend has been sinking stop more often; who stops has no efficiency."""
    rng = np.random.default_rng(seed)
    odds = -2.5 - 4.0 * rows["slope_spend_28"].to_numpy() - 4.0 * rows["log_spend_7"].to_numpy()
    stopped = rng.random(rows.height) < 1 / (1 + np.exp(-odds))
    going = ~pl.Series(stopped)
    return rows.with_columns(
        stopped=pl.Series(stopped),
        degraded=pl.when(going).then("degraded"),
        log_ratio=pl.when(going).then("log_ratio"),
    )


def test_planted_stops_are_found_on_unseen_accounts_and_kept_apart_from_drops(tmp_path: Path) -> None:
    fitted = AccountHealthPredictor().fit(with_stops(feature_rows()))
    unseen = with_stops(feature_rows(30, seed=4), seed=5)
    reports = fitted.predict(unseen)
    stop = np.array([report.stop_probability for report in reports], dtype=float)
    stopped = unseen["stopped"].cast(pl.Float64).to_numpy()
    assert auroc(stopped, stop) > 0.75
    assert abs(stop.mean() - stopped.mean()) < 0.05
    drop = fitted.probability(unseen)
    assert abs(np.corrcoef(stop, drop)[0, 1]) < 0.3
    fitted.save(tmp_path / "model")
    assert AccountHealthPredictor.load(tmp_path / "model").predict(unseen)[0] == reports[0]
    assert reports.to_frame()["stop_probability"].to_list() == stop.tolist()


def test_who_stopped_does_not_teach_who_dropped() -> None:
    rows = feature_rows()
    marked = with_stops(rows)
    without = AccountHealthPredictor().fit(marked.filter(pl.col("degraded").is_not_null()))
    kept = AccountHealthPredictor().fit(marked)
    np.testing.assert_array_equal(kept.probability(rows), without.probability(rows))


def test_nothing_is_said_when_nobody_or_too_few_stopped(health_predictor: AccountHealthPredictor, health_rows: pl.DataFrame) -> None:
    assert health_predictor.predict(health_rows.head(1))[0].stop_probability is None
    few = health_rows.with_columns(stopped=pl.int_range(pl.len()) < 12)
    assert fit_stopping(few, overlap=1.0) is None
    assert fit_stopping(health_rows.with_columns(stopped=pl.lit(False)), overlap=1.0) is None
    assert fit_stopping(health_rows.with_columns(stopped=pl.lit(None, pl.Boolean)), overlap=1.0) is None
    assert fit_stopping(health_rows.with_columns(stopped=pl.int_range(pl.len()) < 30), overlap=1.0) is not None


def test_daily_rows_tell_who_stopped() -> None:
    days = [FIRST + timedelta(days=i) for i in range(70)]
    daily = pl.DataFrame(
        [
            {"account_id": account, "date": day, "impressions": 900, "clicks": 40, "spend": 10.0, "conversions": 4.0}
            for account in ("goes on", "stops")
            for day in days
            if account == "goes on" or day < days[50]
        ]
        + [{"account_id": "stops", "date": days[69], "impressions": 0, "clicks": 0, "spend": 0.0, "conversions": 0.0}]
    )
    rows = labelled_rows(daily, horizon=7)
    told = {(a, o): s for a, o, s in rows.select("account_id", "origin", "stopped").iter_rows()}
    assert {s for (a, _), s in told.items() if a == "goes on"} == {False}
    ended = {o for (a, o), s in told.items() if a == "stops" and s}
    # Silent on all seven days after the origin, and delivering within the seven before it.
    assert ended
    assert all(days[49] <= o < days[56] for o in ended)
