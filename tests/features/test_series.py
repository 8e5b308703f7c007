from __future__ import annotations

import pytest

from tests.features.ledger import HalfAtFirst, day, exported, fact, history
from within_pipelines.exceptions import SchemaError
from within_pipelines.features import METRICS, metric_series


def values(frame: object, metric: str) -> list[float | None]:
    return frame.filter(metric=metric)["value"].to_list()  # type: ignore[attr-defined, no-any-return]


def test_two_ads_are_added_and_divided_by_hand() -> None:
    rows = [fact(0), fact(0, ad_id="a2", impressions=3000, clicks=30, spend=60.0, conversions=None, revenue=None)]
    table = metric_series(history(rows))
    expected = {
        "impressions": 4000, "clicks": 80, "spend": 160, "conversions": 10, "revenue": 300, "ctr": 0.02, "cpc": 2, "cpm": 40, "cvr": 0.125,
        "cpa": 16, "roas": 1.875,
    }  # fmt: skip
    assert set(expected) == set(METRICS)
    for metric, value in expected.items():
        assert values(table, metric) == [pytest.approx(value)], metric
    assert table["currency"].unique().to_list() == ["EUR"]
    assert table["maturity"].unique().to_list() == [1.0]


def test_what_is_not_reported_is_missing() -> None:
    table = metric_series(history([fact(0, clicks=None, conversions=0.0), fact(2)]))
    assert values(table, "clicks") == [None, 50]
    assert values(table, "cpa") == [None, 10]
    assert table.filter(metric="spend")["timestamp"].to_list() == [day(0), day(2)]  # the gap has no row


def test_a_campaign_without_rows_delivered_nothing_that_day() -> None:
    rows = [*(fact(i, campaign_id="c1") for i in range(4)), *(fact(i, campaign_id="c2") for i in (0, 3))]
    table = metric_series(history(rows), metrics=("spend", "ctr"), entity=("platform", "account_id", "campaign_id"))
    second = table.filter(campaign_id="c2")
    assert values(second, "spend") == [100, 0, 0, 100]
    assert values(second, "ctr") == [0.05, None, None, 0.05]


def test_maturity_counts_from_the_newest_export() -> None:
    rows = [fact(0), *(fact(i, as_of=exported(i)) for i in range(1, 10))]
    rows.append(fact(9, ad_id="a2", as_of=exported(9), conversions=30.0))
    table = metric_series(history(rows), metrics=("clicks", "cvr", "roas"), maturity=HalfAtFirst())
    shares = table.filter(metric="cvr")["maturity"].to_list()
    assert shares == [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5]
    assert table.filter(metric="roas")["maturity"].to_list()[-1] == 0.5
    assert table.filter(metric="clicks")["maturity"].unique().to_list() == [1.0]


def test_backfilled_and_young_rows_of_one_day_share_its_maturity_by_weight() -> None:
    rows = [fact(9, conversions=30.0), fact(9, ad_id="a2", as_of=exported(9), conversions=10.0)]
    table = metric_series(history(rows), metrics=("conversions",), maturity=HalfAtFirst())
    assert table["maturity"].to_list() == [pytest.approx(40 / 50)]


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"metrics \['likes'\] are unknown"):
        metric_series(history([fact(0)]), metrics=("likes",))
