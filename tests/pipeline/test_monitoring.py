"""A day's monitoring on a small real deployment: calm is calm, planted shifts are found, calendars explain, and the budget is spent day
by day."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from within_pipelines.database import MonitoringRepository
from within_pipelines.database.operations import AliasModel, ModelVersionModel
from within_pipelines.exceptions import ArtifactError, SampleError
from within_pipelines.monitoring import MONITORS, DriftState, MonitorFinding, MonitorReport, ReferenceProfile
from within_pipelines.pipeline import (
    Workspace,
    build_account_features,
    build_metric_series,
    build_training_set,
    calendar_path,
    ingest_landing,
    latest_report,
    monitor_day,
    monitoring,
    read_reference,
    report_path,
    train,
)
from within_pipelines.pipeline.monitored_rows import Monitored
from within_pipelines.settings import Settings
from within_pipelines.simulation import AgencySpec, write_agency

LAST = date(2026, 6, 30)
NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
MODELS = ("account_health", "anomaly")
KIND = {"account_health": "persistence", "anomaly": "trailing_z"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """Fourteen accounts; trained on what was known four weeks ago, with daily exports since."""
    settings = Settings(home=tmp_path_factory.mktemp("drift") / "home")
    write_agency(settings.landing, AgencySpec(accounts=14, days=120, seed=5, end=LAST, daily_days=30))
    late = [f for f in settings.landing.rglob("*_asof_*") if re.search(r"asof_(\d{8})", f.name)[1] > "20260602"]  # type: ignore[index]
    kept = settings.home / "kept"
    for file in late:
        held = kept / file.relative_to(settings.landing)
        held.parent.mkdir(parents=True, exist_ok=True)
        file.rename(held)
    with Workspace.open(settings) as ws:
        ingest_landing(ws, now=datetime(2026, 6, 3, tzinfo=UTC))
        pin = ws.pin()
        build_account_features(ws, pin)
        build_metric_series(ws, pin)
        for model in MODELS:
            build_training_set(ws, pin, model)
            version = train(ws, pin, model, KIND[model], now=NOW).version
            with ws.database.writing() as session:
                session.add(AliasModel(model=model, alias="champion", version=version.version, moved_at=NOW))
        for file in late:
            (kept / file.relative_to(settings.landing)).rename(file)
        ingest_landing(ws, now=NOW)
        yield ws


def champion(ws: Workspace, model: str = "account_health"):
    version = ws.registry.alias(model, "champion")
    assert version is not None
    return version


@pytest.mark.slow
def test_a_calm_month_raises_no_alarm_and_spends_the_budget_day_by_day(workspace: Workspace) -> None:
    for back in (9, 0):
        report = monitor_day(workspace, LAST - timedelta(days=back), now=NOW, models=MODELS)
        assert [f for f in report.findings if f.drifted] == []
    assert {(f.monitor, f.model) for f in report.findings} == {(m, model) for m in MONITORS for model in MODELS}
    assert latest_report(workspace) == MonitorReport(LAST, tuple(sorted(report.findings, key=lambda f: (f.monitor, f.model))), NOW)
    stored = MonitorReport.from_dict(json.loads(report_path(workspace, LAST).read_text()))
    assert stored == report
    concept = report.of("concept_drift", "account_health")[0]
    assert concept.sizes["current"] > 50
    assert concept.loss_change is not None
    estimated = report.of("estimated_performance", "account_health")[0]
    assert estimated.sizes["pending"] > 0 < estimated.sizes["mature"]
    assert any(row["realised"] is None for row in estimated.evidence["table"])
    assert any(name.startswith("misjudged_") for name in estimated.evidence["table"][0])
    # Labels of anomalies never arrive: said, not guessed.
    assert "Nobody labels" in report.of("concept_drift", "anomaly")[0].reason
    data = report.of("data_drift", "account_health")[0]
    assert data.evidence["alpha_today"] == pytest.approx(0.3 / 8 * 0.9 / 28)
    again = monitor_day(workspace, LAST, now=NOW, models=MODELS)
    assert again.findings == report.findings


@pytest.mark.slow
def test_planted_shifts_are_found_and_the_calendar_explains_only_what_it_names(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = monitoring.seen_on
    everywhere = {"platforms": None}

    def planted(*args, **options) -> Monitored:
        window = seen(*args, **options)
        there = pl.lit(True) if everywhere["platforms"] is None else pl.col("platform").is_in(everywhere["platforms"])
        judged = window.judged
        if judged.height:
            flipped = pl.when(there & pl.col("outcome").is_not_null()).then(1 - pl.col("prediction").round()).otherwise("outcome")
            judged = judged.with_columns(outcome=flipped).with_columns(
                realised=pl.when(pl.col("outcome").is_not_null()).then((pl.col("outcome") - pl.col("prediction")) ** 2)
            )
        moved = [name for name in window.rows.columns if name in ("log_ctr_7", "ctr")]
        rows = window.rows.with_columns(pl.when(there).then(pl.col(name) + 9).otherwise(pl.col(name)).alias(name) for name in moved)
        said = window.said.with_columns(prediction=pl.when(there).then(pl.col("prediction") + 3).otherwise("prediction"))
        return replace(window, rows=rows, said=said, judged=judged)

    monkeypatch.setattr(monitoring, "seen_on", planted)
    ask = lambda: monitor_day(workspace, LAST, now=NOW, models=["account_health"], run_id="r1")
    report = ask()
    assert all(f.evidence["run_id"] == "r1" for f in report.findings)
    for name in ("data_drift", "prediction_drift"):
        behind = report.of(name)[0].evidence["accounts"]
        assert len(behind) == 5
        assert {entry["account"] for entry in behind} <= {f"{platform}/{account}" for platform, account in workspace.lake.accounts()}
        assert behind[0]["share"] >= behind[-1]["share"] > 0
    states = {f.monitor: f.state for f in report.findings}
    assert states["data_drift"] is states["prediction_drift"] is states["concept_drift"] is DriftState.DRIFTED
    assert states["calibration_drift"] is states["estimated_performance"] is DriftState.DRIFTED
    assert report.of("data_drift")[0].features == ("log_ctr_7",)
    # Fourteen accounts are enough for one feature, halves of them not for a classifier; that is said.
    together = report.of("multivariate_drift")[0]
    assert together.state is DriftState.INSUFFICIENT
    assert together.reason.startswith("14 accounts, halved, cannot tell drift from chance")
    assert together.statistic is not None
    assert together.statistic > 0.9
    concept = report.of("concept_drift")[0]
    assert concept.loss_change is not None
    assert concept.loss_change > 0.2
    assert concept.money_at_risk
    assert all(amount > 0 for amount in concept.money_at_risk.values())

    path = calendar_path(workspace)
    try:
        path.write_text("- {day: 2026-06-28, what: clicks are counted otherwise, features: ['*_ctr_*']}")
        told = {f.monitor: f.state for f in ask().findings}
        silent = {told.pop(name) for name in ("feature_correlation", "text_drift", "multivariate_drift")}
        assert silent <= {DriftState.STABLE, DriftState.INSUFFICIENT}
        assert set(told.values()) == {DriftState.MEASUREMENT_CHANGE}
        assert "clicks are counted otherwise (2026-06-28)" in ask().of("data_drift")[0].reason
        path.write_text("- {day: 2026-06-28, what: conversions are counted otherwise, features: ['*conversions*']}")
        unrelated = {f.monitor: f.state for f in ask().findings}
        assert {unrelated[name] for name in told} == {DriftState.DRIFTED}
        path.write_text("- {day: 2026-06-28, what: everything is counted otherwise}")
        assert {f.state for f in ask().findings if f.monitor not in ("feature_correlation", "text_drift", "multivariate_drift")} == {
            DriftState.MEASUREMENT_CHANGE
        }
        path.write_text("- {day: 2026-06-28, what: clicks are counted otherwise, platform: meta_ads}")
        elsewhere = ask().of("data_drift")[0]
        assert elsewhere.state is DriftState.DRIFTED
        assert "on other platforms than meta_ads" in elsewhere.reason
    finally:
        path.unlink()


def test_an_event_must_name_what_a_monitor_found_or_what_moved_beneath_it() -> None:
    def found(monitor: str, *features: str, state: DriftState = DriftState.DRIFTED) -> MonitorFinding:
        return MonitorFinding(monitor, "anomaly", LAST, state, features=features)

    told = {monitor: found(monitor) for monitor in MONITORS} | {
        "data_drift": found("data_drift", "ctr"),
        "multivariate_drift": found("multivariate_drift", "cpc", state=DriftState.INSUFFICIENT),
        "concept_drift": found("concept_drift", "roas"),
        "text_drift": found("text_drift", "coffee"),
    }
    moved = {monitor: monitoring._what_moved(told, monitor) for monitor in MONITORS}
    assert moved["data_drift"] == ("ctr",)
    assert moved["text_drift"] == ("coffee",)
    assert moved["prediction_drift"] == moved["estimated_performance"] == ("ctr",)
    assert set(moved["concept_drift"]) == set(moved["calibration_drift"]) == {"ctr", "roas"}


def test_few_accounts_are_told_how_many_would_do() -> None:
    found = MonitorFinding("data_drift", "anomaly", LAST, DriftState.INSUFFICIENT, sizes={"accounts": 9}, reason="Calm.")
    told = monitoring._unreachable(found, 0.0016)
    assert told.reason == "Calm. 9 accounts cannot tell drift from chance within the budget of false alarms; 11 can."
    assert monitoring._unreachable(replace(found, sizes={"accounts": 11}), 0.0016).reason == "Calm."


def test_every_version_keeps_what_it_was_trained_on(workspace: Workspace) -> None:
    reference = read_reference(workspace, champion(workspace))
    assert reference is not None
    assert reference.data.rows.height > 300
    assert {"cluster", "platform", "day", "log_ctr_7"} <= set(reference.data.rows.columns)
    assert reference.data.judged["realised"].null_count() < reference.data.judged.height
    profile = ReferenceProfile.from_dict(reference.profile)
    assert profile.n_rows == reference.data.rows.height
    assert len(profile.correlations) == len(profile.correlated) > 20
    folder = workspace.settings.artifacts / str(champion(workspace).evaluation["details"]["drift_reference"])
    assert folder.name == reference.sha256
    content = (folder / "rows.parquet").read_bytes()
    try:
        (folder / "rows.parquet").write_bytes(content[:-1])
        with pytest.raises(ArtifactError, match="was changed after it was written"):
            read_reference(workspace, champion(workspace))
    finally:
        (folder / "rows.parquet").write_bytes(content)


def test_what_cannot_be_monitored_is_said(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    report = monitor_day(workspace, date(2026, 6, 10), now=NOW, models=["ad_score"])
    assert {f.reason for f in report.findings} == {"No version of ad_score serves."}
    assert {f.state for f in report.findings} == {DriftState.INSUFFICIENT}
    monkeypatch.setattr(monitoring, "schema_version", lambda model: "account_features/99/abc")
    report = monitor_day(workspace, date(2026, 6, 10), now=NOW, models=["account_health"])
    assert {f.state for f in report.findings} == {DriftState.INSUFFICIENT}
    assert "the code computes account_features/99/abc; train again" in report.findings[0].reason
    monkeypatch.undo()
    with workspace.database.writing() as session:
        row = ModelVersionModel.find(session, model="anomaly")[0]
        kept, row.evaluation = row.evaluation, {}
    try:
        report = monitor_day(workspace, date(2026, 6, 10), now=NOW, models=["anomaly"])
        assert "before references were kept; train it again" in report.findings[0].reason
    finally:
        with workspace.database.writing() as session:
            ModelVersionModel.find(session, model="anomaly")[0].evaluation = kept
    with pytest.raises(SampleError, match="no facts for 2027-01-01"):
        monitor_day(workspace, date(2027, 1, 1), now=NOW, models=MODELS)


def test_a_clock_that_goes_backwards_is_refused(workspace: Workspace) -> None:
    monitor_day(workspace, LAST, now=NOW, models=["ad_score"])
    with pytest.raises(SampleError, match="set the clock right first"):
        monitor_day(workspace, LAST, now=NOW - timedelta(days=1), models=["ad_score"])
    assert MonitoringRepository(workspace.database).days()
    assert Path(report_path(workspace, LAST)).is_file()
