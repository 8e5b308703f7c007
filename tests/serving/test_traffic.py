"""A unit's version depends on the unit, the plan and the key alone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.database.test_registry import version
from within_pipelines.serving import Canary, Experiment, RegistryTraffic, TrafficPlan, route
from within_pipelines.validation import ExperimentSpec, Metric

FIRST, SECOND = version(), version(sha="e" * 64, fingerprint="0" * 64)


def roles(plan: TrafficPlan, units: int = 4000, key: str = "k") -> list[str]:
    found = [route(plan, model="ad_score", unit=f"u{i}", key=key) for i in range(units)]
    return ["" if routed is None else routed.role for routed in found]


def test_a_canary_gets_its_share_and_a_larger_one_keeps_who_is_in() -> None:
    small, large = (roles(TrafficPlan(FIRST, canary=Canary(SECOND, share))) for share in (0.05, 0.25))
    assert small.count("canary") / 4000 == pytest.approx(0.05, abs=0.015)
    assert large.count("canary") / 4000 == pytest.approx(0.25, abs=0.03)
    assert all(b == "canary" for a, b in zip(small, large, strict=True) if a == "canary")
    assert set(roles(TrafficPlan(FIRST, canary=Canary(SECOND, 0.0)))) == {"champion"}
    assert set(roles(TrafficPlan(FIRST, canary=Canary(SECOND, 1.0)))) == {"canary"}


def test_experiments_split_by_their_shares_and_another_key_splits_otherwise() -> None:
    plan = TrafficPlan(FIRST, experiment=Experiment("x", {"a": (FIRST, 0.7), "b": (SECOND, 0.3)}))
    ours, theirs = roles(plan), roles(plan, key="other")
    assert ours.count("arm:b") / 4000 == pytest.approx(0.3, abs=0.03)
    both = sum(a == b == "arm:b" for a, b in zip(ours, theirs, strict=True)) / 4000
    assert both == pytest.approx(0.09, abs=0.02)


def test_nobody_answers_without_a_champion_or_an_arm() -> None:
    assert route(TrafficPlan(None, canary=Canary(SECOND, 1.0)), model="ad_score", unit="u", key="k") is None


def test_a_units_role_is_the_same_in_every_process() -> None:
    code = "from tests.serving.test_traffic import *\nprint(','.join(roles(TrafficPlan(FIRST, canary=Canary(SECOND, 0.5)), units=200)))"
    answers = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert answers == {",".join(roles(TrafficPlan(FIRST, canary=Canary(SECOND, 0.5)), units=200)) + "\n"}


class Aliases:
    """A registry of two aliases."""

    def alias(self, model: str, alias: str) -> object:
        return {"champion": FIRST, "shadow": SECOND}.get(alias)

    def get(self, model: str, number: int) -> object:
        return {1: FIRST, 2: SECOND}[number]


class Running:
    """A canary of version 2 on a tenth."""

    def running(self, model: str) -> tuple[int, float] | None:
        return (2, 0.1) if model == "ad_score" else None


def test_plans_come_from_aliases_and_the_canarys_share_from_its_controller() -> None:
    source = RegistryTraffic(Aliases(), canaries=Running())  # type: ignore[arg-type]
    assert source.plan("ad_score") == TrafficPlan(FIRST, canary=Canary(SECOND, 0.1), shadow=SECOND)
    assert source.plan("anomaly") == TrafficPlan(FIRST, shadow=SECOND)


SPEC = ExperimentSpec(
    "newer", {"new": 0.5, "old": 0.5}, "old", Metric("observed", denominator="trials"), minimum_effect=0.1, planned_units=100, key="own",
    model="ad_score", versions={"new": 2, "old": 1},
)  # fmt: skip


class Tests:
    """An experiment about ad_score runs."""

    __test__ = False

    def running(self, model: str) -> ExperimentSpec | None:
        return SPEC if model == "ad_score" else None


def test_a_running_experiment_splits_as_its_plan_says_whatever_the_deployments_key() -> None:
    source = RegistryTraffic(Aliases(), experiments=Tests())  # type: ignore[arg-type]
    plan = source.plan("ad_score")
    for unit in (f"u{n}" for n in range(200)):
        ours, theirs = (route(plan, model="ad_score", unit=unit, key=key) for key in ("k", "other"))
        assert ours == theirs
        assert ours is not None
        assert (ours.role, ours.experiment) == (f"arm:{SPEC.arm_of(unit)}", "newer")
        assert ours.version is (SECOND if ours.role == "arm:new" else FIRST)
    assert source.plan("anomaly").experiment is None
