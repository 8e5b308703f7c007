from __future__ import annotations

import json
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from tests.prediction.anomaly.metrics import SPLIT, fitted

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
