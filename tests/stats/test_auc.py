"""DeLong: the variance of an area, by hand, by brute force and in simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from within_pipelines.exceptions import SampleError
from within_pipelines.stats import auc_delong, delong_test


def brute_force(a: np.ndarray, b: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Difference of AUC and its standard error from the matrix of all pairs, as the paper writes it."""
    kernel = lambda s: (s[y == 1][:, None] > s[y == 0]) + 0.5 * (s[y == 1][:, None] == s[y == 0])
    ka, kb = kernel(a), kernel(b)
    d10, d01 = ka.mean(1) - kb.mean(1), ka.mean(0) - kb.mean(0)
    return ka.mean() - kb.mean(), np.sqrt(d10.var(ddof=1) / len(d10) + d01.var(ddof=1) / len(d01))


def test_midranks_agree_with_the_matrix_of_all_pairs_ties_included() -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 80)
    a, b = np.round(rng.normal(size=80) + y, 1), np.round(rng.normal(size=80) + 0.5 * y, 1)
    found = delong_test(a, b, y)
    assert (found.difference.value, found.standard_error) == pytest.approx(brute_force(a, b, y), abs=1e-12)
    statistic = mannwhitneyu(a[y == 1], a[y == 0]).statistic
    assert auc_delong(a, y).value == pytest.approx(statistic / (y.sum() * (1 - y).sum()), abs=1e-12)


def test_equal_models_differ_at_the_nominal_rate_and_a_better_one_is_found() -> None:
    rng = np.random.default_rng(2)
    null, better, covered = [], [], []
    y = np.repeat([0, 1], [120, 60])
    for _ in range(600):
        signal = y + rng.normal(size=180)
        a, b = signal + rng.normal(size=180), signal + rng.normal(size=180)
        poor = signal + 2 * rng.normal(size=180)
        null.append(delong_test(a, b, y).p_value < 0.05)
        better.append(delong_test(signal, poor, y).p_value < 0.05)
        own = auc_delong(signal, y)
        covered.append(own.low <= 0.76025 <= own.high)  # Phi(1 / sqrt(2))
    assert np.mean(null) == pytest.approx(0.05, abs=0.025)
    assert np.mean(better) > 0.8
    assert np.mean(covered) == pytest.approx(0.95, abs=0.03)


def test_a_model_does_not_differ_from_itself() -> None:
    y = np.array([0, 1, 0, 1, 1])
    x = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    assert delong_test(x, x, y).p_value == 1.0
    assert auc_delong([0, 0, 1, 1], [0, 0, 1, 1]).low == 1.0


def test_labels_are_checked() -> None:
    with pytest.raises(SampleError, match="one 0 or 1 for each"):
        delong_test([0.1, 0.2], [0.1, 0.2], [0, 2])
    with pytest.raises(SampleError, match="1 of 4 labels are 1"):
        auc_delong([1, 2, 3, 4], [0, 0, 0, 1])
    with pytest.raises(SampleError, match="3 and 2 scores"):
        delong_test([0.1, 0.2, 0.3], [0.1, 0.2], [0, 1, 1])
