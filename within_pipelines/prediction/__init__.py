"""What will happen: how well will this creative do, will this account degrade, which metric misbehaves?

Heavy libraries load inside the functions that use them, so importing this room is cheap."""

from within_pipelines.prediction.account_health import (
    AccountHealth,
    AccountHealthPredictor,
    AccountHealthReports,
    RiskFactor,
    evaluate_account_health,
    split_account_health,
    train_account_health,
)
from within_pipelines.prediction.ad_score import (
    AdScore,
    AdScorePredictor,
    AdScores,
    evaluate_ad_score,
    split_ad_score,
    train_ad_score,
)
from within_pipelines.prediction.anomaly import AnomalyDetector, Calendar, evaluate_anomaly, split_anomaly, train_anomaly
from within_pipelines.prediction.artifact import Artifact, read_artifact, write_artifact
from within_pipelines.prediction.champion import ChampionSource, champion_folder, set_champion_source
from within_pipelines.prediction.evaluation import Evaluation

__all__ = [
    "AccountHealth",
    "AccountHealthPredictor",
    "AccountHealthReports",
    "AdScore",
    "AdScorePredictor",
    "AdScores",
    "AnomalyDetector",
    "Artifact",
    "Calendar",
    "ChampionSource",
    "Evaluation",
    "RiskFactor",
    "champion_folder",
    "evaluate_account_health",
    "evaluate_ad_score",
    "evaluate_anomaly",
    "read_artifact",
    "set_champion_source",
    "split_account_health",
    "split_ad_score",
    "split_anomaly",
    "train_account_health",
    "train_ad_score",
    "train_anomaly",
    "write_artifact",
]
