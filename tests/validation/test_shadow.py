"""The comparison of two versions finds what was planted, and nothing where nothing is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.validation import compare_shadow

START = datetime(2026, 6, 1, tzinfo=UTC)


def world(n: int = 600, *, noise_a: float = 0.0, noise_b: float = 0.0, outcomes: bool = True, seed: int = 3) -> pl.DataFrame:
    """Answers of two versions: the true probability plus noise of each; 60 units."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.05, 0.95, n)
    frames = []
    for role, sha, noise in (("champion", "a", noise_a), ("shadow", "b", noise_b)):
        value = np.clip(truth + noise * rng.standard_normal(n), 0, 1)
        frames.append(
            pl.DataFrame(
                {
                    "prediction_id": [f"{i}" for i in range(n)], "role": role, "model_sha256": sha,
                    "unit": [f"u{i % 60}" for i in range(n)],
                    "value": value, "latency_ms": np.full(n, 5.0 if role == "champion" else 9.0),
                    "answered_at": [START + timedelta(minutes=i) for i in range(n)],
                }
            ).with_columns(error=pl.lit(None, pl.String))
        )  # fmt: skip
    happened = pl.DataFrame({"prediction_id": [f"{i}" for i in range(n)], "outcome": (rng.random(n) < truth).astype(float)})
    found = pl.concat(frames).join(happened, on="prediction_id")
    return found if outcomes else found.with_columns(outcome=pl.lit(None, pl.Float64))


def compare(frame: pl.DataFrame):  # type: ignore[no-untyped-def]
    return compare_shadow(frame, champion_sha256="a", shadow_sha256="b")


def test_equal_versions_differ_in_nothing() -> None:
    found = compare(world())
    assert (found.pairs, found.shadow_errors, found.missing) == (600, 0, 0)
    assert (found.mean_absolute_difference, found.largest_difference) == (0.0, 0.0)
    assert found.rank_correlation.value == pytest.approx(1.0)
    assert found.brier_gain.value == 0.0
    assert (found.champion_ms, found.shadow_ms) == ((5.0, 5.0), (9.0, 9.0))


def test_the_better_version_is_the_one_that_was_planted() -> None:
    better = compare(world(noise_a=0.3))
    assert better.brier_gain.low > 0
    assert better.outcome_correlation[1] > better.outcome_correlation[0]
    worse = compare(world(noise_b=0.3))
    assert worse.brier_gain.high < 0
    # Noise of 0.3, clipped to [0, 1], moves an answer by about 0.2 on average.
    assert worse.mean_absolute_difference == pytest.approx(0.2, abs=0.03)


def test_two_equally_noisy_versions_are_rarely_told_apart() -> None:
    apart = 0
    for seed in range(100):
        gain = compare(world(300, noise_a=0.2, noise_b=0.2, seed=seed)).brier_gain
        apart += not gain.low <= 0 <= gain.high
    # Nominal 5 of 100; 12 or more has probability 0.4 %.
    assert apart < 12


def test_opposed_versions_do_not_correlate() -> None:
    frame = world().with_columns(value=pl.when(pl.col("role") == "shadow").then(1 - pl.col("value")).otherwise(pl.col("value")))
    assert compare(frame).rank_correlation.high < -0.99


def test_bias_is_seen_in_the_mean() -> None:
    frame = world().with_columns(value=pl.when(pl.col("role") == "shadow").then(pl.col("value") + 0.2).otherwise(pl.col("value")))
    found = compare(frame)
    assert found.shadow_calibration - found.champion_calibration == pytest.approx(0.2)
    assert abs(found.champion_calibration) < 0.06


def test_failures_and_silence_are_counted_apart() -> None:
    frame = world(100, outcomes=False).with_columns(number=pl.col("prediction_id").cast(pl.Int64), beside=pl.col("role") == "shadow")
    frame = frame.with_columns(error=pl.when(pl.col("beside") & (pl.col("number") < 10)).then(pl.lit("ValueError")))
    frame = frame.with_columns(value=pl.when(pl.col("error").is_null()).then(pl.col("value")))
    frame = frame.filter(~(pl.col("beside") & pl.col("number").is_between(50, 69)))
    found = compare(frame)
    assert (found.pairs, found.shadow_errors, found.missing) == (70, 10, 20)
    assert found.brier_gain is None
    assert found.with_outcome == 0


def test_answers_before_the_shadow_was_there_are_not_missing() -> None:
    frame = world(100).filter((pl.col("role") != "shadow") | (pl.col("prediction_id").cast(pl.Int64) >= 40))
    found = compare(frame)
    assert (found.pairs, found.missing) == (60, 0)


def test_other_versions_do_not_count_and_one_is_not_compared_with_itself() -> None:
    assert compare_shadow(world(), champion_sha256="a", shadow_sha256="c") is None
    with pytest.raises(SampleError, match="same artifact"):
        compare_shadow(world(), champion_sha256="a", shadow_sha256="a")


def test_few_units_make_no_interval() -> None:
    frame = world().with_columns(unit=pl.lit("one"))
    assert compare(frame).brier_gain is None
