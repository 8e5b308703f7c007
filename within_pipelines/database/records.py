"""Training runs and alerts, as values in and out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl
from sqlalchemy import select

from within_pipelines.database.engine import Database
from within_pipelines.database.operations import AlertModel, TrainingRunModel
from within_pipelines.exceptions import ModelNotFoundError


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """One fit of one model: what went in, what came out, what it cost in CPU seconds."""

    model: str
    version: int
    kind: str
    params: Mapping[str, Any]
    metrics: Mapping[str, Any]
    curves: Mapping[str, Any]
    data_version: str
    code_version: str
    cpu_seconds: float
    started_at: datetime
    id: int | None = None


class TrainingRunRepository:
    """Training runs in the table `training_runs`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, run: TrainingRun) -> TrainingRun:
        """Append a run; returns it with its id."""
        values = _values(run)
        with self._database.writing() as session:
            row = TrainingRunModel(**values)
            session.add(row)
            session.flush()
            return TrainingRun(**values, id=row.id)

    def get(self, identity: int) -> TrainingRun:
        """One run by its id.

        Raises `ModelNotFoundError` when there is none."""
        with self._database.reading() as session:
            row = TrainingRunModel.get(session, identity)
            if row is None:
                raise ModelNotFoundError(f"There is no training run {identity}; `within runs` lists them.")
            return TrainingRun(**{name: getattr(row, name) for name in TrainingRun.__dataclass_fields__})

    def runs(self, model: str | None = None) -> list[TrainingRun]:
        """Runs, oldest first; of one model or of all."""
        with self._database.reading() as session:
            rows = TrainingRunModel.find(session, **({} if model is None else {"model": model}))
            return [TrainingRun(**{name: getattr(row, name) for name in TrainingRun.__dataclass_fields__}) for row in rows]


def _values(run: TrainingRun) -> dict[str, Any]:
    plain = {"params": dict(run.params), "metrics": dict(run.metrics), "curves": dict(run.curves)}
    return {name: getattr(run, name) for name in TrainingRun.__dataclass_fields__ if name != "id"} | plain


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """One alert as it is stored."""

    dedup_key: str
    severity: str
    title: str
    detail: str
    closes_when: str = ""
    run_id: str | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    status: str = "open"
    occurrences: int = 1
    opened_at: datetime | None = None
    last_seen_at: datetime | None = None
    closed_at: datetime | None = None


class AlertRepository:
    """Alerts in the table `alerts`: at most one open row per `dedup_key`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def raise_alert(self, alert: AlertRecord, *, now: datetime) -> AlertRecord:
        """Open an alert, or count a repeat of the one that is open under the same key."""
        with self._database.writing() as session:
            row = session.scalars(
                select(AlertModel).filter_by(dedup_key=alert.dedup_key, status="open").order_by(AlertModel.id.desc()).with_for_update()
            ).first()
            if row is None:
                row = AlertModel(
                    dedup_key=alert.dedup_key, severity=alert.severity, status="open", occurrences=0, opened_at=now, title="", detail=""
                )
                session.add(row)
            row.severity, row.title, row.detail = alert.severity, alert.title, alert.detail
            row.closes_when, row.run_id, row.context = alert.closes_when, alert.run_id, dict(alert.context)
            row.occurrences, row.last_seen_at = row.occurrences + 1, now
            session.flush()
            return _alert(row)

    def close(self, dedup_key: str, *, now: datetime) -> int:
        """Close what is open under a key; returns how many were (0 or 1)."""
        with self._database.writing() as session:
            rows = AlertModel.find(session, dedup_key=dedup_key, status="open")
            for row in rows:
                row.status, row.closed_at = "closed", now
            return len(rows)

    def alerts(self, *, status: str | None = "open") -> pl.DataFrame:
        """Alerts as a frame, newest sighting first; `status=None` for all."""
        schema: dict[str, pl.DataType | type[pl.DataType]] = {
            "severity": pl.String, "title": pl.String, "detail": pl.String, "closes_when": pl.String, "status": pl.String,
            "occurrences": pl.Int64, "opened_at": pl.Datetime("us", "UTC"), "last_seen_at": pl.Datetime("us", "UTC"),
            "closed_at": pl.Datetime("us", "UTC"), "run_id": pl.String, "dedup_key": pl.String,
        }  # fmt: skip
        with self._database.reading() as session:
            rows = AlertModel.find(session, **({} if status is None else {"status": status}))
            frame = pl.DataFrame([[getattr(row, name) for name in schema] for row in rows], schema=schema, orient="row")
        return frame.sort("last_seen_at", "dedup_key", descending=[True, False])


def _alert(row: AlertModel) -> AlertRecord:
    return AlertRecord(**{name: getattr(row, name) for name in AlertRecord.__dataclass_fields__})
