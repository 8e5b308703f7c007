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
from within_pipelines.pipeline.retraining import model_state
from within_pipelines.registry import POLICY_VERSION, REQUIRED_GATES
from within_pipelines.settings import Settings
from within_pipelines.stats import Status, Verdict


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


def asked_for(ws: Workspace, *begun: str, now: datetime) -> list[tuple[str, str]]:
    return [(decision.model, decision.trigger) for decision in runs_to_request(ws, started=lambda key: key in begun, now=now)]


def test_a_run_is_asked_for_until_it_has_begun_however_long_nobody_asked(ws: Workspace) -> None:
    serve(ws, "ad_score")
    request_retraining(ws, "ad_score", who="kim", why="guidelines", now=NOW)
    (answer,) = decide_retraining(ws, None, in_flight=idle, now=NOW, models=("ad_score",))
    # The request is answered; if the process dies here, nothing but this decision knows of it.
    assert RetrainingRepository(ws.database).requests("ad_score") == []
    for passed in (timedelta(minutes=1), timedelta(minutes=61), timedelta(days=6)):
        assert asked_for(ws, now=NOW + passed) == [("ad_score", "by_hand")]
    assert asked_for(ws, str(answer.decision.run_key), now=NOW + timedelta(minutes=61)) == []
    assert asked_for(ws, now=NOW + timedelta(days=29)) == []
    assert asked_for(ws, now=NOW - timedelta(days=1)) == [], "a clock that went back starts nothing"


def test_a_run_is_no_longer_asked_for_when_a_newer_decision_or_champion_has_come(ws: Workspace) -> None:
    serve(ws, "ad_score")
    serve(ws, "anomaly")
    decide_retraining(ws, report(finding()), in_flight=idle, now=NOW, performance_only=True, models=("ad_score",))
    later = NOW + timedelta(hours=3)
    for model in ("ad_score", "anomaly"):
        request_retraining(ws, model, who="kim", why="guidelines", now=later)
    decide_retraining(ws, None, in_flight=idle, now=later)
    assert sorted(asked_for(ws, now=later)) == [("ad_score", "by_hand"), ("anomaly", "by_hand")]
    # The weekly run has trained one in the meantime.
    serve(ws, "anomaly", sha="cd", trained_at=later + timedelta(hours=1))
    assert asked_for(ws, now=later + timedelta(hours=2)) == [("ad_score", "by_hand")]


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
    assert asked_for(ws, now=NOW) == []
    assert {line.severity for line in AlertManager(ws).digest()} == {"info"}


def refuse(ws: Workspace, *, sha: str, trained_at: datetime, kind: str = "stack", status: Status = Status.FAILED) -> None:
    """A version that was trained and judged, and does not serve."""
    version = ws.registry.register(replace(version_of("ad_score", sha=sha, kind=kind), trained_at=trained_at))
    given = {"model_sha256": version.model_sha256, "data_version": version.data_version, "policy_version": POLICY_VERSION}
    ws.registry.record_verdicts(Verdict(gate, status, None, None, {}, "said").bind(**given) for gate in REQUIRED_GATES["ad_score"])


def test_a_drift_that_retraining_does_not_mend_is_asked_for_less_and_less(ws: Workspace) -> None:
    """Thirty days of the same drift, each retraining refused: four runs, not fifteen."""
    serve(ws, "ad_score")
    asked = []
    for day in range(31):
        now = NOW + timedelta(days=day)
        told = report(finding(), day=LAST_DAY + timedelta(days=day))
        (answer,) = decide_retraining(ws, told, in_flight=idle, now=now, performance_only=True, models=("ad_score",))
        if str(answer.decision.action) == "retrain":
            asked.append(day)
            refuse(ws, sha=f"a{len(asked)}", trained_at=now)
            # Beside each attempt stands the baseline, which is none.
            refuse(ws, sha=f"b{len(asked)}", trained_at=now, kind="longer_headline")
    assert asked == [0, 4, 12, 28]
    assert answer.decision.reason.endswith("refused 4 times since v1; waits until 2026-08-14 12:00 UTC")
    assert answer.decision.evidence["refused"] == 4
    # A new champion starts anew.
    serve(ws, "ad_score", sha="cd", trained_at=NOW + timedelta(days=29))
    again = decide_retraining(
        ws, report(finding(sha="cd")), in_flight=idle, now=NOW + timedelta(days=31), performance_only=True, models=("ad_score",)
    )
    assert str(again[0].decision.action) == "retrain"


def test_a_version_that_was_not_judged_or_that_passed_was_not_refused(ws: Workspace) -> None:
    serve(ws, "ad_score")
    ws.registry.register(replace(version_of("ad_score", sha="c0", kind="stack"), trained_at=NOW))
    assert model_state(ws, "ad_score", in_flight=None).refused == ()
    refuse(ws, sha="c1", trained_at=NOW, status=Status.PASSED)
    assert model_state(ws, "ad_score", in_flight=None).refused == (), "it may wait for its canary"
    refuse(ws, sha="c2", trained_at=NOW, status=Status.INSUFFICIENT)
    assert model_state(ws, "ad_score", in_flight=None).refused == (NOW,)
    assert model_state(ws, "ad_score", in_flight=None).champion == 1


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
