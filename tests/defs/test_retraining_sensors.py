"""The sensors that start retraining, and the one that delivers alerts, on every storage."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.conftest import LAST_DAY, NOW
from tests.defs.test_sensors import STORAGES
from tests.defs.test_sensors import instance as instance
from tests.pipeline.test_retraining import finding, serve
from within_pipelines.database import HeartbeatRepository, MonitoringRepository, RetrainingRepository
from within_pipelines.defs.delivery import deliver_alerts_sensor
from within_pipelines.defs.resource import WithinResource
from within_pipelines.defs.retraining import drift_sensor, performance_sensor, run_begun, run_in_flight
from within_pipelines.defs.schedules import SCHEDULES
from within_pipelines.defs.sensors import new_exports_sensor
from within_pipelines.monitoring import DriftState, Severity
from within_pipelines.pipeline import AlertManager, request_retraining
from within_pipelines.pipeline.doctor import diagnose

assert STORAGES


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def within(home: Path) -> WithinResource:
    made = WithinResource(home=str(home), now=NOW.isoformat())
    with made.open() as ws:
        serve(ws, "ad_score")
    return made


def tick(sensor: Any, instance: dg.DagsterInstance, within: WithinResource, cursor: str | None = None) -> tuple[Any, str | None]:
    with dg.build_sensor_context(instance=instance, cursor=cursor, resources={"within": within}) as context:
        result = sensor(context)
        after = result.cursor if isinstance(result, dg.SensorResult) else context.cursor
    return result, after


def later(within: WithinResource, **passed: float) -> WithinResource:
    assert within.now is not None
    return WithinResource(home=within.home, now=(within.clock() + timedelta(**passed)).isoformat())


def monitored(within: WithinResource, *findings: Any) -> None:
    with within.open() as ws:
        MonitoringRepository(ws.database).save(findings, generated_at=within.clock())


def run_of(instance: dg.DagsterInstance, job: str, *, status: Any = dg.DagsterRunStatus.STARTED, tags: Any = None) -> dg.DagsterRun:
    made = dg.Definitions(jobs=[dg.job(name=job)(lambda: None)]).resolve_job_def(job)
    return instance.create_run_for_job(made, status=status, tags=tags)


def test_worse_answers_start_one_run_and_a_repeated_tick_none(instance: dg.DagsterInstance, within: WithinResource) -> None:
    monitored(within, finding())
    result, cursor = tick(performance_sensor, instance, within)
    (request,) = result.run_requests
    assert request.job_name == "retrain_ad_score"
    assert request.tags["within/trigger"] == "concept_drift"
    again, cursor = tick(performance_sensor, instance, later(within, minutes=1), cursor)
    # The same key: the daemon has started it and starts no other.
    assert [r.run_key for r in again.run_requests] == [request.run_key]
    run_of(instance, request.job_name, tags={"dagster/run_key": request.run_key})
    quiet, _ = tick(performance_sensor, instance, later(within, hours=2), cursor)
    assert isinstance(quiet, dg.SkipReason)
    with within.open() as ws:
        assert len(RetrainingRepository(ws.database).decisions(action="retrain")) == 1


def test_a_run_is_asked_for_by_one_sensor_only(within: WithinResource) -> None:
    """Dagster keeps run keys per sensor, so the same key from two sensors would be two runs."""
    monitored(within, finding())
    with within.open() as ws:
        serve(ws, "anomaly")
        request_retraining(ws, "anomaly", who="kim", why="guidelines", now=NOW)
    with dg.DagsterInstance.ephemeral() as instance:
        for _ in range(2):
            asked = {sensor.name: tick(sensor, instance, within)[0].run_requests for sensor in (drift_sensor, performance_sensor)}
            assert [r.job_name for r in asked["drift_sensor"]] == ["retrain_anomaly"]
            assert [r.job_name for r in asked["performance_sensor"]] == ["retrain_ad_score"]


def test_a_measurement_change_starts_nothing(instance: dg.DagsterInstance, within: WithinResource) -> None:
    monitored(within, *(finding(m, DriftState.MEASUREMENT_CHANGE) for m in ("data_drift", "prediction_drift", "concept_drift")))
    for sensor in (drift_sensor, performance_sensor):
        result, _ = tick(sensor, instance, within)
        assert isinstance(result, dg.SkipReason)
        assert "measurement change" in str(result.skip_message)


def scheduled(name: str, instance: dg.DagsterInstance, within: WithinResource) -> Any:
    schedule: Any = next(schedule for schedule in SCHEDULES if schedule.name == name)
    with dg.build_schedule_context(instance=instance, scheduled_execution_time=NOW, resources={"within": within}) as context:
        return schedule(context)


def test_no_schedule_trains_a_model_whose_measurement_changed(tmp_path: Path, within: WithinResource) -> None:
    # A schedule's context takes no instance that lives in memory alone.
    instance = dg.DagsterInstance.local_temp(str(tmp_path))
    names = ("retrain_ad_score_weekly", "full_refresh_monthly")
    assert all(isinstance(scheduled(name, instance, within), dg.RunRequest) for name in names), "nothing was monitored"
    monitored(within, finding("data_drift", DriftState.MEASUREMENT_CHANGE, reason="view-through joined"), finding())
    for name in (*names, *names):
        told = scheduled(name, instance, within)
        assert isinstance(told, dg.SkipReason)
        assert f"{name} waits, because a measurement change explains data_drift on {LAST_DAY}: view-through joined" in str(
            told.skip_message
        )
    assert isinstance(scheduled("retrain_anomaly_weekly", instance, within), dg.RunRequest), "the others are trained as ever"
    with within.open() as ws:
        kept = RetrainingRepository(ws.database).decisions()
        assert [(d.model, d.action, d.trigger, d.evidence["schedule"]) for d in kept] == [
            ("ad_score", "wait", "measurement_change", name) for name in names
        ], "once a schedule and report"
        assert kept[0].evidence["findings"][0]["reason"] == "view-through joined"
        # By hand it may still be trained.
        request_retraining(ws, "ad_score", who="kim", why="enough new days", now=NOW)
    result, _ = tick(drift_sensor, instance, within)
    assert [r.tags["within/trigger"] for r in result.run_requests] == ["by_hand"]
    # What was found about a version that no longer serves holds nothing back.
    with within.open() as ws:
        serve(ws, "ad_score", sha="cd")
    assert all(isinstance(scheduled(name, instance, within), dg.RunRequest) for name in names)


def test_a_request_by_hand_starts_a_run_although_nothing_was_found(instance: dg.DagsterInstance, within: WithinResource) -> None:
    _, cursor = tick(drift_sensor, instance, within)
    with within.open() as ws:
        request_retraining(ws, "ad_score", who="kim", why="guidelines", now=NOW)
    result, _ = tick(drift_sensor, instance, later(within, minutes=1), cursor)
    assert [r.tags["within/trigger"] for r in result.run_requests] == ["by_hand"]


def test_a_request_by_hand_outlives_a_daemon_that_dies_before_it_asks(instance: dg.DagsterInstance, within: WithinResource) -> None:
    with within.open() as ws:
        request_retraining(ws, "ad_score", who="kim", why="guidelines", now=NOW)
    lost, cursor = tick(drift_sensor, instance, within)
    (request,) = lost.run_requests
    # Whether or not the cursor was kept, the run is asked for when the daemon is back.
    for kept in (None, cursor):
        again, _ = tick(drift_sensor, instance, later(within, days=3), kept)
        assert [r.run_key for r in again.run_requests] == [request.run_key]
    # Not beside a run of a schedule, nor once it was handed over; what was only created is asked for again.
    weekly = run_of(instance, "retrain_ad_score")
    assert isinstance(tick(drift_sensor, instance, later(within, days=3), cursor)[0], dg.SkipReason)
    instance.report_run_failed(weekly)
    own = run_of(instance, "retrain_ad_score", status=dg.DagsterRunStatus.NOT_STARTED, tags={"dagster/run_key": request.run_key})
    assert not run_begun(instance, request.run_key)
    again, _ = tick(drift_sensor, instance, later(within, days=3), cursor)
    assert [r.run_key for r in again.run_requests] == [request.run_key]
    instance.report_run_failed(own)
    assert run_begun(instance, request.run_key)
    assert isinstance(tick(drift_sensor, instance, later(within, days=3), cursor)[0], dg.SkipReason)


def test_a_model_in_flight_waits_and_is_looked_at_again(instance: dg.DagsterInstance, within: WithinResource) -> None:
    run = run_of(instance, "retrain_ad_score")
    assert run_in_flight(instance, "ad_score") == run.run_id
    assert run_in_flight(instance, "anomaly") is None
    monitored(within, finding())
    waiting, cursor = tick(performance_sensor, instance, within)
    assert isinstance(waiting, dg.SkipReason)
    instance.report_run_failed(run)
    result, _ = tick(performance_sensor, instance, later(within, minutes=1), cursor)
    assert len(result.run_requests) == 1


def test_a_sensor_that_stops_is_told_and_told_again_when_it_lives(instance: dg.DagsterInstance, within: WithinResource) -> None:
    tick(drift_sensor, instance, within)
    tick(deliver_alerts_sensor, instance, within)
    with within.open() as ws:
        assert {beat.sensor for beat in HeartbeatRepository(ws.database).all()} == {"drift_sensor", "deliver_alerts_sensor"}
    for minutes in (8, 16):
        tick(deliver_alerts_sensor, instance, later(within, minutes=minutes))
    dead = later(within, minutes=16)
    with within.open() as ws:
        (line,) = AlertManager(ws).digest()
        assert line.title == "drift_sensor has stopped"
        assert line.severity == Severity.CRITICAL
        states = {f.name: f for f in diagnose(ws.settings, now=NOW + timedelta(hours=2))}
        assert states["sensors"].state == "warning"
        assert "drift_sensor since" in states["sensors"].detail
        assert {f.name: f.state for f in diagnose(ws.settings, now=NOW)}["sensors"] == "ok"
    tick(drift_sensor, instance, dead)
    result, _ = tick(deliver_alerts_sensor, instance, dead)
    assert isinstance(result, dg.SkipReason)
    with within.open() as ws:
        assert AlertManager(ws).digest() == []
    # A night with the daemon off is not a dozen dead sensors in the morning.
    tick(deliver_alerts_sensor, instance, later(within, hours=10))
    with within.open() as ws:
        assert AlertManager(ws).digest() == []


def test_a_tick_that_fails_leaves_no_heartbeat(within: WithinResource, monkeypatch: pytest.MonkeyPatch) -> None:
    from within_pipelines.database import MonitoringRepository

    def broken(self: object, day: object = None) -> None:
        raise RuntimeError("the table is locked")

    monkeypatch.setattr(MonitoringRepository, "report", broken)
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(RuntimeError, match="locked"):
        tick(drift_sensor, instance, within)
    with within.open() as ws:
        assert HeartbeatRepository(ws.database).all() == []


def test_a_tick_with_ten_thousand_accounts_takes_at_most_five_seconds(within: WithinResource) -> None:
    landing = within.settings().landing
    for number in range(10_000):
        folder = landing / "google_ads" / f"{number:06d}"
        folder.mkdir(parents=True)
        (folder / "day.csv").write_text("Day,Clicks\n")
    monitored(within, finding(features=("a",)), finding("data_drift", features=("b",)))
    with within.open() as ws:
        manager = AlertManager(ws)
        from within_pipelines.monitoring import Alert

        for number in range(60):
            manager.tell(Alert(f"account/google_ads/{number}", Severity.WARNING, "x", "", "y", group="accounts/google_ads"), now=NOW)
    with dg.DagsterInstance.ephemeral() as instance:
        for sensor in (new_exports_sensor, drift_sensor, performance_sensor, deliver_alerts_sensor):
            started = time.process_time()
            tick(sensor, instance, within)
            assert time.process_time() - started <= 5, sensor.name


def test_day_of_report_is_the_one_stored(within: WithinResource) -> None:
    monitored(within, finding())
    with within.open() as ws:
        report = MonitoringRepository(ws.database).report()
    assert report is not None
    assert report.day == LAST_DAY
