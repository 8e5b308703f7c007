"""What was answered to whom, by which version, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl
from sqlalchemy import JSON, Float, Index, Integer, String, Table, Text, UniqueConstraint, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

from within_pipelines.database.base import BaseModel, UTCDateTime
from within_pipelines.database.engine import Database
from within_pipelines.exceptions import SchemaError

# SQLite takes at most 32,766 bound values in one statement; a row of predictions binds fewer than twenty.
_ROWS_PER_STATEMENT = 1000


class PredictionModel(BaseModel):
    """One answer of one version to one item of one request. Rows are only ever added."""

    __tablename__ = "prediction_log"
    __table_args__ = (
        UniqueConstraint("prediction_id", "role", "model_sha256", name="uq_prediction_log_key"),
        Index(None, "model", "answered_at"),
    )

    prediction_id: Mapped[str] = mapped_column(String(64))
    request_id: Mapped[str] = mapped_column(String(64))
    role: Mapped[str] = mapped_column(String(32))  # champion | canary | shadow | arm:<name>
    model: Mapped[str] = mapped_column(String(64))
    version: Mapped[int] = mapped_column(Integer)
    model_sha256: Mapped[str] = mapped_column(String(64))
    unit: Mapped[str] = mapped_column(String(256), default="")
    value: Mapped[float | None] = mapped_column(Float)  # the number that is compared: score, probability, smallest p-value
    answer: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    inputs: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    latency_ms: Mapped[float | None] = mapped_column(Float)
    error: Mapped[str | None] = mapped_column(Text)
    experiment: Mapped[str | None] = mapped_column(String(128))  # the A/B test whose arm answered
    answered_at: Mapped[datetime] = mapped_column(UTCDateTime)


class OutcomeModel(BaseModel):
    """What became of one prediction: `value` observed over `weight` trials. A later observation stands beside an earlier one."""

    __tablename__ = "prediction_outcomes"
    __table_args__ = (UniqueConstraint("prediction_id", "observed_at", name="uq_prediction_outcomes_key"),)

    prediction_id: Mapped[str] = mapped_column(String(64))
    value: Mapped[float] = mapped_column(Float)
    weight: Mapped[float] = mapped_column(Float, default=1.0)
    observed_at: Mapped[datetime] = mapped_column(UTCDateTime)
    received_at: Mapped[datetime] = mapped_column(UTCDateTime)


_TABLES: Mapping[str, type[BaseModel]] = {"prediction": PredictionModel, "outcome": OutcomeModel}
_MOMENTS = frozenset({"answered_at", "observed_at", "received_at"})


class PredictionRepository:
    """Predictions and outcomes. Loading the same records again changes nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self, records: Sequence[Mapping[str, Any]]) -> int:
        """Store records as the spool holds them: each has `kind` ("prediction" or "outcome") and the columns of its table, moments as
        ISO text. Returns how many were new; one that is there already, by its key, is left as it is.

        Raises `SchemaError` for a record that no table takes."""
        grouped = _by_kind(records)
        unknown = sorted(set(grouped) - set(_TABLES))
        if unknown:
            raise SchemaError(f"Records of the kind {', '.join(unknown)} have no table; known are {', '.join(_TABLES)}.")
        try:
            with self._database.writing() as session:
                return sum(_insert(session, _TABLES[kind], own) for kind, own in grouped.items())
        except IntegrityError as error:
            raise SchemaError(f"A record lacks what its table needs: {error.orig}") from error

    def count(self, *, model: str | None = None, role: str | None = None) -> int:
        """How many predictions are stored."""
        equal = {name: value for name, value in (("model", model), ("role", role)) if value is not None}
        with self._database.reading() as session:
            return session.scalar(select(func.count()).select_from(PredictionModel).filter_by(**equal)) or 0

    def outcomes(self) -> int:
        """How many outcomes are stored."""
        with self._database.reading() as session:
            return session.scalar(select(func.count()).select_from(OutcomeModel)) or 0

    def predictions(
        self, model: str, *, since: datetime | None = None, most: int | None = 200_000, experiment: str | None = None
    ) -> pl.DataFrame:
        """Predictions of a model since a moment, oldest first, at most the newest `most` (None: all), of one `experiment` or of all, with
        the newest outcome of each (`outcome`, `weight`, `observed_at`; null while there is none)."""
        schema: dict[str, Any] = {
            "prediction_id": pl.String, "role": pl.String, "version": pl.Int64, "model_sha256": pl.String, "unit": pl.String,
            "value": pl.Float64, "latency_ms": pl.Float64, "error": pl.String, "experiment": pl.String,
            "answered_at": pl.Datetime("us", "UTC"),
            "outcome": pl.Float64, "weight": pl.Float64, "observed_at": pl.Datetime("us", "UTC"),
        }  # fmt: skip
        latest = (
            select(OutcomeModel.prediction_id, func.max(OutcomeModel.observed_at).label("observed_at"))
            .group_by(OutcomeModel.prediction_id)
            .subquery()
        )
        own = [getattr(PredictionModel, name) for name in schema if name not in ("outcome", "weight", "observed_at")]
        query = (
            select(*own, OutcomeModel.value, OutcomeModel.weight, OutcomeModel.observed_at)
            .outerjoin(latest, latest.c.prediction_id == PredictionModel.prediction_id)
            .outerjoin(
                OutcomeModel,
                (OutcomeModel.prediction_id == latest.c.prediction_id) & (OutcomeModel.observed_at == latest.c.observed_at),
            )
            .where(PredictionModel.model == model)
            .order_by(PredictionModel.id.desc())
            .limit(most)
        )
        if since is not None:
            query = query.where(PredictionModel.answered_at >= since)
        if experiment is not None:
            query = query.where(PredictionModel.experiment == experiment)
        with self._database.reading() as session:
            rows = [tuple(row) for row in session.execute(query)]
        return pl.DataFrame(rows[::-1], schema=schema, orient="row")


def _by_kind(records: Iterable[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        values = {name: datetime.fromisoformat(value) if name in _MOMENTS else value for name, value in record.items() if name != "kind"}
        if record["kind"] == "prediction":
            # Files of the spool that were written before experiments were named lack it.
            values.setdefault("experiment", None)
        found.setdefault(record["kind"], []).append(values)
    return found


def _insert(session: Session, model: type[BaseModel], rows: list[dict[str, Any]]) -> int:
    table = model.__table__
    assert isinstance(table, Table)
    dialect: Any = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    before = session.scalar(select(func.count()).select_from(table)) or 0
    for start in range(0, len(rows), _ROWS_PER_STATEMENT):
        session.execute(dialect.insert(table).on_conflict_do_nothing(), rows[start : start + _ROWS_PER_STATEMENT])
    return (session.scalar(select(func.count()).select_from(table)) or 0) - before
