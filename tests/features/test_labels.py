from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.features.ledger import HalfAtFirst, day, exported, fact, history, random_history
from within_pipelines.exceptions import SampleError, SchemaError
from within_pipelines.features import account_features, account_labels
from within_pipelines.lake.knowledge import knowledge_time

LATER = datetime(2027, 1, 1, tzinfo=UTC)


def test_a_fall_by_half_is_degraded_and_agrees_with_a_hand_calculation() -> None:
    rows = [fact(i, conversions=5.0 if i > 40 else 10.0) for i in range(60)]
    table = account_labels(history(rows), origins=[day(30), day(40)], as_of=LATER)
    steady, falling = table.to_dicts()
    assert (steady["log_ratio"], steady["degraded"], steady["mature"]) == (pytest.approx(0), False, True)
    assert (falling["future_efficiency"], falling["expected_events"]) == (pytest.approx(0.05), pytest.approx(70))
    assert falling["log_ratio"] == pytest.approx(math.log(35.5 / 70.5))
    assert falling["degraded"] is True


def test_a_label_counts_once_its_days_are_known() -> None:
    rows = history(fact(i) for i in range(40))
    table = account_labels(rows, origins=[day(32), day(33), day(39)], as_of=knowledge_time(day(39)))
    assert table["mature"].to_list() == [True, False, False]
    early = account_labels(rows, origins=[day(32)], as_of=knowledge_time(day(39)) - timedelta(seconds=1))
    assert early["mature"].to_list() == [False]
    assert table["log_ratio"].null_count() == 1  # nothing at all lies after the last day


def test_young_conversions_delay_a_label_and_are_corrected() -> None:
    rows = [*(fact(i) for i in range(30)), *(fact(i, as_of=exported(i), conversions=5.0) for i in range(30, 40))]
    table = account_labels(history(rows), origins=[day(28), day(32)], as_of=LATER, maturity=HalfAtFirst())
    # The newest export is day 40's: days 36 to 39 have 5 of 10 conversions; day 35 counts as complete with 5.
    assert table["future_efficiency"].to_list() == [pytest.approx((10 + 6 * 5) / 700), pytest.approx((3 * 5 + 4 * 10) / 700)]
    assert table["mature"].to_list() == [True, False]


def test_the_baseline_is_that_of_the_features() -> None:
    facts = random_history(2)
    origins = [day(20), day(30)]
    features = account_features(facts, origins=origins, maturity=HalfAtFirst())
    labels = account_labels(facts, origins=origins, as_of=LATER, maturity=HalfAtFirst())
    assert labels["baseline_efficiency"].to_list() == features["baseline_efficiency"].to_list()
    assert labels["target"].to_list() == features["target"].to_list()
    assert labels.select("platform", "account_id", "origin").equals(features.select("platform", "account_id", "origin"))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 20), st.integers(1, 300))
def test_what_is_reported_after_as_of_changes_no_label(seed: int, hours: int) -> None:
    facts = random_history(seed)
    as_of = knowledge_time(day(38))
    late = fact(35, campaign_id="c1", ad_id="c1-0", conversions=500.0, as_of=as_of + timedelta(hours=hours), commit_seq=9)
    arguments = {"origins": [day(30)], "as_of": as_of}
    assert account_labels(facts.vstack(history([late])), **arguments).equals(account_labels(facts, **arguments))  # type: ignore[arg-type]


def test_too_little_to_expect_gives_no_label() -> None:
    silent = history([*(fact(i) for i in range(41)), *(fact(i, account_id="B") for i in range(60))])
    row = account_labels(silent, origins=[day(40)], as_of=LATER).to_dicts()[0]
    assert (row["log_ratio"], row["degraded"], row["mature"]) == (None, None, False)
    small = history(fact(i, conversions=0.0, clicks=0, impressions=20) for i in range(60))
    assert account_labels(small, origins=[day(40)], as_of=LATER)["degraded"].to_list() == [None]
    assert account_labels(silent, origins=[], as_of=LATER).is_empty()


def test_the_threshold_of_a_drop_can_be_chosen() -> None:
    rows = history(fact(i, clicks=38 if i > 40 else 50) for i in range(60))
    chosen = {drop: account_labels(rows, origins=[day(40)], as_of=LATER, target="clicks", drop=drop)["degraded"][0] for drop in (0.2, 0.3)}
    assert chosen == {0.2: True, 0.3: False}


def test_impossible_questions_are_refused() -> None:
    facts = history([fact(0)])
    with pytest.raises(SampleError, match=r"horizon=0, drop=0\.2; give a horizon of 1"):
        account_labels(facts, origins=[day(0)], horizon=0, as_of=LATER)
    with pytest.raises(SampleError, match="has no time zone"):
        account_labels(facts, origins=[day(0)], as_of=datetime(2027, 1, 1))  # noqa: DTZ001


def test_a_unit_stops_once_and_only_when_its_silence_is_known() -> None:
    rows = [*(fact(i) for i in range(30)), *(fact(i, campaign_id="c2") for i in range(60))]
    table = account_labels(
        history(rows),
        origins=[day(i) for i in (20, 28, 29, 33, 36, 52, 53, 54)],
        entity=("platform", "account_id", "campaign_id"),
        as_of=LATER,
    )
    told = {campaign: part.select("origin", "stopped").rows() for (campaign,), part in table.group_by("campaign_id")}
    assert [stopped for _, stopped in told["c2"]] == [False] * 6 + [None] * 2  # the feed ends on day 59
    # Delivering until day 29: on day 28 one more day comes, on day 36 it has been silent for a week already.
    assert [stopped for _, stopped in told["c1"]] == [False, False, True, True, None, None, None, None]
    assert table.filter("stopped")["degraded"].null_count() == 2


def test_the_usual_level_can_be_that_of_two_weeks() -> None:
    rows = history(fact(i, conversions=20.0 if i >= 46 else 10.0) for i in range(70))
    month, fortnight = (account_labels(rows, origins=[day(59)], as_of=LATER, usual_days=n).to_dicts()[0] for n in (28, 14))
    assert fortnight["baseline_efficiency"] > month["baseline_efficiency"]
    assert fortnight["log_ratio"] == pytest.approx(0, abs=0.03)
    assert month["log_ratio"] > 0.2
    features = account_features(rows, origins=[day(59)], usual_days=14)
    assert features["baseline_efficiency"].to_list() == [fortnight["baseline_efficiency"]]
    assert features["log_efficiency_7"][0] == pytest.approx(0, abs=0.03)
    with pytest.raises(SchemaError, match="usual_days=3 is no length of the usual level; give 7 to 112 days"):
        account_labels(rows, origins=[day(59)], as_of=LATER, usual_days=3)
