"""The audit accuses fair models at most at the stated rate, finds real gaps, and never passes what it could not have seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.fairness import FairnessAudit, Measure, Role, audit_fairness, intersection, mean_measure, pooled
from within_pipelines.stats import Status

QUICK = {"n_permutations": 199, "n_resamples": 100}


def selections(
    rng: np.random.Generator, groups: int, *, gap: float = 0.0, within: bool = False, accounts: int = 160, each: int = 6
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """0/1 decisions of accounts that differ by luck; group 0 is selected more often by `gap`. Groups between or within accounts."""
    account = np.repeat(np.arange(accounts), each)
    group = rng.integers(groups, size=account.size) if within else rng.integers(groups, size=accounts)[account]
    chance = np.clip(0.4 + 0.12 * rng.normal(size=accounts)[account] + gap * (group == 0), 0.02, 0.98)
    return (rng.random(account.size) < chance).astype(float), group.astype(str), account


def shares(groups: int, *, gap: float, within: bool, n: int, seed: int) -> dict[Status, float]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        y, group, account = selections(rng, groups, gap=gap, within=within)
        found.append(audit_fairness([mean_measure("selected", y, threshold=0.1)], {"g": group}, clusters=account, rng=rng, **QUICK).status)
    return {status: found.count(status) / n for status in Status}


@pytest.mark.parametrize(("groups", "within"), [(2, False), (2, True), (8, False), (8, True)])
def test_fair_models_fail_at_most_at_the_stated_rate(groups: int, within: bool) -> None:
    # .05 and two standard errors of 200 trials.
    assert shares(groups, gap=0.0, within=within, n=200, seed=11)[Status.FAILED] <= 0.08


@pytest.mark.parametrize(("groups", "gap", "within"), [(2, 0.2, False), (8, 0.3, False), (8, 0.3, True)])
def test_a_stated_gap_is_found_with_95_percent(groups: int, gap: float, within: bool) -> None:
    assert shares(groups, gap=gap, within=within, n=100, seed=12)[Status.FAILED] >= 0.95


def test_many_attributes_and_measures_together_keep_the_rate() -> None:
    rng = np.random.default_rng(13)
    failed = 0
    for _ in range(100):
        y, group, account = selections(rng, 2, accounts=80, each=4)
        others = {f"a{i}": rng.integers(3, size=80)[account].astype(str) for i in range(4)}
        noise = rng.random(y.size)
        measures = [mean_measure("selected", y, threshold=0.001), mean_measure("noise", noise, threshold=0.001, role=Role.REFUTABLE)]
        failed += audit_fairness(measures, {"g": group, **others}, clusters=account, rng=rng, **QUICK).status is Status.FAILED
    assert failed / 100 <= 0.09


def test_on_real_ads_shuffled_groups_are_not_accused(public_data: Path) -> None:
    ads = pl.read_csv(public_data / "facebook_conversions.csv")
    selected = (ads["Clicks"] >= 8).cast(pl.Float64).to_numpy()
    groups = np.array(intersection(ads["age"].to_numpy(), ads["gender"].to_numpy()))
    rng = np.random.default_rng(14)
    rows = np.arange(ads.height)
    real = audit_fairness([mean_measure("selected", selected, threshold=0.1)], {"age x gender": groups}, clusters=rows, rng=rng)
    assert real.status is Status.FAILED  # older women get more clicks: a real difference of outcomes
    failed = sum(
        audit_fairness([mean_measure("selected", selected, threshold=0.1)], {"g": rng.permutation(groups)}, clusters=rows, rng=rng, **QUICK)
        .status is Status.FAILED
        for _ in range(100)
    )  # fmt: skip
    assert len(set(groups)) == 8
    assert failed / 100 <= 0.09
    assert real.rows[0].null_limit == pytest.approx(0.2, abs=0.06)  # a fixed limit of .1 would accuse fair models


def test_a_hand_calculation() -> None:
    y = [1.0, 1, 1, 0] * 10 + [1.0, 0, 0, 0] * 10
    group = np.repeat(["a", "b"], 40)
    (row,) = audit_fairness(
        [mean_measure("selected", y, threshold=0.3)], {"g": group}, clusters=range(80), rng=np.random.default_rng(1)
    ).rows
    assert {g: e.value for g, e in row.values.items()} == {"a": 0.75, "b": 0.25}
    assert row.gap is not None
    assert row.gap.value == pytest.approx(0.5)
    assert row.ratio == pytest.approx(1 / 3)
    assert row.units == {"a": 40, "b": 40}
    assert row.p_value is not None
    assert row.p_value <= 0.001
    assert "a over b" in row.reason


def test_only_positives_count_for_a_rate_among_positives() -> None:
    rng = np.random.default_rng(15)
    group = np.repeat(["a", "b"], 200)
    outcome = np.r_[np.ones(200), np.ones(6), np.zeros(194)]
    measure = Measure("true_positive_rate", outcome * rng.integers(2, size=400), outcome, 0.2)
    audit = audit_fairness([measure], {"g": group}, clusters=range(400), rng=rng, **QUICK)
    assert audit.status is Status.INSUFFICIENT
    assert audit.rows[0].small == ("b",)
    assert "Left out as too small: b" in audit.verdict().reason


def test_refutable_gaps_stop_only_when_shown_and_watched_ones_only_warn() -> None:
    rng = np.random.default_rng(16)
    group = np.repeat(["a", "b"], 300)
    even, unequal = rng.normal(size=600), rng.normal(size=600) + 3.0 * (group == "a")
    blurred = rng.normal(0, 60, 600)

    def audit(role: Role, values: np.ndarray) -> FairnessAudit:
        measures = [mean_measure("main", even, threshold=1.0), mean_measure("other", values, threshold=1.0, role=role)]
        return audit_fairness(measures, {"g": group}, clusters=range(600), rng=rng, n_permutations=999, n_resamples=200)

    assert audit(Role.REQUIRED, unequal).status is Status.FAILED
    assert audit(Role.REFUTABLE, unequal).status is Status.FAILED
    watched = audit(Role.WATCHED, unequal)
    assert watched.status is Status.PASSED
    assert any("other" in warning for warning in watched.warnings)
    assert audit(Role.REQUIRED, blurred).status is Status.INSUFFICIENT
    assert audit(Role.REFUTABLE, blurred).status is Status.PASSED


def test_an_attribute_may_weaken_a_role_and_never_strengthen_it() -> None:
    rng = np.random.default_rng(17)
    group = np.repeat(["a", "b"], 200)
    unequal = rng.normal(size=400) + 3.0 * (group == "a")
    options = {"clusters": range(400), "rng": rng, **QUICK}
    assert (
        audit_fairness([mean_measure("s", unequal, threshold=1.0)], {"g": group}, roles={"g": Role.WATCHED}, **options).rows[0].role
        is Role.WATCHED
    )
    weak = mean_measure("s", unequal, threshold=1.0, role=Role.WATCHED)
    assert audit_fairness([weak], {"g": group}, roles={"g": Role.REQUIRED}, **options).rows[0].role is Role.WATCHED


def test_rows_that_declare_no_group_belong_to_none() -> None:
    rng = np.random.default_rng(18)
    group = np.repeat(["a", "b", ""], 100)
    score = np.r_[rng.normal(size=200), rng.normal(50, 1, 100)]
    audit = audit_fairness([mean_measure("s", score, threshold=1.0)], {"g": group}, clusters=range(300), rng=rng, **QUICK)
    assert audit.status is Status.PASSED
    assert set(audit.rows[0].values) == {"a", "b"}
    nobody = audit_fairness([mean_measure("s", score, threshold=1.0)], {"g": [""] * 300}, clusters=range(300), rng=rng, **QUICK)
    assert nobody.status is Status.INSUFFICIENT
    assert "no two groups are large enough" in nobody.verdict().reason


def test_a_reached_threshold_warns() -> None:
    rng = np.random.default_rng(19)
    group = np.repeat(["a", "b"], 100)
    score = rng.normal(size=200) + 0.3 * (group == "a")
    audit = audit_fairness([mean_measure("s", score, threshold=0.55)], {"g": group}, clusters=range(200), rng=rng)
    assert audit.status is Status.PASSED
    assert audit.rows[0].warns
    assert "watch it" in audit.warnings[0]


def test_strata_explain_what_they_hold() -> None:
    rng = np.random.default_rng(20)
    platform = np.repeat(["x", "y"], 200)
    group = np.where(rng.random(400) < np.where(platform == "x", 0.9, 0.1), "a", "b")
    score = rng.normal(size=400) + 3.0 * (platform == "x")
    measure = [mean_measure("s", score, threshold=0.5)]
    assert audit_fairness(measure, {"g": group}, clusters=range(400), rng=rng, **QUICK).status is Status.FAILED
    assert audit_fairness(measure, {"g": group}, clusters=range(400), strata=platform, rng=rng, **QUICK).status is not Status.FAILED


def test_the_answer_does_not_depend_on_the_order_of_rows() -> None:
    y, group, account = selections(np.random.default_rng(21), 3)
    order = np.random.default_rng(22).permutation(len(y))
    one, other = (
        audit_fairness([mean_measure("s", v, threshold=0.1)], {"g": g}, clusters=a, rng=np.random.default_rng(1), **QUICK).rows[0]
        for v, g, a in ((y, group, account), (y[order], group[order], account[order]))
    )
    assert one.gap == other.gap
    assert one.p_value == pytest.approx(other.p_value or 0.0, abs=0.06)


def test_small_groups_are_pooled_or_declared() -> None:
    groups = np.repeat(["a", "b", "c"], [50, 3, 4])
    assert set(pooled(groups, range(57), minimum_units=5)) == {"a", "other"}
    assert set(pooled(groups[:53], range(53), minimum_units=5)) == {"a", "b"}


def test_tables_hold_every_row_and_group() -> None:
    y, group, account = selections(np.random.default_rng(23), 2)
    audit = audit_fairness(
        [mean_measure("s", y, threshold=0.1)], {"g": group, "h": group[::-1]}, clusters=account, rng=np.random.default_rng(1), **QUICK
    )
    assert audit.to_frame().height == 2
    assert audit.groups().height == 4
    assert len(audit.verdict().evidence["rows"]) == 2
    assert FairnessAudit(()).verdict().status is Status.INSUFFICIENT


def test_refusals() -> None:
    rng = np.random.default_rng(1)
    one = mean_measure("s", [1.0, 2.0], threshold=1)
    with pytest.raises(SampleError, match=r"have \[1, 2\] rows"):
        audit_fairness([one], {"g": ["a"]}, clusters=[1, 2], rng=rng)
    with pytest.raises(SampleError, match="at least two independent clusters"):
        audit_fairness([one], {"g": ["a", "b"]}, clusters=[1, 1], rng=rng)
    with pytest.raises(SampleError, match="1 values are not finite"):
        mean_measure("s", [1.0, float("nan")], threshold=1)
    with pytest.raises(SampleError, match="threshold is 0"):
        mean_measure("s", [1.0], threshold=0)
    with pytest.raises(SampleError, match="all of one length"):
        intersection(["a"], ["b", "c"])
