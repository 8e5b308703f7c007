"""Small histories of facts for tests."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from within_pipelines.lake.knowledge import assumed_as_of
from within_pipelines.lake.schema import COMMIT_COLUMNS, FACT_COLUMNS

FIRST = date(2026, 1, 5)  # a Monday
SCHEMA = pl.DataFrame(FACT_COLUMNS.empty_table()).schema | {
    field.name: pl.Int64 if field.name == "commit_seq" else pl.Datetime("us", "UTC") for field in COMMIT_COLUMNS
}


def day(offset: int) -> date:
    """The day `offset` days after the first one."""
    return FIRST + timedelta(days=offset)


def fact(offset: int, **values: Any) -> dict[str, Any]:
    """One fact of the day `offset`; a backfill's unless `as_of` is given. `spend` and `revenue` are in currency units."""
    row: dict[str, Any] = {
        "platform": "google_ads", "account_id": "A", "campaign_id": "c1", "ad_group_id": "g1", "ad_id": "a1", "breakdown": "",
        "attribution": "", "grain": "ad", "event_date": day(offset), "currency": "EUR", "timezone": "Europe/Berlin", "impressions": 1000,
        "clicks": 50, "reach": None, "spend": 100.0, "conversions": 10.0, "revenue": 300.0, "as_of": None, "as_of_source": None,
        "file_sha256": "f" * 64, "ingested_at": datetime(2027, 1, 1, tzinfo=UTC), "commit_seq": 1,
    }  # fmt: skip
    row |= values
    if row["as_of_source"] is None:
        row["as_of_source"] = "assumed_lag" if row["as_of"] is None else "file"
    if row["as_of"] is None:
        row["as_of"] = assumed_as_of(row["event_date"])
    for name in ("spend", "revenue"):
        amount = row.pop(name)
        row[f"{name}_micros"] = None if amount is None else round(amount * 1_000_000)
    return row


def history(rows: Iterable[dict[str, Any]]) -> pl.DataFrame:
    """Facts as `Lake.history` returns them."""
    return pl.DataFrame(list(rows), schema=SCHEMA)


def exported(offset: int, *, age: int = 1, hour: int = 5) -> datetime:
    """The moment of an export made `age` days after the day `offset`."""
    moment = day(offset + age)
    return datetime(moment.year, moment.month, moment.day, hour, tzinfo=UTC)


def random_history(seed: int, *, days: int = 40) -> pl.DataFrame:
    """Two accounts, two campaigns each, restated for some days, with gaps and unreported measures."""
    rng = np.random.default_rng(seed)
    rows = []
    for account, platform, currency in (("A", "google_ads", "EUR"), ("B", "meta_ads", "USD")):
        for campaign in ("c1", "c2"):
            for offset in range(days):
                if rng.random() < 0.1:
                    continue
                final = int(rng.poisson(8))
                for age in range(1, 1 + (int(rng.integers(1, 5)) if offset > days // 2 else 0)) or [0]:
                    rows.append(
                        fact(
                            offset,
                            platform=platform,
                            account_id=account,
                            campaign_id=campaign,
                            ad_id=f"{campaign}-{int(rng.integers(2))}",
                            currency=currency,
                            impressions=int(rng.integers(200, 2000)),
                            clicks=int(rng.integers(0, 100)),
                            spend=float(rng.integers(0, 200)),
                            conversions=None if rng.random() < 0.05 else final * age / 4 if age else float(final),
                            revenue=float(rng.integers(0, 900)),
                            as_of=exported(offset, age=age) if age else None,
                            commit_seq=1 + age,
                        )
                    )
    return history(rows)


class HalfAtFirst:
    """A maturity curve: half is known after a day, all after `longest` days."""

    longest = 5

    def share(self, platform: str, account_id: str, metric: str, age_days: int) -> float:
        """Half up to the age of 4 days."""
        return 0.5 if age_days < self.longest else 1.0
