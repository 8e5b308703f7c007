"""New exports start an ingest; failed runs and failed checks become alerts, and their recovery closes them.

Open-source Dagster has no sensor on check results, so the alert sensors look at finished runs and read the check evaluations from the
run's own records; a run that failed is read as well, because a blocking check fails its run."""

import hashlib
from collections.abc import Iterator

import dagster as dg

from within_pipelines.defs.delivery import DELIVERY_SENSORS
from within_pipelines.defs.heartbeat import SENSOR_SECONDS, heartbeat
from within_pipelines.defs.ingest.assets import SETTLE_SECONDS
from within_pipelines.defs.jobs import JOBS, advance_canary, ingest_daily
from within_pipelines.defs.reaper import reap_orphaned_runs
from within_pipelines.defs.resource import WithinResource
from within_pipelines.defs.retraining import RETRAINING_SENSORS, unfinished_run

RUNNING = dg.DefaultSensorStatus.RUNNING


@dg.sensor(
    name="new_exports_sensor",
    job=ingest_daily,
    minimum_interval_seconds=SENSOR_SECONDS,
    default_status=RUNNING,
    description="Starts one ingest for every new state of the landing folder.",
)
@heartbeat("new_exports_sensor", seconds=SENSOR_SECONDS)
def new_exports_sensor(context: dg.SensorEvaluationContext, within: WithinResource) -> dg.SensorResult | dg.SkipReason:
    """Compare names, sizes and times of the landed files with the last tick; file contents are not read here."""
    from within_pipelines.ingest import landing_files

    landing = within.settings().landing
    if not landing.is_dir():
        return dg.SkipReason(f"{landing} does not exist yet; put exports there.")
    digest = hashlib.sha256()
    files = landing_files(landing)
    newest = 0.0
    for path in files:
        status = path.lstat()
        newest = max(newest, status.st_mtime)
        digest.update(f"{path.relative_to(landing)}\0{status.st_size}\0{status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    state = digest.hexdigest()
    if state == context.cursor or not files:
        return dg.SkipReason(f"Nothing new among {len(files)} files in {landing}.")
    if within.clock().timestamp() - newest < SETTLE_SECONDS and within.now is None:
        return dg.SkipReason("A file changed a moment ago and may still be growing; the next tick looks again.")
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=f"landing-{state}")], cursor=state)


