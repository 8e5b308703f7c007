"""What does each step of the daily work do, from stored input to stored output?

Plain functions on an open `Workspace`. Dagster, the command line and a bare Python process call the same ones, so what the UI shows is
what the code does."""

from within_pipelines.pipeline.account_alerts import AccountReview, AlertBacktest, backtest_account_alerts, review_accounts
from within_pipelines.pipeline.account_rows import account_rows, series_rows
from within_pipelines.pipeline.alert_manager import AlertManager, Delivered, Precision, alert_precision
from within_pipelines.pipeline.alerting import close_alert, open_alert
from within_pipelines.pipeline.audit_time import time_text
from within_pipelines.pipeline.canary import (
    abort_canary,
    due_canaries,
    pause_canary,
    record_canary_outcomes,
    resume_canary,
    start_canary,
    step_canary,
)
from within_pipelines.pipeline.canary_feed import feed_canary, outcomes_of_predictions
from within_pipelines.pipeline.canary_release import begin_waiting_canary, waiting_canaries
from within_pipelines.pipeline.decision import decide, write_decision
from within_pipelines.pipeline.drift_reference import DriftReference, keep_reference, read_reference
from within_pipelines.pipeline.experiments import (
    analyse_experiment,
    draft_experiment,
    experiment_units,
    read_result,
    start_experiment,
    stop_experiment,
)
from within_pipelines.pipeline.fairness_audit import FairnessReport, fairness_verdict, newest_fairness, report_fairness
from within_pipelines.pipeline.fairness_page import write_fairness_page
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
from within_pipelines.pipeline.heartbeats import AFTER_RUNS, TICKING, Silent, silent_sensors
from within_pipelines.pipeline.landing import check_quality, ingest_landing, ingest_path, landing_is_empty, provide_exports
from within_pipelines.pipeline.mlflow_mirror import mirror_registry, open_tracker
from within_pipelines.pipeline.monitoring import calendar_path, latest_report, monitor_day, report_path
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
from within_pipelines.pipeline.release_policy import ReleaseRule, release_rules
from within_pipelines.pipeline.retention import Collected, Kept, collect_garbage, retention
from within_pipelines.pipeline.retraining import (
    Decided,
    decide_retraining,
    request_retraining,
    runs_to_request,
    schedule_held,
    tell_findings,
)
from within_pipelines.pipeline.retraining_policy import RetrainingFile, retraining_policy
from within_pipelines.pipeline.robustness_audit import audit_robustness, robustness_report
from within_pipelines.pipeline.rollback import rollback
from within_pipelines.pipeline.scoring import ScoreReport, champion, find_anomalies, score_accounts, score_ads, score_day
from within_pipelines.pipeline.serving_table import serving_table
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
    "AFTER_RUNS",
    "KINDS",
    "MODELS",
    "TICKING",
    "AccountReview",
    "AlertBacktest",
    "AlertManager",
    "Collected",
    "Decided",
    "Delivered",
    "DriftReference",
    "FairnessReport",
    "Judged",
    "Kept",
    "Pin",
    "Precision",
    "ReleaseRule",
    "Released",
    "RetrainingFile",
    "ScoreReport",
    "Silent",
    "Table",
    "Tidied",
    "Trained",
    "Workspace",
    "abort_canary",
    "account_incident",
    "account_rows",
    "ads_incident",
    "alert_precision",
    "analyse_experiment",
    "audit_robustness",
    "backtest_account_alerts",
    "begin_waiting_canary",
    "build_account_features",
    "build_creative_features",
    "build_metric_series",
    "build_training_set",
    "calendar_path",
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
    "decide_retraining",
    "draft_experiment",
    "due_canaries",
    "evaluate",
    "experiment_units",
    "fairness_verdict",
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
    "keep_reference",
    "landing_is_empty",
    "latest_report",
    "load_version",
    "mirror_registry",
    "monitor_day",
    "newest_fairness",
    "open_alert",
    "open_tracker",
    "outcomes_of_predictions",
    "pause_canary",
    "performance_verdict",
    "provide_exports",
    "read_reference",
    "read_result",
    "record_canary_outcomes",
    "release",
    "release_rules",
    "report_fairness",
    "report_path",
    "request_retraining",
    "resume_canary",
    "retention",
    "retraining_policy",
    "review_accounts",
    "robustness_report",
    "rollback",
    "runs_to_request",
    "schedule_held",
    "score_accounts",
    "score_ads",
    "score_day",
    "series_incident",
    "series_rows",
    "serving_table",
    "shadow_report",
    "silent_sensors",
    "start_canary",
    "start_experiment",
    "step_canary",
    "stop_experiment",
    "summarise",
    "tell_findings",
    "tidy",
    "time_text",
    "train",
    "trained_version",
    "training_run",
    "training_set",
    "validate_golden_sets",
    "waiting_canaries",
    "write_decision",
    "write_fairness_page",
]
