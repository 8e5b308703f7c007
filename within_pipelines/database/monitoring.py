"""What monitoring found, day by day, as values in and out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import polars as pl
from sqlalchemy import JSON, Date, Float, Index, String, Text, UniqueConstraint, delete, func, select
from sqlalchemy.orm import Mapped, mapped_column

from within_pipelines.database.base import BaseModel, UTCDateTime
from within_pipelines.database.engine import Database
from within_pipelines.monitoring import MonitorFinding, MonitorReport


class MonitorFindingModel(BaseModel):
    """One answer of one monitor for one model on one day."""

    __tablename__ = "monitor_findings"
    __table_args__ = (UniqueConstraint("day", "monitor", "model", name="uq_monitor_findings_key"), Index(None, "day"))

    day: Mapped[date] = mapped_column(Date)
    monitor: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(32))
    statistic: Mapped[float | None] = mapped_column(Float)
    p_value: Mapped[float | None] = mapped_column(Float)
    effect: Mapped[float | None] = mapped_column(Float)
    threshold: Mapped[float | None] = mapped_column(Float)
    sizes: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    features: Mapped[list[Any]] = mapped_column(JSON, default=list)
    loss_change: Mapped[float | None] = mapped_column(Float)
    money_at_risk: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    reason: Mapped[str] = mapped_column(Text, default="")
    evidence: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    generated_at: Mapped[datetime] = mapped_column(UTCDateTime)


class MonitoringRepository:
    """Findings in the table `monitor_findings`: one per day, monitor and model."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, findings: Sequence[MonitorFinding], *, generated_at: datetime) -> int:
        """Store findings in one transaction; a day monitored again replaces what the same monitors said of the same models."""
        with self._database.writing() as session:
            for found in findings:
                session.execute(
                    delete(MonitorFindingModel).where(
                        MonitorFindingModel.day == found.day,
                        MonitorFindingModel.monitor == found.monitor,
                        MonitorFindingModel.model == found.model,
                    )
                )
                session.add(MonitorFindingModel(**found.to_dict() | {"day": found.day}, generated_at=generated_at))
        return len(findings)

    def days(self) -> list[date]:
        """Every monitored day, oldest first."""
        with self._database.reading() as session:
            return list(session.scalars(select(MonitorFindingModel.day).distinct().order_by(MonitorFindingModel.day)))

    def report(self, day: date | None = None) -> MonitorReport | None:
        """The report of a day (default: the newest); None when that day was not monitored."""
        with self._database.reading() as session:
            wanted = day if day is not None else session.scalar(select(func.max(MonitorFindingModel.day)))
            rows = session.scalars(
                select(MonitorFindingModel).filter_by(day=wanted).order_by(MonitorFindingModel.monitor, MonitorFindingModel.model)
            ).all()
            if wanted is None or not rows:
                return None
            return MonitorReport(wanted, tuple(_finding(row) for row in rows), max(row.generated_at for row in rows))

    def findings(self, monitor: str, model: str, *, since: date | None = None, before: date | None = None) -> list[MonitorFinding]:
        """What one monitor said of one model, oldest day first; only days from `since` on and before `before` where they are given."""
        statement = select(MonitorFindingModel).filter_by(monitor=monitor, model=model).order_by(MonitorFindingModel.day)
        if since is not None:
            statement = statement.where(MonitorFindingModel.day >= since)
        if before is not None:
            statement = statement.where(MonitorFindingModel.day < before)
        with self._database.reading() as session:
            return [_finding(row) for row in session.scalars(statement)]

    def history(self, *, last: int = 60) -> pl.DataFrame:
        """The newest `last` days as a frame: day, monitor, model, state, statistic, p_value, effect, threshold, loss_change, reason."""
        schema: dict[str, type[pl.DataType]] = {
            "day": pl.Date, "monitor": pl.String, "model": pl.String, "state": pl.String, "statistic": pl.Float64, "p_value": pl.Float64,
            "effect": pl.Float64, "threshold": pl.Float64, "loss_change": pl.Float64, "reason": pl.String,
        }  # fmt: skip
        kept = self.days()[-last:]
        with self._database.reading() as session:
            rows = session.scalars(
                select(MonitorFindingModel)
                .where(MonitorFindingModel.day.in_(kept))
                .order_by(MonitorFindingModel.day, MonitorFindingModel.monitor, MonitorFindingModel.model)
            ).all()
            return pl.DataFrame([[getattr(row, name) for name in schema] for row in rows], schema=schema, orient="row")


def _finding(row: MonitorFindingModel) -> MonitorFinding:
    return MonitorFinding.from_dict({name: getattr(row, name) for name in MonitorFinding.__dataclass_fields__})
