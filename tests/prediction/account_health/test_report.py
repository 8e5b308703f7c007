"""The answers of the health predictor are a sequence that becomes a table."""

from __future__ import annotations

import polars as pl

from within_pipelines.prediction import AccountHealthPredictor, AccountHealthReports, RiskFactor


def test_reports_are_a_sequence_and_a_table(health_predictor: AccountHealthPredictor, health_rows: pl.DataFrame) -> None:
    rows = health_rows.head(6).with_columns(clicks_28=pl.when(pl.int_range(pl.len()) == 2).then(3.0).otherwise("clicks_28"))
    found = health_predictor.predict(rows)
    assert len(found) == 6
    assert list(found) == [found[i] for i in range(6)]
    assert found[1:3] == (found[1], found[2])
    table = found.to_frame()
    assert table["probability"].to_list() == [report.probability for report in found]
    assert table["state"].to_list() == ["scored"] * 2 + ["insufficient_data"] + ["scored"] * 3
    assert table["risk_factors"][2].to_list() == []
    first = next(report for report in found if report.risk_factors)
    row = list(found).index(first)
    assert RiskFactor(**table["risk_factors"][row][0]) == first.risk_factors[0]
    assert table["recommendations"][row].to_list() == list(first.recommendations)


def test_no_reports_make_an_empty_table_with_the_same_columns(health_predictor: AccountHealthPredictor, health_rows: pl.DataFrame) -> None:
    assert AccountHealthReports(()).to_frame().schema == health_predictor.predict(health_rows.head(3)).to_frame().schema
