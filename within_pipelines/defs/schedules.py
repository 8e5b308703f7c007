"""Daily ingest, scores, golden-set validation and monitoring, weekly retraining, monthly refresh of everything. All times are UTC."""

from collections.abc import Iterable
from datetime import timedelta

import dagster as dg

from within_pipelines.defs.jobs import MODELS, compact_lake, monitor_drift, retrain, score_daily, train_and_score, validate_golden_set
from within_pipelines.defs.resource import WithinResource
from within_pipelines.defs.retraining import run_in_flight

RUNNING = dg.DefaultScheduleStatus.RUNNING


@dg.schedule(
    name="ingest_and_score_daily",
    job=score_daily,
    cron_schedule="30 11 * * *",
    execution_timezone="UTC",
    default_status=RUNNING,
    description="Half an hour before noon every account's day is over and the morning's exports have landed: score the day before.",
)
def ingest_and_score_daily(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Score the day before the tick."""
    day = (context.scheduled_execution_time - timedelta(days=1)).strftime("%Y-%m-%d")
    return dg.RunRequest(run_key=f"score-{day}", partition_key=day)


WEEKDAY = {"ad_score": "1", "account_health": "2", "anomaly": "3"}


def _held(within: WithinResource, models: Iterable[str], schedule: str) -> str:
    """Why `models` are not trained while the ruler by which they are measured has changed; empty when it has not."""
    from within_pipelines.pipeline import schedule_held

    with within.open() as workspace:
        held = {model: schedule_held(workspace, model, schedule=schedule, now=within.clock()) for model in models}
    return " ".join(f"{model}: {reason}" for model, reason in held.items() if reason is not None)


def _weekly(model: str) -> dg.ScheduleDefinition:
    name = f"retrain_{model}_weekly"

    @dg.schedule(
        name=name,
        job=retrain[model],
        cron_schedule=f"0 13 * * {WEEKDAY[model]}",
        execution_timezone="UTC",
        default_status=RUNNING,
        description=f"Retrain {model} once a week; the gates decide whether the new version serves.",
    )
    def weekly(context: dg.ScheduleEvaluationContext, within: WithinResource) -> dg.RunRequest | dg.SkipReason:
        busy = run_in_flight(context.instance, model)
        if busy is not None:
            return dg.SkipReason(f"Run {busy} trains {model} already.")
        held = _held(within, [model], name)
        if held:
            return dg.SkipReason(held)
        return dg.RunRequest(run_key=f"retrain-{model}-{context.scheduled_execution_time:%G-W%V}", tags={"within/trigger": "weekly"})

    return weekly


@dg.schedule(
    name="full_refresh_monthly",
    job=train_and_score,
    cron_schedule="0 14 1 * *",
    execution_timezone="UTC",
    default_status=RUNNING,
    description="On the first of a month: build every feature table anew, train and judge all models, score the day before.",
)
def full_refresh_monthly(context: dg.ScheduleEvaluationContext, within: WithinResource) -> dg.RunRequest | dg.SkipReason:
    """One run a month, not beside another training, and not while a model's measurement has changed: it trains them all."""
    busy = {model: found for model in MODELS if (found := run_in_flight(context.instance, model)) is not None}
    if busy:
        return dg.SkipReason(f"Still training: {', '.join(f'{model} in run {run}' for model, run in busy.items())}.")
    held = _held(within, MODELS, "full_refresh_monthly")
    if held:
        return dg.SkipReason(held)
    day = (context.scheduled_execution_time - timedelta(days=1)).strftime("%Y-%m-%d")
    return dg.RunRequest(run_key=f"refresh-{context.scheduled_execution_time:%Y-%m}", partition_key=day, tags={"within/trigger": "monthly"})


SCHEDULES: list[dg.ScheduleDefinition] = [
    ingest_and_score_daily,
    full_refresh_monthly,
    *(_weekly(model) for model in MODELS),
    dg.ScheduleDefinition(
        name="validate_golden_set_daily",
        job=validate_golden_set,
        cron_schedule="0 12 * * *",
        execution_timezone="UTC",
        default_status=RUNNING,
        description="Ask every champion its golden sample again, every day.",
    ),
    dg.ScheduleDefinition(
        name="monitor_drift_daily",
        job=monitor_drift,
        cron_schedule="15 12 * * *",
        execution_timezone="UTC",
        default_status=RUNNING,
        description="After the morning's exports and scores: has the world moved since the champions were trained?",
    ),
    dg.ScheduleDefinition(
        name="compact_lake_weekly",
        job=compact_lake,
        cron_schedule="0 3 * * 0",
        execution_timezone="UTC",
        default_status=RUNNING,
        description="Merge small files of the lake and forget derived tables, on Sunday night.",
    ),
]
