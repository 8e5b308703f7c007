from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.features.ledger import HalfAtFirst, day, exported, fact, history, random_history
from within_pipelines.exceptions import SchemaError
from within_pipelines.features import ACCOUNT_FEATURES, FeatureSpec, MixedCurrencyError, account_features
from within_pipelines.features.knowledge import EPOCH
from within_pipelines.lake.knowledge import knowledge_time

CAMPAIGN = ("platform", "account_id", "campaign_id")


def only(frame: pl.DataFrame) -> dict[str, object]:
    assert frame.height == 1
    return frame.to_dicts()[0]


def test_a_steady_account_is_at_its_own_level() -> None:
    row = only(account_features(history(fact(i) for i in range(120)), origins=[day(119)]))
    for name in ACCOUNT_FEATURES.columns:
        if name.startswith(("log_", "slope_", "volatility_")) and name != "log_siblings_efficiency_7":
            assert row[name] == pytest.approx(0, abs=1e-9), name
    assert row["log_siblings_efficiency_7"] is None
    assert (row["share_of_account_28"], row["concentration_28"], row["history_share"]) == (1, 1, 1)
    assert (row["spend_28"], row["clicks_28"], row["conversions_28"]) == (2800, 1400, 280)
    assert (row["baseline_efficiency"], row["recent_efficiency"]) == (pytest.approx(0.1), pytest.approx(0.1))
    assert (row["target"], row["currency"]) == ("conversions_per_cost", "EUR")


def test_a_week_of_half_the_conversions_agrees_with_a_hand_calculation() -> None:
    rows = [fact(i, conversions=5.0 if i >= 49 else 10.0) for i in range(56)]
    row = only(account_features(history(rows), origins=[day(55)]))
    # 28 days: 21 x 10 + 7 x 5 = 245 conversions for 2800; 56 days: 525 for 5600. The long level is its own pool.
    long, recent = 525 / 5600, 245 / 2800
    expected = 2800 * long
    trust = expected / (expected + 10)
    level = trust * recent + (1 - trust) * long
    events = 700 * long  # what a week's spend leads one to expect
    assert row["baseline_efficiency"] == pytest.approx(level)
    assert row["recent_efficiency"] == pytest.approx(35 / 700)
    assert row["log_efficiency_7"] == pytest.approx(math.log((events * (35 / 700) / level + 5) / (events + 5)))
    assert row["log_efficiency_28"] == pytest.approx(math.log((2800 * long * recent / long + 5) / (2800 * long + 5)))
    assert row["log_ctr_7"] == pytest.approx(0)
    daily = [math.log((100 * long * (0.05 if i < 7 else 0.1) / level + 5) / (100 * long + 5)) for i in range(28)]
    assert row["volatility_efficiency_28"] == pytest.approx(np.std(daily, ddof=1))
    assert row["slope_efficiency_28"] == pytest.approx(np.polyfit(-np.arange(28) / 7, daily, 1)[0])


def test_the_path_of_weeks_agrees_with_a_hand_calculation() -> None:
    # Weeks back from the newest: 10, 5, 10, 10, ... conversions a day, for 16 weeks.
    rows = [fact(i, conversions=5.0 if 98 <= i < 105 else 10.0) for i in range(112)]
    row = only(account_features(history(rows), origins=[day(111)]))
    level, rate = row["baseline_efficiency"], (105 * 10 + 7 * 5) / 11200  # conversions per unit of spend over the 112 days
    expected = 700 * rate

    def log_ratio(seen: float, usual: float) -> float:
        return math.log((expected * seen / usual + 5) / (expected + 5))

    assert row["log_efficiency_week_2"] == pytest.approx(log_ratio(0.05, level))  # type: ignore[arg-type]
    assert row["log_efficiency_week_3"] == pytest.approx(log_ratio(0.10, level))  # type: ignore[arg-type]
    # Against the four weeks before: the newest against (5, 10, 10, 10), the fallen one against four of 10, the other ten against theirs.
    changes = [log_ratio(0.1, 0.0875), log_ratio(0.05, 0.1)] + [0.0] * 10
    assert row["volatility_weekly_112"] == pytest.approx(np.std(changes, ddof=1))
    centred = np.array(changes) - np.mean(changes)
    assert row["reversal_weekly_112"] == pytest.approx(np.mean(centred[1:] * centred[:-1]))
    assert row["drop_share_112"] == pytest.approx((1 + 0.5) / (12 + 2))
    assert row["volume_events_28"] == pytest.approx(math.log(1 + 21 * 10 + 7 * 5))


