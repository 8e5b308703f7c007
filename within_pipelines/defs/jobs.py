"""What runs together, and when. Jobs are verbs."""

import functools
import operator
from typing import Any

import dagster as dg

from within_pipelines.defs.resource import WithinResource

# One process per run: with light imports a step then costs a tenth of a second instead of three.
IN_PROCESS = dg.in_process_executor

INGEST = dg.AssetSelection.assets("ad_performance", "ad_creatives", "quarantine")
FEATURES = dg.AssetSelection.groups("features")
SCORES = dg.AssetSelection.assets("ad_scores", "account_health", "anomalies", "account_alerts")
MODELS = ("ad_score", "account_health", "anomaly")
FEATURE_TABLE = {"ad_score": "creative_features", "account_health": "account_features", "anomaly": "metric_series"}


def _training(model: str) -> dg.AssetSelection:
    # The group without its scores, which are partitioned by day.
    return dg.AssetSelection.groups(model) - SCORES


ingest_daily = dg.define_asset_job(
    "ingest_daily", selection=INGEST, executor_def=IN_PROCESS, description="Ingest what has landed and check it."
)
score_daily = dg.define_asset_job(
    "score_daily",
    selection=INGEST | SCORES,
    executor_def=IN_PROCESS,
    description="Ingest what has landed, then score one day with the champions.",
)
retrain = {
    model: dg.define_asset_job(
        f"retrain_{model}",
        selection=dg.AssetSelection.assets(FEATURE_TABLE[model]) | _training(model),
        executor_def=IN_PROCESS,
        description=f"Rebuild features, train {model}, judge it, and promote it if every gate passes.",
    )
    for model in MODELS
}
validate_golden_set = dg.define_asset_job(
    "validate_golden_set",
    selection=dg.AssetSelection.assets("golden_set_result", "challenger_comparison", "shadow_report", "champion"),
    executor_def=IN_PROCESS,
    description="Ask every champion the golden set again, and the newest version beside it; what shadows said, and who serves.",
)
advance_canary = dg.define_asset_job(
    "advance_canary",
    selection=dg.AssetSelection.assets("canary_decision", "champion"),
    executor_def=IN_PROCESS,
    description="Take the step that is due in every open canary.",
)
monitor_drift = dg.define_asset_job(
    "monitor_drift",
    selection=dg.AssetSelection.groups("monitoring"),
    executor_def=IN_PROCESS,
    description="Ask every monitor about every champion for the newest day with facts.",
)
train_and_score = dg.define_asset_job(
    "train_and_score",
    selection=FEATURES
    | SCORES
    | dg.AssetSelection.assets("golden_set_result")
    | functools.reduce(operator.or_, (_training(model) for model in MODELS)),
    executor_def=IN_PROCESS,
    description="The main job after the ingest: build features, train, judge, promote what passed, score one day.",
)


@dg.op(description="Merge the lake's small files and forget derived tables that nothing needs.")
def tidy_stores(context: dg.OpExecutionContext, within: WithinResource) -> None:
    """What was done is in the log of the run."""
    from within_pipelines.pipeline import tidy

    with within.open() as workspace:
        tidied = tidy(workspace)
    context.log.info(f"{tidied.tables_forgotten} tables forgotten, {tidied.temporaries_removed} leftovers of killed writers removed")


@dg.job(executor_def=IN_PROCESS, description="Compact the lake and tidy derived tables; no answer changes.")
def compact_lake() -> None:
    """One step."""
    tidy_stores()


JOBS: list[Any] = [
    advance_canary,
    compact_lake,
    ingest_daily,
    score_daily,
    *retrain.values(),
    validate_golden_set,
    monitor_drift,
    train_and_score,
]
