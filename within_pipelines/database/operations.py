"""Tables of how models got where they are: versions, verdicts, aliases and their history, training runs, alerts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Float, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from within_pipelines.database.base import BaseModel, UTCDateTime


class ModelVersionModel(BaseModel):
    """One trained version."""

    __tablename__ = "model_versions"
    __table_args__ = (
        UniqueConstraint("model", "version"),
        UniqueConstraint("model", "training_fingerprint", "model_sha256"),
    )

    model: Mapped[str] = mapped_column(String(64))
    version: Mapped[int] = mapped_column(Integer)
    kind: Mapped[str] = mapped_column(String(64))
    model_sha256: Mapped[str] = mapped_column(String(64))
    artifact: Mapped[str] = mapped_column(Text)
    data_version: Mapped[str] = mapped_column(String(64))
    as_of: Mapped[datetime] = mapped_column(UTCDateTime)
    commit_seq: Mapped[int] = mapped_column(Integer)
    spec_sha256: Mapped[str] = mapped_column(String(64))
    training_fingerprint: Mapped[str] = mapped_column(String(64))
    seed: Mapped[int] = mapped_column(Integer)
    trained_at: Mapped[datetime] = mapped_column(UTCDateTime)
    code_version: Mapped[str] = mapped_column(String(64))
    main_metric: Mapped[str] = mapped_column(String(64), default="")
    metrics: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    baseline_metrics: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    evaluation: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)


class VerdictModel(BaseModel):
    """One verdict of one gate, bound to artifact, data, baseline and policy. Rows are only ever added."""

    __tablename__ = "verdicts"
    __table_args__ = (Index(None, "model_sha256", "data_version"),)

    gate: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(32))
    model_sha256: Mapped[str] = mapped_column(String(64))
    data_version: Mapped[str] = mapped_column(String(64))
    baseline_sha256: Mapped[str] = mapped_column(String(64), default="")
    policy_version: Mapped[str] = mapped_column(String(64), default="")
    golden_set_version: Mapped[str] = mapped_column(String(64), default="")
    estimate: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    threshold: Mapped[float | None] = mapped_column(Float)
    sample_sizes: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    reason: Mapped[str] = mapped_column(Text)
    evidence: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)


class AliasModel(BaseModel):
    """Which version an alias (`champion`, `challenger`, `shadow`, `canary`) points to."""

    __tablename__ = "aliases"
    __table_args__ = (UniqueConstraint("model", "alias"),)

    model: Mapped[str] = mapped_column(String(64))
    alias: Mapped[str] = mapped_column(String(32))
    version: Mapped[int] = mapped_column(Integer)
    moved_at: Mapped[datetime] = mapped_column(UTCDateTime)


class AliasHistoryModel(BaseModel):
    """Every move of an alias. Rows are only ever added."""

    __tablename__ = "alias_history"
    __table_args__ = (Index(None, "model", "alias"),)

    model: Mapped[str] = mapped_column(String(64))
    alias: Mapped[str] = mapped_column(String(32))
    from_version: Mapped[int | None] = mapped_column(Integer)
    to_version: Mapped[int] = mapped_column(Integer)
    who: Mapped[str] = mapped_column(String(256))
    why: Mapped[str] = mapped_column(Text)
    moved_at: Mapped[datetime] = mapped_column(UTCDateTime)


class TrainingRunModel(BaseModel):
    """One fit: parameters, metrics, curves, data and code version, CPU."""

    __tablename__ = "training_runs"
    __table_args__ = (Index(None, "model"),)

    model: Mapped[str] = mapped_column(String(64))
    version: Mapped[int] = mapped_column(Integer)
    kind: Mapped[str] = mapped_column(String(64))
    params: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    metrics: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    curves: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    data_version: Mapped[str] = mapped_column(String(64))
    code_version: Mapped[str] = mapped_column(String(64))
    cpu_seconds: Mapped[float] = mapped_column(Float)
    started_at: Mapped[datetime] = mapped_column(UTCDateTime)


class AlertModel(BaseModel):
    """One thing that somebody should look at; a repeat counts up instead of adding a row."""

    __tablename__ = "alerts"
    __table_args__ = (UniqueConstraint("dedup_key", "opened_at"), Index(None, "status"))

    dedup_key: Mapped[str] = mapped_column(String(256))
    severity: Mapped[str] = mapped_column(String(16))
    title: Mapped[str] = mapped_column(Text)
    detail: Mapped[str] = mapped_column(Text)
    closes_when: Mapped[str] = mapped_column(Text, default="")
    status: Mapped[str] = mapped_column(String(16), default="open")  # open | closed
    occurrences: Mapped[int] = mapped_column(Integer, default=1)
    opened_at: Mapped[datetime] = mapped_column(UTCDateTime)
    last_seen_at: Mapped[datetime] = mapped_column(UTCDateTime)
    closed_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    run_id: Mapped[str | None] = mapped_column(String(64))
    context: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    group_key: Mapped[str] = mapped_column(String(256), default="")
    likely_cause: Mapped[str] = mapped_column(Text, default="")
    accounts: Mapped[list[Any]] = mapped_column(JSON, default=list)
    money_at_risk: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    acknowledged_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    acknowledged_by: Mapped[str | None] = mapped_column(String(256))
    snoozed_until: Mapped[datetime | None] = mapped_column(UTCDateTime)
    escalated_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    resolution: Mapped[str | None] = mapped_column(String(32))  # true_alert | false_alert | no_action; None: closed by itself
