"""Frames go in and come out; the same key twice is one row."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from within_pipelines.database import (
    AccountHealthRepository,
    AdScoreAnalysisModel,
    AdScoreRepository,
    AlertRecord,
    AlertRepository,
    Database,
    PerformanceMetricRepository,
    TrainingRun,
    TrainingRunRepository,
)
from within_pipelines.exceptions import ModelNotFoundError, SchemaError

DAY = date(2026, 5, 1)
NOW = datetime(2026, 5, 2, 6, tzinfo=UTC)


def ad_scores(score: float = 70.0) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "platform": ["google_ads"] * 2, "account_id": ["1"] * 2, "ad_id": ["a", "b"], "scored_on": [DAY] * 2,
            "score": [score, 40.0], "log_odds_contrast": [0.2, -0.1], "model_version": [1, 1], "model_sha256": ["f" * 64] * 2,
            "campaign_id": ["c"] * 2, "ad_group_id": ["g"] * 2, "data_version": ["d"] * 2,
        }
    )  # fmt: skip


ANALYSES = [
    {
        "content_features": {"words": n}, "linguistic_analysis": {}, "visual_elements": None, "visual_reason": "no image file",
        "performance_projections": {}, "similar_successful_ads": [], "improvement_suggestions": [],
    }
    for n in (3, 5)
]  # fmt: skip


def test_scoring_a_day_again_replaces_its_rows(database: Database) -> None:
    repository = AdScoreRepository(database)
    repository.save(ad_scores())
    repository.save(ad_scores(75.0))
    assert repository.on(DAY)["score"].to_list() == [75.0, 40.0]
    assert repository.days() == [DAY]
    assert repository.on(DAY + timedelta(days=1)).is_empty()


def test_scores_and_analyses_are_saved_together(database: Database) -> None:
    repository = AdScoreRepository(database)
    for _ in range(2):
        repository.save_with_analysis(ad_scores(), ANALYSES)
    with database.reading() as session:
        rows = AdScoreAnalysisModel.find(session)
        assert [row.content_features["words"] for row in rows] == [3, 5]
        assert rows[0].ad_score.ad_id == "a"
    with pytest.raises(SchemaError, match="2 scores came with 1 analyses"):
        repository.save_with_analysis(ad_scores(), ANALYSES[:1])
    assert repository.save_with_analysis(ad_scores().clear(), []) == 0


def test_unfit_frames_are_refused_with_the_columns(database: Database) -> None:
    with pytest.raises(SchemaError, match="unknown here: colour, missing key columns: model_sha256"):
        AdScoreRepository(database).save(ad_scores().drop("model_sha256").with_columns(colour=pl.lit(1)))


def test_health_and_metrics_are_kept(database: Database) -> None:
    health = pl.DataFrame(
        {
            "platform": ["google_ads"], "account_id": ["1"], "campaign_id": [""], "scored_on": [DAY], "state": ["scored"],
            "overall_score": [80.0], "probability": [0.2], "model_version": [1], "model_sha256": ["f" * 64],
            "risk_factors": [[{"group": "trend", "share": 0.4}]],
        }
    )  # fmt: skip
    assert AccountHealthRepository(database).save(health) == 1
    assert AccountHealthRepository(database).on()["risk_factors"].to_list() == [[{"group": "trend", "share": 0.4}]]
    days = 4_000
    metrics = pl.DataFrame(
        {
            "platform": ["google_ads"] * days, "account_id": [str(n) for n in range(days)], "metric_name": ["spend"] * days,
            "metric_value": [float(n) for n in range(days)], "period_start": [DAY] * days, "period_end": [DAY] * days,
            "is_anomaly": [False] * days, "metadata": [{"currency": "EUR"}] * days,
        }
    )  # fmt: skip
    repository = PerformanceMetricRepository(database)
    repository.save(metrics)
    repository.save(metrics)
    repository.save(metrics.clear())
    assert repository.on(DAY).height == days


def test_training_runs_are_listed_in_order(database: Database) -> None:
    repository = TrainingRunRepository(database)
    run = TrainingRun("ad_score", 1, "stack", {"seed": 7}, {}, {"loss": [1, 0.5]}, "d", "c", 1.5, NOW)
    stored = repository.record(run)
    assert stored.id is not None
    assert repository.get(stored.id) == stored
    assert repository.runs("ad_score") == repository.runs() == [stored]
    assert repository.runs("anomaly") == []
    with pytest.raises(ModelNotFoundError, match="no training run 99"):
        repository.get(99)


def test_a_repeated_alert_counts_up_and_a_closed_one_opens_anew(database: Database) -> None:
    repository = AlertRepository(database)
    alert = AlertRecord("check:facts", "high", "Facts are not sound", "2 expectations failed", run_id="r1")
    repository.raise_alert(alert, now=NOW)
    again = repository.raise_alert(alert, now=NOW + timedelta(hours=1))
    assert (again.occurrences, again.opened_at, again.last_seen_at) == (2, NOW, NOW + timedelta(hours=1))
    assert repository.close("check:facts", now=NOW + timedelta(hours=2)) == 1
    assert repository.close("check:facts", now=NOW + timedelta(hours=2)) == 0
    repository.raise_alert(alert, now=NOW + timedelta(hours=3))
    assert repository.alerts().height == 1
    assert repository.alerts(status=None)["status"].to_list() == ["open", "closed"]