def test_a_young_unit_has_no_path_of_weeks_yet() -> None:
    row = only(account_features(history(fact(i) for i in range(14)), origins=[day(13)]))
    assert (row["volatility_weekly_112"], row["reversal_weekly_112"]) == (None, None)
    assert row["drop_share_112"] == pytest.approx(0.5 / 3)  # one week with one before it, and a prior of two


future_facts = st.lists(
    st.tuples(
        st.sampled_from([("google_ads", "A", "EUR"), ("meta_ads", "B", "USD")]),
        st.sampled_from(["c1", "c2", "c9"]),
        st.integers(-35, 20),  # event day relative to the origin
        st.integers(0, 40 * 24),  # hours from the origin's knowledge time on
        st.booleans(),
        st.integers(0, 5000),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 50), st.integers(25, 39), future_facts)
def test_nothing_after_the_origin_or_known_later_changes_a_feature(seed: int, at: int, later: list[tuple]) -> None:  # type: ignore[type-arg]
    past = random_history(seed)
    origin = day(at)
    extra = []
    for (platform, account, currency), campaign, ahead, hours, assumed, amount in later:
        # Either the day lies after the origin, or the report comes after the origin's knowledge time.
        offset = at + ahead
        after = knowledge_time(origin) + timedelta(hours=hours, microseconds=1)
        as_of = None if assumed and ahead > 0 else after if ahead <= 0 or hours % 2 else knowledge_time(origin) - timedelta(hours=1)
        extra.append(
            fact(
                offset, platform=platform, account_id=account, campaign_id=campaign, ad_id=f"{campaign}-0", currency=currency,
                impressions=amount, clicks=amount // 3, spend=float(amount), conversions=float(amount % 97), as_of=as_of, commit_seq=99,
            )
        )  # fmt: skip
    for entity in (("platform", "account_id"), CAMPAIGN):
        known = account_features(past, origins=[origin], entity=entity, maturity=HalfAtFirst())
        with_future = account_features(pl.concat([past, history(extra)]), origins=[origin], entity=entity, maturity=HalfAtFirst())
        assert_frame_equal(with_future, known, check_exact=True)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000))
def test_row_order_does_not_matter(seed: int) -> None:
    past = random_history(seed % 7)
    shuffled = past.sample(fraction=1.0, shuffle=True, seed=seed)
    origins = [day(30), day(39)]
    assert_frame_equal(account_features(shuffled, origins=origins), account_features(past, origins=origins[::-1]), check_exact=True)


def test_a_hundred_times_the_money_gives_the_same_features() -> None:
    past = random_history(3)
    money = [pl.col(name) * 100 for name in ("spend_micros", "revenue_micros")]
    for target in ("auto", "revenue_per_cost"):
        small = account_features(past, origins=[day(39)], entity=CAMPAIGN, target=target)
        large = account_features(past.with_columns(money), origins=[day(39)], entity=CAMPAIGN, target=target)
        assert_frame_equal(small.select(ACCOUNT_FEATURES.columns), large.select(ACCOUNT_FEATURES.columns), abs_tol=1e-9)
        assert large["spend_28"].to_list() == pytest.approx([100 * x for x in small["spend_28"]])


def test_one_origin_alone_gives_what_it_gives_among_many() -> None:
    past = random_history(5)
    many = account_features(past, origins=[day(i) for i in range(10, 40)], entity=CAMPAIGN, maturity=HalfAtFirst())
    for at in (10, 27, 39):
        alone = account_features(past, origins=[day(at)], entity=CAMPAIGN, maturity=HalfAtFirst())
        assert_frame_equal(many.filter(pl.col("origin") == day(at)), alone, check_exact=True)


