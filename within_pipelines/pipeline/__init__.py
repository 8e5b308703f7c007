"""What does each step of the daily work do, from stored input to stored output?

Plain functions on an open `Workspace`. Dagster, the command line and a bare Python process call the same ones, so what the UI shows is
what the code does."""

from within_pipelines.pipeline.alerting import close_alert, open_alert
from within_pipelines.pipeline.audits import audit_fairness
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
from within_pipelines.pipeline.robustness_audit import audit_robustness, robustness_report
from within_pipelines.pipeline.scoring import ScoreReport, champion, find_anomalies, score_accounts, score_ads, score_day
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
    "Judged",
    "Pin",
    "Released",
    "ScoreReport",
    "Table",
    "Tidied",
    "Trained",
    "Workspace",
    "audit_fairness",
    "audit_robustness",
    "build_account_features",
    "build_creative_features",
    "build_metric_series",
    "build_training_set",
    "calibration_verdict",
    "champion",
    "check_quality",
    "close_alert",
    "code_version",
    "evaluate",
    "false_alarm_verdict",
    "feature_table",
    "find_anomalies",
    "golden_check",
    "golden_verdict",
    "held_back_rows",
    "ingest_landing",
    "ingest_path",
    "judge",
    "landing_is_empty",
    "load_version",
    "open_alert",
    "performance_verdict",
    "provide_exports",
    "release",
    "robustness_report",
    "score_accounts",
    "score_ads",
    "score_day",
    "summarise",
    "tidy",
    "train",
    "trained_version",
    "training_run",
    "training_set",
    "validate_golden_sets",
]
