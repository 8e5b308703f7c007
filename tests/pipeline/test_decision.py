"""The record of a promotion says what started it, what was measured, who decided and what came of it; what is not known is said plainly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.pipeline.test_canary import DATA, NOW, day_of, registered
from within_pipelines.database import CanaryRepository
from within_pipelines.pipeline import (
    Workspace,
    analyse_experiment,
    decide,
    draft_experiment,
    record_canary_outcomes,
    start_canary,
    start_experiment,
    step_canary,
    stop_experiment,
    write_decision,
)
from within_pipelines.registry import POLICY_VERSION
from within_pipelines.reporting import decision_html, decision_markdown
from within_pipelines.settings import Settings
from within_pipelines.stats import Estimate, Status, Verdict
from within_pipelines.validation import CanaryMetric, CanaryState, ExperimentSpec, Metric

MODEL = "ad_score"
DIFFERENCES = {
    "all": {"cases": 9, "gain": "0.222 [0.000, 0.556]", "mcnemar_p": 0.5, "lost": []},
    "meta_ads": {"cases": 4, "gain": "-0.250 [-0.750, 0.250]", "mcnemar_p": 1.0, "lost": ["incident-11-12"]},
}


def golden(*, reason: str, **evidence: object) -> Verdict:
    found = Verdict("golden_sample", Status.PASSED, Estimate(0.0, 0.0, 0.0, 40), 1e-6, {"rows": 40}, reason, golden_set_version="1-ab+2-cd")
    bound = found.bind(model_sha256="2" * 64, data_version=DATA, policy_version=POLICY_VERSION)
    return replace(bound, evidence=evidence)


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    """v1 serves; v2 passed its gates, and its golden cases were compared with v1's."""
    with Workspace.open(Settings(home=tmp_path / "home")) as opened:
        for number in (1, 2):
            registered(opened, number)
        opened.registry.promote(MODEL, 1, who="ada", why="first", now=NOW, expected_current=None)
        # The first as it was recorded before slices had expectations.
        usual = {"cases": 24, "met": 20, "share": "0.833 [0.641, 0.933]", "mean": 0.5, "wanted": "at least 80 % of cases met", "lost": []}
        slices = {"incident: meta_ads": "0.750 [0.300, 0.954]", "hard: usual days": usual | {"status": "passed"}}
        asked = golden(reason="As recorded.", cases=9, cases_met=8, slices=slices, beside="champion v1", differences=DIFFERENCES)
        opened.registry.record_verdicts([asked])
        yield opened


def promoted_by_canary(ws: Workspace) -> None:
    rng = np.random.default_rng(5)
    canary = start_canary(
        ws, MODEL, 2, metrics=[CanaryMetric("won", margin=0.1)], key="k", shares=(0.2, 0.5, 1.0), outcomes="recorded",
        trigger="schedule retrain_ad_score_weekly", who="dagster run 12345678", now=NOW,
    )  # fmt: skip
    for number in range(12):
        now = NOW + timedelta(days=number)
        record_canary_outcomes(ws, MODEL, day_of(canary, rng, now.date(), effect=0.1))
        stepped = step_canary(ws, MODEL, on=now.date(), now=now, who="dagster run 87654321")
        assert stepped is not None
        canary = stepped
        if canary.state.final:
            break
    assert canary.state is CanaryState.PROMOTED


def test_a_promotion_by_canary_names_its_trigger_its_looks_and_who_decided(ws: Workspace) -> None:
    promoted_by_canary(ws)
    decision = decide(ws, MODEL, now=NOW + timedelta(days=20))
    assert decision.trigger == "schedule retrain_ad_score_weekly"
    assert decision.move.who == "dagster run 87654321"
    looked = [look for look in CanaryRepository(ws.database).moves(CanaryRepository(ws.database).latest(MODEL)) if look.look is not None]
    page, text = write_decision(ws, decision)
    for written in (page.read_text(), text.read_text().replace("\\", "")):
        assert str(looked[-1].look.metrics[0].gain) in written  # type: ignore[union-attr]
        assert "seen in the canary" in written
        assert "Its outcomes were recorded by hand." in written
        assert "not known: the version before has not answered beside this one since the move" in written


