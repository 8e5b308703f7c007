"""A winner wins, a tie is a tie, and what makes every effect void is said first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from within_pipelines.exceptions import SampleError, SchemaError
from within_pipelines.validation import AbResult, ExperimentSpec, Metric, Outcome, analyse, spread

N = 3000
SPEC = ExperimentSpec(
    name="headline", shares={"new": 0.5, "old": 0.5}, control="old", metric=Metric("clicks"), minimum_effect=0.05, planned_units=N, key="k",
    guardrails=(Metric("cost", higher_is_better=False, margin=0.3),), segments=("platform",),
)  # fmt: skip
ARMS = [SPEC.arm_of(f"u{number}") for number in range(N)]


def data(rng: np.random.Generator, *, effect: float = 0.0, cost: float = 0.0, arms: list[str] | None = None) -> pl.DataFrame:
    given = np.array(ARMS if arms is None else arms)
    treated = given != "old"
    return pl.DataFrame(
        {
            "unit": [f"u{number}" for number in range(len(given))],
            "arm": given,
            "clicks": (rng.random(len(given)) < 0.3 + effect * treated).astype(float),
            "cost": rng.normal(10, 1, len(given)) + cost * treated,
            "impressions": 1.0 + rng.poisson(3, len(given)),
            "platform": np.where(np.arange(len(given)) % 3 == 0, "meta", "google"),
        }
    )


def test_a_better_arm_wins_and_a_worse_one_loses() -> None:
    rng = np.random.default_rng(1)
    won = analyse(SPEC, data(rng, effect=0.08))
    assert (won.outcome, won.winner) == (Outcome.WINNER, "new")
    assert won.primary[0].difference.value == pytest.approx(0.08, abs=0.05)
    assert won.primary[0].relative == pytest.approx(won.primary[0].difference.value / won.primary[0].control_value)
    assert {found.segment for found in won.segments} == {"platform = google", "platform = meta"}
    lost = analyse(SPEC, data(rng, effect=-0.08))
    assert (lost.outcome, lost.winner) == (Outcome.CONTROL, "old")


@pytest.mark.parametrize("analysis", ["fixed", "sequential"])
def test_equal_arms_win_at_most_at_alpha(analysis: str) -> None:
    rng = np.random.default_rng(2)
    spec = replace(SPEC, analysis=analysis, guardrails=(), segments=(), shares={"new": 0.3, "other": 0.3, "old": 0.4})
    arms = [spec.arm_of(f"u{number}") for number in range(N)]
    false = 0
    for _ in range(60):
        frame = data(rng, arms=arms)
        looks: list[AbResult] = []
        # Four peeks in the order of arrival, or one reading at the end.
        for n in np.arange(1, 5) * N // 4 if analysis == "sequential" else [N]:
            looks.append(analyse(spec, frame.head(int(n)), previous=looks))
        false += any(look.outcome in (Outcome.WINNER, Outcome.CONTROL) for look in looks)
    assert false <= 7


def test_a_sequential_test_may_stop_early_and_remembers_what_it_saw() -> None:
    rng = np.random.default_rng(3)
    spec = replace(SPEC, analysis="sequential")
    frame = data(rng, effect=0.2)
    first = analyse(spec, frame.head(N // 2))
    assert first.winner == "new"
    dull = analyse(spec, data(rng), previous=[first])
    assert dull.primary[0].p_value == first.primary[0].p_value


def test_a_fixed_test_is_not_read_before_its_end() -> None:
    rng = np.random.default_rng(4)
    early = data(rng, effect=0.2).head(N // 2)
    assert analyse(SPEC, early).outcome is Outcome.TOO_EARLY
    assert analyse(SPEC, early, ended=True).outcome is Outcome.WINNER
    assert analyse(SPEC, early.head(40), ended=True).outcome is Outcome.TOO_EARLY


def test_a_lossy_split_voids_every_effect() -> None:
    rng = np.random.default_rng(5)
    frame = data(rng, effect=0.2)
    lost = frame.filter((pl.col("arm") == "old") | (pl.Series(rng.random(N)) < 0.8))
    result = analyse(SPEC, lost, ended=True)
    assert (result.outcome, result.winner) == (Outcome.MISMATCH, None)
    assert "find what loses units" in result.reason


def test_units_in_a_foreign_arm_void_every_effect() -> None:
    rng = np.random.default_rng(6)
    swapped = data(rng, effect=0.2).with_columns(arm=pl.col("arm").sort().shuffle(seed=1))
    result = analyse(SPEC, swapped)
    assert result.outcome is Outcome.MISMATCH
    assert "another arm" in result.reason


def test_delivery_by_an_optimiser_is_not_causal() -> None:
    rng = np.random.default_rng(7)
    shown = data(rng, effect=0.2, arms=["new"] * 2000 + ["old"] * 1000)
    result = analyse(replace(SPEC, randomised=False), shown)
    assert (result.outcome, result.winner) == (Outcome.NOT_CAUSAL, None)
    assert result.primary[0].difference.low > 0  # shown all the same


def test_a_broken_guardrail_stops_a_winner_and_an_unsure_one_too() -> None:
    rng = np.random.default_rng(8)
    assert analyse(SPEC, data(rng, effect=0.1, cost=0.5)).outcome is Outcome.GUARDRAIL
    tight = replace(SPEC, guardrails=(Metric("cost", higher_is_better=False, margin=0.001),))
    unsure = analyse(tight, data(rng, effect=0.1))
    assert (unsure.outcome, unsure.winner) == (Outcome.NO_EVIDENCE, None)
    assert "more than its margin" in unsure.reason


def test_ratios_and_covariates_are_used() -> None:
    rng = np.random.default_rng(9)
    frame = data(rng).with_columns(clicks=pl.col("impressions") * 0.1 + pl.Series(0.02 * np.array(rng.normal(size=N))))
    ratio = replace(SPEC, metric=Metric("clicks", denominator="impressions"))
    wide, narrow = analyse(SPEC, frame).primary[0].difference, analyse(ratio, frame).primary[0].difference
    assert narrow.high - narrow.low < (wide.high - wide.low) / 4
    adjusted = analyse(replace(SPEC, covariate="impressions"), frame).primary[0].difference
    assert adjusted.high - adjusted.low < (wide.high - wide.low) / 4
    assert spread(ratio.metric, frame) < spread(SPEC.metric, frame)


def test_unfit_rows_are_refused() -> None:
    frame = data(np.random.default_rng(10))
    with pytest.raises(SchemaError, match="lack cost"):
        analyse(SPEC, frame.drop("cost"))
    with pytest.raises(SampleError, match="3000 rows repeat a unit"):
        analyse(SPEC, pl.concat([frame, frame]))
    with pytest.raises(SampleError, match="newest"):
        analyse(SPEC, frame.with_columns(arm=pl.lit("newest")))
    with pytest.raises(SampleError, match="cost is missing or not finite for 3000 of 3000"):
        analyse(SPEC, frame.with_columns(cost=pl.lit(None, dtype=pl.Float64)))


def test_a_look_is_plain_json() -> None:
    import json

    result = analyse(SPEC, data(np.random.default_rng(11), effect=0.1))
    assert json.loads(json.dumps(result.to_dict()))["outcome"] == "winner"
