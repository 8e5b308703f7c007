"""How are scores, health, metrics, versions, verdicts, findings and alerts kept?

The only room that imports SQLAlchemy. Other rooms hand over and receive frozen values or polars frames, never ORM objects."""

from within_pipelines.database.alert_store import AlertStore, Resolution
from within_pipelines.database.alerting import AlertEventModel, OutboxModel
from within_pipelines.database.base import BaseModel, UTCDateTime
from within_pipelines.database.canaries import CanaryMove, CanaryRecord, CanaryRepository
from within_pipelines.database.engine import Database
from within_pipelines.database.experiment_store import ExperimentRepository, GoldenResultRepository
from within_pipelines.database.experiments import (
    CanaryLookModel,
    CanaryModel,
    CanaryOutcomeModel,
    ExperimentLookModel,
    ExperimentModel,
    GoldenResultModel,
)
from within_pipelines.database.keys import ApiKeyModel, ApiKeyRecord, ApiKeyRepository
from within_pipelines.database.monitoring import MonitorFindingModel, MonitoringRepository
from within_pipelines.database.operations import (
    AlertModel,
    AliasHistoryModel,
    AliasModel,
    ModelVersionModel,
    TrainingRunModel,
    VerdictModel,
)
from within_pipelines.database.outbox import Claimed, Outbox
from within_pipelines.database.predictions import OutcomeModel, PredictionModel, PredictionRepository
from within_pipelines.database.records import AlertRecord, AlertRepository, TrainingRun, TrainingRunRepository
from within_pipelines.database.registry import SqlRegistry
from within_pipelines.database.repositories import AccountHealthRepository, AdScoreRepository, PerformanceMetricRepository
from within_pipelines.database.retraining import (
    Heartbeat,
    HeartbeatRepository,
    RetrainingDecisionModel,
    RetrainingRepository,
    RetrainingRequest,
    RetrainingRequestModel,
    SensorHeartbeatModel,
    StoredDecision,
)
from within_pipelines.database.scores import AdAccountHealthModel, AdScoreAnalysisModel, AdScoreModel, PerformanceMetricModel

__all__ = [
    "AccountHealthRepository",
    "AdAccountHealthModel",
    "AdScoreAnalysisModel",
    "AdScoreModel",
    "AdScoreRepository",
    "AlertEventModel",
    "AlertModel",
    "AlertRecord",
    "AlertRepository",
    "AlertStore",
    "AliasHistoryModel",
    "AliasModel",
    "ApiKeyModel",
    "ApiKeyRecord",
    "ApiKeyRepository",
    "BaseModel",
    "CanaryLookModel",
    "CanaryModel",
    "CanaryMove",
    "CanaryOutcomeModel",
    "CanaryRecord",
    "CanaryRepository",
    "Claimed",
    "Database",
    "ExperimentLookModel",
    "ExperimentModel",
    "ExperimentRepository",
    "GoldenResultModel",
    "GoldenResultRepository",
    "Heartbeat",
    "HeartbeatRepository",
    "ModelVersionModel",
    "MonitorFindingModel",
    "MonitoringRepository",
    "Outbox",
    "OutboxModel",
    "OutcomeModel",
    "PerformanceMetricModel",
    "PerformanceMetricRepository",
    "PredictionModel",
    "PredictionRepository",
    "Resolution",
    "RetrainingDecisionModel",
    "RetrainingRepository",
    "RetrainingRequest",
    "RetrainingRequestModel",
    "SensorHeartbeatModel",
    "SqlRegistry",
    "StoredDecision",
    "TrainingRun",
    "TrainingRunModel",
    "TrainingRunRepository",
    "UTCDateTime",
    "VerdictModel",
]
