"""Asked about an account whose feed is at fault, the API says what the daily job says."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.serving.conftest import Running, running
from within_pipelines.database import AccountHealthRepository
from within_pipelines.lake import Lake, knowledge_time
from within_pipelines.pipeline import Workspace, find_anomalies, score_accounts
from within_pipelines.robustness import fact_faults


def in_micros(rows: pl.DataFrame, day: date) -> pl.DataFrame:
    fault = next(fault for fault in fact_faults() if fault.name == "money in micros")
    return fault.apply(rows, day, np.random.default_rng(1))


def in_two_currencies(rows: pl.DataFrame, day: date) -> pl.DataFrame:
    return rows.with_columns(currency=pl.when(pl.col("event_date") > day - timedelta(days=5)).then(pl.lit("USD")).otherwise(pl.lit("EUR")))


def health(api: Running, platform: str, account: str) -> dict[str, Any]:
    response = api.post("/v1/account-health", {"platform": platform, "account_id": account})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()["result"]
    return found


def anomalies(api: Running, platform: str, account: str) -> dict[str, Any]:
    response = api.post("/v1/anomalies", {"platform": platform, "account_id": account})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()["result"]
    return found


def test_the_api_and_the_daily_job_agree_about_faulty_feeds(fresh: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    pin = fresh.pin()
    day = fresh.lake.last_event_date(pin.commit_seq)
    assert day is not None
    micros, mixed, sound = fresh.lake.accounts()[:3]
    honest = Lake.history

    def spoiled(self: Lake, **options: Any) -> pl.DataFrame:
        told = honest(self, **options)
        of = {pair: (pl.col("platform") == pair[0]) & (pl.col("account_id") == pair[1]) for pair in (micros, mixed)}
        rest = told.filter(~of[micros] & ~of[mixed])
        return pl.concat([rest, in_micros(told.filter(of[micros]), day), in_two_currencies(told.filter(of[mixed]), day)])

    monkeypatch.setattr(Lake, "history", spoiled)
    scored = score_accounts(fresh, pin, day, knowledge_time(day))
    alarms = find_anomalies(fresh, pin, day, knowledge_time(day))
    stored = {
        (row["platform"], row["account_id"]): row
        for row in AccountHealthRepository(fresh.database).on(day).filter(pl.col("campaign_id") == "").to_dicts()
    }
    assert scored.height >= len(stored)
    with running(fresh) as api:
        told = {account: health(api, *account) for account in (micros, mixed, sound)}
        judged = {account: anomalies(api, *account) for account in (micros, mixed, sound)}
        (row,) = api.post("/v1/explain", {"model": "account_health", "account": {"platform": mixed[0], "account_id": mixed[1]}}).json()[
            "rows"
        ]
        assert row
        nothing = api.post("/v1/explain", {"model": "anomaly", "account": {"platform": mixed[0], "account_id": mixed[1]}})
        assert nothing.json()["rows"] == []
    for account, found in told.items():
        assert (found["state"], found["currency"]) == (stored[account]["state"], stored[account]["currency"])
        for ours, theirs in (("score", "overall_score"), ("probability", "probability"), ("money_at_risk", "money_at_risk")):
            expected = stored[account][theirs]
            assert found[ours] == (None if expected is None else pytest.approx(expected, abs=1e-6)), (account, ours)
        assert found["tier"] == stored[account]["tier"]
    assert [told[account]["state"] for account in (micros, mixed)] == ["feed_problem", "feed_problem"]
    assert told[sound]["state"] == "scored"
    assert [told[account]["log_ratio_low"] for account in (micros, mixed)] == [None, None]
    assert [bool(told[account]["evidence"]["feed_problems"]) for account in (micros, mixed, sound)] == [True, True, False]
    assert any("currency on" in sentence for sentence in told[mixed]["evidence"]["feed_problems"])
    assert judged[mixed] | {"prediction_id": ""} == {
        "prediction_id": "", "account_id": mixed[1], "state": "feed_problem", "findings": [], "points": 0, "smallest_p_value": None,
        "planned": [], "calendar": "none", "feed_problems": told[mixed]["evidence"]["feed_problems"],
    }  # fmt: skip
    for account in (micros, mixed, sound):
        ours = {f["metric"] for f in judged[account]["findings"] if f["kind"] == "anomaly" and f["timestamp"] == day.isoformat()}
        own = alarms.filter((pl.col("platform") == account[0]) & (pl.col("account_id") == account[1])) if alarms.height else alarms
        assert ours == (set(own.filter(pl.col("kind") == "anomaly")["metric"]) if own.height else set())
    assert judged[micros]["state"] == "judged"
    assert judged[micros]["feed_problems"] == told[micros]["evidence"]["feed_problems"]
    at_fault = {f["timestamp"] for f in judged[micros]["findings"] if f["kind"] == "anomaly"}
    assert day.isoformat() not in at_fault
