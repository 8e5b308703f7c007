"""Will this account degrade, why, and what to look at?"""

from within_pipelines.prediction.account_health.evaluation import (
    evaluate_account_health,
    split_account_health,
    train_account_health,
)
from within_pipelines.prediction.account_health.predictor import HEALTH_KINDS, AccountHealthPredictor
from within_pipelines.prediction.account_health.report import AccountHealth, AccountHealthReports, RiskFactor
from within_pipelines.prediction.account_health.scores import tier_of

__all__ = [
    "HEALTH_KINDS",
    "AccountHealth",
    "AccountHealthPredictor",
    "AccountHealthReports",
    "RiskFactor",
    "evaluate_account_health",
    "split_account_health",
    "tier_of",
    "train_account_health",
]
