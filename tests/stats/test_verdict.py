"""Laws of verdicts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from within_pipelines.exceptions import SampleError
from within_pipelines.stats import Estimate, Status, judge_at_least


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=3, max_size=3), st.floats(-5, 5), st.integers(0, 60))
def test_only_an_interval_wholly_at_or_above_the_threshold_from_enough_units_passes(ends, threshold: float, n: int) -> None:
    low, value, high = sorted(ends)
    verdict = judge_at_least("g", Estimate(value, low, high, n=n), threshold, minimum_n=30, what="gain")
    assert verdict.passed == (n >= 30 and low >= threshold)
    if n < 30:
        assert verdict.status is Status.INSUFFICIENT
        assert "of 30 units" in verdict.reason
    elif high < threshold:
        assert verdict.status is Status.FAILED


def test_a_verdict_cannot_be_changed_but_bound() -> None:
    verdict = judge_at_least("g", Estimate(1, 0.5, 2, n=99), 0, minimum_n=9, what="gain", evidence={"a": 1})
    with pytest.raises(TypeError):
        verdict.evidence["a"] = 2  # type: ignore[index]
    bound = verdict.bind(model_sha256="x", data_version="d", policy_version="p")
    assert (bound.model_sha256, bound.data_version, bound.policy_version) == ("x", "d", "p")
    assert verdict.model_sha256 == ""
    assert verdict.estimate is not None
    assert verdict.estimate.to_dict() == {"value": 1, "low": 0.5, "high": 2, "n": 99, "level": 0.95}


def test_a_number_that_is_not_finite_is_no_verdict() -> None:
    with pytest.raises(SampleError, match="needs finite numbers"):
        judge_at_least("g", Estimate(float("nan"), 0, 1, n=99), 0, minimum_n=9, what="gain")
