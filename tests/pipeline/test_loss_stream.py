"""A rise of the daily loss is dated; a level that stays is not, and too few days say nothing."""

from __future__ import annotations

from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from within_pipelines.monitoring import DriftState
from within_pipelines.pipeline.loss_stream import loss_stream
from within_pipelines.pipeline.monitoring import _concept_drift

FIRST = date(2026, 5, 1)


def judged(first: date, days: int, *, seed: int, rise: float = 0.0, rises_on: int = 0) -> pl.DataFrame:
    """Twenty rows a day; from day `rises_on` on the loss is higher by `rise`."""
    rng = np.random.default_rng(seed)
    number = np.repeat(np.arange(days), 20)
    loss = rng.uniform(0.0, 0.4, len(number)) + np.where(number >= rises_on, rise, 0.0)
    outcome = rng.integers(0, 2, len(number)).astype(float)
    return pl.DataFrame(
        {
            "day": [first + timedelta(days=int(n)) for n in number],
            "cluster": [str(n % 20) for n in range(len(number))],
            "realised": loss,
            "outcome": outcome,
            "prediction": np.full(len(number), 0.5),
            "headline_length": rng.normal(size=len(number)),
        }
    )


def test_a_rise_is_dated() -> None:
    off = []
    for seed in range(20):
        found = loss_stream(judged(FIRST, 40, seed=seed), judged(FIRST + timedelta(days=40), 30, seed=100 + seed, rise=0.1, rises_on=12))
        assert found["stream_days"] == 30
        off.append(abs((found["stream_since"] - (FIRST + timedelta(days=52))).days))
        assert 0 <= (found["stream_signal"] - FIRST).days - 52 <= 5
    # Where chance had the loss up just before, the rise is dated to that.
    assert sorted(off)[15] <= 2, off


def test_a_loss_that_stays_is_rarely_a_signal() -> None:
    signals = [loss_stream(judged(FIRST, 40, seed=s), judged(FIRST, 30, seed=500 + s))["stream_signal"] is not None for s in range(100)]
    assert sum(signals) <= 20


def test_too_few_days_say_nothing() -> None:
    nothing = {"stream_days": 0, "stream_signal": None, "stream_since": None}
    after = judged(FIRST, 30, seed=1, rise=1.0)
    assert loss_stream(judged(FIRST, 13, seed=1), after) == nothing
    assert loss_stream(judged(FIRST, 40, seed=1), after.clear()) == nothing
    assert loss_stream(judged(FIRST, 40, seed=1).with_columns(realised=pl.lit(0.2)), after) == nothing
    assert loss_stream(pl.DataFrame(), after) == nothing


def test_it_is_evidence_of_concept_drift() -> None:
    old, new = judged(FIRST, 40, seed=1), judged(FIRST + timedelta(days=40), 30, seed=2, rise=0.2)
    case: Any = SimpleNamespace(
        model="ad_score", day=FIRST + timedelta(days=70), spend={"EUR": 100.0}, rng=np.random.default_rng(7),
        reference=SimpleNamespace(data=SimpleNamespace(judged=old, loss="brier")), window=SimpleNamespace(judged=new),
    )  # fmt: skip
    found = _concept_drift(case, 0.05)
    assert found.state is DriftState.DRIFTED
    assert found.evidence["stream_days"] == 30
    assert found.evidence["stream_since"] == "2026-06-10"
    assert found.evidence["stream_signal"] == "2026-06-10", "so large a rise is seen on its first day"
    assert found.to_dict()["evidence"]["stream_signal"] == found.evidence["stream_signal"]
