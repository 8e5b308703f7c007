"""Sensors on every storage: a new landing folder is noticed once, failures become alerts, recovery closes them, dead runs are failed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from tests.conftest import NOW, REPOSITORY
from within_pipelines.database import AlertRepository
from within_pipelines.defs.jobs import IN_PROCESS
from within_pipelines.defs.reaper import reap_orphaned_runs
from within_pipelines.defs.resource import WithinResource
from within_pipelines.defs.schedules import ingest_and_score_daily
from within_pipelines.defs.sensors import check_failure_sensor, new_exports_sensor, orphaned_run_sensor, run_failure_alert_sensor
from within_pipelines.pipeline import Workspace

STORAGES = ["ephemeral", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(params=STORAGES)
def instance(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    if request.param == "ephemeral":
        with dg.DagsterInstance.ephemeral() as made:
            yield made
        return
    source = REPOSITORY / ("dagster.yaml" if request.param == "sqlite" else "deploy/postgres/dagster.yaml")
    if request.param == "postgres":
        monkeypatch.setenv("WITHIN_DAGSTER_POSTGRES_URL", request.getfixturevalue("postgres_url"))
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text(source.read_text())
    with dg.DagsterInstance.from_config(str(home)) as made:
        yield made


@pytest.fixture
def within(tmp_path: Path) -> WithinResource:
    return WithinResource(home=str(tmp_path / "home"), now=NOW.isoformat())


def alerts(within: WithinResource, status: str | None = "open") -> pl.DataFrame:
    with within.open() as ws:
        return AlertRepository(ws.database).alerts(status=status)


def job_with_a_check(*, passes: bool, raises: bool = False) -> dg.JobDefinition:
    @dg.asset
    def thing() -> None:
        if raises:
            raise ValueError("the feed is gone")

    @dg.asset_check(asset=thing)
    def thing_is_sound() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=passes, severity=dg.AssetCheckSeverity.WARN, metadata={"failed": 3})

    job = dg.define_asset_job("ingest_daily", selection="*", executor_def=IN_PROCESS)
    return dg.Definitions(assets=[thing], asset_checks=[thing_is_sound], jobs=[job]).resolve_job_def("ingest_daily")


def test_a_landing_folder_is_noticed_once_per_state(instance: dg.DagsterInstance, within: WithinResource) -> None:
    def tick(cursor: str | None) -> object:
        with dg.build_sensor_context(instance=instance, cursor=cursor, resources={"within": within}) as context:
            return new_exports_sensor(context)

    landing = within.settings().landing
    assert isinstance(tick(None), dg.SkipReason)
    landing.mkdir(parents=True)
    (landing / "a.csv").write_text("Day,Clicks\n")
    first = tick(None)
    assert isinstance(first, dg.SensorResult)
    assert first.run_requests is not None
    assert len(first.run_requests) == 1
    assert isinstance(tick(first.cursor), dg.SkipReason)
    (landing / "b.csv").write_text("Day,Clicks\n")
    second = tick(first.cursor)
    assert isinstance(second, dg.SensorResult)
    assert second.run_requests is not None
    assert second.run_requests[0].run_key != first.run_requests[0].run_key


def test_a_file_that_may_still_grow_is_waited_for(tmp_path: Path) -> None:
    live = WithinResource(home=str(tmp_path))
    landing = live.settings().landing
    landing.mkdir(parents=True)
    (landing / "a.csv").write_text("Day,Clicks\n")
    with dg.DagsterInstance.ephemeral() as instance, dg.build_sensor_context(instance=instance, resources={"within": live}) as context:
        assert isinstance(new_exports_sensor(context), dg.SkipReason)
        os.utime(landing / "a.csv", (0, 0))
        assert isinstance(new_exports_sensor(context), dg.SensorResult)


def status_context(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult, kind: dg.DagsterEventType) -> dg.RunStatusSensorContext:
    records = instance.get_records_for_run(result.run_id, of_type=kind).records
    event = records[-1].event_log_entry.dagster_event
    assert event is not None
    return dg.build_run_status_sensor_context(
        sensor_name="test", dagster_event=event, dagster_instance=instance, dagster_run=result.dagster_run
    )


def test_a_failed_check_in_a_run_that_succeeds_is_an_alert_until_it_passes(instance: dg.DagsterInstance, within: WithinResource) -> None:
    for passes in (False, False, True):
        result = job_with_a_check(passes=passes).execute_in_process(instance=instance)
        assert result.success
        check_failure_sensor(status_context(instance, result, dg.DagsterEventType.RUN_SUCCESS), within=within)
        found = alerts(within)
        assert found["dedup_key"].to_list() == ([] if passes else ["check/thing/thing_is_sound"])
    assert alerts(within, None)["occurrences"].to_list() == [2]


def test_a_failed_run_is_an_alert_until_the_job_succeeds(instance: dg.DagsterInstance, within: WithinResource) -> None:
    failed = job_with_a_check(passes=True, raises=True).execute_in_process(instance=instance, raise_on_error=False)
    context = status_context(instance, failed, dg.DagsterEventType.RUN_FAILURE).for_run_failure()
    run_failure_alert_sensor(context, within=within)
    (alert,) = alerts(within).to_dicts()
    assert alert["dedup_key"] == "run/ingest_daily/thing"
    assert alert["severity"] == "critical"
    assert alert["run_id"] == failed.run_id
    good = job_with_a_check(passes=True).execute_in_process(instance=instance)
    check_failure_sensor(status_context(instance, good, dg.DagsterEventType.RUN_SUCCESS), within=within)
    assert alerts(within).is_empty()


_DYING = """
import os, sys
import dagster as dg

@dg.op
def die():
    os._exit(9)

@dg.job(executor_def=dg.in_process_executor)
def doomed():
    die()

with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    doomed.execute_in_process(instance=instance, run_id=sys.argv[2])
"""


def test_a_run_whose_process_was_killed_is_failed(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    run_id = "0" * 8 + "-0000-4000-8000-" + "0" * 12
    done = subprocess.run([sys.executable, "-c", _DYING, str(tmp_path), run_id], capture_output=True, check=False)
    assert done.returncode == 9
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        assert run.status is dg.DagsterRunStatus.STARTED
        within = WithinResource(home=str(tmp_path / "home"))
        with dg.build_sensor_context(instance=instance, resources={"within": within}) as context:
            reason = orphaned_run_sensor(context)
        assert isinstance(reason, dg.SkipReason)
        assert run_id in str(reason.skip_message)
        again = instance.get_run_by_id(run_id)
        assert again is not None
        assert again.status is dg.DagsterRunStatus.FAILURE
        assert reap_orphaned_runs(instance) == []


def test_the_daily_schedule_scores_the_day_before() -> None:
    with dg.build_schedule_context(scheduled_execution_time=datetime(2026, 7, 1, 11, 30, tzinfo=UTC)) as context:
        request = ingest_and_score_daily(context)
    assert isinstance(request, dg.RunRequest)
    assert (request.partition_key, request.run_key) == ("2026-06-30", "score-2026-06-30")


def test_an_empty_workspace_names_what_is_missing(within: WithinResource) -> None:
    from within_pipelines.exceptions import ModelNotFoundError, SampleError
    from within_pipelines.pipeline import champion, summarise

    with within.open() as ws:
        assert isinstance(ws, Workspace)
        with pytest.raises(SampleError, match="holds no facts"):
            ws.pin()
        with pytest.raises(ModelNotFoundError, match="No version of anomaly serves"):
            champion(ws, "anomaly")
        assert summarise(ws).unserved == ("ad_score", "account_health", "anomaly")
