"""Tables of what the models said: ad scores and their analysis, account health, metrics with anomalies."""

from __future__ import annotations

from datetime import date
from typing import Any

from sqlalchemy import JSON, Boolean, Date, Float, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from within_pipelines.database.base import BaseModel


class AdScoreModel(BaseModel):
    """One ad's score on one day by one model version."""

    __tablename__ = "ad_scores"
    __table_args__ = (
        UniqueConstraint("platform", "account_id", "ad_id", "scored_on", "model_sha256", name="uq_ad_scores_key"),
        Index(None, "scored_on"),
    )

    platform: Mapped[str] = mapped_column(String(64))
    account_id: Mapped[str] = mapped_column(String(128))
    campaign_id: Mapped[str] = mapped_column(String(128), default="")
    ad_group_id: Mapped[str] = mapped_column(String(128), default="")
    ad_id: Mapped[str] = mapped_column(String(128))
    scored_on: Mapped[date] = mapped_column(Date)
    headline: Mapped[str | None] = mapped_column(Text)
    format: Mapped[str | None] = mapped_column(String(64))
    audience_segment: Mapped[str | None] = mapped_column(String(128))
    score: Mapped[float] = mapped_column(Float)
    log_odds_contrast: Mapped[float] = mapped_column(Float)
    interval_low: Mapped[float | None] = mapped_column(Float)
    interval_high: Mapped[float | None] = mapped_column(Float)
    interval_level: Mapped[float | None] = mapped_column(Float)
    engagement_score: Mapped[float | None] = mapped_column(Float)
    sentiment_score: Mapped[float | None] = mapped_column(Float)
    complexity_score: Mapped[float | None] = mapped_column(Float)
    topic: Mapped[str | None] = mapped_column(String(128))
    audience_match: Mapped[float | None] = mapped_column(Float)
    confidence: Mapped[float | None] = mapped_column(Float)
    model_version: Mapped[int] = mapped_column(Integer)
    model_sha256: Mapped[str] = mapped_column(String(64))
    data_version: Mapped[str] = mapped_column(String(64), default="")

    analysis: Mapped[AdScoreAnalysisModel | None] = relationship(back_populates="ad_score", cascade="all, delete-orphan")


class AdScoreAnalysisModel(BaseModel):
    """Why an ad got its score: features of its content, projections, similar ads, suggestions."""

    __tablename__ = "ad_score_analyses"
    __table_args__ = (UniqueConstraint("ad_score_id"),)

    ad_score_id: Mapped[int] = mapped_column(ForeignKey("ad_scores.id", ondelete="CASCADE"))
    content_features: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    linguistic_analysis: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    visual_elements: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    visual_reason: Mapped[str | None] = mapped_column(Text)  # why visual_elements is null
    performance_projections: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    similar_successful_ads: Mapped[list[Any]] = mapped_column(JSON, default=list)
    improvement_suggestions: Mapped[list[Any]] = mapped_column(JSON, default=list)

    ad_score: Mapped[AdScoreModel] = relationship(back_populates="analysis")


class AdAccountHealthModel(BaseModel):
    """One account's (or campaign's) health on one day by one model version."""

    __tablename__ = "ad_account_health"
    __table_args__ = (
        UniqueConstraint("platform", "account_id", "campaign_id", "scored_on", "model_sha256", name="uq_ad_account_health_key"),
        Index(None, "scored_on"),
    )

    platform: Mapped[str] = mapped_column(String(64))
    account_id: Mapped[str] = mapped_column(String(128))
    campaign_id: Mapped[str] = mapped_column(String(128), default="")  # "" is the account as a whole
    scored_on: Mapped[date] = mapped_column(Date)
    state: Mapped[str] = mapped_column(String(32))  # scored | insufficient_data | feed_problem
    overall_score: Mapped[float | None] = mapped_column(Float)
    probability: Mapped[float | None] = mapped_column(Float)
    tier: Mapped[str | None] = mapped_column(String(32))
    money_at_risk: Mapped[float | None] = mapped_column(Float)
    currency: Mapped[str | None] = mapped_column(String(3))
    engagement_trends: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    risk_factors: Mapped[list[Any]] = mapped_column(JSON, default=list)
    optimization_suggestions: Mapped[list[Any]] = mapped_column(JSON, default=list)
    historical_performance: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    spend_efficiency: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    audience_health: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    model_version: Mapped[int] = mapped_column(Integer)
    model_sha256: Mapped[str] = mapped_column(String(64))
    data_version: Mapped[str] = mapped_column(String(64), default="")


class PerformanceMetricModel(BaseModel):
    """One metric of one account over one period, with what the anomaly detector thinks of it."""

    __tablename__ = "performance_metrics"
    __table_args__ = (
        UniqueConstraint("platform", "account_id", "metric_name", "period_start", "period_end", name="uq_performance_metrics_key"),
        Index(None, "period_start"),
    )

    platform: Mapped[str] = mapped_column(String(64))
    account_id: Mapped[str] = mapped_column(String(128))
    metric_name: Mapped[str] = mapped_column(String(64))
    metric_value: Mapped[float] = mapped_column(Float)
    period_start: Mapped[date] = mapped_column(Date)
    period_end: Mapped[date] = mapped_column(Date)
    expected_value: Mapped[float | None] = mapped_column(Float)
    is_anomaly: Mapped[bool] = mapped_column(Boolean, default=False)
    anomaly_score: Mapped[float | None] = mapped_column(Float)
    # SQLAlchemy keeps `metadata` for itself; the column and the serialized key have the plain name.
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", JSON, default=dict)