def test_the_golden_set_shows_slices_and_the_difference_to_the_champion_of_then(ws: Workspace) -> None:
    ws.registry.promote(MODEL, 2, who="ada", why="gates passed; triggered by job x", now=NOW + timedelta(days=1), expected_current=1)
    decision = decide(ws, MODEL, now=NOW)
    for written in (decision_html(decision), decision_markdown(decision).replace("\\", "")):
        for part in (
            "incident: meta_ads", "0.750 [0.300, 0.954]", "champion v1", "-0.250 [-0.750, 0.250]", "incident-11-12", "job x",
            "hard: usual days", "0.833 [0.641, 0.933]", "at least 80 % of cases met", "✓ passed",
        ):  # fmt: skip
            assert part in written, part
        assert "No canary of this version ran." in written
        assert "No experiment had this version as an arm." in written
    first = decision_html(decide(ws, MODEL, 1, now=NOW))
    assert "No difference to a champion is recorded" in first
    assert "not recorded (by hand, or before triggers were)" in first


def test_what_is_judged_after_the_move_is_no_ground_of_it(ws: Workspace) -> None:
    ws.registry.promote(MODEL, 2, who="ada", why="gates passed", now=NOW + timedelta(days=1), expected_current=1)
    before = [verdict.reason for verdict in decide(ws, MODEL, now=NOW).verdicts]
    with ws.database.writing() as session:
        # The database's clock counts seconds, so put the past into the past.
        for statement in (
            "DROP TRIGGER verdicts_refuses_update",
            "DROP TRIGGER alias_history_refuses_update",
            "UPDATE verdicts SET created_at = datetime(created_at, '-5 minutes')",
            "UPDATE alias_history SET created_at = datetime(created_at, '-2 minutes')",
        ):
            session.connection().exec_driver_sql(statement)
    ws.registry.record_verdicts([golden(reason="Judged when it served already.")])
    assert [verdict.reason for verdict in decide(ws, MODEL, now=NOW).verdicts] == before
    assert "Judged when it served already." in [verdict.reason for verdict in ws.registry.verdicts("2" * 64, DATA)]


def test_experiments_whose_arm_it_was_are_named_with_what_they_found(ws: Workspace) -> None:
    spec = ExperimentSpec(
        "newer", {"new": 0.5, "old": 0.5}, "old", Metric("won"), 0.1, 60, key="own", model=MODEL, versions={"new": 2, "old": 1}
    )
    draft_experiment(ws, spec, now=NOW)
    start_experiment(ws, "newer", now=NOW)
    draft_experiment(ws, replace(spec, name="another model's", model=None, versions={}), now=NOW)
    ws.registry.promote(MODEL, 2, who="ada", why="gates passed", now=NOW + timedelta(days=1), expected_current=1)
    (early,) = decide(ws, MODEL, now=NOW).experiments
    assert early[:4] == ("newer", "running", "new v2, old v1 (control)", "nobody has looked yet")
    stop_experiment(ws, "newer", now=NOW)
    rng = np.random.default_rng(3)
    units = [f"u{number}" for number in range(400)]
    arms = [spec.arm_of(unit) for unit in units]
    won = rng.random(400) < np.where(np.array(arms) == "new", 0.8, 0.4)
    result = analyse_experiment(ws, "newer", pl.DataFrame({"unit": units, "arm": arms, "won": won.astype(float)}), now=NOW)
    decision = decide(ws, MODEL, now=NOW)
    (found,) = decision.experiments
    assert found[1] == "decided"
    assert found[4] == f"new: won {result.primary[0].difference}"
    for part in ("newer", str(result.primary[0].difference), result.reason):
        assert part in decision_markdown(decision).replace("\\", "")


def test_a_rollback_keeps_the_old_canary_in_view_but_not_its_trigger(ws: Workspace) -> None:
    promoted_by_canary(ws)
    monday = NOW + timedelta(days=20)
    ws.registry.promote(MODEL, 1, who="ada", why="look", now=monday, expected_current=2)
    ws.registry.promote(MODEL, 2, who="ada", why="rollback: v1 is worse", now=monday + timedelta(hours=1), expected_current=1, back=True)
    decision = decide(ws, MODEL, now=monday)
    assert decision.move.why.startswith("rollback")
    assert decision.trigger == ""
    assert decision.canary
