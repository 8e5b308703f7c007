"""WITHIN Pipelines: ad score, account health and anomalies for paid advertising, every number measured.

The public face. Everything resolves on first use (PEP 562), so `import within_pipelines` stays light."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from within_pipelines.database import (
        AdAccountHealthModel,
        AdScoreAnalysisModel,
        AdScoreModel,
        BaseModel,
        PerformanceMetricModel,
    )
    from within_pipelines.prediction import AccountHealthPredictor, AdScorePredictor, AnomalyDetector
    from within_pipelines.registry import RegistryStore

    MODEL_REGISTRY: Mapping[str, Mapping[str, Any]]

__version__ = "0.1.0"

_ORM = frozenset({"AdAccountHealthModel", "AdScoreAnalysisModel", "AdScoreModel", "BaseModel", "PerformanceMetricModel"})


class _RegisteredChampions:
    """Finds champions in the registry that the settings name."""

    def artifact_folder(self, model: str) -> Path | None:
        """Folder of the champion's artifact; None without a registry or a champion."""
        from within_pipelines.registry import ArtifactStore
        from within_pipelines.settings import Settings

        settings = Settings()
        store = _open_registry()
        version = None if store is None else store.alias(model, "champion")
        return None if version is None else ArtifactStore(settings.artifacts).folder(version)


def _open_registry() -> RegistryStore | None:
    """The registry, or None while its database does not exist: looking must not create one."""
    from pathlib import Path

    from within_pipelines.settings import Settings

    settings = Settings()
    url = settings.database
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).is_file():
        return None
    from within_pipelines.database import Database, SqlRegistry

    database = Database(url)
    return SqlRegistry(database) if database.revision() is not None else None


def get_ad_score_predictor() -> type[AdScorePredictor]:
    """The class `AdScorePredictor`; an instance that is not fitted answers with the registered champion.

    >>> get_ad_score_predictor().__name__
    'AdScorePredictor'
    """
    from within_pipelines.prediction import AdScorePredictor, set_champion_source

    set_champion_source(_RegisteredChampions())
    return AdScorePredictor


def get_health_predictor() -> type[AccountHealthPredictor]:
    """The class `AccountHealthPredictor`; an instance that is not fitted answers with the registered champion.

    >>> get_health_predictor().__name__
    'AccountHealthPredictor'
    """
    from within_pipelines.prediction import AccountHealthPredictor, set_champion_source

    set_champion_source(_RegisteredChampions())
    return AccountHealthPredictor


def get_anomaly_detector() -> type[AnomalyDetector]:
    """The class `AnomalyDetector`; an instance that is not fitted answers with the registered champion.

    >>> get_anomaly_detector().__name__
    'AnomalyDetector'
    """
    from within_pipelines.prediction import AnomalyDetector, set_champion_source

    set_champion_source(_RegisteredChampions())
    return AnomalyDetector


def __getattr__(name: str) -> Any:
    if name == "MODEL_REGISTRY":
        from within_pipelines.registry import ModelRegistryView

        value: Any = ModelRegistryView(_open_registry)
    elif name in _ORM:
        from within_pipelines import database

        value = getattr(database, name)
    else:
        raise AttributeError(f"module 'within_pipelines' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "MODEL_REGISTRY",
    "AdAccountHealthModel",
    "AdScoreAnalysisModel",
    "AdScoreModel",
    "BaseModel",
    "PerformanceMetricModel",
    "__version__",
    "get_ad_score_predictor",
    "get_anomaly_detector",
    "get_health_predictor",
]
