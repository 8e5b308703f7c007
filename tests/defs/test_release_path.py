"""From training to traffic under Dagster, with real artifacts: what assets show and keep. With the daemon: `test_release_story.py`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from tests.conftest import NOW, Agency
from tests.defs.canaries import DECLARED, online
from within_pipelines.database import AlertRepository, CanaryRepository, GoldenResultRepository
from within_pipelines.defs.catalogue import defs
from within_pipelines.defs.resource import WithinResource
from within_pipelines.defs.sensors import canary_sensor
from within_pipelines.pipeline import (
    KINDS,
    Workspace,
    build_metric_series,
    change_golden_set,
    current_golden_set,
    feature_table,
    golden_set_versions,
    record_canary_outcomes,
    series_incident,
    trained_version,
    training_set,
)
from within_pipelines.settings import Settings
from within_pipelines.validation import CanaryState

MODEL = "anomaly"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def run(instance: dg.DagsterInstance, settings: Settings, job: str, *, days: int = 0) -> dg.ExecuteInProcessResult:
    within = WithinResource(home=str(settings.home), now=(NOW + timedelta(days=days)).isoformat())
    return defs.resolve_job_def(job).execute_in_process(instance=instance, resources={"within": within}, raise_on_error=False)


def asked_for(instance: dg.DagsterInstance, within: WithinResource) -> list[dg.RunRequest]:
    """The runs that one tick of the canary's sensor asks for."""
    with dg.build_sensor_context(instance=instance, resources={"within": within}) as context:
        result = canary_sensor(context)
    return [] if isinstance(result, dg.SkipReason) else list(result.run_requests or [])


def champion(ws: Workspace) -> int:
    found = ws.registry.alias(MODEL, "champion")
    assert found is not None
    return found.version


@pytest.mark.slow
def test_from_training_to_traffic(agency: Agency, tmp_path: Path, instance: dg.DagsterInstance) -> None:
    settings = agency.copy(tmp_path / "home")
    with Workspace.open(settings) as ws:
        better, simple = (trained_version(ws, ws.pin(), MODEL, kind).version for kind in KINDS[MODEL])
        if champion(ws) != simple:
            ws.registry.promote(MODEL, simple, who="test", why="the simple rival serves", now=NOW, expected_current=champion(ws))

        # A confirmed incident that the challenger answers wrongly stops it at the golden set, and its rows leave the training set.
        build_metric_series(ws, ws.pin())
        series = feature_table(ws, ws.pin(), MODEL).filter(pl.col("metric") == "spend")
        platform, account, day = series.sort("account_id", "timestamp").select("platform", "account_id", "timestamp").row(-30)
        case = series_incident(ws, platform=platform, account_id=account, metric="spend", day=day, note="seen by the client", most=1e-12)
        before = training_set(ws, ws.pin(), MODEL).height
        change_golden_set(ws, add=[case], reason="a client saw it first", who="ada", now=NOW)
        assert training_set(ws, ws.pin(), MODEL).height < before
    assert run(instance, settings, f"retrain_{MODEL}").success
    with Workspace.open(settings) as ws:
        assert champion(ws) == simple
        version = ws.registry.get(MODEL, better)
        verdict = [v for v in ws.registry.verdicts(version.model_sha256, version.data_version) if v.gate == "golden_sample"][-1]
        assert not verdict.passed
        assert case.id in verdict.reason
        assert current_golden_set(ws).version in verdict.golden_set_version

        # Without that case the better challenger reaches champion; the set remembers both versions.
        change_golden_set(ws, remove=[case.id], reason="the client was wrong", who="ada", now=NOW)
        assert [each.number for each in golden_set_versions(ws)] == [1, 2, 3, 4]
    assert run(instance, settings, f"retrain_{MODEL}").success
    with Workspace.open(settings) as ws:
        assert champion(ws) == better

    # The daily check keeps a history and shows parts and slices.
    checked = run(instance, settings, "validate_golden_set")
    assert checked.success
    (event,) = checked.asset_materializations_for_node("golden_set_result")
    assert {f"{MODEL} slices", f"{MODEL} history", "set"} <= set(event.metadata)
    (compared,) = checked.asset_materializations_for_node("challenger_comparison")
    assert "compared" in compared.metadata
    with Workspace.open(settings) as ws:
        assert GoldenResultRepository(ws.database).history(MODEL)["passed"].to_list()[-1]


