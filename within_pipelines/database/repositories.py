"""Scores, health and metrics, as polars frames in and out. Writing the same key again replaces the row."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import polars as pl
from sqlalchemy import Table, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from within_pipelines.database.base import BaseModel
from within_pipelines.database.engine import Database
from within_pipelines.database.scores import AdAccountHealthModel, AdScoreAnalysisModel, AdScoreModel, PerformanceMetricModel
from within_pipelines.exceptions import SchemaError

_COMMON = {"id", "created_at", "updated_at"}
# SQLite takes at most 32,766 bound values in one statement.
_VALUES_PER_STATEMENT = 30_000


class _Repository:
    """Upsert and read one table whose first unique constraint is its natural key."""

    model: type[BaseModel]
    key: tuple[str, ...]
    day: str

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def columns(self) -> list[str]:
        """Columns that `save` takes, by their name in the table."""
        return [column.name for column in self._table.columns if column.name not in _COMMON]

    @property
    def _table(self) -> Table:
        table = self.model.__table__
        assert isinstance(table, Table)
        return table

    def save(self, rows: pl.DataFrame) -> int:
        """Insert or replace rows by their key; returns how many.

        Raises `SchemaError` for an unknown column or a missing key column."""
        self._refuse_unfit(rows)
        with self._database.writing() as session:
            self._upsert(session, rows.to_dicts())
        return rows.height

    def _refuse_unfit(self, rows: pl.DataFrame) -> None:
        unknown = [name for name in rows.columns if name not in self.columns]
        missing = [name for name in self.key if name not in rows.columns]
        if unknown or missing:
            raise SchemaError(
                f"{self._table.name} takes {', '.join(self.columns)}; unknown here: {', '.join(unknown) or 'none'}, "
                f"missing key columns: {', '.join(missing) or 'none'}."
            )

    def _upsert(self, session: Session, rows: Sequence[dict[str, Any]]) -> None:
        if not rows:
            return
        insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
        step = max(1, _VALUES_PER_STATEMENT // (len(rows[0]) + 2))
        for start in range(0, len(rows), step):
            statement: Any = insert(self._table).values(list(rows[start : start + step]))
            changed = {name: statement.excluded[name] for name in rows[0] if name not in self.key} | {"updated_at": func.now()}
            session.execute(statement.on_conflict_do_update(index_elements=list(self.key), set_=changed))

    def days(self) -> list[date]:
        """Every day that has rows, oldest first."""
        column = self._table.c[self.day]
        with self._database.reading() as session:
            return list(session.scalars(select(column).distinct().order_by(column)))

    def on(self, day: date | None = None) -> pl.DataFrame:
        """The rows of one day (default: the newest), sorted by key; empty without rows."""
        wanted = day if day is not None else max(self.days(), default=None)
        table = self._table
        with self._database.reading() as session:
            found = session.execute(
                select(*(table.c[name] for name in self.columns))
                .where(table.c[self.day] == wanted)
                .order_by(*(table.c[k] for k in self.key))
            ).all()
        return pl.DataFrame([tuple(row) for row in found], schema=self.columns, orient="row", infer_schema_length=None)


class AdScoreRepository(_Repository):
    """Ad scores, a row per ad, day and model artifact, with their analyses."""

    model = AdScoreModel
    key = ("platform", "account_id", "ad_id", "scored_on", "model_sha256")
    day = "scored_on"

    def save_with_analysis(self, rows: pl.DataFrame, analyses: Sequence[dict[str, Any]]) -> int:
        """Save scores and, in the same transaction, one analysis per score (same order).

        Raises `SchemaError` when the numbers of rows differ."""
        if rows.height != len(analyses):
            raise SchemaError(f"{rows.height} scores came with {len(analyses)} analyses; give one analysis per score, in the same order.")
        self._refuse_unfit(rows)
        scores = AdScoreModel.__table__
        if rows.is_empty():
            return 0
        with self._database.writing() as session:
            records = rows.to_dicts()
            self._upsert(session, records)
            condition = scores.c["scored_on"].in_({record["scored_on"] for record in records})
            found = session.execute(select(scores.c["id"], *(scores.c[name] for name in self.key)).where(condition)).all()
            identity = {tuple(row[1:]): row[0] for row in found}
            ids = [identity[tuple(record[name] for name in self.key)] for record in records]
            for start in range(0, len(ids), 10_000):
                session.execute(delete(AdScoreAnalysisModel).where(AdScoreAnalysisModel.ad_score_id.in_(ids[start : start + 10_000])))
            session.add_all(AdScoreAnalysisModel(ad_score_id=i, **analysis) for i, analysis in zip(ids, analyses, strict=True))
        return rows.height


class AccountHealthRepository(_Repository):
    """Account health, a row per account or campaign, day and model artifact."""

    model = AdAccountHealthModel
    key = ("platform", "account_id", "campaign_id", "scored_on", "model_sha256")
    day = "scored_on"


class PerformanceMetricRepository(_Repository):
    """Metric values with anomaly flags, a row per account, metric and period."""

    model = PerformanceMetricModel
    key = ("platform", "account_id", "metric_name", "period_start", "period_end")
    day = "period_start"
