from __future__ import annotations

import json
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from tests.prediction.anomaly.metrics import SPLIT, fitted
from within_pipelines.prediction.anomaly import AnomalyDetector, Judgement

KINDS = ("ensemble_tail", "trailing_z")


@pytest.mark.parametrize("kind", KINDS)
def test_planted_changes_are_found_with_their_direction_and_size(kind: str) -> None:
    detector, frame = fitted(kind=kind)
    frame = frame.with_columns(
        currency=pl.lit("EUR"),
        value=pl.when((pl.col("account_id") == "account-001") & (pl.col("timestamp") == SPLIT + timedelta(days=20)))
        .then(10.0)
        .when((pl.col("account_id") == "account-002") & (pl.col("timestamp") == SPLIT + timedelta(days=10)))
        .then(400.0)
        .otherwise("value"),
    )
    found = {(f["account_id"], f["timestamp"]): f for f in detector.detect(frame)}
    up = found["account-002", SPLIT + timedelta(days=10)]
    down = found["account-001", SPLIT + timedelta(days=20)]
    assert (up["direction"], down["direction"]) == ("up", "down")
    assert up["low"] < up["expected"] < up["high"] < up["value"] == 400.0
    assert down["impact"] == pytest.approx(down["expected"] - 10.0)
    assert down["currency"] == "EUR"
    assert 60 < up["expected"] < 140
    assert up["score"] == pytest.approx(-np.log10(up["p_value"]))
    kinds = {type(value) for finding in (up, down) for value in finding.values()}
    assert kinds <= {str, float, date}


def test_findings_can_be_written_as_json() -> None:
    detector, frame = fitted(sensitivity=0.999)
    findings = detector.detect(frame)
    assert findings
    assert json.loads(json.dumps(findings, default=str))[0]["metric"] == "spend"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("known", [1, 3])
def test_a_judgement_after_a_fit_on_a_few_rows_says_that_nothing_could_be_judged(kind: str, known: int) -> None:
    frame = fitted()[1].filter(pl.col("account_id") == "account-000")
    detector = AnomalyDetector(kind=kind).fit(frame[:known])
    wild = frame[known : known + 20].with_columns(value=pl.col("value") * 50)
    assert detector.detect(wild) == []
    assert detector.judge(wild).states == {"warming_up": 20}


def test_a_judgement_counts_the_rows_of_each_state() -> None:
    detector, frame = fitted()
    stranger = frame.filter(pl.col("account_id") == "account-000").with_columns(account_id=pl.lit("new"))[:5]
    day = pl.col("timestamp")
    known = frame.with_columns(
        value=pl.when(day != SPLIT).then("value"), maturity=pl.when(day == SPLIT + timedelta(days=1)).then(0.5).otherwise(1.0)
    )
    table = pl.concat([known, stranger.with_columns(maturity=pl.lit(1.0))])
    states = detector.judge(table).states
    assert states == {"immature": 3, "missing": 3, "scored": frame.height - 6, "warming_up": 5}
    assert states == dict(detector.score_series(table)["state"].value_counts().iter_rows())
    assert detector.judge(table.clear()).states == Judgement((), (), ()).states == {}
