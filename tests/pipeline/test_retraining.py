"""Decisions are recorded with their evidence, once per cause, and two deciders start one run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LAST_DAY, NOW
from tests.test_cli import version_of
from within_pipelines.database import AliasModel, MonitoringRepository, RetrainingRepository
from within_pipelines.exceptions import ModelNotFoundError
from within_pipelines.monitoring import DriftState, MonitorFinding, MonitorReport
from within_pipelines.pipeline import (
    AlertManager,
    Workspace,
    decide_retraining,
    latest_report,
    request_retraining,
    runs_to_request,
    tell_findings,
)
from within_pipelines.settings import Settings


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace.open(Settings(home=tmp_path / "home")) as opened:
        yield opened


def serve(ws: Workspace, model: str, *, sha: str = "ab", trained_at: datetime = NOW - timedelta(days=5)) -> None:
    """Make a version serve without the gates, which are not what is tested here."""
    version = ws.registry.register(replace(version_of(model, sha=sha), trained_at=trained_at))
    with ws.database.writing() as session:
        for row in AliasModel.find(session, model=model, alias="champion"):
            session.delete(row)
        session.flush()
        session.add(AliasModel(model=model, alias="champion", version=version.version, moved_at=NOW))


def finding(monitor: str = "concept_drift", state: DriftState = DriftState.DRIFTED, *, sha: str = "ab", **more: Any) -> MonitorFinding:
    evidence = {"model_sha256": sha * 32, "reference_loss": 0.2}
    told = {"p_value": 0.001, "loss_change": 0.02, "money_at_risk": {"EUR": 500.0}, "reason": "The loss rose.", **more}
    return MonitorFinding(monitor, "ad_score", LAST_DAY, state, evidence=evidence, **told)


def report(*findings: MonitorFinding, day: date = LAST_DAY) -> MonitorReport:
    return MonitorReport(day, findings, NOW)


def idle(model: str) -> None:
    return None


def test_a_decision_is_recorded_once_a_cause_and_calm_once_a_day(ws: Workspace) -> None:
    serve(ws, "ad_score")
    told = report(finding())
    for minutes in range(3):
        now = NOW + timedelta(minutes=minutes)
        decide_retraining(ws, told, in_flight=idle, now=now, performance_only=True, models=("ad_score", "anomaly"))
    repository = RetrainingRepository(ws.database)
    (decision,) = repository.decisions("ad_score", action="retrain")
    assert decision.trigger == "concept_drift"
    assert decision.evidence["expected_loss"]["EUR"] == pytest.approx(249.75)
    assert decision.evidence["findings"][0]["reason"] == "The loss rose."
    assert [d.action for d in repository.decisions("anomaly")] == ["nothing"]
    decide_retraining(ws, report(day=LAST_DAY + timedelta(days=1)), in_flight=idle, now=NOW, models=("anomaly",))
    assert len(repository.decisions("anomaly")) == 2
    # The run is asked for again for an hour under the same key, in case the process died in between.
    keys = [[d.run_key for d in runs_to_request(ws, now=NOW + timedelta(minutes=m))] for m in (1, 30, 61)]
    assert keys == [[decision.run_key], [decision.run_key], []]


def test_two_deciders_start_one_run(ws: Workspace) -> None:
    serve(ws, "ad_score")
    request_retraining(ws, "ad_score", who="kim", why="guidelines", now=NOW)
    slow_state = RetrainingRepository(ws.database).decisions("ad_score", action="retrain")
    assert slow_state == []
    first = decide_retraining(ws, report(finding()), in_flight=idle, now=NOW, performance_only=True, models=("ad_score",))
    stale = replace(first[0].decision, cause="data_drift/other")
    from within_pipelines.database import StoredDecision

    late = StoredDecision("ad_score", "retrain", "data_drift", stale.cause, "x", NOW, stale.run_key, decision_key=stale.key)
    assert not RetrainingRepository(ws.database).record(late, after=None)
    assert len(RetrainingRepository(ws.database).decisions("ad_score", action="retrain")) == 1


def test_a_request_by_hand_is_answered_once(ws: Workspace) -> None:
    serve(ws, "ad_score")
    request_retraining(ws, "ad_score", who="kim", why="guidelines", now=NOW)
    for _ in range(2):
        decide_retraining(ws, None, in_flight=idle, now=NOW, models=("ad_score",))
    (decision,) = RetrainingRepository(ws.database).decisions("ad_score", action="retrain")
    assert "guidelines (kim)" in decision.reason
    assert RetrainingRepository(ws.database).requests("ad_score") == []
    with pytest.raises(ModelNotFoundError, match="no model 'adscore'"):
        request_retraining(ws, "adscore", who="kim", why="x", now=NOW)
    with pytest.raises(ModelNotFoundError, match="and why"):
        request_retraining(ws, "ad_score", who="kim", why=" ", now=NOW)


def test_a_measurement_change_is_told_and_trains_nothing(ws: Workspace) -> None:
    serve(ws, "ad_score")
    changed = report(*(finding(m, DriftState.MEASUREMENT_CHANGE, reason="window dropped") for m in ("data_drift", "concept_drift")))
    for only in (True, False):
        decide_retraining(ws, changed, in_flight=idle, now=NOW, performance_only=only, models=("ad_score",))
    assert tell_findings(ws, changed, now=NOW) == 0
    decisions = RetrainingRepository(ws.database).decisions("ad_score")
    assert {d.action for d in decisions} == {"nothing"}
    assert {d.trigger for d in decisions} == {"measurement_change"}
    assert runs_to_request(ws, now=NOW) == ()
    assert {line.severity for line in AlertManager(ws).digest()} == {"info"}


def test_what_was_found_about_a_version_that_no_longer_serves_starts_nothing(ws: Workspace) -> None:
    serve(ws, "ad_score", sha="cd")
    decide_retraining(ws, report(finding(sha="ab")), in_flight=idle, now=NOW, performance_only=True, models=("ad_score",))
    assert RetrainingRepository(ws.database).decisions("ad_score", action="retrain") == []


def test_findings_are_told_with_money_and_closed_when_stable_or_replaced(ws: Workspace) -> None:
    manager = AlertManager(ws)
    assert tell_findings(ws, report(finding(features=("urgency",))), now=NOW) == 1
    (line,) = manager.digest()
    assert line.money_at_risk == {"EUR": 500.0}
    assert "urgency" in line.title
    tell_findings(ws, report(finding(state=DriftState.INSUFFICIENT)), now=NOW)
    assert len(manager.digest()) == 1, "too little evidence is not calm"
    tell_findings(ws, report(finding(state=DriftState.STABLE)), now=NOW)
    assert manager.digest() == []
    tell_findings(ws, report(finding()), now=NOW)
    tell_findings(ws, report(finding(state=DriftState.INSUFFICIENT, sha="cd")), now=NOW)
    assert manager.digest() == []


def test_a_drift_is_told_with_its_run_and_accounts_as_they_were_stored(ws: Workspace) -> None:
    evidence = {"model_sha256": "ab" * 32, "run_id": "r1", "accounts": [{"account": "meta_ads/7", "share": 0.8}]}
    MonitoringRepository(ws.database).save([replace(finding("data_drift"), evidence=evidence)], generated_at=NOW)
    stored = latest_report(ws)
    assert stored is not None
    tell_findings(ws, stored, now=NOW)
    (line,) = AlertManager(ws).digest()
    assert list(line.accounts) == ["meta_ads/7"]
    assert line.links["run"].endswith("/runs/r1")
    assert line.links["asset"].endswith("/assets/data_drift")
    assert line.likely_cause == "most of it in meta_ads/7 (80%)"


def test_nothing_serves_and_nothing_was_monitored(ws: Workspace) -> None:
    answers = decide_retraining(ws, None, in_flight=idle, now=NOW)
    assert {str(a.decision.action) for a in answers} == {"nothing"}
    assert all("no version serves" in a.decision.reason for a in answers)
