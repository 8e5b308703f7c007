"""BCa: agreement with scipy on the same resamples, better coverage where a statistic is skewed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as reference

from within_pipelines.exceptions import SampleError
from within_pipelines.stats import bca_bootstrap, bca_ends


def test_ends_agree_with_scipy_on_its_own_resamples() -> None:
    x = np.random.default_rng(1).exponential(size=40)
    theirs = reference.bootstrap((x,), np.var, method="BCa", n_resamples=2000, rng=np.random.default_rng(2))
    left_out = [np.var(np.delete(x, i)) for i in range(40)]
    ends = bca_ends(float(np.var(x)), theirs.bootstrap_distribution, left_out)
    assert ends == pytest.approx(tuple(theirs.confidence_interval), abs=1e-9)


def test_skewed_clusters_are_covered_and_intervals_lean_to_the_long_tail() -> None:
    rng = np.random.default_rng(3)
    clusters = np.repeat(np.arange(40), 3)
    covered, leaning = [], []
    for _ in range(60):
        x = rng.exponential(size=40)[clusters] * np.exp(0.1 * rng.normal(size=120))
        found = bca_bootstrap(lambda rows, x=x: float(x[rows].mean()), clusters, rng=rng, n_resamples=1000)
        covered.append(found.low <= np.exp(0.005) <= found.high)
        leaning.append(found.high - found.value > found.value - found.low)
    assert np.mean(covered) >= 0.87
    assert np.mean(leaning) > 0.9


def test_a_constant_has_no_width_and_bad_samples_are_refused() -> None:
    rng = np.random.default_rng(4)
    assert bca_bootstrap(lambda rows: 1.0, np.arange(5), rng=rng).high == 1.0
    with pytest.raises(SampleError, match="n_resamples is 10"):
        bca_bootstrap(lambda rows: 1.0, np.arange(5), rng=rng, n_resamples=10)
    with pytest.raises(SampleError, match="undefined on"):
        bca_bootstrap(lambda rows: float("nan"), np.arange(5), rng=rng)
    with pytest.raises(SampleError, match="one side"):
        bca_ends(9.0, [1.0, 2.0], [1.0, 1.5])