def test_the_newest_version_known_on_the_origin_counts() -> None:
    rows = [fact(i) for i in range(40)]
    rows.append(fact(35, conversions=90.0, as_of=exported(35, age=3)))
    rows.append(fact(35, conversions=50.0, as_of=exported(35, age=3), commit_seq=2))  # equally new: committed last
    totals = account_features(history(rows), origins=[day(36), day(37), day(38)])["conversions_28"].to_list()
    assert totals == [280, 320, 320]  # the export of day 38 is known on origin 37, whose knowledge time is day 38 at noon


def test_another_attribution_setting_replaces_and_does_not_add() -> None:
    rows = [*(fact(i) for i in range(40)), fact(39, attribution="7d_click", as_of=exported(39))]
    assert only(account_features(history(rows), origins=[day(39)]))["clicks_28"] == 1400


def test_an_unreported_measure_is_missing_and_not_zero() -> None:
    rows = [fact(i, conversions=None if i >= 33 else 10.0) for i in range(40)]
    row = only(account_features(history(rows), origins=[day(39)]))
    assert row["log_cvr_7"] is None
    assert row["log_efficiency_28"] == pytest.approx(0)
    zero = [fact(i, conversions=0.0 if i >= 33 else 10.0) for i in range(40)]
    log_cvr = only(account_features(history(zero), origins=[day(39)]))["log_cvr_7"]
    assert isinstance(log_cvr, float)
    assert log_cvr < -1


def test_late_conversions_are_divided_by_the_share_known_at_their_age() -> None:
    rows = [fact(i) for i in range(30)] + [fact(i, as_of=exported(i), conversions=4.0) for i in range(30, 40)]
    row = only(account_features(history(rows), origins=[day(39)], maturity=HalfAtFirst()))
    # Days 36 to 39 are at most 4 days old when day 40's export is made: their 4 conversions count as 8; a backfill is final.
    assert row["conversions_28"] == pytest.approx(18 * 10 + 6 * 4 + 4 * 8)
    stalled = [row for row in rows if row["event_date"] < day(39)]
    known = only(account_features(history(stalled), origins=[day(41)], maturity=HalfAtFirst()))
    # The newest export is that of day 39: the age counts from there and not from the origin.
    assert known["conversions_28"] == pytest.approx(16 * 10 + 5 * 4 + 4 * 8)


def test_a_stalled_feed_shows_as_gap_and_silence() -> None:
    row = only(account_features(history(fact(i) for i in range(40)), origins=[day(42)]))
    assert row["gap_share_7"] == pytest.approx(3 / 7)
    assert row["silence"] == pytest.approx(3 / 10)
    assert row["log_spend_1"] is None
    assert row["log_spend_7"] == pytest.approx(0)


def test_a_campaign_is_seen_beside_the_rest_of_its_account() -> None:
    rows = [fact(i, campaign_id="c1", spend=300.0, conversions=30.0) for i in range(60)]
    rows += [fact(i, campaign_id="c2", ad_id="a2", conversions=5.0 if i >= 53 else 10.0) for i in range(60)]
    table = account_features(history(rows), origins=[day(59)], entity=CAMPAIGN)
    steady, falling = table.to_dicts()
    assert (steady["share_of_account_28"], falling["share_of_account_28"]) == (0.75, 0.25)
    assert falling["log_siblings_efficiency_7"] == pytest.approx(0, abs=1e-9)
    assert steady["log_siblings_efficiency_7"] < -0.3
    account = only(account_features(history(rows), origins=[day(59)]))
    assert account["concentration_28"] == pytest.approx(0.75**2 + 0.25**2)


