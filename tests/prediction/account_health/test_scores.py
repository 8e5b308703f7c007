from __future__ import annotations

import polars as pl
import pytest

from within_pipelines.prediction import AccountHealthPredictor
from within_pipelines.prediction.account_health.scores import tier_of


def test_the_numbers_of_a_report_fit_together(health_predictor: AccountHealthPredictor, health_rows: pl.DataFrame) -> None:
    for report, row in zip(health_predictor.predict(health_rows.head(40)), health_rows.head(40).iter_rows(named=True), strict=True):
        assert report.score is not None
        assert report.probability is not None
        assert report.log_ratio is not None
        assert report.log_ratio_low is not None
        assert report.log_ratio_high is not None
        assert report.score == pytest.approx(100 * (1 - report.probability))
        assert report.tier == tier_of(report.score)
        assert report.log_ratio_low < report.log_ratio < report.log_ratio_high
        assert report.money_at_risk == pytest.approx(report.probability * 0.2 * row["spend_28"] * 7 / 28)
        assert report.currency == "EUR"
        assert report.evidence["clicks_28"] == row["clicks_28"]


def test_where_no_spend_was_reported_no_money_is_said_to_be_at_risk(
    health_predictor: AccountHealthPredictor, health_rows: pl.DataFrame
) -> None:
    (report,) = health_predictor.predict(health_rows.head(1).with_columns(spend_28=pl.lit(0.0)))
    assert report.state == "scored"
    assert report.money_at_risk is None


def test_tiers_begin_at_their_floors() -> None:
    assert [tier_of(s) for s in (100.0, 80.0, 79.9, 60.0, 59.9, 40.0, 39.9, 0.0)] == [
        "healthy", "healthy", "watch", "watch", "at risk", "at risk", "critical", "critical",
    ]  # fmt: skip
