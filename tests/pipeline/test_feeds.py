"""What stopped is told once and closed when it comes again; what was planned is no alarm."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.conftest import LAST_DAY, Agency
from within_pipelines.database import AlertRepository, PerformanceMetricRepository
from within_pipelines.exceptions import SchemaError
from within_pipelines.pipeline import Workspace, score_day
from within_pipelines.pipeline.feeds import planned_changes
from within_pipelines.settings import Settings

pytestmark = pytest.mark.slow


def test_without_a_calendar_nothing_is_planned_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with Workspace.open(settings) as ws:
        assert planned_changes(ws).planned == ()
        for text in ("", "measurement: []", "planned:"):
            settings.calendar.write_text(text)
            assert planned_changes(ws).planned == ()
        settings.calendar.write_text("planned: [{first: 2026-11-27, reason: Black Friday}]")
        assert planned_changes(ws).planned[0].first == date(2026, 11, 27)
        for wrong, said in (
            ("- a", "holds a list"),
            ("planned: {a: [", "no valid YAML"),
            ("planned: [{reason: x}]", "wrong at planned.0.first"),
        ):
            settings.calendar.write_text(wrong)
            with pytest.raises(SchemaError, match=said):
                planned_changes(ws)


def test_what_the_calendar_explains_is_kept_with_its_reason_and_is_no_anomaly(
    agency: Agency, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from within_pipelines import features

    settings = agency.copy(tmp_path / "home")
    real = features.metric_series
    wild = (pl.col("metric") == "spend") & (pl.col("timestamp") == LAST_DAY)
    monkeypatch.setattr(
        features,
        "metric_series",
        lambda *a, **k: real(*a, **k).with_columns(value=pl.when(wild).then(pl.col("value") * 30).otherwise("value")),
    )
    with Workspace.open(settings) as ws:

        def spend() -> list[dict[str, Any]]:
            return PerformanceMetricRepository(ws.database).on(LAST_DAY).filter(pl.col("metric_name") == "spend").to_dicts()

        found = score_day(ws, models=["anomaly"]).anomalies
        accounts = found.filter(pl.col("metric") == "spend")["account_id"].to_list()
        assert len(accounts) >= 6
        assert sorted(row["account_id"] for row in spend() if row["is_anomaly"]) == sorted(accounts)
        assert not any(row["metadata"]["planned"] for row in spend())
        settings.calendar.write_text(
            f"planned: [{{first: {LAST_DAY}, reason: relaunch, where: {{account_id: '{accounts[0]}', metric: spend}}}}]"
        )
        found = score_day(ws, models=["anomaly"]).anomalies
        assert sorted(found.filter(pl.col("metric") == "spend")["account_id"]) == sorted(accounts[1:])
        kept = {row["account_id"]: row for row in spend()}
        assert kept[accounts[0]]["metadata"]["planned"] == "relaunch"
        assert not kept[accounts[0]]["is_anomaly"]
        assert all(kept[account]["is_anomaly"] for account in accounts[1:])


def test_a_stopped_feed_is_told_once_per_account_and_closed_when_it_comes_again(
    agency: Agency, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from within_pipelines import features

    settings = agency.copy(tmp_path / "home")
    real = features.metric_series
    with Workspace.open(settings) as ws:
        chosen = PerformanceMetricRepository(ws.database).on(LAST_DAY).sort("account_id").row(0, named=True)
        account = (pl.col("platform") == chosen["platform"]) & (pl.col("account_id") == chosen["account_id"])
        newest = pl.col("timestamp") > LAST_DAY - timedelta(days=5)

        def stopped(*args: Any, **kwargs: Any) -> pl.DataFrame:
            series = real(*args, **kwargs)
            value = pl.when(account & newest & (pl.col("metric") == "clicks")).then(None)
            value = value.when(account & newest & (pl.col("metric") == "spend")).then(77.0)
            return series.with_columns(value=value.otherwise("value"))

        monkeypatch.setattr(features, "metric_series", stopped)
        for _ in range(2):
            found = score_day(ws, models=["anomaly"]).anomalies
        feeds = found.filter(pl.col("kind") != "anomaly")
        assert feeds.select("kind", "metric", "points").rows() == [("missing", "clicks", 5), ("stalled", "spend", 4)]
        assert found["kind"].to_list()[:2] == ["missing", "stalled"]
        key = f"feed/{chosen['platform']}/{chosen['account_id']}"
        told = AlertRepository(ws.database).alerts().filter(pl.col("dedup_key") == key)
        assert told.height == 1
        assert told["occurrences"].to_list() == [2]
        assert "clicks has no value since" in told["detail"][0]
        assert "spend repeats its value since" in told["detail"][0]
        monkeypatch.undo()
        assert set(score_day(ws, models=["anomaly"]).anomalies["kind"]) <= {"anomaly"}
        assert AlertRepository(ws.database).alerts().filter(pl.col("dedup_key") == key).is_empty()


def test_the_untouched_agency_has_no_stopped_feed(agency: Agency) -> None:
    with Workspace.open(agency.settings) as ws:
        assert not [key for key in AlertRepository(ws.database).alerts()["dedup_key"] if key.startswith("feed/")]
