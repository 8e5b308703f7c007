"""Small batches of facts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import polars as pl
import pytest

from within_pipelines.lake import CREATIVE_COLUMNS, FACT_COLUMNS, INGEST_LOG_COLUMNS, QUARANTINE_COLUMNS, IngestBatch

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def fact(**changes: object) -> dict[str, object]:
    row: dict[str, object] = {
        "platform": "google_ads", "account_id": "1", "campaign_id": "c", "ad_group_id": "g", "ad_id": "a", "breakdown": "",
        "attribution": "", "grain": "ad", "event_date": date(2026, 5, 1), "currency": "EUR", "timezone": "UTC", "impressions": 100,
        "clicks": 10, "reach": None, "spend_micros": 5_000_000, "conversions": 1.0, "revenue_micros": 9_000_000,
        "as_of": datetime(2026, 5, 2, 6, tzinfo=UTC), "as_of_source": "file", "file_sha256": "f1",
    }  # fmt: skip
    return row | changes


def batch_of(rows: list[dict[str, object]], *, quarantined: int = 0, creatives: list[dict[str, object]] | None = None) -> IngestBatch:
    facts = pl.DataFrame(rows, schema=pl.DataFrame(FACT_COLUMNS.empty_table()).schema)
    texts = pl.DataFrame(creatives or [], schema=pl.DataFrame(CREATIVE_COLUMNS.empty_table()).schema)
    shas = sorted({str(r["file_sha256"]) for r in [*rows, *(creatives or [])]}) or ["empty"]
    bad = [
        {
            "file_sha256": shas[0],
            "file_name": "x.csv",
            "row_number": n + 1,
            "reason": "bad_date",
            "detail": "no date",
            "raw": "?",
        }
        for n in range(quarantined)
    ]
    log = [
        {
            "file_sha256": sha, "file_name": f"{sha}.csv", "platform": "google_ads", "status": "ingested",
            "kind": "facts" if any(r["file_sha256"] == sha for r in rows) else "creatives",
            "rows_in": sum(r["file_sha256"] == sha for r in [*rows, *(creatives or [])]) + (quarantined if sha == shas[0] else 0),
            "rows_accepted": sum(r["file_sha256"] == sha for r in [*rows, *(creatives or [])]), "rows_unchanged": 0,
            "rows_quarantined": quarantined if sha == shas[0] else 0, "first_date": None, "last_date": None, "covered": [],
            "as_of": None, "reason": "",
        }
        for sha in shas
    ]  # fmt: skip
    return IngestBatch(
        facts=facts.to_arrow(),
        creatives=texts.to_arrow(),
        quarantine=pl.DataFrame(bad, schema=pl.DataFrame(QUARANTINE_COLUMNS.empty_table()).schema).to_arrow(),
        log=pl.DataFrame(log, schema=pl.DataFrame(INGEST_LOG_COLUMNS.empty_table()).schema).to_arrow(),
    )


@pytest.fixture
def lake_root(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    return lambda: str(tmp_path_factory.mktemp("lake"))
