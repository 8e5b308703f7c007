"""Laws of multiple testing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from within_pipelines.exceptions import SampleError
from within_pipelines.stats import benjamini_hochberg, holm

p_lists = st.lists(st.floats(0, 1), max_size=60)


@settings(max_examples=40, deadline=None)
@given(p_lists)
def test_both_agree_with_statsmodels(p_values: list[float]) -> None:
    from statsmodels.stats.multitest import multipletests

    if p_values:
        np.testing.assert_allclose(benjamini_hochberg(p_values), multipletests(p_values, method="fdr_bh")[1], atol=1e-12)
        np.testing.assert_allclose(holm(p_values), multipletests(p_values, method="holm")[1], atol=1e-12)
    else:
        assert benjamini_hochberg([]).shape == holm([]).shape == (0,)


@settings(max_examples=40, deadline=None)
@given(p_lists, st.randoms(use_true_random=False))
def test_order_does_not_matter_and_holm_is_the_stricter(p_values: list[float], random) -> None:
    order = list(range(len(p_values)))
    random.shuffle(order)
    for adjust in (benjamini_hochberg, holm):
        np.testing.assert_allclose(adjust([p_values[i] for i in order]), adjust(p_values)[order], atol=1e-15)
        assert np.all(adjust(p_values) >= p_values)
    assert np.all(holm(p_values) >= benjamini_hochberg(p_values) - 1e-15)


def test_the_false_discovery_rate_is_kept_and_true_effects_are_found() -> None:
    from scipy.stats import norm

    # 400 families of 100 tests, 20 with an effect of 3.5 sd. BH at q = .1 has an expected rate of .1 x 80/100 = .08; two standard errors
    # of the mean over families are about .009. Without correction at .1 it would be about .3.
    rng = np.random.default_rng(11)
    shares, found = [], []
    for _ in range(400):
        z = rng.normal(size=100)
        z[:20] += 3.5
        rejected = benjamini_hochberg(2 * norm.sf(np.abs(z))) <= 0.1
        shares.append(rejected[20:].sum() / max(1, rejected.sum()))
        found.append(rejected[:20].mean())
    assert 0.06 <= np.mean(shares) <= 0.1
    assert np.mean(found) > 0.8


def test_holm_keeps_the_chance_of_any_false_rejection() -> None:
    rng = np.random.default_rng(12)
    p_values = rng.random((2000, 20))
    wrong = np.mean([np.any(holm(row) <= 0.05) for row in p_values])
    assert 0.03 <= wrong <= 0.065  # .05 +- three standard errors of .005


def test_a_p_value_outside_0_and_1_is_refused_with_the_count() -> None:
    with pytest.raises(SampleError, match=r"2 of 3 p-values are not in \[0, 1\]"):
        holm([0.5, float("nan"), 1.5])
    with pytest.raises(SampleError, match="flat list"):
        benjamini_hochberg([[0.5]])
