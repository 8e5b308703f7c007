from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.features.ledger import day, exported, fact, history
from within_pipelines.exceptions import SampleError, SchemaError
from within_pipelines.features import creative_table
from within_pipelines.lake.knowledge import knowledge_time

LATER = datetime(2027, 1, 1, tzinfo=UTC)
BEFORE = ("siblings_before", "group_impressions_before", "group_clicks_before", "group_ctr_before", "account_ctr_before")


def creatives(*ads: str) -> pl.DataFrame:
    """Texts of ads of one group."""
    return pl.DataFrame(
        [
            {
                "platform": "google_ads", "account_id": "A", "campaign_id": "c1", "ad_group_id": "g1", "ad_id": ad,
                "headline": f"Headline {ad}", "as_of": knowledge_time(day(0)),
            }
            for ad in ads
        ],
        schema_overrides={"as_of": pl.Datetime("us", "UTC")},
    )  # fmt: skip


def test_an_ad_sees_what_was_known_of_its_siblings_the_day_before_it_started() -> None:
    rows = [
        *(fact(i, ad_id="a1") for i in range(10)),
        *(fact(i, ad_id="a2", clicks=20) for i in range(6, 10)),
        fact(5, ad_id="a1", clicks=70, as_of=exported(5, hour=11)),  # known before noon of day 6: before a2's day
        fact(4, ad_id="a1", clicks=90, as_of=exported(4, age=4)),  # known on day 8: too late for a2
        *(fact(i, ad_id="a3", campaign_id="c2", impressions=2000, clicks=10) for i in range(10)),
        *(fact(i, ad_id="a4", ad_group_id="g2", impressions=500, clicks=5) for i in range(10)),
    ]
    table = creative_table(history(rows), creatives("a1", "a2", "a9"), as_of=LATER)
    by_ad = {row["ad_id"]: row for row in table.to_dicts()}
    second = by_ad["a2"]
    assert (second["siblings_before"], second["group_impressions_before"], second["group_clicks_before"]) == (1, 6000, 320)
    assert second["group_ctr_before"] == pytest.approx(320 / 6000)
    assert second["account_ctr_before"] == pytest.approx((320 + 60 + 30) / (6000 + 12_000 + 3000))
    assert (second["campaign_impressions_before"], second["campaign_clicks_before"]) == (6000 + 3000, 320 + 30)
    assert (second["first_day"], second["last_day"], second["impressions"], second["clicks"]) == (day(6), day(9), 4000, 80)
    assert (second["group_id"], second["headline"], second["spend"], second["currency"]) == (
        "google_ads/A/c1/g1",
        "Headline a2",
        400,
        "EUR",
    )
    first = by_ad["a1"]
    assert (first["siblings_before"], first["account_ctr_before"], first["clicks"]) == (0, None, 8 * 50 + 70 + 90)
    assert by_ad["a3"]["headline"] is None
    waiting = by_ad["a9"]  # texts without facts: everything known now is before it
    assert (waiting["impressions"], waiting["first_day"], waiting["siblings_before"]) == (0, None, 2)
    assert waiting["group_impressions_before"] == 14_000


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 30), st.integers(0, 500), st.integers(0, 9))
def test_what_was_learned_later_changes_no_history(offset: int, hours: int, amount: int) -> None:
    rows = [*(fact(i, ad_id="a1") for i in range(10)), *(fact(i, ad_id="a2") for i in range(6, 10))]
    start = 6
    as_of = max(knowledge_time(day(start - 1)) + timedelta(hours=hours, seconds=1), knowledge_time(day(offset)))
    later = fact(offset, ad_id="a1", clicks=amount * 100, impressions=amount * 9999, as_of=as_of, commit_seq=5)
    table, changed = (creative_table(history(r), creatives("a1", "a2"), as_of=LATER) for r in (rows, [*rows, later]))
    second = pl.col("ad_id") == "a2"
    assert changed.filter(second).select(BEFORE).equals(table.filter(second).select(BEFORE))


def test_the_past_can_be_looked_at_again() -> None:
    rows = [fact(i, ad_id="a1") for i in range(10)]
    table = creative_table(history(rows), creatives("a1"), as_of=knowledge_time(day(4)))
    assert table.select("last_day", "impressions").row(0) == (day(4), 5000)
    assert creative_table(history(rows), creatives("a1"), as_of=knowledge_time(day(0)) - timedelta(days=9)).is_empty()


def test_bad_input_is_refused() -> None:
    with pytest.raises(SampleError, match="has no time zone"):
        creative_table(history([]), creatives("a1"), as_of=datetime(2027, 1, 1))  # noqa: DTZ001
    with pytest.raises(SchemaError, match=r"creatives table lacks the columns \['as_of'\]"):
        creative_table(history([]), creatives("a1").drop("as_of"), as_of=LATER)
