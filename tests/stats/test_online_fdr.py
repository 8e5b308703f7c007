"""The false discovery rate is kept over a stream of tests, and a discovery earns level for later ones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import gammaincc

from within_pipelines.exceptions import SampleError
from within_pipelines.stats import addis_level, lord_level, saffron_level
from within_pipelines.stats.online_fdr import _gamma_lord, _gamma_power

PROCEDURES = [lord_level, saffron_level, addis_level, lambda p, alpha: lord_level(p, alpha=alpha, initial_share=0.9, horizon=40)]


@pytest.mark.parametrize("level", PROCEDURES)
def test_the_false_discovery_rate_is_kept_with_a_third_of_real_shifts(level) -> None:
    rng = np.random.default_rng(71)
    proportions, found = [], 0
    for _ in range(100):
        real = rng.random(40) < 0.33
        p = np.where(real, rng.beta(0.1, 8, 40), rng.random(40))
        rejected = np.zeros(40, dtype=bool)
        for t in range(40):
            rejected[t] = p[t] <= level(p[:t].tolist(), alpha=0.1)
        proportions.append((rejected & ~real).sum() / max(1, rejected.sum()))
        found += int((rejected & real).sum())
    # The standard error of the mean of 100 proportions is about .015.
    assert np.mean(proportions) <= 0.1 + 2 * 0.015
    assert found / 100 > 2  # a procedure that never rejects keeps every rate


def test_spending_shares_sum_to_at_most_one() -> None:
    n = 1_000_000
    # Beyond n the sum is the integral of u exp(-sqrt(u)) over u = log j: twice an incomplete gamma function of 4.
    tail = 0.07720838 * 12 * gammaincc(4, np.sqrt(np.log(n)))
    assert 0.95 < _gamma_lord(n).sum() + tail <= 1.0
    assert 0.99 < _gamma_power(n).sum() <= 1.0


def test_lord_agrees_with_a_hand_calculation() -> None:
    first = 0.07720838 * np.log(2)
    assert lord_level([], alpha=0.1) == pytest.approx(0.05 * first)
    second = 0.07720838 * np.log(2) / (2 * np.exp(np.sqrt(np.log(2))))
    assert lord_level([0.5], alpha=0.1) == pytest.approx(0.05 * second)
    # The first discovery gives alpha - w0 from the next test on, a second one gives alpha.
    assert lord_level([0.0], alpha=0.1) == pytest.approx(0.05 * second + 0.05 * first)
    flat = lambda p: lord_level(p, alpha=0.1, horizon=10)
    assert [flat([]), flat([0.5] * 9), flat([0.5] * 10), flat([0.0]), flat([0.0, 0.0])] == pytest.approx([0.005, 0.005, 0.0, 0.01, 0.02])


def test_saffron_charges_only_large_p_values_and_addis_discards_the_largest() -> None:
    assert saffron_level([0.4] * 9) == saffron_level([]) > saffron_level([0.6] * 9)
    assert addis_level([0.9] * 9) == addis_level([0.1] * 9) == addis_level([]) > addis_level([0.4] * 9)


def test_rates_and_p_values_that_cannot_be_are_refused() -> None:
    with pytest.raises(SampleError, match=r"alpha is 1\.5"):
        lord_level([], alpha=1.5)
    with pytest.raises(SampleError, match="between 0 and 1, oldest first"):
        saffron_level([0.1, 1.2])
    with pytest.raises(SampleError, match=r"candidate is 0\.6 and discard 0\.5"):
        addis_level([], candidate=0.6, discard=0.5)
    with pytest.raises(SampleError, match="horizon is 0"):
        lord_level([], horizon=0)
