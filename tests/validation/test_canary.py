"""A bad canary is taken back, an equal one is not, however often one looks and however late outcomes come."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from tests.validation.worlds import DAY, days, spec, world
from within_pipelines.exceptions import SampleError, SchemaError
from within_pipelines.validation import CanaryLook, CanaryMetric, CanarySpec, CanaryState, Step, logged, look, replay


def ended(n: int, length: int, made: CanarySpec, **options: float) -> tuple[Counter[CanaryState], float]:
    """How `n` canaries ended within `length` days, and the median number of days of those that did."""
    runs = [
        replay(
            replace(made, key=f"k{seed}"), world(replace(made, key=f"k{seed}"), np.random.default_rng([5, seed]), **options), days(length)
        )
        for seed in range(n)
    ]
    return Counter(run.state for run in runs), float(np.median([run.days or np.inf for run in runs]))


def test_an_equal_canary_is_rarely_taken_back_and_mostly_promoted() -> None:
    states, median = ended(60, 12, spec())
    assert states[CanaryState.ROLLED_BACK] <= 0.05 * 60 + 2
    assert states[CanaryState.PROMOTED] >= 0.6 * 60
    assert median <= 11


def test_a_canary_that_loses_three_tenths_is_taken_back_within_days() -> None:
    states, median = ended(30, 16, spec(), effect=-0.3)
    assert states[CanaryState.ROLLED_BACK] >= 27
    assert median <= 12
    assert states[CanaryState.PROMOTED] <= 2


@pytest.mark.parametrize("effect", [0.0, -0.35])
def test_returning_units_and_late_outcomes_change_the_delay_and_not_the_error(effect: float) -> None:
    states, _ = ended(30, 14, spec(maturity_days=2, shares=(0.3, 1.0)), effect=effect, lag=2, population=700)
    if effect:
        assert states[CanaryState.ROLLED_BACK] >= 20
    else:
        assert states[CanaryState.ROLLED_BACK] <= 3


def test_early_outcomes_would_mislead_and_do_not_count() -> None:
    """The canary's conversions come at once, control's a day later; both convert alike."""
    made = spec(maturity_days=1, shares=(0.5, 1.0))
    plain = world(made, np.random.default_rng(1))

    def log(day: date, share: float) -> pl.DataFrame:
        late = pl.when(pl.col("arm") == "control").then(day + timedelta(days=1)).otherwise(day)
        return plain(day, share).with_columns(known_on=late)

    # Judged as they come, control has not converted at all yet.
    hasty = look(replace(made, maturity_days=0), log(DAY, 0.5), on=DAY, stage=0, stage_since=DAY)
    assert hasty.metrics[0].gain.low > 0.1
    first = look(made, log(DAY, 0.5), on=DAY, stage=0, stage_since=DAY)
    assert (first.step, first.units) == (Step.HOLD, {"canary": 0, "control": 0})
    second = look(made, log(DAY, 0.5), on=DAY + timedelta(days=1), stage=0, stage_since=DAY)
    assert abs(second.metrics[0].gain.value) < 0.1


def test_a_broken_guardrail_takes_a_better_canary_back() -> None:
    made = spec(metrics=(CanaryMetric("won", margin=0.05), CanaryMetric("cost", margin=0.5, higher_is_better=False)), shares=(0.5, 1.0))
    rng = np.random.default_rng(2)
    frame = world(made, rng, effect=0.3)(DAY, 0.5)
    costly = frame.with_columns(cost=pl.Series(rng.normal(10, 1, frame.height)) + 2.0 * (pl.col("arm") == "canary"))
    found = look(made, costly, on=DAY, stage=0, stage_since=DAY)
    assert found.step is Step.ROLL_BACK
    assert "cost lost beyond chance" in found.reason


def test_a_stage_lasts_its_days_and_a_share_grows_only_as_far_as_the_loss_is_bounded() -> None:
    made = spec(days_per_stage=3, shares=(0.5, 1.0))
    frame = world(made, np.random.default_rng(3), per_day=12_000)(DAY, 0.5)
    assert "of 3 in this stage" in look(made, frame, on=DAY, stage=0, stage_since=DAY).reason
    assert look(made, frame, on=DAY + timedelta(days=3), stage=0, stage_since=DAY).step is Step.PROMOTE
    bounded = look(replace(made, metrics=(CanaryMetric("won", margin=0.001),)), frame, on=DAY + timedelta(days=3), stage=0, stage_since=DAY)
    assert (bounded.step, "may lose" in bounded.reason) == (Step.HOLD, True)


def test_units_that_get_lost_stop_the_growth() -> None:
    made = spec(shares=(0.5, 1.0))
    rng = np.random.default_rng(4)
    frame = world(made, rng, per_day=12_000)(DAY, 0.5)
    lossy = frame.filter((pl.col("arm") == "control") | pl.Series(rng.random(frame.height) < 0.8))
    found = look(made, lossy, on=DAY + timedelta(days=1), stage=0, stage_since=DAY)
    assert (found.step, "mismatch" in found.reason) == (Step.HOLD, True)


def test_too_few_units_hold_and_a_constant_metric_holds() -> None:
    made = spec(shares=(0.5, 1.0))
    frame = world(made, np.random.default_rng(5))(DAY, 0.5)
    assert "30 each are needed" in look(made, frame.head(30), on=DAY, stage=0, stage_since=DAY).reason
    assert "does not vary" in look(made, frame.with_columns(won=pl.lit(1.0)), on=DAY, stage=0, stage_since=DAY).reason


def test_a_log_of_both_versions_is_replayed_by_arm() -> None:
    made = spec(shares=(0.5, 1.0))
    rng = np.random.default_rng(6)
    rows = [(f"{day}-{n}", day, day) for day in days(6) for n in range(500)]
    both = pl.DataFrame(rows, schema=["unit", "day", "known_on"], orient="row").with_columns(
        control_won=pl.Series(rng.random(3000) < 0.5).cast(pl.Float64), canary_won=pl.Series(rng.random(3000) < 0.2).cast(pl.Float64)
    )
    ended = replay(made, logged(made, both), days(6))
    assert ended.state is CanaryState.ROLLED_BACK
    assert ended.days == len(ended.looks)
    with pytest.raises(SchemaError, match="lacks canary_won"):
        logged(made, both.drop("canary_won"))


def test_looks_and_specifications_survive_json() -> None:
    made = spec()
    assert CanarySpec.from_dict(json.loads(json.dumps(made.to_dict()))) == made
    found = look(made, world(made, np.random.default_rng(7), per_day=3000)(DAY, 0.1), on=DAY, stage=0, stage_since=DAY)
    assert CanaryLook.from_dict(json.loads(json.dumps(found.to_dict()))) == found


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"shares": (0.5, 0.1, 1.0)}, "rising shares"),
        ({"shares": (0.1, 0.5)}, "end with 1"),
        ({"metrics": ()}, "at least one"),
        ({"alpha": 0.7}, "alpha in"),
        ({"control_version": 2}, "compared with itself"),
        ({"key": ""}, "key is empty"),
    ],
)
def test_a_specification_that_cannot_work_is_refused(change: dict[str, object], text: str) -> None:
    with pytest.raises(SampleError, match=text):
        spec(**change)


def test_a_margin_must_be_stated_and_a_stage_must_exist() -> None:
    with pytest.raises(SampleError, match="above 0"):
        CanaryMetric("won", margin=0.0)
    with pytest.raises(SampleError, match="Stage 2"):
        look(spec(), pl.DataFrame(), on=DAY, stage=2, stage_since=DAY)
