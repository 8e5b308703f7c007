"""The door notices faults of feeds, and leaves honest feeds and real collapses alone."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from within_pipelines.exceptions import SchemaError
from within_pipelines.quality import BLOCKING, faulty_feeds
from within_pipelines.robustness import fact_faults

DAY = date(2026, 6, 30)
FAULTS = {fault.name: fault for fault in fact_faults()}


def facts(accounts: int = 6, days: int = 70, ads: int = 10, *, seed: int = 0) -> pl.DataFrame:
    """Accounts with weekly seasons, noise and prices of their own."""
    rng = np.random.default_rng(seed)
    rows = []
    for a in range(accounts):
        size, price = rng.uniform(500, 5000), rng.uniform(0.3, 3)
        for d in range(days):
            day = DAY - timedelta(days=days - 1 - d)
            level = size * (1 + 0.2 * np.sin(2 * np.pi * day.weekday() / 7)) * np.exp(0.1 * rng.normal())
            for ad in range(ads):
                shown = int(rng.poisson(level))
                clicks = int(rng.binomial(shown, 0.02))
                spend = int(clicks * price * np.exp(0.15 * rng.normal()) * 1e6)
                sold = float(rng.binomial(clicks, 0.1))
                rows.append(
                    ("meta_ads", f"a{a}", f"c{ad % 2}", "g", f"ad{ad}", "", "", day, "EUR", shown, clicks, spend, sold, int(sold * 3e7))
                )
    return pl.DataFrame(
        rows,
        schema=[
            "platform", "account_id", "campaign_id", "ad_group_id", "ad_id", "breakdown", "attribution", "event_date", "currency",
            "impressions", "clicks", "spend_micros", "conversions", "revenue_micros",
        ],
        orient="row",
    )  # fmt: skip


@pytest.fixture(scope="module")
def honest() -> pl.DataFrame:
    return facts()


def test_honest_feeds_pass_on_every_day(honest: pl.DataFrame) -> None:
    for back in range(0, 28, 7):
        day = DAY - timedelta(days=back)
        assert faulty_feeds(honest.filter(pl.col("event_date") <= day), day=day).is_empty()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("money x100", "unit"),
        ("money in micros", "unit"),
        ("money in another currency", "unit"),
        ("currency label", "currency"),
        ("stale days", "copied_day"),
        ("doubled day", "multiplied_day"),
        ("repeated rows", "repeated_rows"),
        ("missing days", "gap"),
        ("no conversions", "missing_metric"),
    ],
)
def test_each_fault_is_named_on_its_days(honest: pl.DataFrame, fault: str, kind: str) -> None:
    found = faulty_feeds(FAULTS[fault].apply(honest, DAY, np.random.default_rng(1)), day=DAY)
    of_kind = found.filter(pl.col("kind") == kind)
    assert of_kind["account_id"].n_unique() == 6
    assert of_kind["event_date"].min() > DAY - timedelta(days=3)
    assert (of_kind["blocking"] == (kind in BLOCKING)).all()
    assert all(of_kind["detail"].str.len_chars() > 8)


@pytest.mark.parametrize("fault", ["noise", "time zone", "row order"])
def test_what_no_door_can_know_is_not_claimed(honest: pl.DataFrame, fault: str) -> None:
    assert faulty_feeds(FAULTS[fault].apply(honest, DAY, np.random.default_rng(1)), day=DAY).is_empty()


def test_a_real_collapse_and_a_real_boom_are_no_faults(honest: pl.DataFrame) -> None:
    for factor in (0.2, 2.7):
        measures = ["impressions", "clicks", "spend_micros", "conversions", "revenue_micros"]
        newest = pl.col("event_date") > DAY - timedelta(days=3)
        moved = honest.with_columns(
            pl.when(newest).then((pl.col(m) * factor).round(0)).otherwise(pl.col(m)).cast(honest.schema[m]) for m in measures
        )
        assert faulty_feeds(moved, day=DAY).filter("blocking").is_empty()


def test_one_accounts_fault_is_its_own(honest: pl.DataFrame) -> None:
    spoiled = FAULTS["money x100"].apply(honest.filter(pl.col("account_id") == "a1"), DAY, np.random.default_rng(1))
    found = faulty_feeds(pl.concat([honest.filter(pl.col("account_id") != "a1"), spoiled]), day=DAY)
    assert found["account_id"].unique().to_list() == ["a1"]
    more_clicks = honest.with_columns(
        clicks=pl.when((pl.col("account_id") == "a2") & (pl.col("event_date") == DAY)).then(pl.col("impressions") * 2).otherwise("clicks")
    )
    assert "impossible" in faulty_feeds(more_clicks, day=DAY)["kind"].to_list()


def test_missing_columns_are_named_and_nothing_is_nothing(honest: pl.DataFrame) -> None:
    with pytest.raises(SchemaError, match="revenue_micros"):
        faulty_feeds(honest.drop("revenue_micros"), day=DAY)
    assert faulty_feeds(honest.clear(), day=DAY).is_empty()
