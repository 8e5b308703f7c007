"""The sensors that start retraining, and the one that delivers alerts, on every storage."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from tests.conftest import LAST_DAY, NOW
from tests.defs.test_sensors import STORAGES
from tests.defs.test_sensors import instance as instance
from tests.pipeline.test_retraining import finding, serve
from within_pipelines.database import HeartbeatRepository, MonitoringRepository, RetrainingRepository
from within_pipelines.defs.delivery import deliver_alerts_sensor
from within_pipelines.defs.resource import WithinResource
from within_pipelines.defs.retraining import drift_sensor, performance_sensor, run_begun, run_in_flight
from within_pipelines.defs.schedules import SCHEDULES
from within_pipelines.defs.sensors import SENSORS, canary_sensor, new_exports_sensor, orphaned_run_sensor
from within_pipelines.lake.tables import StoredTable
from within_pipelines.monitoring import Alert, DriftState, Severity
from within_pipelines.pipeline import AFTER_RUNS, TICKING, AlertManager, Workspace, request_retraining
from within_pipelines.pipeline.doctor import diagnose
from within_pipelines.pipeline.retraining import model_state

assert STORAGES
# A run that a daemon has launched knows the code location that it is from.
ORIGIN = RemoteJobOrigin(
    RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("within_pipelines.definitions"), "__repository__"), "ingest_daily"
)


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


def alive(ws: Any, until: datetime, *, besides: tuple[str, ...] = ("drift_sensor", "deliver_alerts_sensor")) -> None:
    """Every other sensor ticks until then."""
    for name in set(TICKING) - set(besides):
        HeartbeatRepository(ws.database).beat(name, interval_seconds=60, seconds=0.1, outcome="", now=until)


def test_the_sensors_that_are_watched_are_all_that_there_are() -> None:
    assert {*TICKING, *AFTER_RUNS} == {sensor.name for sensor in SENSORS}
    assert not {*TICKING} & {*AFTER_RUNS}


@pytest.mark.parametrize("sensor", [s for s in SENSORS if s.name in TICKING], ids=lambda sensor: str(sensor.name))
def test_every_sensor_that_ticks_by_the_clock_leaves_a_heartbeat(sensor: Any, within: WithinResource) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        tick(sensor, instance, within)
    with within.open() as ws:
        (beat,) = [beat for beat in HeartbeatRepository(ws.database).all() if beat.sensor == sensor.name]
    assert beat.ticks == 1
    assert beat.interval_seconds >= 1


def test_a_sensor_that_never_ticked_is_missed_after_ten_minutes(instance: dg.DagsterInstance, within: WithinResource) -> None:
    for minutes in (0, 8):
        tick(drift_sensor, instance, later(within, minutes=minutes))
        tick(deliver_alerts_sensor, instance, later(within, minutes=minutes))
    with within.open() as ws:
        assert AlertManager(ws).digest() == []
        assert {f.name: f.state for f in diagnose(ws.settings, now=NOW + timedelta(minutes=8))}["sensors"] == "ok"
    tick(drift_sensor, instance, later(within, minutes=16))
    tick(deliver_alerts_sensor, instance, later(within, minutes=16))
    with within.open() as ws:
        titles = {line.title for line in AlertManager(ws).digest()}
        states = {f.name: f for f in diagnose(ws.settings, now=NOW + timedelta(minutes=16))}
    missed = set(TICKING) - {"drift_sensor", "deliver_alerts_sensor"}
    assert titles == {f"{name} has never ticked" for name in missed}
    assert "canary_sensor has never ticked" in states["sensors"].detail
    assert states["sensors"].state == "warning"
    tick(orphaned_run_sensor, instance, later(within, minutes=17))
    tick(deliver_alerts_sensor, instance, later(within, minutes=17))
    with within.open() as ws:
        assert "orphaned_run_sensor has never ticked" not in {line.title for line in AlertManager(ws).digest()}


def test_the_doctor_misses_a_sensor_of_which_no_row_speaks(within: WithinResource) -> None:
    """Also the one that would note that it is waited for."""
    with within.open() as ws:
        for minutes in range(12):
            HeartbeatRepository(ws.database).beat(
                "new_exports_sensor", interval_seconds=60, seconds=0.1, outcome="", now=NOW + timedelta(minutes=minutes)
            )
        states = {f.name: f for f in diagnose(ws.settings, now=NOW + timedelta(minutes=11))}
    assert "deliver_alerts_sensor has never ticked" in states["sensors"].detail
    assert "new_exports_sensor" not in states["sensors"].detail


def test_that_nobody_delivers_is_told_by_the_drift_sensor(
    instance: dg.DagsterInstance, within: WithinResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    real = AlertManager.deliver

    def deliver(self: AlertManager, **options: Any) -> Any:
        done = real(self, **options)
        sent.extend(done.sent)
        return done

    monkeypatch.setattr(AlertManager, "deliver", deliver)
    tick(deliver_alerts_sensor, instance, within)
    with within.open() as ws:
        alive(ws, NOW + timedelta(hours=11))
    for minutes in (0, 8):
        tick(drift_sensor, instance, later(within, minutes=minutes))
    assert sent == []
    tick(drift_sensor, instance, later(within, minutes=16))
    with within.open() as ws:
        assert [line.title for line in AlertManager(ws).digest()] == ["deliver_alerts_sensor has stopped"]
    assert sent == ["log"]
    # A night with the daemon off is no news, whichever of the two ticks first in the morning.
    tick(deliver_alerts_sensor, instance, later(within, minutes=16))
    tick(deliver_alerts_sensor, instance, later(within, minutes=17))
    with within.open() as ws:
        assert AlertManager(ws).digest() == []
    tick(drift_sensor, instance, later(within, hours=10))
    with within.open() as ws:
        assert AlertManager(ws).digest() == []


ENDINGS = [
    ("check_failure_sensor", dg.DagsterRunStatus.SUCCESS),
    ("run_failure_alert_sensor", dg.DagsterRunStatus.FAILURE),
]


@pytest.mark.parametrize(("sensor", "status"), ENDINGS)
def test_a_sensor_that_was_not_told_of_a_run_is_dead(
    sensor: str, status: dg.DagsterRunStatus, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """Runs carry the time of the wall clock, so this one does, too."""
    real = datetime.now(UTC)
    within = WithinResource(home=str(tmp_path / "home"), now=real.isoformat())

    def open_after(minutes: float) -> list[str]:
        tick(deliver_alerts_sensor, instance, later(within, minutes=minutes))
        with within.open() as ws:
            return [line.title for line in AlertManager(ws).digest()]

    def ended(*, launched: bool) -> None:
        made = dg.Definitions(jobs=[dg.job(name="ingest_daily")(lambda: None)]).resolve_job_def("ingest_daily")
        run = instance.create_run_for_job(made, status=dg.DagsterRunStatus.STARTED, remote_job_origin=ORIGIN if launched else None)
        instance.report_dagster_event(
            dg.DagsterEvent(event_type_value=f"PIPELINE_{status.value}", job_name=run.job_name), run_id=run.run_id
        )

    with within.open() as ws:
        alive(ws, real + timedelta(hours=2), besides=("deliver_alerts_sensor",))
    assert open_after(0) == []
    # What a command executes itself is nothing that Dagster tells the sensor of.
    ended(launched=False)
    for minutes in (8, 16):
        assert open_after(minutes) == []
    ended(launched=True)
    assert open_after(17) == [f"{sensor} has never ticked"]
    with within.open() as ws:
        states = {f.name: f for f in diagnose(ws.settings, now=real + timedelta(minutes=17))}
        assert f"{sensor}, see its alert" in states["sensors"].detail
        HeartbeatRepository(ws.database).beat(sensor, interval_seconds=0, seconds=0.1, outcome="", now=real + timedelta(minutes=18))
    assert open_after(19) == []


def test_a_sensor_that_stops_is_told_and_told_again_when_it_lives(instance: dg.DagsterInstance, within: WithinResource) -> None:
    tick(drift_sensor, instance, within)
    tick(deliver_alerts_sensor, instance, within)
    with within.open() as ws:
        ticked = {beat.sensor for beat in HeartbeatRepository(ws.database).all() if beat.ticks}
        assert ticked == {"drift_sensor", "deliver_alerts_sensor"}
        alive(ws, NOW + timedelta(hours=2))
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
        assert [beat.sensor for beat in HeartbeatRepository(ws.database).all() if beat.ticks] == []


ACCOUNTS, DAYS = 10_000, 60


def log_many_files(ws: Workspace) -> None:
    """What the lake notes when each of many accounts delivers a file a day."""
    accounts = [f"google_ads/{number:06d}" for number in range(ACCOUNTS)]
    files = pl.DataFrame({"covered": [[account] for account in accounts], "file_name": [f"{account}/day.csv" for account in accounts]})
    for back in range(DAYS):
        day = LAST_DAY - timedelta(days=DAYS - 1 - back)
        rows = files.with_columns(
            file_sha256=pl.concat_str(pl.lit(f"{back:04d}"), pl.int_range(pl.len()).cast(pl.String).str.zfill(60)),
            platform=pl.lit("google_ads"), status=pl.lit("ingested"), kind=pl.lit("facts"), reason=pl.lit(""), first_date=day,
            last_date=day, as_of=NOW, ingested_at=NOW, commit_seq=back + 1,
            **{name: pl.lit(20) for name in ("rows_in", "rows_accepted", "rows_unchanged", "rows_quarantined")},
        )  # fmt: skip
        ws.lake._log.append(rows.to_arrow())


def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Which tables of the lake are read from now on, and which columns."""
    read: list[tuple[str, Any]] = []
    real = StoredTable.read

    def noted(self: StoredTable, condition: Any = None, columns: Any = None) -> pl.DataFrame:
        read.append((Path(self.uri).name, columns))
        return real(self, condition, columns)

    monkeypatch.setattr(StoredTable, "read", noted)
    return read


