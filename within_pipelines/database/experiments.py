"""Tables of experiments, canaries and golden-set results: what was planned, every look, and where each stands."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import JSON, Boolean, Date, Float, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from within_pipelines.database.base import BaseModel, UTCDateTime


class ExperimentModel(BaseModel):
    """One A/B test. `revision` counts its changes; a change names the revision that it was decided on."""

    __tablename__ = "experiments"
    __table_args__ = (UniqueConstraint("name"),)

    name: Mapped[str] = mapped_column(String(128))
    spec: Mapped[dict[str, Any]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(16))
    revision: Mapped[int] = mapped_column(Integer, default=0)
    decision: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    drafted_at: Mapped[datetime] = mapped_column(UTCDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    stopped_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    decided_at: Mapped[datetime | None] = mapped_column(UTCDateTime)


class ExperimentLookModel(BaseModel):
    """One look at an experiment. Rows are only ever added."""

    __tablename__ = "experiment_looks"
    __table_args__ = (UniqueConstraint("experiment_id", "number"),)

    experiment_id: Mapped[int] = mapped_column(ForeignKey("experiments.id"))
    number: Mapped[int] = mapped_column(Integer)
    looked_at: Mapped[datetime] = mapped_column(UTCDateTime)
    result: Mapped[dict[str, Any]] = mapped_column(JSON)


class CanaryModel(BaseModel):
    """One canary. `open_model` is its model while it is open and null afterwards, so that a model has at most one open canary."""

    __tablename__ = "canaries"
    __table_args__ = (UniqueConstraint("open_model"), Index(None, "model"))

    model: Mapped[str] = mapped_column(String(64))
    open_model: Mapped[str | None] = mapped_column(String(64))
    spec: Mapped[dict[str, Any]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(16))
    stage: Mapped[int] = mapped_column(Integer)
    share: Mapped[float] = mapped_column(Float)
    stage_since: Mapped[date] = mapped_column(Date)
    revision: Mapped[int] = mapped_column(Integer, default=0)
    reason: Mapped[str] = mapped_column(Text, default="")
    started_at: Mapped[datetime] = mapped_column(UTCDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UTCDateTime)


class CanaryLookModel(BaseModel):
    """One look or one change by hand, and the state and share after it. Rows are only ever added."""

    __tablename__ = "canary_looks"
    __table_args__ = (UniqueConstraint("canary_id", "revision"),)

    canary_id: Mapped[int] = mapped_column(ForeignKey("canaries.id"))
    revision: Mapped[int] = mapped_column(Integer)
    moved_at: Mapped[datetime] = mapped_column(UTCDateTime)
    state: Mapped[str] = mapped_column(String(16))
    stage: Mapped[int] = mapped_column(Integer)
    share: Mapped[float] = mapped_column(Float)
    who: Mapped[str] = mapped_column(String(256))
    why: Mapped[str] = mapped_column(Text)
    look: Mapped[dict[str, Any] | None] = mapped_column(JSON)


class CanaryOutcomeModel(BaseModel):
    """What one unit of a canary showed on one day; `known_on` and the values stay null until the outcome is reported."""

    __tablename__ = "canary_outcomes"
    __table_args__ = (UniqueConstraint("canary_id", "unit", "day"),)

    canary_id: Mapped[int] = mapped_column(ForeignKey("canaries.id"))
    unit: Mapped[str] = mapped_column(String(256))
    day: Mapped[date] = mapped_column(Date)
    arm: Mapped[str] = mapped_column(String(16))
    share: Mapped[float] = mapped_column(Float)
    known_on: Mapped[date | None] = mapped_column(Date)
    metric_values: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)


class GoldenResultModel(BaseModel):
    """How one version answered one version of the golden set. Rows are only ever added."""

    __tablename__ = "golden_results"
    __table_args__ = (Index(None, "model", "checked_at"),)

    model: Mapped[str] = mapped_column(String(64))
    version: Mapped[int] = mapped_column(Integer)
    model_sha256: Mapped[str] = mapped_column(String(64))
    set_version: Mapped[str] = mapped_column(String(64))
    checked_at: Mapped[datetime] = mapped_column(UTCDateTime)
    passed: Mapped[bool] = mapped_column(Boolean)
    met: Mapped[int] = mapped_column(Integer)
    cases: Mapped[int] = mapped_column(Integer)
    slices: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
