"""What Dagster loads: light, complete, described, and loadable on both kinds of instance."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
import yaml

from tests.conftest import REPOSITORY
from within_pipelines.defs.catalogue import defs
from within_pipelines.defs.jobs import JOBS, MODELS
from within_pipelines.defs.release.assets import DAYS

HEAVY = (
    "torch",
    "xgboost",
    "shap",
    "great_expectations",
    "alibi_detect",
    "sklearn",
    "scipy",
    "pandas",
    "matplotlib",
    "statsmodels",
    "fairlearn",
)
NOUNS = {
    "ad_performance", "ad_creatives", "quarantine", "account_features", "creative_features", "metric_series", "ad_scores",
    "account_health", "anomalies", "golden_set_result", "challenger_comparison", "shadow_report", "canary_decision", "champion",
    "monitor_report", "data_drift", "prediction_drift", "concept_drift",
    "feature_correlation", "estimated_performance",
    *(f"{model}_{part}" for model in MODELS for part in ("training_set", "model", "evaluation", "fairness_report", "registry_entry")),
}  # fmt: skip


def test_loading_is_light() -> None:
    code = (
        "import resource, sys\n"
        "import within_pipelines.definitions\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])\n"
        "usage = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(usage.ru_utime + usage.ru_stime)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    loaded, seconds = done.stdout.strip().splitlines()
    assert loaded == "[]"
    assert float(seconds) <= 4.0


def test_every_asset_has_owner_group_kinds_and_description() -> None:
    specs = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
    assert set(specs) >= NOUNS
    for name, spec in specs.items():
        assert spec.owners, name
        assert spec.group_name != "default", name
        assert spec.kinds, name
        assert spec.description, name


def test_every_model_and_the_facts_have_checks() -> None:
    checked = {key.asset_key.to_user_string() for key in defs.resolve_asset_graph().asset_check_keys}
    assert {f"{model}_evaluation" for model in MODELS} | {f"{model}_registry_entry" for model in MODELS} <= checked
    assert {f"{model}_fairness_report" for model in MODELS} <= checked
    assert {"ad_performance", "creative_features", "account_features", "metric_series", "ad_scores", "golden_set_result"} <= checked


def test_jobs_schedules_and_sensors_are_there_and_running() -> None:
    names = {job.name for job in JOBS}
    assert names == {
        "ingest_daily", "score_daily", "retrain_ad_score", "retrain_account_health", "retrain_anomaly", "validate_golden_set",
        "train_and_score", "compact_lake", "monitor_drift", "advance_canary",
    }  # fmt: skip
    schedules = {s.name: s for s in defs.schedules or []}
    assert len(schedules) == 8
    for schedule in schedules.values():
        assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
        assert schedule.execution_timezone == "UTC"
    sensors = {s.name: s for s in defs.sensors or []}
    assert set(sensors) == {
        "new_exports_sensor", "check_failure_sensor", "run_failure_alert_sensor", "orphaned_run_sensor", "deliver_alerts_sensor",
        "drift_sensor", "performance_sensor", "canary_sensor",
    }  # fmt: skip
    assert all(s.default_status is dg.DefaultSensorStatus.RUNNING for s in sensors.values())


def test_what_the_release_shows_is_made_by_a_job_that_runs_by_itself() -> None:
    graph = defs.resolve_asset_graph()
    release = {key for key in graph.get_all_asset_keys() if graph.get(key).group_name == "release"}
    started = {schedule.job_name for schedule in defs.schedules or []} | {"advance_canary"}  # the latter by canary_sensor
    made = {key for name in started for key in defs.resolve_job_def(name).asset_layer.selected_asset_keys}
    assert release
    assert release <= made


def test_today_can_be_scored_and_partitions_stay_few() -> None:
    now = datetime(2026, 7, 1, 1, tzinfo=UTC)
    keys = DAYS.get_partition_keys(current_time=now)
    assert "2026-07-01" in keys
    assert len(keys) < 25_000


def test_workspace_names_the_definitions() -> None:
    workspace = yaml.safe_load((REPOSITORY / "workspace.yaml").read_text())
    module = workspace["load_from"][0]["python_module"]
    assert module == {"module_name": "within_pipelines.definitions", "location_name": "within_pipelines"}


def test_the_embedded_instance_loads_and_keeps_to_itself(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text((REPOSITORY / "dagster.yaml").read_text())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.get_settings("telemetry") == {"enabled": False}
        assert instance.get_concurrency_config().run_queue_config is not None
        assert instance.run_storage is not None


@pytest.mark.postgres
def test_the_production_instance_loads_on_postgres(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WITHIN_DAGSTER_POSTGRES_URL", postgres_url)
    (tmp_path / "dagster.yaml").write_text((REPOSITORY / "deploy" / "postgres" / "dagster.yaml").read_text())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert "postgres" in type(instance.event_log_storage).__name__.lower()
        assert list(instance.get_runs()) == []
