"""Steps by hand: what is new is done once, what was known stays known, and a day can be scored again."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from tests.conftest import LAST_DAY, NOW, Agency
from within_pipelines.exceptions import ModelNotFoundError, SampleError
from within_pipelines.pipeline import (
    KINDS,
    MODELS,
    Pin,
    Workspace,
    build_training_set,
    ingest_path,
    landing_is_empty,
    load_version,
    provide_exports,
    score_day,
    summarise,
    train,
    trained_version,
    training_run,
)
from within_pipelines.pipeline.tables import origins_of
from within_pipelines.settings import Settings

pytestmark = pytest.mark.slow


def test_a_pin_survives_the_tags_of_a_run() -> None:
    pin = Pin(3, NOW, "abc")
    assert Pin.from_tags(pin.to_tags()) == pin
    assert Pin.from_tags({}) is None


def test_origins_leave_room_for_the_warm_up() -> None:
    first = date(2026, 1, 1)
    assert origins_of(first, first + timedelta(days=27), step=3) == []
    assert origins_of(first, first + timedelta(days=28), step=3) == [first + timedelta(days=28)]


def test_the_demo_is_written_only_into_an_empty_landing_folder(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, demo_accounts=2, demo_days=60)
    assert landing_is_empty(settings.landing)
    written = provide_exports(settings, today=NOW.date())
    assert written is not None
    assert written.last_day == NOW.date() - timedelta(days=1)
    assert provide_exports(settings, today=NOW.date()) is None


def test_training_again_returns_the_versions_that_exist(agency: Agency, tmp_path: Path) -> None:
    settings = agency.copy(tmp_path / "home")
    with Workspace.open(settings) as ws:
        pin = ws.pin()
        for model in MODELS:
            assert build_training_set(ws, pin, model).cached
            for kind in KINDS[model]:
                trained = train(ws, pin, model, kind, now=NOW)
                assert trained.cached
                assert load_version(ws, trained.version).fitted
        stack = trained_version(ws, pin, "ad_score", "stack")
        run = training_run(ws, stack)
        assert run is not None
        assert set(run.params) >= {"seed", "rows", "encoder", "weights", "penalties"}
        assert len(run.curves["network_loss"]) == 8
        health = training_run(ws, trained_version(ws, pin, "account_health", "logistic_xgboost"))
        assert health is not None
        assert health.params["efficiency_measured_by"].startswith("conversions_per_cost (")
        for curve in health.curves.values():
            assert len(curve["x"]) == len(curve["y"]) >= 2
            assert curve["x"] == sorted(curve["x"])
        assert set(health.curves) == {"log_loss", "brier_skill"}
        assert {"first_day", "last_day", "importance"} <= set(stack.evaluation)
        assert stack.evaluation["details"]["encoder"] == run.params["encoder"]
        assert training_run(ws, replace(stack, version=99)) is None
        with pytest.raises(ModelNotFoundError, match="No nonsense version of ad_score"):
            trained_version(ws, pin, "ad_score", "nonsense")


def test_a_damaged_artifact_is_trained_anew_to_the_same_hash(agency: Agency, tmp_path: Path) -> None:
    settings = agency.copy(tmp_path / "home")
    with Workspace.open(settings) as ws:
        pin = ws.pin()
        version = trained_version(ws, pin, "anomaly", KINDS["anomaly"][0])
        manifest = ws.artifacts.folder(version) / "manifest.json"
        manifest.write_text(manifest.read_text() + " ")
        assert not ws.artifacts.verify(version)
        again = train(ws, pin, "anomaly", KINDS["anomaly"][0], now=NOW)
        assert not again.cached
        assert again.version == version
        assert ws.artifacts.verify(version)


def test_a_day_scored_again_replaces_its_rows_and_an_old_day_can_be_scored(agency: Agency, tmp_path: Path) -> None:
    settings = agency.copy(tmp_path / "home")
    with Workspace.open(settings) as ws:
        before = summarise(ws)
        again = score_day(ws)
        assert again.day == LAST_DAY
        assert again.ads.height == before.ads_scored == summarise(ws).ads_scored
        old = score_day(ws, day=LAST_DAY - timedelta(days=30), models=["account_health"])
        assert old.ads.is_empty()
        assert old.accounts.height > 0
        with pytest.raises(SampleError, match="the newest day is 2026-06-30"):
            score_day(ws, day=LAST_DAY + timedelta(days=1))


def test_a_path_that_is_not_there_is_an_error_with_the_next_step(agency: Agency) -> None:
    with Workspace.open(agency.settings) as ws, pytest.raises(FileNotFoundError, match="give an export or a folder"):
        ingest_path(ws, agency.settings.home / "nothing", now=NOW)


def test_the_face_answers_with_the_champions(agency: Agency, monkeypatch: pytest.MonkeyPatch) -> None:
    import within_pipelines
    from within_pipelines.prediction import set_champion_source

    monkeypatch.setenv("WITHIN_HOME", str(agency.settings.home))
    try:
        assert set(within_pipelines.MODEL_REGISTRY) == set(MODELS)
        entry = within_pipelines.MODEL_REGISTRY["ad_score"]
        assert entry["alias"] == "champion"
        assert entry["metrics"]["pairwise_accuracy_all"] > 0.5
        with Workspace.open(agency.settings) as ws:
            facts = ws.lake.facts(accounts=ws.lake.accounts()[:1])
        reports = within_pipelines.get_health_predictor()().predict(facts)
        assert [r.state for r in reports] == ["scored"]
        scores = within_pipelines.get_ad_score_predictor()().predict(
            pl.DataFrame({"headline": ["Why mothers love this coffee", "Synergistic solutions?"]})
        )
        assert scores[0].score > scores[1].score
    finally:
        set_champion_source(None)


def test_stored_metrics_say_how_severe_they_are_and_why_they_moved(agency: Agency) -> None:
    from within_pipelines.database import PerformanceMetricRepository

    with Workspace.open(agency.settings) as ws:
        repository = PerformanceMetricRepository(ws.database)
        rows = [row for back in range(14) for row in repository.on(LAST_DAY - timedelta(days=back)).to_dicts()]
    scored = [row["metadata"] for row in rows if row["metadata"]["state"] == "scored"]
    assert scored
    assert all(said["severity"] >= 0 for said in scored)
    ratios = [row for row in rows if row["is_anomaly"] and row["metric_name"] in ("cpc", "ctr", "cpm") and row["metric_value"] > 0]
    for row in ratios:
        cause = row["metadata"]["cause"]
        assert sum(cause["by_total"].values()) == cause["log_change"]
        assert (cause["log_change"] > 0) == (row["metadata"]["direction"] == "up")
    assert not any(row["metadata"]["cause"] for row in rows if not row["is_anomaly"])
