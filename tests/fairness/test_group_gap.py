"""Laws of the fairness audit."""

from __future__ import annotations

import numpy as np
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.fairness import group_gap
from within_pipelines.stats import Status


def ads(rng: np.random.Generator, n_accounts: int, n_groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores 0-100 of 6 ads of each account; each account is aimed at one group."""
    accounts = np.repeat(np.arange(n_accounts), 6)
    groups = np.array([f"g{i}" for i in rng.permutation(np.arange(n_accounts) % n_groups)])[accounts]
    scores = 50 + rng.normal(scale=8, size=n_accounts)[accounts] + rng.normal(scale=5, size=len(accounts))
    return scores, groups, accounts


@pytest.mark.slow
@pytest.mark.parametrize("n_groups", [2, 8])
def test_fair_scores_fail_at_most_at_the_nominal_rate(n_groups: int) -> None:
    # 200 audits, threshold far below what chance gives, so that only the permutation null protects: .05 + three standard errors = .096.
    rng = np.random.default_rng(41 + n_groups)
    failed = 0
    for _ in range(200):
        scores, groups, accounts = ads(rng, 120, n_groups)
        audit = group_gap(scores, groups, clusters=accounts, threshold=0.01, minimum_units=10, rng=rng, n_permutations=199, n_resamples=100)
        assert audit.status is not Status.PASSED
        failed += audit.status is Status.FAILED
    assert failed / 200 <= 0.096


def test_ignoring_accounts_would_accuse_fair_scores() -> None:
    rng = np.random.default_rng(44)
    failed = 0
    for _ in range(60):
        scores, groups, _ = ads(rng, 60, 2)
        failed += group_gap(scores, groups, threshold=0.01, rng=rng, n_permutations=99, n_resamples=100).status is Status.FAILED
    assert failed / 60 > 0.2


def test_a_gap_of_8_points_between_accounts_is_found() -> None:
    rng = np.random.default_rng(45)
    failed = 0
    for _ in range(60):
        scores, groups, accounts = ads(rng, 120, 2)
        audit = group_gap(
            scores + 8 * (groups == "g1"), groups, clusters=accounts, threshold=3, rng=rng, n_permutations=199, n_resamples=100
        )
        failed += audit.status is Status.FAILED
    assert failed / 60 >= 0.95


def test_gaps_inside_accounts_are_found_where_accounts_report_by_group() -> None:
    # Each account reports both groups: what the account shares cancels, so a small gap is seen, and none is seen where there is none.
    rng = np.random.default_rng(46)
    accounts = np.repeat(np.arange(60), 6)
    groups = np.tile(["f", "f", "f", "m", "m", "m"], 60)
    found = false = 0
    for _ in range(80):
        scores = rng.normal(scale=8, size=60)[accounts] + rng.normal(scale=2, size=360)
        common = {"clusters": accounts, "threshold": 0.4, "rng": rng, "n_permutations": 199, "n_resamples": 100}
        false += group_gap(scores, groups, **common).status is Status.FAILED
        found += group_gap(scores + 1.2 * (groups == "m"), groups, **common).status is Status.FAILED
    assert found / 80 >= 0.95
    assert false / 80 <= 0.12  # .05 + three standard errors


def test_a_model_that_uses_only_the_protected_attribute_is_unfair_and_one_blind_to_it_passes() -> None:
    rng = np.random.default_rng(47)
    gender = np.repeat(["f", "m"], 400)
    only = group_gap(80.0 * (gender == "m"), gender, threshold=5, rng=rng).verdict(attribute="gender")
    assert only.status is Status.FAILED
    assert only.gate == "fairness"
    assert only.estimate is not None
    assert only.estimate.value == 80
    constant = group_gap(np.full(800, 50.0), gender, threshold=5, rng=rng)
    assert constant.verdict().passed
    assert constant.gap is not None
    assert constant.gap.value == 0
    blind = group_gap(rng.normal(50, 10, 800), gender, threshold=5, rng=rng)
    assert blind.verdict().passed
    assert blind.detectable is not None
    assert blind.detectable < 5


def test_what_a_stratum_explains_is_not_a_gap_of_the_group() -> None:
    # Men are mostly on the platform with higher scores; within a platform there is no gap.
    rng = np.random.default_rng(48)
    platform = np.repeat(["x", "y"], 300)
    gender = np.where(rng.random(600) < np.where(platform == "x", 0.8, 0.2), "m", "f")
    scores = rng.normal(50, 5, 600) + 10 * (platform == "x")
    assert group_gap(scores, gender, threshold=2, rng=rng).status is Status.FAILED
    within = group_gap(scores, gender, strata=platform, threshold=2, rng=rng)
    assert within.p_value is not None
    assert within.p_value > 0.05


def test_small_groups_and_gaps_that_could_hide_are_insufficient_and_said_so() -> None:
    rng = np.random.default_rng(49)
    few = group_gap(rng.normal(size=205), np.repeat(["a", "b", "c"], [100, 100, 5]), threshold=2, rng=rng)
    assert few.small == ("c",)
    assert few.status is Status.INSUFFICIENT
    assert "left out: c with fewer than 20 units" in few.verdict().reason
    alone = group_gap(rng.normal(size=105), np.repeat(["a", "b"], [100, 5]), threshold=2, rng=rng)
    assert alone.gap is None
    assert alone.verdict().status is Status.INSUFFICIENT
    blurred = group_gap(rng.normal(0, 10, 60), np.repeat(["a", "b"], 30), threshold=0.1, rng=rng)
    assert blurred.status is Status.INSUFFICIENT
    hidden = group_gap(np.tile(rng.normal(0, 10, 40), 2), np.repeat(["a", "b"], 40), threshold=1, rng=rng)
    assert hidden.gap is not None
    assert hidden.gap.value < 1
    assert hidden.status is Status.INSUFFICIENT
    assert "would only find a gap above" in hidden.verdict().reason


def test_a_gap_above_the_threshold_that_chance_explains_asks_for_more_data() -> None:
    audit = group_gap(
        [0.0, 0.0, 1.0] * 10, np.repeat(["a", "b", "c"], [8, 11, 11]), threshold=0.01, minimum_units=5, rng=np.random.default_rng(5)
    )
    assert audit.gap is not None
    assert audit.gap.value > 0.01
    assert audit.status is Status.INSUFFICIENT
    assert "more data will tell" in audit.verdict().reason


def test_a_gap_is_found_beside_a_small_group() -> None:
    rng = np.random.default_rng(50)
    groups = np.repeat(["a", "b", "c"], [100, 100, 5])
    assert group_gap(rng.normal(size=205) + 5 * (groups == "b"), groups, threshold=2, rng=rng).status is Status.FAILED


def test_row_order_and_group_names_do_not_matter_for_the_gap() -> None:
    rng = np.random.default_rng(51)
    scores, groups, accounts = ads(rng, 90, 3)
    order = rng.permutation(len(scores))
    one = group_gap(scores, groups, clusters=accounts, threshold=3, rng=np.random.default_rng(1), n_permutations=99)
    other = group_gap(scores[order], groups[order], clusters=accounts[order], threshold=3, rng=np.random.default_rng(1), n_permutations=99)
    assert one.gap is not None
    assert other.gap is not None
    assert one.gap.value == pytest.approx(other.gap.value)
    assert one.null_limit == pytest.approx(other.null_limit, rel=0.3)


def test_refusals() -> None:
    rng = np.random.default_rng(1)
    with pytest.raises(SampleError, match="1 of 2 scores are not finite"):
        group_gap([1.0, float("nan")], ["a", "b"], threshold=1, rng=rng)
    with pytest.raises(SampleError, match="threshold is 0"):
        group_gap([1.0, 2.0], ["a", "b"], threshold=0, rng=rng)
    with pytest.raises(SampleError, match="one of each per row"):
        group_gap([1.0], ["a", "b"], threshold=1, rng=rng)
    with pytest.raises(SampleError, match="one label per row"):
        group_gap([1.0, 2.0], ["a", "b"], clusters=[1], threshold=1, rng=rng)