def _failed_checks(context: dg.RunStatusSensorContext) -> Iterator[tuple[dg.AssetCheckEvaluation, bool]]:
    """Every check that the run evaluated, with whether it passed."""
    records = context.instance.get_records_for_run(context.dagster_run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    for record in records.records:
        event = record.event_log_entry.dagster_event
        if event is not None:
            evaluation = event.asset_check_evaluation_data
            yield evaluation, evaluation.passed


def _tell_checks(context: dg.RunStatusSensorContext, within: WithinResource) -> int:
    from within_pipelines.monitoring import alert_for_check
    from within_pipelines.pipeline import close_alert, open_alert

    failed = 0
    with within.open() as workspace:
        for evaluation, passed in _failed_checks(context):
            asset, check = evaluation.asset_key.to_user_string(), evaluation.check_name
            if check.endswith(_TOLD_BY_DRIFT_SENSOR):
                continue
            detail = evaluation.description or "; ".join(f"{k}: {v.value}" for k, v in evaluation.metadata.items() if k in _SHORT)
            alert = alert_for_check(
                asset=asset,
                check=check,
                passed=passed,
                blocking=bool(evaluation.blocking),
                detail=detail or f"See the check {check} of {asset} in run {context.dagster_run.run_id}.",
                context={"run_id": context.dagster_run.run_id, "job": context.dagster_run.job_name},
            )
            if alert is None:
                close_alert(workspace, f"check/{asset}/{check}", now=within.clock())
            else:
                failed += 1
                open_alert(workspace, alert, now=within.clock())
    return failed


# These checks show findings that `drift_sensor` tells with their money and cause.
_TOLD_BY_DRIFT_SENSOR = "_is_calm"
_SHORT = frozenset({"failed", "rows", "files_off", "open", "champion", "infinite", "missing_everywhere", "off"})


@dg.run_status_sensor(
    name="check_failure_sensor",
    run_status=dg.DagsterRunStatus.SUCCESS,
    monitored_jobs=JOBS,
    minimum_interval_seconds=min(30, SENSOR_SECONDS),
    default_status=RUNNING,
    description="Checks that failed in a run that went on: an alert each; checks that pass again close theirs.",
)
@heartbeat("check_failure_sensor", seconds=0)
def check_failure_sensor(context: dg.RunStatusSensorContext, within: WithinResource) -> None:
    """A run that succeeds closes the alert about its failures."""
    from within_pipelines.pipeline import close_alert

    _tell_checks(context, within)
    with within.open() as workspace:
        from within_pipelines.database import AlertRepository

        job = context.dagster_run.job_name
        for key in AlertRepository(workspace.database).alerts()["dedup_key"].to_list():
            if key == f"run/{job}" or key.startswith(f"run/{job}/"):
                close_alert(workspace, key, now=within.clock())


@dg.run_failure_sensor(
    name="run_failure_alert_sensor",
    monitored_jobs=JOBS,
    minimum_interval_seconds=min(30, SENSOR_SECONDS),
    default_status=RUNNING,
    description="A failed run becomes an alert that names its step and error; so do the checks that failed in it.",
)
@heartbeat("run_failure_alert_sensor", seconds=0)
def run_failure_alert_sensor(context: dg.RunFailureSensorContext, within: WithinResource) -> None:
    """One alert per job and step while the failure lasts."""
    from within_pipelines.monitoring import alert_for_run
    from within_pipelines.pipeline import open_alert

    steps = context.get_step_failure_events()
    step = steps[0].step_key or "" if steps else ""
    error = context.failure_event.message or "The run failed."
    with within.open() as workspace:
        run = context.dagster_run
        open_alert(workspace, alert_for_run(job=run.job_name, run_id=run.run_id, step=step, error=error), now=within.clock())
    _tell_checks(context, within)


@dg.sensor(
    name="orphaned_run_sensor",
    minimum_interval_seconds=SENSOR_SECONDS,
    default_status=RUNNING,
    description="Fails runs whose process was killed, so that the queue does not wait for them.",
)
@heartbeat("orphaned_run_sensor", seconds=SENSOR_SECONDS)
def orphaned_run_sensor(context: dg.SensorEvaluationContext, within: WithinResource) -> dg.SkipReason:
    """Never requests a run; what it did is in its skip reason."""
    reaped = reap_orphaned_runs(context.instance)
    return dg.SkipReason(
        f"Failed {len(reaped)} runs whose process is gone: {', '.join(reaped)}" if reaped else "Every started run is alive."
    )


@dg.sensor(
    name="canary_sensor",
    job=advance_canary,
    minimum_interval_seconds=SENSOR_SECONDS,
    default_status=RUNNING,
    description="Starts a step of the canaries when one is due: an unfinished intention, a new day, outcomes that came since, or a "
    "challenger whose declared canary may begin.",
)
@heartbeat("canary_sensor", seconds=SENSOR_SECONDS)
def canary_sensor(context: dg.SensorEvaluationContext, within: WithinResource) -> dg.SensorResult | dg.SkipReason:
    """The run key holds what is due, so that one state of the canaries starts one run; what a run has begun it may finish."""
    from within_pipelines.exceptions import SchemaError
    from within_pipelines.pipeline import due_canaries, waiting_canaries

    now = within.clock()
    settings = within.settings()
    if settings.database_url is None and not (settings.home / "within.db").is_file():
        return dg.SkipReason("Nothing has run here yet.")
    if (busy := unfinished_run(context.instance, advance_canary.name)) is not None:
        return dg.SkipReason(f"Run {busy} takes what is due; the next tick looks again.")
    with within.open() as workspace:
        due = due_canaries(workspace, on=now.date())
        try:
            due += waiting_canaries(workspace, on=now.date())
        except SchemaError as error:
            # An open canary can be taken back whatever the file says.
            context.log.error(f"No canary begins: {error}")
    if not due:
        return dg.SkipReason("No canary has a step to take.")
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key="canary-" + ",".join(due))])


SENSORS = [
    canary_sensor,
    orphaned_run_sensor,
    new_exports_sensor,
    check_failure_sensor,
    run_failure_alert_sensor,
    *DELIVERY_SENSORS,
    *RETRAINING_SENSORS,
]
