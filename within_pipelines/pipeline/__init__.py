"""What does each step of the daily work do, from stored input to stored output?

Plain functions on an open `Workspace`. Dagster, the command line and a bare Python process call the same ones, so what the UI shows is
what the code does."""

from within_pipelines.pipeline.account_rows import account_rows, series_rows
from within_pipelines.pipeline.alerting import close_alert, open_alert
from within_pipelines.pipeline.audits import audit_fairness, audit_robustness
from within_pipelines.pipeline.canary import (
    abort_canary,
    due_canaries,
    outcomes_of_predictions,
    pause_canary,
    record_canary_outcomes,
    resume_canary,
    start_canary,
    step_canary,
)
from within_pipelines.pipeline.canary_feed import feed_canary
from within_pipelines.pipeline.decision import decide, write_decision
from within_pipelines.pipeline.experiments import (
    analyse_experiment,
    draft_experiment,
    read_result,
    start_experiment,
    stop_experiment,
)
from within_pipelines.pipeline.golden import (
    account_incident,
    ads_incident,
    change_golden_set,
    compare_newest,
    compare_with_champion,
    current_golden_set,
    golden_set_folder,
    golden_set_versions,
    golden_slices,
    series_incident,
)
from within_pipelines.pipeline.landing import check_quality, ingest_landing, ingest_path, landing_is_empty, provide_exports
from within_pipelines.pipeline.release import (
    Judged,
    Released,
    calibration_verdict,
    false_alarm_verdict,
    golden_check,
    golden_verdict,
    judge,
    performance_verdict,
    release,
    validate_golden_sets,
)
from within_pipelines.pipeline.retention import Collected, Kept, collect_garbage, retention
from within_pipelines.pipeline.rollback import rollback
from within_pipelines.pipeline.scoring import ScoreReport, champion, find_anomalies, score_accounts, score_ads, score_day
from within_pipelines.pipeline.shadow import shadow_report
from within_pipelines.pipeline.summary import summarise
from within_pipelines.pipeline.tables import (
    Table,
    build_account_features,
    build_creative_features,
    build_metric_series,
    build_training_set,
    code_version,
    feature_table,
    training_set,
)
from within_pipelines.pipeline.training import (
    KINDS,
    MODELS,
    Trained,
    evaluate,
    held_back_rows,
    load_version,
    train,
    trained_version,
    training_run,
)
from within_pipelines.pipeline.upkeep import Tidied, tidy
from within_pipelines.pipeline.workspace import Pin, Workspace

__all__ = [
    "KINDS",
    "MODELS",
    "Collected",
    "Judged",
    "Kept",
    "Pin",
    "Released",
    "ScoreReport",
    "Table",
    "Tidied",
    "Trained",
    "Workspace",
    "abort_canary",
    "account_incident",
    "account_rows",
    "ads_incident",
    "analyse_experiment",
    "audit_fairness",
    "audit_robustness",
    "build_account_features",
    "build_creative_features",
    "build_metric_series",
    "build_training_set",
    "calibration_verdict",
    "champion",
    "change_golden_set",
    "check_quality",
    "close_alert",
    "code_version",
    "collect_garbage",
    "compare_newest",
    "compare_with_champion",
    "current_golden_set",
    "decide",
    "draft_experiment",
    "due_canaries",
    "evaluate",
    "false_alarm_verdict",
    "feature_table",
    "feed_canary",
    "find_anomalies",
    "golden_check",
    "golden_set_folder",
    "golden_set_versions",
    "golden_slices",
    "golden_verdict",
    "held_back_rows",
    "ingest_landing",
    "ingest_path",
    "judge",
    "landing_is_empty",
    "load_version",
    "open_alert",
    "outcomes_of_predictions",
    "pause_canary",
    "performance_verdict",
    "provide_exports",
    "read_result",
    "record_canary_outcomes",
    "release",
    "resume_canary",
    "retention",
    "rollback",
    "score_accounts",
    "score_ads",
    "score_day",
    "series_incident",
    "series_rows",
    "shadow_report",
    "start_canary",
    "start_experiment",
    "step_canary",
    "stop_experiment",
    "summarise",
    "tidy",
    "train",
    "trained_version",
    "training_run",
    "training_set",
    "validate_golden_sets",
    "write_decision",
]
