"""Rows serialize, come back aware, and can be queried."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from within_pipelines.database import AlertModel, Database, PerformanceMetricModel
from within_pipelines.exceptions import SchemaError

METRIC = {
    "platform": "google_ads", "account_id": "1", "metric_name": "spend", "metric_value": 2.5,
    "period_start": date(2026, 5, 1), "period_end": date(2026, 5, 1), "metadata": {"note": "x"},
}  # fmt: skip


def test_the_reserved_name_metadata_is_a_plain_column(database: Database) -> None:
    with database.writing() as session:
        session.add(PerformanceMetricModel.from_dict(METRIC))
    with database.reading() as session:
        row = PerformanceMetricModel.latest(session, account_id="1")
        assert row is not None
        assert row.metadata_ == {"note": "x"}
        assert row.to_dict()["metadata"] == {"note": "x"}
        assert row.to_dict()["period_start"] == "2026-05-01"
        assert PerformanceMetricModel.get(session, row.id) is row
        assert PerformanceMetricModel.find(session, metric_name="ctr") == []
        assert row.created_at.tzinfo is not None
        assert repr(row) == f"<PerformanceMetricModel id={row.id}>"


def test_times_come_back_aware_and_in_utc(database: Database) -> None:
    there = datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=9)))
    with database.writing() as session:
        session.add(AlertModel(dedup_key="k", severity="low", title="t", detail="d", opened_at=there, last_seen_at=there))
    with database.reading() as session:
        row = AlertModel.latest(session)
        assert row is not None
        assert row.opened_at == datetime(2026, 5, 1, 3, tzinfo=UTC)
        assert row.opened_at.utcoffset() == timedelta(0)


def test_a_naive_time_is_refused(database: Database) -> None:
    naive = datetime(2026, 5, 1)  # noqa: DTZ001
    with pytest.raises(Exception, match="has no time zone"), database.writing() as session:
        session.add(AlertModel(dedup_key="k", severity="low", title="t", detail="d", opened_at=naive, last_seen_at=naive))


def test_an_unknown_column_is_named() -> None:
    with pytest.raises(SchemaError, match="has no column colour"):
        PerformanceMetricModel.from_dict({"colour": 1})
