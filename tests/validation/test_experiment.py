"""What is written down before an experiment starts holds until it ends."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.validation import ExperimentSpec, ExperimentState, ExperimentStateError, Metric, next_state

SPEC = ExperimentSpec(
    name="headline", shares={"new": 0.5, "old": 0.5}, control="old", metric=Metric("clicks"), minimum_effect=0.02, planned_units=8000,
    key="k", guardrails=(Metric("cost", higher_is_better=False, margin=0.1),), segments=("platform",),
)  # fmt: skip


def test_states_only_move_forward() -> None:
    state = ExperimentState.DRAFT
    for action in ("start", "stop", "decide"):
        state = next_state(state, action)
    assert state is ExperimentState.DECIDED
    for action in ("start", "stop", "decide"):
        with pytest.raises(ExperimentStateError, match=f"decided cannot {action}"):
            next_state(state, action)


def test_a_specification_survives_json() -> None:
    assert ExperimentSpec.from_dict(json.loads(json.dumps(SPEC.to_dict()))) == SPEC


def test_power_is_printed_for_both_ways_of_reading() -> None:
    power = SPEC.power(0.4)
    assert power["fixed"] == pytest.approx(0.609, abs=0.01)
    assert 0.2 < power["sequential"] < power["fixed"]
    assert power["units_for_80_percent"] == pytest.approx(12560, abs=10)
    three = replace(SPEC, shares={"new": 0.25, "other": 0.25, "old": 0.5})
    assert three.treatments == ("new", "other")
    assert three.power(0.4)["fixed"] < power["fixed"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"control": "older"}, "control among them"),
        ({"shares": {"new": 0.5, "old": 0.6}}, "sum to 1"),
        ({"analysis": "peeking"}, "'fixed'"),
        ({"minimum_effect": 0.0}, "an effect above 0"),
        ({"guardrails": (Metric("clicks"),)}, "same name"),
        ({"key": ""}, "key is empty"),
    ],
)
def test_a_specification_that_cannot_be_read_is_refused(change: dict[str, object], text: str) -> None:
    with pytest.raises(SampleError, match=text):
        replace(SPEC, **change)


def test_a_margin_is_a_loss() -> None:
    with pytest.raises(SampleError, match="accepted loss >= 0"):
        Metric("cost", margin=-1)


ABOUT = replace(SPEC, model="ad_score", versions={"new": 4, "old": 3}, maturity_days=7)


def test_an_experiment_about_versions_survives_json_and_splits_on_its_own() -> None:
    assert ExperimentSpec.from_dict(json.loads(json.dumps(ABOUT.to_dict()))) == ABOUT
    # What was kept before experiments had versions is read as before.
    old = {name: value for name, value in SPEC.to_dict().items() if name not in ("model", "versions", "maturity_days")}
    assert ExperimentSpec.from_dict(old) == SPEC
    units = [f"u{n}" for n in range(2000)]
    same = sum(ABOUT.arm_of(unit) == SPEC.arm_of(unit) for unit in units) / 2000
    assert same == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"versions": {"new": 4}}, "a version of its own"),
        ({"versions": {"new": 4, "old": 4}}, "a version of its own"),
        ({"versions": {"new": 4, "old": 3, "third": 2}}, "a version of its own"),
        ({"model": None}, "give the model too"),
        ({"maturity_days": -1}, "after which an outcome is complete"),
        ({"randomised": False}, "split by chance"),
        ({"shares": {"n" * 29: 0.5, "old": 0.5}, "versions": {"n" * 29: 4, "old": 3}}, "of more than 28 letters"),
    ],
)
def test_versions_that_cannot_answer_are_refused(change: dict[str, object], text: str) -> None:
    with pytest.raises(SampleError, match=text):
        replace(ABOUT, **change)  # type: ignore[arg-type]
