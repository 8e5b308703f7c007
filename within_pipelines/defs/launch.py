"""Run the main job from a terminal on the same Dagster instance as the UI."""

import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from within_pipelines.settings import Settings

_MINIMAL_INSTANCE = "telemetry:\n  enabled: false\n"


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How the job ended: `failed_steps` in their order, `message` the first failure in one line."""

    success: bool
    run_id: str
    failed_steps: tuple[str, ...]
    message: str


def dagster_home(settings: "Settings") -> Path:
    """`DAGSTER_HOME` where it is set, else HOME/dagster; a `dagster.yaml` is put there when it has none.

    Raises `SettingsError` when `DAGSTER_HOME` is not absolute, because Dagster would refuse it later with less to say."""
    from within_pipelines.exceptions import SettingsError
    from within_pipelines.files import write_text

    given = os.environ.get("DAGSTER_HOME")
    home = Path(given) if given else settings.home / "dagster"
    if not home.is_absolute():
        raise SettingsError(f"DAGSTER_HOME={given} is not absolute; set it to a full path, for example {settings.home / 'dagster'}.")
    if not (home / "dagster.yaml").is_file():
        own = Path("dagster.yaml")
        write_text(home / "dagster.yaml", own.read_text() if own.is_file() else _MINIMAL_INSTANCE)
    return home


def run_main_job(settings: "Settings", *, now: datetime, on_step: Callable[[str, str], None], day: date | None = None) -> RunOutcome:
    """Ingest and check what has landed; then build features, train, judge, promote, and score `day` (default: the newest day with facts).

    When nothing has landed, the demo agency's exports are written first. Both runs are recorded on the instance with all their events, so
    the UI shows them like any other; a blocking check that fails in the first keeps the second from starting. `on_step` hears of each
    step: "started", "succeeded", "failed" or "skipped"."""
    from within_pipelines.pipeline import Workspace, landing_is_empty, provide_exports

    if landing_is_empty(settings.landing):
        on_step("demo_agency", "started")
        provide_exports(settings, today=now.date())
        on_step("demo_agency", "succeeded")
    ingested = execute("ingest_daily", settings, partition=None, now=now, on_step=on_step)
    if not ingested.success:
        return ingested
    with Workspace.open(settings) as workspace:
        day = day if day is not None else workspace.lake.last_event_date()
    if day is None:
        return RunOutcome(False, ingested.run_id, ("landed_exports",), f"{settings.landing} holds no usable facts; see the quarantine.")
    return execute("train_and_score", settings, partition=day.isoformat(), now=now, on_step=on_step)


def execute(
    job_name: str,
    settings: "Settings",
    *,
    partition: str | None,
    now: datetime,
    on_step: Callable[[str, str], None],
    tags: Mapping[str, str] | None = None,
) -> RunOutcome:
    """Run one job in this process and record it on the instance, with `tags`."""
    from within_pipelines.defs.catalogue import defs
    from within_pipelines.defs.reaper import reap_orphaned_runs
    from within_pipelines.defs.resource import WithinResource

    home = dagster_home(settings)
    heard = {
        dg.DagsterEventType.STEP_START: "started",
        dg.DagsterEventType.STEP_SUCCESS: "succeeded",
        dg.DagsterEventType.STEP_FAILURE: "failed",
        dg.DagsterEventType.STEP_SKIPPED: "skipped",
    }
    failures: dict[str, str] = {}

    def listen(entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        if event is None or event.event_type not in heard or event.step_key is None:
            return
        if event.event_type is dg.DagsterEventType.STEP_FAILURE:
            failures[event.step_key] = _reason(event)
        on_step(event.step_key, heard[event.event_type])

    run_id = str(uuid.uuid4())
    with dg.DagsterInstance.from_config(str(home)) as instance:
        reap_orphaned_runs(instance)
        instance.add_event_listener(run_id, listen)
        result = defs.resolve_job_def(job_name).execute_in_process(
            instance=instance,
            run_id=run_id,
            partition_key=partition,
            tags=dict(tags or {}),
            raise_on_error=False,
            # The terminal shows steps and a summary; every event is on the instance for the UI.
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            resources={"within": WithinResource(home=str(settings.home), now=now.isoformat())},
        )
    message = next((f"{step}: {reason}" for step, reason in failures.items()), "")
    return RunOutcome(result.success, run_id, tuple(failures), message)


def _reason(event: dg.DagsterEvent) -> str:
    """The error that a person caused or can mend, in one line: the innermost cause, without the frames around it."""
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    text = " ".join((error.message if error is not None else event.message or "failed").split())
    # "package.module.SomeError: what happened" reads better without the path.
    kind, separator, message = text.partition(": ")
    return f"{kind.rsplit('.', 1)[-1]}{separator}{message}"
