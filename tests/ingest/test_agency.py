"""The readers on the simulated agency's exports, held against what was planted."""

from __future__ import annotations

from collections import Counter
from datetime import date
from pathlib import Path

import polars as pl

from tests.ingest.conftest import NOW, check_law
from within_pipelines.ingest import landing_files, read_export
from within_pipelines.ingest.landing import landing_accounts
from within_pipelines.simulation import AgencySpec, write_agency


def test_every_row_of_the_agency_is_a_fact_but_totals_and_planted_ones(tmp_path: Path) -> None:
    landing = tmp_path / "landing"
    summary = write_agency(landing, AgencySpec(accounts=6, days=100, seed=3, end=date(2026, 5, 30), daily_days=60))
    accounts = landing_accounts(landing)
    rows, reasons, kinds = 0, Counter[str](), Counter[str]()
    facts = []
    for path in landing_files(landing):
        result = read_export(path, landing=landing, accounts=accounts, ingested_at=NOW)
        check_law(result)
        assert result.status == "ingested", result.reason
        rows += result.rows_accepted
        reasons.update(result.quarantine["reason"].to_pylist())
        kinds[str(result.log["kind"])] += 1
        facts.append(pl.DataFrame(result.facts).select("platform", "account_id", "currency", "impressions", "clicks", "spend_micros"))
    planted = Counter({"negative_spend": 1, "clicks_exceed_impressions": 1, "bad_date": 1})
    assert reasons - Counter({"total_row": reasons["total_row"]}) == planted
    assert rows == summary.rows - planted.total()
    assert kinds["creatives"] >= 6
    everything = pl.concat(facts)
    assert everything.select("platform", "account_id").n_unique() == 6
    per_click = everything.group_by("account_id").agg(pl.col("spend_micros").sum() / pl.col("clicks").sum())
    # A misread decimal comma would put an account a hundred times off.
    assert per_click["spend_micros"].is_between(20_000, 500_000_000).all()
