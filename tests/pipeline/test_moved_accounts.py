"""A drift is told with the accounts that it comes from."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from within_pipelines.pipeline.moved_accounts import moved_accounts


def window(rng: np.random.Generator, rows: int = 1500) -> pl.DataFrame:
    """Ten accounts that differ from each other, as many rows of each as it comes."""
    account = rng.integers(0, 10, rows)
    return pl.DataFrame(
        {
            "cluster": [f"meta_ads/{a}" for a in account],
            "cpc": rng.normal(size=rows) + account,
            "format": rng.choice(["video", "image"], rows),
        }
    )


@pytest.fixture
def windows() -> tuple[pl.DataFrame, pl.DataFrame]:
    rng = np.random.default_rng(5)
    return window(rng), window(rng)


MOVED = pl.col("cluster").is_in(["meta_ads/3", "meta_ads/4"])


@pytest.mark.parametrize(
    "change",
    [
        {"cpc": pl.when(MOVED).then(pl.col("cpc") + 6).otherwise("cpc")},
        {"cpc": pl.when(MOVED).then(pl.col("cpc") - 6).otherwise("cpc")},
        {"cpc": pl.when(MOVED).then(None).otherwise("cpc")},
        {"format": pl.when(MOVED).then(pl.lit("carousel")).otherwise("format")},
    ],
    ids=["rose", "fell", "missing", "category"],
)
def test_the_accounts_that_moved_come_first(change: dict[str, pl.Expr], windows: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    before, after = windows
    found = moved_accounts(before, after.with_columns(**change), list(change))
    assert {account for account, _ in found[:2]} == {"meta_ads/3", "meta_ads/4"}
    assert sum(share for _, share in found) == pytest.approx(1.0)
    assert sum(share for _, share in found[:2]) >= 0.6
    # The other way round it is the same two: what went is then what comes.
    assert {account for account, _ in moved_accounts(after.with_columns(**change), before, list(change))[:2]} == {
        "meta_ads/3",
        "meta_ads/4",
    }


def test_an_account_that_only_grew_has_not_moved(windows: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    """More rows of one account move the whole table, but no account."""
    before, after = windows
    moved = pl.when(pl.col("cluster") == "meta_ads/3").then(pl.col("cpc") + 6).otherwise("cpc")
    grown = pl.concat([after.with_columns(cpc=moved), *[before.filter(pl.col("cluster") == "meta_ads/9")] * 3])
    assert moved_accounts(before, grown, ["cpc"])[0][0] == "meta_ads/3"


def test_a_new_account_is_held_against_all(windows: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    before, after = windows
    fresh = after.filter(pl.col("cluster") == "meta_ads/9").with_columns(cluster=pl.lit("tiktok/1"), cpc=pl.lit(99.0))
    assert moved_accounts(before, pl.concat([after, fresh]), ["cpc"])[0][0] == "tiktok/1"


def test_what_cannot_be_compared_names_nobody(windows: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    before, after = windows
    assert moved_accounts(before, after.drop("cpc"), ["cpc"]) == []
    assert moved_accounts(before, after.with_columns(pl.col("cpc").cast(pl.String)), ["cpc"]) == []
    assert moved_accounts(before, before, ["cpc", "format"]) == []
    assert moved_accounts(before.clear(), after, ["cpc"]) == []
    assert moved_accounts(before, after, []) == []
