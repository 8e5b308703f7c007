"""Readers called on text, with the law checked every time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from within_pipelines.ingest import AccountsFile, Mapping, ReadResult, read_export
from within_pipelines.lake.schema import CREATIVE_COLUMNS, FACT_COLUMNS, QUARANTINE_COLUMNS

NOW = datetime(2026, 6, 1, 8, tzinfo=UTC)


class Read:
    """What a file was read as, easy to look at."""

    def __init__(self, result: ReadResult) -> None:
        self.result = result
        self.facts = pl.DataFrame(result.facts)
        self.creatives = pl.DataFrame(result.creatives)
        self.quarantine = pl.DataFrame(result.quarantine)

    @property
    def reasons(self) -> list[str]:
        return self.quarantine["reason"].to_list()


ReadText = Callable[..., Read]


def check_law(result: ReadResult) -> None:
    """Accepted and quarantined rows are the rows; the tables have the lake's schemas."""
    assert result.rows_in == result.rows_accepted + result.rows_quarantined
    assert result.log["rows_in"] == result.rows_in
    assert result.log["rows_quarantined"] == result.quarantine.num_rows
    assert result.facts.schema == FACT_COLUMNS
    assert result.creatives.schema == CREATIVE_COLUMNS
    assert result.quarantine.schema == QUARANTINE_COLUMNS
    if result.log["kind"] in ("facts", "both"):
        assert result.facts.num_rows == result.rows_accepted
    if result.log["kind"] == "creatives":
        assert result.creatives.num_rows == result.rows_accepted


@pytest.fixture
def read(tmp_path: Path) -> ReadText:
    """Write text or bytes to a file below `google_ads/1234567890` (or `name`) and read it."""

    def reader(
        content: str | bytes,
        name: str = "google_ads/1234567890/export.csv",
        *,
        accounts: AccountsFile | None = None,
        mapping: Mapping | None = None,
        now: datetime = NOW,
    ) -> Read:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        result = read_export(path, landing=tmp_path, accounts=accounts, mapping=mapping, ingested_at=now)
        check_law(result)
        return Read(result)

    return reader