@pytest.mark.slow
@pytest.mark.parametrize(("useful", "ends"), [(0.62, CanaryState.PROMOTED), (0.3, CanaryState.ROLLED_BACK)])
def test_a_declared_canary_goes_its_way_by_the_sensor_alone(
    useful: float, ends: CanaryState, agency: Agency, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    settings = agency.copy(tmp_path / "home")
    settings.releases.write_text(DECLARED)
    with Workspace.open(settings) as ws:
        better, simple = (trained_version(ws, ws.pin(), MODEL, kind).version for kind in KINDS[MODEL])
        if champion(ws) != simple:
            ws.registry.promote(MODEL, simple, who="test", why="the simple rival serves", now=NOW, expected_current=champion(ws))
    retrained = run(instance, settings, f"retrain_{MODEL}")
    assert retrained.success
    (event,) = retrained.asset_materializations_for_node(f"{MODEL}_registry_entry")
    assert "its canary begins at 20% (recorded outcomes)" in str(event.metadata["reasons"].value)
    # A file that cannot be understood stops beginnings, never the steps of a canary that is open.
    settings.releases.write_text("anomoly: {}")
    with Workspace.open(settings) as ws:
        assert champion(ws) == simple
        assert {alias: ws.registry.alias(MODEL, alias).version for alias in ("challenger", "shadow", "canary")} == dict.fromkeys(  # type: ignore[union-attr]
            ("challenger", "shadow", "canary"), better
        )
        canary = CanaryRepository(ws.database).latest(MODEL)

    stages, last = [canary.share], None
    for day in range(10):
        within = WithinResource(home=str(settings.home), now=(NOW + timedelta(days=day)).isoformat())
        with Workspace.open(settings) as ws:
            record_canary_outcomes(ws, MODEL, online(canary, useful=useful, day=day))
            assert champion(ws) == simple
        # A state asks for one run however often it is looked at, and for none while a run takes the step.
        keys = [request.run_key for _ in range(2) for request in asked_for(instance, within)]
        assert len(keys) == 2
        assert len(set(keys)) == 1
        begun = instance.create_run_for_job(defs.resolve_job_def("advance_canary"), status=dg.DagsterRunStatus.STARTED)
        assert asked_for(instance, within) == []
        instance.report_run_canceled(begun)
        last = run(instance, settings, "advance_canary", days=day)
        assert [event.step_key for event in last.get_step_failure_events()] == ["champion"]
        with Workspace.open(settings) as ws:
            canary = CanaryRepository(ws.database).latest(MODEL)
        stages.append(canary.share)
        if canary.state.final:
            break
    assert canary.state is ends
    assert last is not None
    (decided,) = last.asset_materializations_for_node("canary_decision")
    with Workspace.open(settings) as ws:
        alerts = AlertRepository(ws.database).alerts()["dedup_key"].to_list()
        if ends is CanaryState.PROMOTED:
            assert champion(ws) == better
            # Stage by stage, and the decision record is written when the alias has moved.
            assert list(dict.fromkeys(stages)) == [0.2, 0.5, 0.0]
            record = str(decided.metadata[f"{MODEL} decision_record"].value)
            assert f"v{simple}" in record
            assert list((settings.artifacts / "decisions").glob(f"{MODEL}-v{better}-*.html"))
        else:
            assert champion(ws) == simple
            assert f"canary/{MODEL}" in alerts
            assert f"{MODEL} decision_record" not in decided.metadata
            assert ws.registry.alias(MODEL, "canary") is None
    assert "names anomoly" in str(decided.metadata["release.yaml"].value)
    settings.releases.write_text(DECLARED)
    # What was taken back does not come again by itself, and what serves has nowhere to go.
    assert asked_for(instance, within) == []
    again = run(instance, settings, f"retrain_{MODEL}", days=10)
    assert again.success
    with Workspace.open(settings) as ws:
        assert champion(ws) == (better if ends is CanaryState.PROMOTED else simple)
        assert CanaryRepository(ws.database).open(MODEL) is None
    (event,) = again.asset_materializations_for_node(f"{MODEL}_registry_entry")
    said = "it already serves" if ends is CanaryState.PROMOTED else "its canary was rolled back"
    assert said in str(event.metadata["reasons"].value)
