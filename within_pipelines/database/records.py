"""Training runs and alerts, as values in and out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import polars as pl
from sqlalchemy import func, select
from sqlalchemy.orm import Session

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
    group_key: str = ""
    likely_cause: str = ""
    accounts: Sequence[str] = ()
    money_at_risk: Mapping[str, float] = field(default_factory=dict)
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    snoozed_until: datetime | None = None
    escalated_at: datetime | None = None
    resolution: str | None = None
    id: int | None = None


class AlertRepository:
    """Alerts in the table `alerts`: at most one open row per `dedup_key`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def raise_alert(self, alert: AlertRecord, *, now: datetime) -> AlertRecord:
        """Open an alert, or count a repeat of the one that is open under the same key.

        A clock that went backwards moves no time back: the newest sighting stays the newest."""
        with self._database.writing() as session:
            if not self._database.is_sqlite:
                # Two processes at once would both find nothing open.
                session.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"alert {alert.dedup_key}"))))
            last = session.scalars(select(AlertModel).filter_by(dedup_key=alert.dedup_key).order_by(AlertModel.id.desc()).limit(1)).first()
            before = None
            if last is not None and last.status == "open":
                row, before = last, last.severity
            else:
                opened = now if last is None else max(now, last.opened_at + timedelta(microseconds=1))
                row = AlertModel(
                    dedup_key=alert.dedup_key, severity=alert.severity, status="open", occurrences=0, opened_at=opened, title="", detail=""
                )
                row.last_seen_at = opened
                session.add(row)
            row.severity, row.title, row.detail = alert.severity, alert.title, alert.detail
            row.closes_when, row.run_id, row.context = alert.closes_when, alert.run_id, dict(alert.context)
            row.group_key, row.likely_cause = alert.group_key or alert.dedup_key, alert.likely_cause
            row.accounts, row.money_at_risk = list(alert.accounts), dict(alert.money_at_risk)
            row.occurrences, row.last_seen_at = row.occurrences + 1, max(now, row.last_seen_at)
            session.flush()
            self._sighted(session, row, before=before, now=now)
            return alert_record(row)

    def close(self, dedup_key: str, *, now: datetime) -> int:
        """Close what is open under a key; returns how many were (0 or 1)."""
        with self._database.writing() as session:
            rows = AlertModel.find(session, dedup_key=dedup_key, status="open")
            for row in rows:
                row.status, row.closed_at = "closed", max(now, row.opened_at)
                self._closed(session, row, now=now)
            return len(rows)

    def _sighted(self, session: Session, row: AlertModel, *, before: str | None, now: datetime) -> None:
        """Called in the transaction of every sighting; `before` is the severity until now, None for an alert that has just opened."""

    def _closed(self, session: Session, row: AlertModel, *, now: datetime) -> None:
        """Called in the transaction of every closing."""

    def alerts(self, *, status: str | None = "open") -> pl.DataFrame:
        """Alerts as a frame, newest sighting first; `status=None` for all."""
        schema: dict[str, pl.DataType | type[pl.DataType]] = {
            "severity": pl.String, "title": pl.String, "detail": pl.String, "closes_when": pl.String, "status": pl.String,
            "occurrences": pl.Int64, "opened_at": pl.Datetime("us", "UTC"), "last_seen_at": pl.Datetime("us", "UTC"),
            "closed_at": pl.Datetime("us", "UTC"), "run_id": pl.String, "dedup_key": pl.String, "id": pl.Int64, "group_key": pl.String,
            "likely_cause": pl.String, "acknowledged_by": pl.String, "snoozed_until": pl.Datetime("us", "UTC"), "resolution": pl.String,
        }  # fmt: skip
        with self._database.reading() as session:
            rows = AlertModel.find(session, **({} if status is None else {"status": status}))
            frame = pl.DataFrame([[getattr(row, name) for name in schema] for row in rows], schema=schema, orient="row")
        return frame.sort("last_seen_at", "dedup_key", descending=[True, False])


def alert_record(row: AlertModel) -> AlertRecord:
    """The stored alert as a value."""
    return AlertRecord(**{name: getattr(row, name) for name in AlertRecord.__dataclass_fields__})
