"""A version is compared with the one that serves on the same rows, so little data shows much."""

from __future__ import annotations

import numpy as np
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.fairness import gap_change, mean_measure


def world(rng: np.random.Generator, more: float) -> tuple[object, object, np.ndarray, np.ndarray]:
    account = np.repeat(np.arange(24), 8)
    group = np.where(rng.random(account.size) < 0.5, "a", "b")
    old = 1.5 * (group == "a") + rng.normal(size=24)[account] + rng.normal(size=account.size)
    new = old + more * (group == "a") + 0.05 * rng.normal(size=account.size)
    return mean_measure("s", new, threshold=1), mean_measure("s", old, threshold=1), group, account


def test_the_interval_covers_the_change_and_excludes_what_is_not() -> None:
    rng = np.random.default_rng(5)
    found = [gap_change(*world(rng, 0.2)[:3], clusters=np.repeat(np.arange(24), 8), rng=rng, n_resamples=200) for _ in range(60)]
    assert np.mean([f.low <= 0.2 <= f.high for f in found]) >= 0.88
    assert np.mean([f.low > 0 for f in found]) >= 0.9
    assert np.mean([f.high - f.low for f in found]) < 0.4


def test_equal_versions_do_not_differ() -> None:
    new, _, group, account = world(np.random.default_rng(6), 0.0)
    same = gap_change(new, new, group, clusters=account, rng=np.random.default_rng(1))
    assert same.low == same.value == same.high == 0.0


def test_refusals() -> None:
    one = mean_measure("s", [1.0, 2.0], threshold=1)
    with pytest.raises(SampleError, match="two groups and two clusters"):
        gap_change(one, one, ["a", "a"], clusters=[1, 2], rng=np.random.default_rng(1))
    with pytest.raises(SampleError, match="too many resamples"):
        gap_change(one, one, ["a", "b"], clusters=[1, 2], rng=np.random.default_rng(1))
