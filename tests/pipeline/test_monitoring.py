"""A day's monitoring on a small real deployment: calm is calm, planted shifts are found, calendars explain, and the budget is spent day
by day."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from within_pipelines.database import MonitoringRepository
from within_pipelines.database.operations import AliasModel, ModelVersionModel
from within_pipelines.exceptions import ArtifactError, SampleError
from within_pipelines.monitoring import (
    MONITORS,
    CalendarEvent,
    DriftState,
    MeasurementCalendar,
    MonitorFinding,
    MonitorReport,
    ReferenceProfile,
)
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
    # What waits is not late: every feed has come.
    assert concept.sizes["overdue"] == estimated.sizes["overdue"] == 0
    assert "overdue" not in concept.reason + estimated.reason
    # Labels of anomalies never arrive: said, not guessed.
    assert "Nobody labels" in report.of("concept_drift", "anomaly")[0].reason
    data = report.of("data_drift", "account_health")[0]
    assert data.evidence["alpha_today"] == pytest.approx(0.3 / 8 * 0.9 / 28)
    again = monitor_day(workspace, LAST, now=NOW, models=MODELS)
    assert again.findings == report.findings


@pytest.mark.slow
def test_labels_that_should_have_come_are_counted_by_platform(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from within_pipelines import features

    whole = features.run_by_account
    stopped = date(2026, 6, 9)

    def cut(batches, of):
        there = (pl.col("platform") != "meta_ads") | (pl.col("event_date") <= stopped)
        return whole(batches, lambda history: of(history.filter(there)))

    monkeypatch.setattr(features, "run_by_account", cut)
    report = monitor_day(workspace, LAST, now=NOW, models=["account_health"])
    for monitor in ("estimated_performance", "concept_drift", "calibration_drift"):
        found = report.of(monitor)[0]
        assert found.sizes["overdue"] > 0
        assert re.search(r"\d+ labels are overdue, by up to \d+ days \(meta_ads \d+\); only the others are judged here", found.reason)
    assert report.of("estimated_performance")[0].evidence["overdue"] == {"meta_ads": found.sizes["overdue"]}


@pytest.mark.slow
def test_planted_shifts_are_found_and_the_calendar_explains_only_what_it_names(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = monitoring.seen_on
    kept: list[Monitored] = []

    def planted(*args, **options) -> Monitored:
        if not kept:
            kept.append(seen(*args, **options))
        window = kept[0]
        # Every outcome is the opposite of what is said: what the model learned has stopped being true.
        flipped = pl.when(pl.col("outcome").is_not_null()).then(1 - pl.col("prediction").round())
        judged = window.judged.with_columns(outcome=flipped).with_columns(realised=(pl.col("outcome") - pl.col("prediction")) ** 2)
        rows, said = window.rows.with_columns(pl.col("log_ctr_7") + 9), window.said.with_columns(pl.col("prediction") + 3)
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
        named = ask()
        told = {f.monitor: f.state for f in named.findings}
        silent = {told.pop(name) for name in ("feature_correlation", "text_drift", "multivariate_drift")}
        assert silent <= {DriftState.STABLE, DriftState.INSUFFICIENT}
        # The one feature that moved is named, and so are the answers that follow from it. That nothing the model learned holds any more
        # is no count of clicks: fourteen accounts cannot show that no other feature relates otherwise to the target.
        assert {m for m, state in told.items() if state is DriftState.MEASUREMENT_CHANGE} == {"data_drift", "prediction_drift"}
        assert told["concept_drift"] is told["calibration_drift"] is told["estimated_performance"] is DriftState.DRIFTED
        assert named.of("concept_drift")[0].evidence["relation_state"] == "insufficient"
        assert "clicks are counted otherwise (2026-06-28)" in named.of("data_drift")[0].reason
        path.write_text("- {day: 2026-06-28, what: conversions are counted otherwise, features: ['*conversions*']}")
        assert {f.monitor for f in ask().findings if f.drifted} == {m for m, state in states.items() if state is DriftState.DRIFTED}
        # An event without features stands for everything.
        path.write_text("- {day: 2026-06-28, what: everything is counted otherwise}")
        assert not any(f.drifted for f in ask().findings)
        path.write_text("- {day: 2026-06-28, what: clicks are counted otherwise, platform: meta_ads}")
        elsewhere = ask().of("data_drift")[0]
        assert elsewhere.state is DriftState.DRIFTED
        assert "on other platforms than meta_ads" in elsewhere.reason
    finally:
        path.unlink()


def explained_on(*lines: dict[str, object], relation: str = "stable", **drifted: tuple[str, ...]) -> set[str]:
    """The monitors that a calendar of `lines` explains on a day on which those of `drifted` did, with the features that they name."""
    calendar = MeasurementCalendar(tuple(CalendarEvent(day=LAST - timedelta(days=2), what="counted otherwise", **line) for line in lines))
    case = SimpleNamespace(
        calendar=calendar, model="account_health", reference=SimpleNamespace(last_day=LAST - timedelta(days=28)),
        window_start=LAST - timedelta(days=6), day=LAST,
    )  # fmt: skip
    states = {monitor: DriftState.DRIFTED if monitor in drifted else DriftState.STABLE for monitor in MONITORS}
    found = {
        monitor: MonitorFinding(
            monitor, "account_health", LAST, state, features=drifted.get(monitor, ()),
            evidence={"loss_state": state, "relation_state": relation},
        )
        for monitor, state in states.items()
    }  # fmt: skip
    told = [monitoring._explained(case, f, monitoring._to_be_named(f, found), 0.01) for f in found.values() if f.drifted]
    return {f.monitor for f in told if f.state is DriftState.MEASUREMENT_CHANGE}


def test_an_event_explains_nothing_that_rests_on_features_it_does_not_name() -> None:
    conversions, everything = {"features": ("*conversions*",)}, {}
    loss = {"concept_drift": (), "calibration_drift": (), "estimated_performance": (), "prediction_drift": ()}
    # No input was found to move, so only an event for everything can be the cause.
    assert explained_on(conversions, **loss) == set()
    assert explained_on(everything, **loss) == set(loss)
    # The inputs that moved are named, all or not all.
    assert explained_on(conversions, **loss, data_drift=("log_conversions_7",)) == {*loss, "data_drift"}
    assert explained_on(conversions, **loss, data_drift=("log_conversions_7", "log_ctr_7")) == set()
    assert explained_on(conversions, **loss, data_drift=("log_conversions_7",), multivariate_drift=("log_cpm_7",)) == {"data_drift"}
    # Too few labels to say that no other feature relates otherwise to the target.
    assert explained_on(conversions, relation="insufficient", **loss, data_drift=("log_conversions_7",)) == {
        "data_drift",
        "prediction_drift",
    }
    assert explained_on(everything, relation="insufficient", **loss, data_drift=("log_conversions_7",)) == {*loss, "data_drift"}
    # Relations of other features turned: that is no change of a ruler, whatever moved.
    turned = loss | {"concept_drift": ("log_conversions_7", "log_ctr_7"), "data_drift": ("log_conversions_7",)}
    assert explained_on(conversions, relation="drifted", **turned) == {"data_drift", "prediction_drift"}
    assert explained_on(conversions, {"features": ("log_ctr_*",)}, relation="drifted", **turned) == set(turned)


def test_no_feature_is_left_out_of_the_correlations_in_silence() -> None:
    rng = np.random.default_rng(3)
    accounts = [f"meta_ads/{k // 6}" for k in range(240)]

    def rows(features: int, sign: int) -> pl.DataFrame:
        values = rng.normal(size=(240, features))
        values[:, -1] = sign * values[:, -2]
        return pl.DataFrame(values, schema=[f"f{k:03}" for k in range(features)]).with_columns(cluster=pl.Series(accounts))

    def ask(features: int) -> MonitorFinding:
        old, new = (SimpleNamespace(rows=rows(features, sign)) for sign in (1, -1))
        case = SimpleNamespace(reference=SimpleNamespace(data=old), window=new, rng=rng, model="ad_score", day=LAST)
        return monitoring._feature_correlation(case, 0.05)

    # As many as the ad score has.
    assert ask(73).features == ("f071", "f072")
    many = ask(monitoring.MOST_CORRELATED + 2)
    assert many.reason.endswith("Left out of 122 features: f120, f121.")
    assert many.evidence["left_out"] == ["f120", "f121"]


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
