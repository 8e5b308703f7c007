"""Every gate can pass, fail and lack evidence; the cold start ends with the honest rival, never with nothing judged."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from importlib import import_module
from pathlib import Path

import polars as pl
import pytest
from sqlalchemy import text

from tests.conftest import NOW, Agency
from within_pipelines.pipeline import (
    KINDS,
    Workspace,
    calibration_verdict,
    close_alert,
    false_alarm_verdict,
    golden_check,
    golden_verdict,
    judge,
    performance_verdict,
    release,
    trained_version,
    validate_golden_sets,
)
from within_pipelines.pipeline.drift_reference import drift_baseline_verdict
from within_pipelines.prediction import Evaluation
from within_pipelines.stats import Estimate, Status


def evaluation(*, difference: Estimate | None = None, model: str = "account_health", **metrics: Estimate) -> Evaluation:
    main = metrics.pop("main", Estimate(0.1, 0.05, 0.2, 40))
    return Evaluation(
        model=model, model_kind="x", main_metric="brier_skill", higher_is_better=True, metrics={"brier_skill": main, **metrics},
        baseline="persistence", baseline_metrics={"brier_skill": main}, difference=difference or Estimate(0.05, 0.01, 0.09, 40),
        n={"rows": 100}, first_day=date(2026, 1, 1), last_day=date(2026, 2, 1), tables={"reliability": pl.DataFrame({"bin": [1]})},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("difference", "status"),
    [
        (Estimate(0.05, 0.01, 0.09, 40), Status.PASSED),
        (Estimate(-0.05, -0.09, -0.01, 40), Status.FAILED),
        (Estimate(0.05, -0.01, 0.11, 40), Status.INSUFFICIENT),
        (Estimate(0.05, 0.01, 0.09, 5), Status.INSUFFICIENT),
    ],
)
def test_a_challenger_must_beat_its_baseline_with_confidence(difference: Estimate, status: Status) -> None:
    assert performance_verdict(evaluation(difference=difference), is_baseline=False, against_champion=None).status is status


@pytest.mark.parametrize(
    ("difference", "status"),
    [
        (Estimate(0.0, -0.015, 0.02, 40), Status.PASSED),
        (Estimate(-0.1, -0.15, -0.05, 40), Status.FAILED),
        (Estimate(-0.01, -0.05, 0.03, 40), Status.INSUFFICIENT),
    ],
)
def test_beside_a_champion_it_must_not_be_worse(difference: Estimate, status: Status) -> None:
    beside = evaluation(difference=difference)
    assert performance_verdict(evaluation(), is_baseline=False, against_champion=beside).status is status


@pytest.mark.parametrize(
    ("main", "status"),
    [
        (Estimate(0.01, -0.1, 0.1, 40), Status.PASSED),
        (Estimate(-0.2, -0.3, -0.1, 40), Status.FAILED),
        (Estimate(0.01, -0.1, 0.1, 3), Status.INSUFFICIENT),
    ],
)
def test_a_baseline_may_be_first_unless_it_lies_below_no_skill(main: Estimate, status: Status) -> None:
    assert performance_verdict(evaluation(main=main), is_baseline=True, against_champion=None).status is status


@pytest.mark.parametrize(
    ("slope", "status"),
    [
        (Estimate(1.0, 0.8, 1.2, 40), Status.PASSED),
        (Estimate(0.3, 0.2, 0.4, 40), Status.FAILED),
        (Estimate(3.0, 2.5, 4.0, 40), Status.FAILED),
        (Estimate(0.4, 0.2, 0.7, 40), Status.INSUFFICIENT),
        (Estimate(1.0, -0.5, 2.0, 40), Status.INSUFFICIENT),
        (Estimate(1.0, 0.8, 1.2, 4), Status.INSUFFICIENT),
    ],
)
def test_calibration_has_three_outcomes(slope: Estimate, status: Status) -> None:
    assert calibration_verdict(evaluation(calibration_slope=slope, debiased_ece=Estimate(0.02, 0, 0.05, 40))).status is status


@pytest.mark.parametrize(
    ("ratio", "status"),
    [
        (Estimate(1.0, 0.8, 1.3, 40), Status.PASSED),
        (Estimate(3.0, 2.0, 4.0, 40), Status.FAILED),
        (Estimate(1.4, 1.0, 1.9, 40), Status.INSUFFICIENT),
        (Estimate(1.0, 0.8, 1.3, 4), Status.INSUFFICIENT),
    ],
)
def test_false_alarms_have_three_outcomes(ratio: Estimate, status: Status) -> None:
    assert false_alarm_verdict(evaluation(false_alarm_ratio=ratio)).status is status


@pytest.mark.slow
def test_on_a_cold_start_the_baseline_serves_where_the_challenger_may_not(agency: Agency, tmp_path: Path) -> None:
    settings = agency.copy(tmp_path / "home")
    with Workspace.open(settings) as ws:
        pin = ws.pin()
        challenger, baseline = (trained_version(ws, pin, "anomaly", kind) for kind in KINDS["anomaly"])
        with ws.database.writing() as session:
            session.execute(text("DELETE FROM aliases WHERE model = 'anomaly'"))
            session.execute(text("DROP TRIGGER verdicts_refuses_delete"))  # the audit trail refuses to forget
            statement = text("DELETE FROM verdicts WHERE model_sha256 = :sha")
            session.execute(statement, {"sha": challenger.model_sha256})
        released = release(ws, pin, "anomaly", now=NOW, who="test")
        assert released.moved
        assert released.champion is not None
        assert released.champion.version == baseline.version
        assert "no verdict for this artifact" in released.reasons[0]
        judge(ws, pin, "anomaly")
        replaced = release(ws, pin, "anomaly", now=NOW, who="test")
        assert replaced.champion is not None
        assert replaced.champion.version == challenger.version
        assert not release(ws, pin, "anomaly", now=NOW, who="test").moved


@pytest.mark.slow
def test_a_champion_that_answers_otherwise_fails_its_golden_sample_and_raises_an_alert(agency: Agency, tmp_path: Path) -> None:
    from within_pipelines.database import AlertRepository

    settings = agency.copy(tmp_path / "home")
    with Workspace.open(settings) as ws:
        assert all(verdict.passed for verdict in golden_check(ws).values())
        champion = ws.registry.alias("ad_score", "champion")
        assert champion is not None
        (recorded,) = (settings.artifacts / "golden").glob(f"ad_score-{champion.model_sha256}-*.json")
        changed = recorded.read_text().replace('"values": [', '"values": [9', 1).replace('"values":[', '"values":[9', 1)
        recorded.write_text(changed)
        verdict = golden_verdict(ws, champion)
        assert verdict.status is Status.FAILED
        verdicts = validate_golden_sets(ws, now=NOW)
        assert [model for model, v in verdicts.items() if not v.passed] == ["ad_score"]
        assert AlertRepository(ws.database).alerts()["dedup_key"].to_list() == ["gate/ad_score/golden_sample"]
        recorded.unlink()
        assert all(v.passed for v in validate_golden_sets(ws, now=NOW).values())
        assert AlertRepository(ws.database).alerts().is_empty()
        assert not close_alert(ws, "gate/ad_score/golden_sample", now=NOW)


@pytest.mark.slow
def test_a_champion_that_this_code_cannot_read_is_no_rival_and_is_replaced(agency: Agency, tmp_path: Path) -> None:
    from within_pipelines.prediction import write_artifact
    from within_pipelines.registry import POLICY_VERSION, REQUIRED_GATES, ModelVersion
    from within_pipelines.stats import Verdict

    settings = agency.copy(tmp_path / "home")
    with Workspace.open(settings) as ws:
        pin = ws.pin()
        served = ws.registry.alias("anomaly", "champion")
        assert served is not None
        # As an older release wrote it: sound, but not in today's form.
        sha256 = write_artifact(tmp_path / "old", {"model.json": b"{}"}, {"model": "anomaly"})
        stored = ws.artifacts.put("anomaly", tmp_path / "old")
        old = ws.registry.register(ModelVersion("anomaly", 0, "seasonal_tail", sha256, stored, "d", NOW, 1, "s", "f", 7, NOW))
        ws.registry.record_verdicts(
            Verdict(gate, Status.PASSED, None, None, {}, "fine").bind(model_sha256=sha256, data_version="d", policy_version=POLICY_VERSION)
            for gate in REQUIRED_GATES["anomaly"]
        )
        ws.registry.promote("anomaly", old.version, who="test", why="test", now=NOW, expected_current=served.version)
        (performance, *_) = (v for v in judge(ws, pin, "anomaly").verdicts if v.gate == "performance")
        assert performance.passed
        assert performance.evidence["rule"] == "beats the baseline"
        assert f"champion v{old.version} cannot be read" in performance.evidence["champion"]
        released = release(ws, pin, "anomaly", now=NOW, who="test")
        assert released.moved
        assert released.champion is not None
        assert released.champion.version == trained_version(ws, pin, "anomaly", KINDS["anomaly"][0]).version


@pytest.mark.slow
def test_without_an_unchanged_reference_of_its_training_a_version_may_not_serve(
    agency: Agency, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Workspace.open(agency.copy(tmp_path / "home")) as ws:
        for model, kinds in KINDS.items():
            for kind in kinds:
                assert drift_baseline_verdict(ws, trained_version(ws, ws.pin(), model, kind)).passed
        champion = ws.registry.alias("account_health", "champion")
        assert champion is not None
        none = drift_baseline_verdict(ws, replace(champion, evaluation={"details": {}}))
        assert (none.status, none.reason) == (Status.FAILED, "Drift cannot be judged: no reference was kept when it was trained.")
        today = import_module("within_pipelines.pipeline.drift_reference")
        with monkeypatch.context() as other:
            other.setattr(today, "schema_version", lambda model: "account_features/9/x")
            assert "features are account_features/9/x now" in drift_baseline_verdict(ws, champion).reason
        folder = ws.settings.artifacts / str(champion.evaluation["details"]["drift_reference"])
        rows = folder / "rows.parquet"
        rows.write_bytes(rows.read_bytes() + b"x")
        changed = drift_baseline_verdict(ws, champion)
        assert changed.status is Status.FAILED
        verdicts = judge(ws, ws.pin(), "account_health", is_baseline=champion.kind == KINDS["account_health"][1]).verdicts
        assert "drift_baseline" in [verdict.gate for verdict in verdicts if not verdict.passed]
