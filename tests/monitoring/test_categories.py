"""Shares of categories: scipy's numbers, named newcomers, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from within_pipelines.exceptions import SampleError
from within_pipelines.monitoring import compare_counts, fisher_exact_p_value, jensen_shannon_distance


@pytest.mark.parametrize("table", [[[50, 30, 20], [40, 39, 10]], [[50, 30], [40, 39]], [[12, 14], [200, 220]]])
def test_chi_square_equals_that_of_scipy(table: list[list[int]]) -> None:
    counts = [dict(zip("abc", row, strict=False)) for row in table]
    found, theirs = compare_counts(*counts), stats.chi2_contingency(table)
    assert found.test == "chi-square"
    assert (found.statistic, found.p_value) == pytest.approx((theirs[0], theirs[1]), abs=1e-9)


def test_fisher_equals_that_of_scipy_on_every_small_table() -> None:
    for a in range(6):
        for c in range(6):
            theirs = stats.fisher_exact([[a, 6 - a], [c, 5 - c if c <= 5 else 0]])[1]
            assert fisher_exact_p_value(a, 6 - a, c, 5 - c if c <= 5 else 0) == pytest.approx(theirs, abs=1e-9)


def test_distances_agree_with_hand_calculations() -> None:
    found = compare_counts({"a": 50, "b": 50}, {"a": 75, "b": 25})
    assert found.total_variation == pytest.approx(0.25)
    assert found.jensen_shannon == pytest.approx(jensenshannon([0.5, 0.5], [0.75, 0.25], base=2))
    assert jensen_shannon_distance([1, 3], [1, 3]) == 0.0
    assert compare_counts({"a": 2, "b": 2}, {"a": 50, "b": 50}).stability_index == 0.0


def test_new_and_vanished_categories_are_named() -> None:
    found = compare_counts({"image": 90, "video": 10}, {"image": 80, "reel": 20})
    assert (found.appeared, found.vanished) == (("reel",), ("video",))
    assert found.cramers_v > 0.2


def test_one_category_everywhere_is_no_shift() -> None:
    found = compare_counts({"a": 5}, {"a": 900})
    assert (found.p_value, found.total_variation, found.cramers_v) == (1.0, 0.0, 0.0)


def test_empty_samples_and_negative_counts_are_refused() -> None:
    with pytest.raises(SampleError, match="current window 0 rows"):
        compare_counts({"a": 5}, {})
    with pytest.raises(SampleError, match="negative count"):
        fisher_exact_p_value(-1, 2, 3, 4)
    with pytest.raises(SampleError, match="two non-negative vectors"):
        jensen_shannon_distance([1, 2], [1, 2, 3])
    assert np.isfinite(compare_counts({"a": 1}, {"b": 1}).stability_index)
