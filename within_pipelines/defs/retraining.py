"""Monitoring's findings become alerts and decisions here, and decisions become runs: one per cause, one in flight per model."""

import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from within_pipelines.defs.heartbeat import SENSOR_SECONDS, heartbeat
from within_pipelines.defs.jobs import MODELS, monitor_drift, retrain
from within_pipelines.defs.resource import WithinResource
from within_pipelines.defs.watch import watch

if TYPE_CHECKING:
    from within_pipelines.monitoring import MonitorReport
    from within_pipelines.pipeline import Workspace

RUNNING = dg.DefaultSensorStatus.RUNNING
_BUSY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
# Watched from here, because it watches all the others and nobody else watches it.
_DELIVERS = "deliver_alerts_sensor"
# Jobs that train a model besides its own.
_TRAIN_ALL = "train_and_score"
RUN_KEY_TAG = "dagster/run_key"


def unfinished_run(instance: dg.DagsterInstance, job: str) -> str | None:
    """The id of a run of `job` that has not ended."""
    found = instance.get_runs(dg.RunsFilter(job_name=job, statuses=_BUSY), limit=1)
    return found[0].run_id if found else None


def run_in_flight(instance: dg.DagsterInstance, model: str) -> str | None:
    """The id of a run that trains `model` and has not ended."""
    return unfinished_run(instance, retrain[model].name) or unfinished_run(instance, _TRAIN_ALL)


def run_begun(instance: dg.DagsterInstance, run_key: str) -> bool:
    """Whether a run of this key was handed to the queue, whatever has become of it. One that was created and not handed over is asked for
    again: the daemon then starts that very run."""
    runs = instance.get_runs(dg.RunsFilter(tags={RUN_KEY_TAG: run_key}))
    return any(run.status is not dg.DagsterRunStatus.NOT_STARTED for run in runs)


# Dagster knows a run key per sensor: the same key from both would start two runs, so each asks for what it decides about.
_OF_PERFORMANCE = frozenset({"performance_loss", "concept_drift"})


def _requests(
    workspace: "Workspace", within: WithinResource, instance: dg.DagsterInstance, *, performance_only: bool
) -> Iterator[dg.RunRequest]:
    from within_pipelines.pipeline import runs_to_request

    for decision in runs_to_request(workspace, started=lambda key: run_begun(instance, key), now=within.clock()):
        if (decision.trigger in _OF_PERFORMANCE) is not performance_only:
            continue
        busy = run_in_flight(instance, decision.model)
        run = None if busy is None else instance.get_run_by_id(busy)
        # A schedule may have begun to train the model since; what it brings may make this run needless.
        if run is not None and run.tags.get(RUN_KEY_TAG) != decision.run_key:
            continue
        yield dg.RunRequest(
            run_key=decision.run_key,
            job_name=retrain[decision.model].name,
            tags={"within/trigger": decision.trigger, "within/cause": decision.cause[:200]},
        )


def _unmonitored(workspace: "Workspace", report: "MonitorReport | None") -> list[dg.RunRequest]:
    """A run of the monitors for a newest day that they have not seen, once anything serves."""
    last = workspace.lake.last_logged_date()
    if last is None or (report is not None and report.day >= last):
        return []
    if all(workspace.registry.alias(model, "champion") is None for model in MODELS):
        return []
    return [dg.RunRequest(run_key=f"monitor-{last}", job_name=monitor_drift.name)]


def _state_of(report: "MonitorReport | None", within: WithinResource, asked: int) -> str:
    """What a tick has looked at; the day is part of it because champions age."""
    seen = None if report is None else [report.day.isoformat(), report.generated_at.isoformat()]
    return json.dumps([seen, within.clock().date().isoformat(), asked])


