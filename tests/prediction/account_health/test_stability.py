"""What refits agree on is published; what they do not is not."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tests.prediction.worlds import feature_rows
from within_pipelines.features import ACCOUNT_FEATURES
from within_pipelines.prediction import AccountHealthPredictor
from within_pipelines.prediction.account_health.groups import group_of
from within_pipelines.prediction.account_health.stability import STABLE, group_stability, grouped, leading_overlap, split_halves
from within_pipelines.prediction.frames import matrix

FEATURES = ["log_efficiency_7", "slope_efficiency_28", "log_ctr_7", "silence"]


def test_groups_add_their_features_up() -> None:
    names, sums = grouped(np.array([[1.0, 2.0, -4.0, 0.5, 99.0]]), FEATURES)
    assert dict(zip(names, sums[0], strict=True)) == {"tracking": 0.5, "traffic": -4.0, "trend": 3.0}


def test_a_fit_agrees_with_itself_and_its_opposite_disagrees() -> None:
    own = np.random.default_rng(1).normal(size=(50, 5))
    assert set(group_stability(own, [(own, own)], FEATURES).values()) == {1.0}
    assert set(group_stability(own, [(own, -own)], FEATURES).values()) == {0.0}
    noise = [np.random.default_rng(s).normal(size=(50, 5)) for s in range(2, 22)]
    pairs = list(zip(noise[::2], noise[1::2], strict=True))
    assert all(0.35 < value < 0.65 for value in group_stability(own, pairs, FEATURES).values())
    silent = own * np.array([1, 1, 1, 0, 1])
    assert group_stability(silent, [(silent, silent)], FEATURES)["tracking"] == 0.0


def test_halves_share_no_account_and_leave_none_out() -> None:
    accounts = np.array(["a", "b", "c", "d"]).repeat([3, 1, 4, 2])
    for first, second in split_halves(accounts, splits=20, rng=np.random.default_rng(2)):
        assert len(set(accounts[first])) == len(set(accounts[second])) == 2
        assert set(accounts[first]) | set(accounts[second]) == set("abcd")
        assert sorted([*first, *second]) == list(range(10))


def test_overlap_by_hand() -> None:
    first = np.array([[3.0, 0.0, 2.0, 1.0, 0.0], [-1.0, 0.0, -1.0, -1.0, 0.0]])
    second = np.array([[3.0, 0.0, -2.0, 1.0, 0.0], [-1.0, 0.0, -1.0, -1.0, 0.0]])
    all_groups = [["tracking", "traffic", "trend"]] * 2
    # Row 0: {trend, traffic, tracking} and {trend, tracking} share 2 of 3; row 1 publishes nothing in both.
    assert leading_overlap(first, second, FEATURES, published=all_groups) == pytest.approx((2 / 3 + 1) / 2)
    assert leading_overlap(first, second, FEATURES, published=[["trend"], ["trend", "tracking"]]) == pytest.approx((1 / 2 + 1) / 2)
    assert leading_overlap(first, first, FEATURES, published=all_groups, top=1) == 1.0


def test_planted_groups_are_published_and_carry_their_stability(
    health_predictor: AccountHealthPredictor, health_rows: pl.DataFrame
) -> None:
    planted = {"trend", "conversion", "price"}
    assert planted <= set(health_predictor.published_groups)
    assert all(health_predictor.group_stability[group] > 0.9 for group in planted)
    report = next(r for r in health_predictor.predict(health_rows) if r.risk_factors)
    for factor in report.risk_factors:
        assert factor.stability == health_predictor.group_stability[factor.group] >= STABLE


def test_labels_that_follow_nothing_publish_nothing_and_planted_ones_what_was_planted() -> None:
    nothing = AccountHealthPredictor().fit(feature_rows(24, origins=40, seed=9, strength=0.0))
    told = AccountHealthPredictor().fit(feature_rows(24, origins=40, seed=9))
    assert nothing.published_groups == ()
    assert all(report.risk_factors == () for report in nothing.predict(feature_rows(3, seed=10)))
    assert told.published_groups == ("conversion", "price", "trend")


@pytest.mark.slow
def test_two_fits_on_other_accounts_lead_with_the_same_groups() -> None:
    one, two = (AccountHealthPredictor().fit(feature_rows(40, origins=40, seed=s)) for s in (21, 22))
    unseen = matrix(feature_rows(20, seed=23), one.features)
    published = (one.published_groups, two.published_groups)
    assert leading_overlap(one.contributions(unseen), two.contributions(unseen), one.features, published=published) > 0.7
    assert {group_of(name) for name in ACCOUNT_FEATURES.columns} >= set(one.published_groups)
