"""Pairs that change are named; features that merely move are not."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from within_pipelines.exceptions import SchemaError
from within_pipelines.monitoring import DriftState, correlation_drift


def frame(rng: np.random.Generator, r: float, n: int = 900, first: int = 0) -> pl.DataFrame:
    x, y, z = rng.normal(size=(3, n))
    return pl.DataFrame({"account": first + np.arange(n) // 15, "a": x, "b": r * x + np.sqrt(1 - r * r) * y, "c": z})


def test_a_flip_is_named_and_a_shift_is_not() -> None:
    rng = np.random.default_rng(1)
    before, now = frame(rng, 0.6), frame(rng, -0.6, first=100)
    found = correlation_drift(before, now, rng=rng, clusters="account")
    assert found.state is DriftState.DRIFTED
    assert [(pair.first, pair.second) for pair in found.pairs] == [("a", "b")]
    assert found.pairs[0].change == pytest.approx(-1.15, abs=0.15)
    assert found.distance > 0.5
    moved = frame(rng, 0.6, first=100).with_columns(pl.col("a").exp(), pl.col("b") + 40)
    assert correlation_drift(before, moved, rng=rng, clusters="account").state is DriftState.STABLE


def test_false_alarms_on_accounts_stay_at_the_stated_rate() -> None:
    rng = np.random.default_rng(2)
    raised = 0
    for _ in range(150):
        windows = []
        for first in (0, 30):
            account = np.repeat(np.arange(30), 8)
            # Accounts have correlations of their own.
            tilt = rng.uniform(-0.9, 0.9, 30)[account]
            x, y, z = rng.normal(size=(3, 240))
            windows.append(pl.DataFrame({"account": account + first, "a": x, "b": tilt * x + np.sqrt(1 - tilt**2) * y, "c": z}))
        raised += correlation_drift(*windows, rng=rng, clusters="account", minimum_effect=0.0, n_permutations=99).p_value <= 0.05
    # 150 runs at .05 have a standard error of .018.
    assert raised / 150 <= 0.05 + 2 * 0.018


def test_what_cannot_be_correlated_is_said() -> None:
    rng = np.random.default_rng(3)
    before = frame(rng, 0.5)
    constant = before.with_columns(a=pl.lit(1.0), c=pl.lit(None, dtype=pl.Float64))
    assert "1 of 3 features vary" in correlation_drift(before, constant, rng=rng, clusters="account").reason
    assert "0 rows" in correlation_drift(before, before.head(0), rng=rng).reason
    assert "Only 4 accounts" in correlation_drift(before.head(60), before.head(60), rng=rng, clusters="account").reason
    with pytest.raises(SchemaError, match="columns speed"):
        correlation_drift(before, before, rng=rng, features=["a", "speed"])