def _tick(context: dg.SensorEvaluationContext, within: WithinResource, *, performance_only: bool) -> dg.SensorResult | dg.SkipReason:
    from within_pipelines.database import RetrainingRepository
    from within_pipelines.pipeline import decide_retraining, latest_report, tell_findings

    with within.open() as workspace:
        report = latest_report(workspace)
        asked = [request.id for model in MODELS for request in RetrainingRepository(workspace.database).requests(model)]
        state = _state_of(report, within, max(asked, default=0) if not performance_only else 0)
        waiting = list(_requests(workspace, within, context.instance, performance_only=performance_only))
        if not performance_only:
            waiting += _unmonitored(workspace, report)
        if state == context.cursor:
            # What was decided and has no run yet goes out again under the same key: a process may have died in between.
            if waiting:
                return dg.SensorResult(run_requests=waiting, cursor=state)
            return dg.SkipReason("Nothing new since the last tick.")
        if report is not None and not performance_only:
            tell_findings(workspace, report, now=within.clock())
        decided = decide_retraining(
            workspace,
            report,
            in_flight=lambda model: run_in_flight(context.instance, model),
            now=within.clock(),
            performance_only=performance_only,
        )
        for answer in decided:
            if answer.new:
                context.log.info(f"{answer.decision.model}: {answer.decision.action}: {answer.decision.reason}")
        requests = list(_requests(workspace, within, context.instance, performance_only=performance_only))
        if not performance_only:
            requests += _unmonitored(workspace, report)
    # Something that waits is looked at again at the next tick, also when nothing else is new.
    settled = all(str(answer.decision.action) != "wait" for answer in decided)
    cursor = state if settled else (context.cursor or "")
    said = "; ".join(f"{answer.decision.model}: {answer.decision.action}, {answer.decision.reason}" for answer in decided)
    if not requests:
        context.update_cursor(cursor)
        return dg.SkipReason(said)
    return dg.SensorResult(run_requests=requests, cursor=cursor)


@dg.sensor(
    name="drift_sensor",
    jobs=[monitor_drift, *retrain.values()],
    minimum_interval_seconds=SENSOR_SECONDS,
    default_status=RUNNING,
    description="Has new days monitored, tells what was found, and retrains where the policy says that it pays, or where somebody asked.",
)
@heartbeat("drift_sensor", seconds=SENSOR_SECONDS)
def drift_sensor(context: dg.SensorEvaluationContext, within: WithinResource) -> dg.SensorResult | dg.SkipReason:
    """Reads stored findings and, from the statistics of the log of files, the newest day: that takes as long for one account as for many.

    Only a tick that decides (the day, the findings or the requests are new, or a decision waits) also reads once which accounts and days
    the files are about, which grows with their number: half a second at 10,000 accounts with a file a day each for 60 days, about three
    for a year. Facts are never read."""
    _watch_delivery(context, within)
    return _tick(context, within, performance_only=False)


def _watch_delivery(context: dg.SensorEvaluationContext, within: WithinResource) -> None:
    """Tell that nobody tells any more: where `deliver_alerts_sensor` has stopped, messages leave from here, that one first of all."""
    from within_pipelines.pipeline import AlertManager

    with within.open() as workspace:
        manager = AlertManager(workspace)
        dead = watch(manager, workspace, context.instance, sensors=[_DELIVERS], by=drift_sensor.name, now=within.clock())
        if dead:
            manager.deliver(clock=within.clock, environ=os.environ, log=context.log.warning)


@dg.sensor(
    name="performance_sensor",
    jobs=list(retrain.values()),
    minimum_interval_seconds=SENSOR_SECONDS,
    default_status=RUNNING,
    description="Starts a retraining where answers have become worse, as realised or as estimated, and the policy says that it pays.",
)
@heartbeat("performance_sensor", seconds=SENSOR_SECONDS)
def performance_sensor(context: dg.SensorEvaluationContext, within: WithinResource) -> dg.SensorResult | dg.SkipReason:
    """Looks only at performance; age, volume and requests are the drift sensor's."""
    return _tick(context, within, performance_only=True)


RETRAINING_SENSORS = [drift_sensor, performance_sensor]