@pytest.mark.slow
def test_a_tick_with_ten_thousand_accounts_takes_at_most_five_seconds(within: WithinResource, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the processor, on two months of a file a day from each account; the slowest takes less than two. The clock of a busy machine tells
    of its other work."""
    landing = within.settings().landing
    for number in range(ACCOUNTS):
        folder = landing / "google_ads" / f"{number:06d}"
        folder.mkdir(parents=True)
        (folder / "day.csv").write_text("Day,Clicks\n")
    monitored(within, finding(features=("a",)), finding("data_drift", features=("b",)))
    with within.open() as ws:
        log_many_files(ws)
        for model in ("account_health", "anomaly"):
            serve(ws, model)
        state = model_state(ws, "ad_score", in_flight=None)
        assert state.days_now == ACCOUNTS * DAYS
        manager = AlertManager(ws)
        for number in range(60):
            manager.tell(Alert(f"account/google_ads/{number}", Severity.WARNING, "x", "", "y", group="accounts/google_ads"), now=NOW)
    read = reads(monkeypatch)
    with dg.DagsterInstance.ephemeral() as instance:
        for sensor in (new_exports_sensor, drift_sensor, performance_sensor, deliver_alerts_sensor, canary_sensor, orphaned_run_sensor):
            read.clear()
            started = time.process_time()
            tick(sensor, instance, within)
            took = time.process_time() - started
            assert took <= 5, f"{sensor.name} took {took:.1f} s"
            # No facts; of the log as few columns as can be, once for all models.
            wanted = [("ingest_log", ["commit_seq", "first_date", "last_date", "covered"])] if sensor is drift_sensor else []
            assert read == wanted, sensor.name


def test_a_tick_with_nothing_to_decide_does_not_read_the_log(within: WithinResource, monkeypatch: pytest.MonkeyPatch) -> None:
    read = reads(monkeypatch)
    with dg.DagsterInstance.ephemeral() as instance:
        _, cursor = tick(drift_sensor, instance, within)
        assert [table for table, _ in read] == ["ingest_log"]
        read.clear()
        tick(drift_sensor, instance, later(within, minutes=1), cursor)
    assert read == []


def test_day_of_report_is_the_one_stored(within: WithinResource) -> None:
    monitored(within, finding())
    with within.open() as ws:
        report = MonitoringRepository(ws.database).report()
    assert report is not None
    assert report.day == LAST_DAY