def test_the_target_follows_what_is_reported() -> None:
    def target(**values: object) -> object:
        return only(account_features(history(fact(i, **values) for i in range(40)), origins=[day(39)]))["target"]

    assert target(conversions=0.1) == "clicks_per_cost"
    assert target(spend=None, revenue=None, currency="XXX") == "ctr"
    assert target(spend=None, revenue=None, currency="XXX", impressions=None, clicks=None) is None
    row = only(
        account_features(history(fact(i, spend=None, revenue=None, currency="XXX") for i in range(40)), origins=[day(39)], target="clicks")
    )
    assert (row["baseline_efficiency"], row["log_efficiency_7"]) == (pytest.approx(50), pytest.approx(0))
    revenue = only(account_features(history(fact(i, conversions=None) for i in range(40)), origins=[day(39)], target="revenue_per_cost"))
    assert revenue["baseline_efficiency"] == pytest.approx(3)


def test_nothing_is_said_about_units_that_are_not_known_yet() -> None:
    rows = [*(fact(i) for i in range(20)), *(fact(i, account_id="B") for i in range(15, 20))]
    table = account_features(history(rows), origins=[day(10), day(19), EPOCH])
    assert table.select("account_id", "origin").rows() == [("A", day(10)), ("A", day(19)), ("B", day(19))]
    assert account_features(history([]), origins=[day(3)]).is_empty()
    assert account_features(history(rows), origins=[]).columns == table.columns


def test_two_currencies_are_refused_by_name() -> None:
    rows = [fact(0), fact(1, currency="USD"), fact(1, currency="XXX", spend=None, revenue=None, ad_id="a2")]
    with pytest.raises(MixedCurrencyError, match=r"google_ads/A has money in \['EUR', 'USD'\]; 1 of 1 units mix currencies"):
        account_features(history(rows), origins=[day(1)])
    assert only(account_features(history([rows[0], rows[2]]), origins=[day(1)]))["currency"] == "EUR"


def test_what_cannot_be_computed_is_refused_with_a_reason() -> None:
    facts = history([fact(0)])
    with pytest.raises(SchemaError, match=r"grains \['ad', 'ad\|age'\]; choose one"):
        account_features(history([fact(0), fact(0, grain="ad|age", breakdown="age=18-24")]), origins=[day(0)])
    with pytest.raises(SchemaError, match=r"entity \('account_id',\) cannot be used"):
        account_features(facts, origins=[day(0)], entity=("account_id",))
    with pytest.raises(SchemaError, match="target 'profit' is unknown"):
        account_features(facts, origins=[day(0)], target="profit")
    with pytest.raises(SchemaError, match=r"lacks the columns \['as_of'\]"):
        account_features(facts.drop("as_of"), origins=[day(0)])
    other = FeatureSpec("account_features", 9, (), (), (), ("one",))
    with pytest.raises(SchemaError, match="version 9 differs from what this code computes"):
        account_features(facts, origins=[day(0)], spec=other)


def test_segments_are_units_like_any_other() -> None:
    rows = [fact(i, grain="ad|age", breakdown=f"age={age}") for i in range(40) for age in ("18-24", "25-34")]
    table = account_features(history(rows), origins=[day(39)], entity=("platform", "account_id", "breakdown"))
    assert table["breakdown"].to_list() == ["age=18-24", "age=25-34"]
    assert table["share_of_account_28"].to_list() == [0.5, 0.5]


def test_days_of_delivery_without_their_whole_spend_are_counted() -> None:
    def spend_of(offset: int) -> float | None:
        return None if offset in (3, 50, 55) else 100.0

    whole = [fact(i, spend=spend_of(i)) for i in range(60)]
    # Another ad of the same days: one day's spend is missing of this ad alone, another day it delivered nothing that could have cost.
    beside = [fact(i, ad_id="other", spend=None if i == 58 else 1.0) for i in range(58, 60)]
    idle = [fact(57, ad_id="idle", spend=None, impressions=0, clicks=0)]
    row = only(account_features(history([*whole, *beside, *idle]), origins=[day(59)]))
    assert row["spend_unknown_28"] == 4  # 50, 55, 58 and 57, whose other ad delivered; day 3 is too long ago
    assert row["spend_28"] == 26 * 100 + 1
