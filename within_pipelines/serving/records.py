"""What is written down of one answer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from within_pipelines.registry import ModelVersion


def prediction_record(
    version: ModelVersion | Mapping[str, Any],
    *,
    prediction_id: str,
    request_id: str,
    role: str,
    unit: str,
    answered_at: datetime,
    value: float | None = None,
    answer: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
    latency_ms: float | None = None,
    error: str | None = None,
    experiment: str | None = None,
) -> dict[str, Any]:
    """A line of the spool; the columns of the table `prediction_log`."""
    own = version if isinstance(version, Mapping) else {name: getattr(version, name) for name in ("model", "version", "model_sha256")}
    return {
        "kind": "prediction",
        "prediction_id": prediction_id,
        "request_id": request_id,
        "role": role,
        "model": own["model"],
        "version": own["version"],
        "model_sha256": own["model_sha256"],
        "unit": unit,
        "value": value,
        "answer": dict(answer or {}),
        "inputs": dict(inputs or {}),
        "latency_ms": latency_ms,
        "error": error,
        "experiment": experiment,
        "answered_at": answered_at.isoformat(),
    }
