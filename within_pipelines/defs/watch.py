"""Who watches the sensors: `deliver_alerts_sensor` all of them, `drift_sensor` that one."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from within_pipelines.defs.heartbeat import SENSOR_SECONDS
from within_pipelines.defs.jobs import JOBS

if TYPE_CHECKING:
    from within_pipelines.database import Heartbeat
    from within_pipelines.pipeline import AlertManager, Workspace

# Which runs a sensor that is called after runs is told of.
TOLD_OF = {"check_failure_sensor": dg.DagsterRunStatus.SUCCESS, "run_failure_alert_sensor": dg.DagsterRunStatus.FAILURE}
_MOST_RUNS = 100


def watch(
    manager: "AlertManager", workspace: "Workspace", instance: dg.DagsterInstance, *, sensors: Sequence[str], by: str, now: datetime
) -> tuple[str, ...]:
    """Open an alert for each of `sensors` that has stopped, close those of sensors that live; returns the ones that have stopped.

    A sensor that never ticked is missed from the first time on that somebody watches for it. Where `by`, who watches, was silent itself,
    the daemon was off: the others get a tick's time to come back."""
    from within_pipelines.database import HeartbeatRepository
    from within_pipelines.monitoring import alert_for_silent_sensor
    from within_pipelines.pipeline import AFTER_RUNS, silent_sensors

    repository = HeartbeatRepository(workspace.database)
    repository.expect({name: 0 if name in AFTER_RUNS else SENSOR_SECONDS for name in sensors}, now=now)
    beats = repository.all()
    unheard = {name: ended for name in set(sensors) & set(TOLD_OF) if (ended := _unheard(instance, name, beats)) is not None}
    silent = {found.sensor: found for found in silent_sensors(beats, now=now, unheard=unheard)}
    told = []
    for name in sensors:
        if name not in silent:
            manager.close(f"sensor/{name}", now=now)
        elif by not in silent:
            found = silent[name]
            alert = alert_for_silent_sensor(name, last_tick_at=found.last_tick_at, ticks=found.ticks, run_ended_at=unheard.get(name))
            manager.tell(alert, now=now)
            told.append(name)
    return tuple(told)


def _unheard(instance: dg.DagsterInstance, sensor: str, beats: "list[Heartbeat]") -> datetime | None:
    """When the first run ended that `sensor` should have been told of since its last beat.

    Dagster tells only of runs that were launched from a code location, not of those that `within run` executes itself."""
    since = next(beat.last_tick_at for beat in beats if beat.sensor == sensor)
    wanted = dg.RunsFilter(statuses=[TOLD_OF[sensor]], updated_after=since)
    jobs = {job.name for job in JOBS}
    ended = [
        record.end_time
        for record in instance.get_run_records(wanted, limit=_MOST_RUNS, ascending=True)
        if record.end_time is not None
        and record.end_time > since.timestamp()
        and record.dagster_run.job_name in jobs
        and record.dagster_run.remote_job_origin is not None
    ]
    return datetime.fromtimestamp(min(ended), UTC) if ended else None
