"""An answer speaks of what was asked."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from within_pipelines.prediction import AnomalyDetector
from within_pipelines.serving.answers import AnomalyAnswers

FIRST, DAYS = date(2026, 1, 5), 70


def rows(metric: str, days: range) -> list[dict[str, Any]]:
    rng = np.random.default_rng([len(metric), days.start])
    return [
        {
            "platform": "p",
            "account_id": "a",
            "metric": metric,
            "timestamp": FIRST + timedelta(days=day),
            "value": float(rng.normal(500, 20)),
        }
        for day in days
    ]


@pytest.fixture(scope="module")
def detector() -> AnomalyDetector:
    return AnomalyDetector().fit(pl.DataFrame(rows("spend", range(DAYS)) + rows("clicks", range(DAYS))))


@pytest.mark.parametrize(("of_the_lake", "missing"), [(False, []), (True, ["clicks"])])
def test_a_metric_that_was_not_sent_is_missing_only_of_an_account_that_comes_whole(
    detector: AnomalyDetector, of_the_lake: bool, missing: list[str]
) -> None:
    sent = [{**row, "timestamp": row["timestamp"].isoformat()} for row in rows("spend", range(DAYS, DAYS + 6))]
    job = {"account_id": "a", "rows": sent} | ({"feed": {"problems": [], "days": [], "mixed": False}} if of_the_lake else {})
    [[answer]] = AnomalyAnswers().answer(detector, [[job]])
    assert answer["state"] == "judged"
    assert [found["metric"] for found in answer["findings"] if found["kind"] == "missing"] == missing
