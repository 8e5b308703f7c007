"""Runs whose process died stay STARTED in Dagster; say that they failed, so that nothing waits for them."""

import os
from collections.abc import Iterable

import dagster as dg


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _pids(instance: dg.DagsterInstance, run_id: str) -> Iterable[int]:
    """Processes that said they execute this run."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        metadata = entry.dagster_event.engine_event_data.metadata if entry.dagster_event is not None else {}
        pid = metadata.get("pid")
        if pid is not None and str(pid.value).isdigit():
            yield int(str(pid.value))


def reap_orphaned_runs(instance: dg.DagsterInstance) -> list[str]:
    """Fail every started run of this machine whose processes are all gone; returns their ids.

    A run of which no process is known is left alone: it may be starting, or run on another machine."""
    reaped = []
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        pids = list(_pids(instance, run.run_id))
        if pids and not any(map(_alive, pids)):
            instance.report_run_failed(run, f"The process of this run (pid {pids[-1]}) is gone; it was killed. Run the job again.")
            reaped.append(run.run_id)
    return reaped
