"""Which metric of which account misbehaves now, and how sure is that?"""

from __future__ import annotations

from within_pipelines.prediction.anomaly.backtest import evaluate_anomaly
from within_pipelines.prediction.anomaly.calendar import Calendar, Planned
from within_pipelines.prediction.anomaly.cause import Cause, Level, Share, decompose
from within_pipelines.prediction.anomaly.detector import AnomalyDetector
from within_pipelines.prediction.anomaly.findings import Judgement
from within_pipelines.prediction.anomaly.training import split_anomaly, train_anomaly

__all__ = [
    "AnomalyDetector",
    "Calendar",
    "Cause",
    "Judgement",
    "Level",
    "Planned",
    "Share",
    "decompose",
    "evaluate_anomaly",
    "split_anomaly",
    "train_anomaly",
]
