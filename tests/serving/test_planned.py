"""What HOME/calendar.yaml plans is no alarm of the API either, and which band of account health it shows is that of the daily job."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest

from tests.serving.conftest import Running, running
from within_pipelines.database import AccountHealthRepository, PerformanceMetricRepository
from within_pipelines.lake import Lake, knowledge_time
from within_pipelines.pipeline import Workspace, find_anomalies, score_accounts
from within_pipelines.pipeline.health_band import band_on, bands_folder
from within_pipelines.serving.examples import REQUESTS
from within_pipelines.serving.planned import PlannedChanges


def asked(api: Running, body: dict[str, Any], path: str = "/v1/anomalies") -> dict[str, Any]:
    response = api.post(path, body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()["result"]
    return found


def plan(ws: Workspace, text: str) -> None:
    ws.settings.calendar.write_text(text, encoding="utf-8")


PAUSE = "planned:\n  - {first: 2026-06-29, reason: the campaign paused, where: {metric: spend}}\n"


def test_the_calendar_is_read_again_when_it_changes_and_a_broken_one_changes_nothing(fresh_empty: Workspace) -> None:
    changes = PlannedChanges(fresh_empty)
    assert changes.read() == ([], "none")
    plan(fresh_empty, PAUSE)
    entries, state = changes.read()
    assert state == "applied"
    assert entries == [{"first": "2026-06-29", "last": "2026-06-29", "reason": "the campaign paused", "where": {"metric": "spend"}}]
    assert json.loads(json.dumps(entries)) == entries
    plan(fresh_empty, "planned: [")
    assert changes.read() == (entries, "unreadable")
    assert changes.read() == (entries, "unreadable")
    plan(fresh_empty, "planned: []\n")
    assert changes.read() == ([], "applied")
    fresh_empty.settings.calendar.unlink()
    assert changes.read() == ([], "none")


@pytest.mark.slow
def test_what_is_planned_is_told_apart_from_alarms(fresh: Workspace) -> None:
    with running(fresh) as api:
        before = asked(api, REQUESTS["/v1/anomalies"])
        assert [found["timestamp"] for found in before["findings"]] == ["2026-06-29"]
        assert (before["planned"], before["calendar"]) == ([], "none")
        plan(fresh, PAUSE)
        after = asked(api, REQUESTS["/v1/anomalies"])
        assert after["findings"] == []
        assert [(found["timestamp"], found["reason"]) for found in after["planned"]] == [("2026-06-29", "the campaign paused")]
        assert after["calendar"] == "applied"
        assert after["smallest_p_value"] == before["smallest_p_value"]
        plan(fresh, "planned: 7")
        assert asked(api, REQUESTS["/v1/anomalies"])["calendar"] == "unreadable"
        assert asked(api, REQUESTS["/v1/anomalies"])["findings"] == []
        plan(fresh, PAUSE.replace("metric: spend", "metric: clicks"))
        assert [found["timestamp"] for found in asked(api, REQUESTS["/v1/anomalies"])["findings"]] == ["2026-06-29"]


@pytest.mark.slow
def test_of_the_lakes_accounts_it_tells_what_the_daily_job_tells(fresh: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    pin = fresh.pin()
    day = fresh.lake.last_event_date(pin.commit_seq)
    assert day is not None
    platform, account = fresh.lake.accounts()[0]
    honest = Lake.history

    def four_times_the_spend(self: Lake, **options: Any) -> pl.DataFrame:
        here = (pl.col("account_id") == account) & (pl.col("event_date") == day)
        return honest(self, **options).with_columns(pl.when(here).then(pl.col("spend_micros") * 4).otherwise("spend_micros").name.keep())

    monkeypatch.setattr(Lake, "history", four_times_the_spend)
    body = {"platform": platform, "account_id": account}
    with running(fresh) as api:
        before = asked(api, body)
        alarms = {found["metric"] for found in before["findings"] if found["timestamp"] == day.isoformat()}
        assert "spend" in alarms
        plan(fresh, f"planned:\n  - {{first: {day}, reason: sale, where: {{account_id: '{account}', metric: spend}}}}\n")
        after = asked(api, body)
    find_anomalies(fresh, pin, day, knowledge_time(day))
    stored = PerformanceMetricRepository(fresh.database).on(day).filter(platform=platform, account_id=account).to_dicts()
    assert [(found["metric"], found["reason"]) for found in after["planned"]] == [("spend", "sale")]
    assert [(row["metric_name"], row["metadata"]["planned"]) for row in stored if row["metadata"]["planned"]] == [("spend", "sale")]
    left = {found["metric"] for found in after["findings"] if found["timestamp"] == day.isoformat() and found["kind"] == "anomaly"}
    assert left == {row["metric_name"] for row in stored if row["is_anomaly"]}
    assert "spend" not in left


@pytest.mark.slow
def test_the_band_is_that_of_the_daily_job_and_says_of_which_day(fresh: Workspace) -> None:
    pin = fresh.pin()
    day = fresh.lake.last_event_date(pin.commit_seq)
    champion = fresh.registry.alias("account_health", "champion")
    assert day is not None
    assert champion is not None
    for written in bands_folder(fresh, champion.model_sha256).glob("*.json"):
        written.unlink()
    account = {"platform": fresh.lake.accounts()[0][0], "account_id": fresh.lake.accounts()[0][1]}

    with running(fresh) as api:
        fitted = asked(api, account, "/v1/account-health")
        assert fitted["evidence"]["band_of"] == "fit"
        score_accounts(fresh, pin, day, knowledge_time(day))
        stored = {
            (row["platform"], row["account_id"]): row["spend_efficiency"]
            for row in AccountHealthRepository(fresh.database).on(day).filter(campaign_id="").to_dicts()
        }
        for place, theirs in stored.items():
            ours = asked(api, {"platform": place[0], "account_id": place[1]}, "/v1/account-health")
            for name in ("log_ratio", "log_ratio_low", "log_ratio_high"):
                assert ours[name] == (None if theirs[name] is None else pytest.approx(theirs[name], abs=1e-9)), (place, name)
            assert (ours["evidence"]["band_of"], ours["evidence"]["outcomes_until"]) == (day.isoformat(), theirs["outcomes_until"])
        learned = asked(api, account, "/v1/account-health")
        assert learned["evidence"]["outcomes_until"] > fitted["evidence"]["outcomes_until"]
        # A day before the job's first has the band as fitted; rows that were given have it too.
        earlier = asked(api, account | {"day": (day - timedelta(days=1)).isoformat()}, "/v1/account-health")
        assert earlier["evidence"]["band_of"] == "fit"
        given = asked(api, REQUESTS["/v1/account-health"], "/v1/account-health")
        assert (given["evidence"]["band_of"], given["evidence"]["outcomes_until"]) == ("fit", fitted["evidence"]["outcomes_until"])
        # The band comes from the file and from nothing else.
        kept = band_on(fresh, champion.model_sha256, day)
        assert kept is not None
        path = bands_folder(fresh, champion.model_sha256) / f"{day}.json"
        path.with_suffix(".new").write_text(json.dumps({"quantile": 2 * kept.quantile, "outcomes_until": None}))
        path.with_suffix(".new").replace(path)
        twice = asked(api, account, "/v1/account-health")
        width = [found["log_ratio_high"] - found["log_ratio_low"] for found in (learned, twice)]
        assert width[1] == pytest.approx(2 * width[0])
        # One that cannot be read is told as the fitted one, never as another.
        path.with_suffix(".new").write_text("{}")
        path.with_suffix(".new").replace(path)
        assert asked(api, account, "/v1/account-health")["evidence"]["band_of"] == "fit"


def test_a_band_is_the_newest_that_was_drawn_by_then(fresh_empty: Workspace) -> None:
    folder = bands_folder(fresh_empty, "a" * 64)
    assert band_on(fresh_empty, "a" * 64, date(2026, 6, 1)) is None
    folder.mkdir(parents=True)
    for day, quantile in (("2026-06-01", 1.5), ("2026-06-03", 2.5)):
        (folder / f"{day}.json").write_text(json.dumps({"quantile": quantile, "outcomes_until": "2026-05-20"}))
    found = band_on(fresh_empty, "a" * 64, date(2026, 6, 2))
    assert found is not None
    assert (found.day, found.quantile, found.outcomes_until) == (date(2026, 6, 1), 1.5, date(2026, 5, 20))
    assert band_on(fresh_empty, "a" * 64, date(2026, 5, 31)) is None
