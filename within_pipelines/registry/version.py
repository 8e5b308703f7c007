"""One trained version of a model, and one move of an alias."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """What was trained, on what, and where its artifact lies.

    `version` counts from 1 within a model (0 before it is registered). `artifact` is the folder relative to the artifact root.
    `metrics` and `baseline_metrics` map a metric's name to `{"value", "low", "high", "n", "level"}`."""

    model: str
    version: int
    kind: str
    model_sha256: str
    artifact: str
    data_version: str
    as_of: datetime
    commit_seq: int
    spec_sha256: str
    training_fingerprint: str
    seed: int
    trained_at: datetime
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    baseline_metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    code_version: str = ""
    main_metric: str = ""
    evaluation: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AliasMove:
    """One move of an alias: which version came from where, who moved it, when and why."""

    model: str
    alias: str
    from_version: int | None
    to_version: int
    who: str
    why: str
    moved_at: datetime
