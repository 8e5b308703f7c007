"""Daily ingest and scores, weekly retraining, daily golden-set validation and monitoring. All times are UTC."""

from datetime import timedelta

import dagster as dg

from within_pipelines.defs.jobs import MODELS, compact_lake, monitor_drift, retrain, score_daily, validate_golden_set

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

SCHEDULES: list[dg.ScheduleDefinition] = [
    ingest_and_score_daily,
    *(
        dg.ScheduleDefinition(
            name=f"retrain_{model}_weekly",
            job=retrain[model],
            cron_schedule=f"0 13 * * {WEEKDAY[model]}",
            execution_timezone="UTC",
            default_status=RUNNING,
            description=f"Retrain {model} once a week; the gates decide whether the new version serves.",
        )
        for model in MODELS
    ),
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
