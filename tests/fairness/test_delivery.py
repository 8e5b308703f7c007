"""Laws of the delivery audit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.fairness import delivery_parity
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
    outcome = {Status.FAILED: [0, 0], Status.PASSED: [0, 0], Status.INSUFFICIENT: [0, 0]}
    for women, men in ads.select("female", "male").iter_rows():
        below = min(women, men) / max(women, men) < 0.8
        outcome[delivery_parity({"women": women, "men": men}).status][int(below)] += 1
    assert len(ads) == 53
    assert outcome[Status.FAILED][0] == 0  # none of the 9 is accused
    assert outcome[Status.FAILED][1] >= 40  # of 44
    assert outcome[Status.PASSED][1] == 0
    assert sum(outcome[status][1] for status in Status) == 44


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
