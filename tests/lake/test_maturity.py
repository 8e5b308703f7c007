"""The curve is learned from restatements and from nothing else."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from tests.lake.conftest import NOON, batch_of, fact
from within_pipelines.lake import Lake, maturity_curve

SHARES = [0.5, 0.8, 0.9, 1.0]


def restated(days: int = 30, *, source: str = "file") -> list[dict[str, object]]:
    rows = []
    for n in range(days):
        day = date(2026, 3, 1) + timedelta(days=n)
        for age, share in enumerate(SHARES, start=1):
            as_of = datetime.combine(day, datetime.min.time(), tzinfo=UTC) + timedelta(days=age, hours=6)
            if as_of.date() <= date(2026, 3, 1) + timedelta(days=days):
                rows.append(fact(event_date=day, conversions=100 * share, as_of=as_of, as_of_source=source, file_sha256=f"{as_of:%j}"))
    return rows


def test_a_planted_lag_is_recovered(tmp_path) -> None:  # type: ignore[no-untyped-def]
    lake = Lake(tmp_path)
    lake.commit(batch_of(restated()), ingested_at=NOON)
    curve = maturity_curve(lake.history())
    for age, share in enumerate(SHARES, start=1):
        assert curve.share("google_ads", "1", "conversions", age) == pytest.approx(share, abs=1e-9)
    assert curve.share("google_ads", "1", "conversions", 40) == 1.0
    assert curve.share("google_ads", "1", "clicks", 1) == pytest.approx(1.0)


def test_an_unknown_account_gets_its_platforms_curve_and_an_unknown_platform_none(tmp_path) -> None:  # type: ignore[no-untyped-def]
    lake = Lake(tmp_path)
    lake.commit(batch_of(restated()), ingested_at=NOON)
    curve = maturity_curve(lake.history())
    assert curve.share("google_ads", "unseen", "conversions", 1) == pytest.approx(0.5)
    assert curve.share("meta_ads", "1", "conversions", 1) == 1.0
    assert curve.longest == 5


def test_a_backfill_with_an_assumed_time_teaches_nothing() -> None:
    history = pl.DataFrame([fact(as_of_source="assumed_lag")]).with_columns(commit_seq=pl.lit(1))
    assert maturity_curve(history).shares == {}
    assert maturity_curve(history).to_frame().is_empty()
