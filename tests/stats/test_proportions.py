"""Laws of shares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from within_pipelines.exceptions import SampleError
from within_pipelines.stats import two_proportion_z, wilson_interval

counts = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@settings(max_examples=50, deadline=None)
@given(counts, st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_agrees_with_scipy(count: tuple[int, int], level: float) -> None:
    from scipy.stats import binomtest

    ours = wilson_interval(*count, level=level)
    theirs = binomtest(*count).proportion_ci(level, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert 0 <= ours.low <= ours.value <= ours.high <= 1


def test_wilson_covers_a_small_share() -> None:
    rng = np.random.default_rng(4)
    covered = np.mean([e.low <= 0.03 <= e.high for e in (wilson_interval(int(k), 60) for k in rng.binomial(60, 0.03, 4000))])
    assert 0.93 <= covered <= 0.98


@settings(max_examples=40, deadline=None)
@given(counts, counts)
def test_two_proportions_agree_with_statsmodels(first: tuple[int, int], second: tuple[int, int]) -> None:
    from statsmodels.stats.proportion import proportions_ztest

    ours = two_proportion_z(*first, *second)
    if first[0] + second[0] in (0, first[1] + second[1]):
        assert (ours.z, ours.p_value) == (0.0, 1.0)
        return
    z, p = proportions_ztest([first[0], second[0]], [first[1], second[1]])
    assert (ours.z, ours.p_value) == (pytest.approx(z, abs=1e-9), pytest.approx(p, abs=1e-9))


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(SampleError, match="5 successes of 3"):
        wilson_interval(5, 3)
    with pytest.raises(SampleError, match="0 successes of 0"):
        two_proportion_z(1, 2, 0, 0)
