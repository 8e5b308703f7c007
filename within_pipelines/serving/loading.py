"""From a registered version to a predictor that has shown that it answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from within_pipelines.exceptions import ArtifactError, ModelNotFoundError


def load_predictor(model: str, folder: Path, *, model_sha256: str) -> Any:
    """The predictor in an artifact folder, after checking every file's hash and that the whole is the registered one.

    Raises `ArtifactError` when it is not, `ModelNotFoundError` for a model that there is not."""
    from within_pipelines import prediction

    classes: dict[str, Any] = {
        "ad_score": prediction.AdScorePredictor,
        "account_health": prediction.AccountHealthPredictor,
        "anomaly": prediction.AnomalyDetector,
    }
    if model not in classes:
        raise ModelNotFoundError(f"There is no model {model!r}; the models are {', '.join(classes)}.")
    found = prediction.read_artifact(folder).model_sha256
    if found != model_sha256:
        raise ArtifactError(f"{folder} holds the artifact {found[:12]}, and {model_sha256[:12]} was registered; restore it or train again.")
    return classes[model].load(folder)
