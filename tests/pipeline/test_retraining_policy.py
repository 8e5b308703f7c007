"""HOME/retraining.yaml says what a retraining costs and how patient the policy is; what it cannot mean is refused with the place."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.conftest import NOW
from tests.pipeline.test_retraining import finding, idle, report, serve
from within_pipelines.database import RetrainingRepository
from within_pipelines.exceptions import SchemaError
from within_pipelines.monitoring import RetrainingPolicy
from within_pipelines.pipeline import Workspace, decide_retraining, retraining_policy
from within_pipelines.pipeline.doctor import diagnose
from within_pipelines.settings import Settings


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace.open(Settings(home=tmp_path / "home")) as opened:
        yield opened


def declare(ws: Workspace, text: str) -> None:
    ws.settings.retraining.write_text(text, encoding="utf-8")


def test_without_a_file_or_a_value_the_defaults_hold(ws: Workspace) -> None:
    assert retraining_policy(ws.settings) == RetrainingPolicy()
    declare(ws, "")
    assert retraining_policy(ws.settings) == RetrainingPolicy()
    declare(ws, "cost: {EUR: 60, JPY: 9000}\ncooldown_days: 4\noldest_days: 10.5\nrecovered: 0.3\n")
    assert retraining_policy(ws.settings) == RetrainingPolicy(
        cost={"EUR": 60.0, "JPY": 9000.0}, cooldown=timedelta(days=4), oldest=timedelta(days=10.5), recovered=0.3
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "is no valid YAML"),
        ("- cost", "is no table of settings; give any of cost, horizon_weeks"),
        ("costs: {EUR: 60}", "names costs; give any of cost, "),
        ("1: 2", "names 1; give any of cost, "),
        ("cost: 60", "cost: Input should be a valid dict"),
        ("cost: {EUR: 0}", r"cost\.EUR: Input should be greater than 0"),
        ("cost: {EUR: '60'}", r"cost\.EUR: Input should be a valid number"),
        ("cost: {EUR: .inf}", r"cost\.EUR: Input should be a finite number"),
        ("cost: {euro: 60}", r"cost\.euro: String should match pattern"),
        ("cooldown_days: -1", "cooldown_days: Input should be greater than 0"),
        ("oldest_days: 99999999999", "oldest_days: Input should be less than or equal to 3650"),
        ("recovered: 50", "recovered: Input should be less than or equal to 1"),
        ("minimum_confidence: true", "minimum_confidence: Input should be a valid number"),
    ],
)
def test_what_it_cannot_mean_is_refused_with_the_place_and_by_the_doctor(ws: Workspace, text: str, says: str) -> None:
    declare(ws, text)
    with pytest.raises(SchemaError, match=says):
        retraining_policy(ws.settings)
    serve(ws, "ad_score")
    with pytest.raises(SchemaError):
        decide_retraining(ws, report(finding()), in_flight=idle, now=NOW)
    assert RetrainingRepository(ws.database).decisions() == []
    assert {f.name: f.state for f in diagnose(ws.settings, environ={}, now=NOW)}["retraining"] == "broken"


def test_what_a_retraining_costs_decides_and_is_kept_with_the_decision(ws: Workspace) -> None:
    """500 EUR a week at risk, half of it won back."""
    serve(ws, "ad_score")
    told = report(finding())
    declare(ws, "cost: {EUR: 300}\ncooldown_days: 4\n")
    (refused,) = decide_retraining(ws, told, in_flight=idle, now=NOW, performance_only=True, models=("ad_score",))
    assert (str(refused.decision.action), refused.decision.evidence["cost"]) == ("nothing", {"EUR": 300.0})
    assert refused.decision.reason.endswith("250 EUR to win back against 300 for a retraining")
    declare(ws, "cost: {EUR: 200}\ncooldown_days: 4\n")
    decide_retraining(ws, told, in_flight=idle, now=NOW, performance_only=True, models=("ad_score",))
    first, second = RetrainingRepository(ws.database).decisions("ad_score")
    assert (first.action, second.action) == ("nothing", "retrain")
    assert second.evidence["policy"] == RetrainingPolicy(cost={"EUR": 200.0}, cooldown=timedelta(days=4)).to_dict()
    assert second.evidence["policy"]["oldest_days"] == 35
    found = {f.name: f for f in diagnose(ws.settings, environ={}, now=NOW)}["retraining"]
    assert (found.state, found.detail) == ("ok", f"{ws.settings.retraining}: a retraining costs 200 EUR")
