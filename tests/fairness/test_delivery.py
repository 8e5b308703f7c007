"""Laws of the delivery audit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.fairness import delivery_parity, exposure_gaps, exposure_parity
from within_pipelines.stats import Status


def test_a_hand_calculation() -> None:
    verdict = delivery_parity({"women": 400, "men": 600})
    assert verdict.estimate is not None
    assert verdict.estimate.value == pytest.approx(400 / 600)
    # Wilson 95 % of .4 with n = 1000 is [.3700, .4307].
    assert verdict.estimate.low == pytest.approx(0.3700 / 0.6300, abs=1e-3)
    assert verdict.estimate.high == pytest.approx(0.4307 / 0.5693, abs=1e-3)
    assert verdict.status is Status.FAILED
    assert verdict.evidence["lowest"] == "women"


def test_the_real_job_ads_below_four_fifths_are_found_and_the_others_are_not_accused(public_data: Path) -> None:
    export = pl.read_csv(public_data / "algorithmwatch_meta_export.csv", infer_schema_length=1000)
    ads = export.filter(pl.col("Gender").is_in(["female", "male"])).pivot(on="Gender", index=["job", "c"], values="Reach")
    skewed, others = [], []
    for women, men in ads.select("female", "male").iter_rows():
        verdict = delivery_parity({"women": women, "men": men})
        (skewed if min(women, men) / max(women, men) < 0.8 else others).append(verdict)
    assert (len(skewed), len(others)) == (44, 9)
    failed = [verdict for verdict in skewed if verdict.status is Status.FAILED]
    rest = [verdict for verdict in skewed if verdict.status is not Status.FAILED]
    assert len(failed) >= 40
    # The rest lie within sampling error of four fifths: each warns, none passes.
    assert all(verdict.status is Status.INSUFFICIENT and "below 0.8" in verdict.evidence["warning"] for verdict in rest)
    assert not [verdict for verdict in others if verdict.status is Status.FAILED]


def test_what_is_near_the_rule_warns_on_its_side_and_what_is_clear_does_not() -> None:
    assert "below 0.8" in delivery_parity({"w": 430, "m": 560}).evidence["warning"]
    assert "at or above 0.8" in delivery_parity({"w": 460, "m": 560}).evidence["warning"]
    for counts in ({"w": 300, "m": 700}, {"w": 5000, "m": 5000}, {"w": 20, "m": 30}):
        assert "warning" not in delivery_parity(counts).evidence


def test_false_accusations_at_the_threshold_stay_below_the_level() -> None:
    # At a true ratio of exactly .8 (share 4/9), 2.5 % of ads fall below by chance: .025 + three standard errors of .0035.
    rng = np.random.default_rng(3)
    failed = np.mean([delivery_parity({"w": int(k), "m": 1000 - int(k)}).status is Status.FAILED for k in rng.binomial(1000, 4 / 9, 2000)])
    assert failed <= 0.036
    skewed = np.mean([delivery_parity({"w": int(k), "m": 1000 - int(k)}).status is Status.FAILED for k in rng.binomial(1000, 0.4, 500)])
    assert skewed >= 0.7


def test_eligible_people_are_what_delivery_is_measured_against() -> None:
    counts = {"women": 300, "men": 700}
    assert delivery_parity(counts).status is Status.FAILED
    assert delivery_parity(counts, eligible={"women": 3000, "men": 7000}).estimate.value == pytest.approx(1.0)  # type: ignore[union-attr]


def test_many_groups_are_judged_by_their_worst_pair() -> None:
    verdict = delivery_parity({"18-24": 5000, "25-34": 5100, "35-44": 2000})
    assert verdict.status is Status.FAILED
    assert verdict.evidence == {"lowest": "35-44", "highest": "25-34"}
    assert delivery_parity({"a": 20_000, "b": 20_100, "c": 19_900}).passed


def test_too_few_people_and_ratios_near_the_rule_are_insufficient() -> None:
    assert delivery_parity({"w": 0, "m": 50}).status is Status.INSUFFICIENT
    assert delivery_parity({"w": 90, "m": 110}).status is Status.INSUFFICIENT
    assert delivery_parity({"a": 0, "b": 0, "c": 500}).status is Status.FAILED


def test_refusals() -> None:
    with pytest.raises(SampleError, match="same two or more groups"):
        delivery_parity({"w": 10})
    with pytest.raises(SampleError, match="same two or more groups"):
        delivery_parity({"w": 10, "m": 10}, eligible={"w": 1})
    with pytest.raises(SampleError, match="nobody eligible"):
        delivery_parity({"w": 10, "m": 10}, eligible={"w": 1, "m": 0})


def test_exposure_of_groups_has_an_interval_over_clusters_that_holds_what_was_planted() -> None:
    def drawn(seed: int, more: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        account = np.repeat(np.arange(30), 8)
        group = np.where(rng.random(240) < 0.5, "a", "b")
        level = np.exp(0.5 * rng.normal(size=30))[account]
        return level * rng.gamma(3, 1, 240) * np.where(group == "a", more, 1.0), group, account

    covered = 0
    for seed in range(40):
        shown, group, account = drawn(seed, 1.0)
        found = exposure_gaps(shown, group, clusters=account, rng=np.random.default_rng(seed), n_resamples=100)
        assert {name: e.value for name, e in found.items()} == pytest.approx(exposure_parity(shown, group))
        covered += found["a"].low <= 1 <= found["a"].high
    # .95 less two and a half standard errors of .034.
    assert covered >= 35
    shown, group, account = drawn(99, 2.0)
    skewed = exposure_gaps(shown, group, clusters=account, rng=np.random.default_rng(1))
    assert skewed["a"].low > 1 > skewed["b"].high
    with pytest.raises(SampleError, match="two or more groups"):
        exposure_gaps(shown, np.full(240, "a"), clusters=account, rng=np.random.default_rng(1))
