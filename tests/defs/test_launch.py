"""The main job from a terminal: it ends with champions, it repeats without doing anything twice, and it stops where it must."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from tests.conftest import LAST_DAY, NOW, Agency
from tests.lake.conftest import batch_of, fact
from within_pipelines.defs.launch import dagster_home, run_main_job
from within_pipelines.exceptions import SettingsError
from within_pipelines.files import TEMPORARY_PREFIX
from within_pipelines.pipeline import MODELS, Workspace, summarise
from within_pipelines.registry import REQUIRED_GATES
from within_pipelines.settings import Settings

pytestmark = pytest.mark.slow


def state_of(settings: Settings) -> dict[str, object]:
    """What a run leaves behind: rows, versions, aliases, verdicts, scores."""
    with Workspace.open(settings) as ws:
        log = ws.lake.ingest_log()
        return {
            "rows": log.select("rows_in", "rows_accepted", "rows_unchanged", "rows_quarantined").sum().row(0),
            "data": ws.lake.data_version(),
            "versions": [(v.model, v.version, v.kind, v.model_sha256) for m in MODELS for v in ws.registry.versions(m)],
            "champions": [getattr(ws.registry.alias(m, "champion"), "version", None) for m in MODELS],
            "moves": [ws.registry.alias_history(m).height for m in MODELS],
            "scored": summarise(ws).ads_scored,
        }


def test_one_backfill_ends_with_three_champions_and_scores(agency: Agency) -> None:
    assert agency.success, agency.message
    assert ("landed_exports", "succeeded") in agency.steps
    assert all(state in {"started", "succeeded"} for _, state in agency.steps)
    with Workspace.open(agency.settings) as ws:
        summary = summarise(ws)
        scored = ws.registry.alias("ad_score", "champion")
    assert summary.unserved == ()
    assert summary.scored_day == LAST_DAY
    assert summary.rows_in == summary.rows_accepted + summary.rows_unchanged + summary.rows_quarantined
    assert min(summary.ads_scored, summary.accounts_scored) > 10
    for line in summary.models:
        assert line.estimate is not None
        assert line.estimate.low <= line.estimate.value <= line.estimate.high
        passed = {gate for gate, status in line.verdicts if status.value == "passed"}
        assert passed >= set(REQUIRED_GATES[line.model])
    assert scored is not None


def test_the_run_is_on_the_instance_with_its_materializations_and_checks(agency: Agency) -> None:
    with dg.DagsterInstance.from_config(str(agency.settings.home / "dagster")) as instance:
        run = instance.get_run_by_id(agency.run_id)
        assert run is not None
        assert run.status is dg.DagsterRunStatus.SUCCESS
        assert run.tags["within/data_version"]
        checks = instance.get_records_for_run(agency.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION).records
        assert len(checks) >= 10
        event = instance.get_latest_materialization_event(dg.AssetKey("ad_score_evaluation"))
        assert event is not None
        assert event.asset_materialization is not None
        metadata = event.asset_materialization.metadata
        assert {"metrics", "verdicts", "reliability_plot", "importance_plot"} <= set(metadata)


def test_a_second_run_does_nothing_twice(agency: Agency, tmp_path: Path) -> None:
    settings = agency.copy(tmp_path / "home")
    before = state_of(settings)
    assert run_main_job(settings, now=NOW, on_step=lambda *_: None).success
    assert state_of(settings) == before
    assert list(settings.home.rglob(f"{TEMPORARY_PREFIX}*")) == []


def test_unsound_facts_stop_the_job_before_any_feature(agency: Agency, tmp_path: Path) -> None:
    settings = agency.copy(tmp_path / "home")
    with Workspace.open(settings) as ws:
        ws.lake.commit(batch_of([fact(currency="euro", event_date=LAST_DAY, file_sha256="bad")]), ingested_at=NOW)
    steps: list[str] = []
    outcome = run_main_job(settings, now=NOW, on_step=lambda name, _: steps.append(name))
    assert not outcome.success
    assert "creative_features" not in steps


def test_a_landing_folder_without_usable_facts_is_said_to_be_so(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    settings.landing.mkdir(parents=True)
    (settings.landing / "rubbish.csv").write_bytes(b"\x00\x01\x02 not an export")
    outcome = run_main_job(settings, now=NOW, on_step=lambda *_: None)
    assert not outcome.success
    with Workspace.open(settings) as ws:
        assert ws.lake.quarantine().height == 1


def test_a_relative_dagster_home_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "relative/home")
    with pytest.raises(SettingsError, match="DAGSTER_HOME=relative/home is not absolute"):
        dagster_home(Settings(home=tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "there"))
    assert (dagster_home(Settings(home=tmp_path)) / "dagster.yaml").read_text().find("telemetry") >= 0


def test_the_registry_entry_alone_cannot_promote_what_failed(agency: Agency, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A blocking check does not hold back an asset that is materialized alone in a later run; the promotion itself does."""
    from sqlalchemy import text

    from within_pipelines.defs.catalogue import defs
    from within_pipelines.stats import Status

    settings = agency.copy(tmp_path / "home")
    with Workspace.open(settings) as ws:
        with ws.database.writing() as session:
            session.execute(text("DELETE FROM aliases"))
        for version in ws.registry.versions("ad_score"):
            verdict = ws.registry.verdicts(version.model_sha256, version.data_version)[0]
            failed = type(verdict)(
                "performance", Status.FAILED, verdict.estimate, 0.0, verdict.sample_sizes, "Worse than a coin.", verdict.model_sha256,
                verdict.data_version, verdict.baseline_sha256, verdict.policy_version,
            )  # fmt: skip
            ws.registry.record_verdicts([failed])
    monkeypatch.setenv("WITHIN_HOME", str(settings.home))
    with dg.DagsterInstance.ephemeral() as instance:
        result = defs.resolve_job_def("retrain_ad_score").execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey("ad_score_registry_entry")],
        )
    assert result.success
    shown = result.asset_materializations_for_node("ad_score_registry_entry")[0].metadata
    assert shown["champion"].value == "none"
    assert "Worse than a coin" in str(shown["reasons"].value)
    with Workspace.open(settings) as ws:
        assert ws.registry.alias("ad_score", "champion") is None


def test_scores_of_the_day_are_stored_for_every_live_ad(agency: Agency) -> None:
    from within_pipelines.database import AccountHealthRepository, AdScoreRepository, PerformanceMetricRepository

    with Workspace.open(agency.settings) as ws:
        ads = AdScoreRepository(ws.database).on(LAST_DAY)
        health = AccountHealthRepository(ws.database).on(LAST_DAY)
        metrics = PerformanceMetricRepository(ws.database).on(LAST_DAY)
        live = ws.lake.facts(start=LAST_DAY)["ad_id"].n_unique()
    assert ads["ad_id"].n_unique() >= live
    assert ads["score"].is_between(0, 100).all()
    assert set(health.filter(pl.col("campaign_id") == "")["account_id"]) == set(metrics["account_id"])
