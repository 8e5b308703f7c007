"""The monitoring job on a real deployment: it answers for every model, checks can fail, and a planted drift is seen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from tests.conftest import LAST_DAY, NOW, Agency
from within_pipelines.database import MonitoringRepository
from within_pipelines.defs.catalogue import defs
from within_pipelines.defs.monitoring.assets import MONITORING_ASSETS, MONITORING_CHECKS
from within_pipelines.defs.resource import WithinResource
from within_pipelines.monitoring import MONITORS, DriftState
from within_pipelines.pipeline import MODELS, Workspace, latest_report, report_path
from within_pipelines.settings import Settings


def resources(settings: Settings) -> dict[str, WithinResource]:
    return {"within": WithinResource(home=str(settings.home), now=NOW.isoformat())}


@pytest.mark.slow
def test_the_job_answers_for_every_model_and_its_checks_fail_on_drift(agency: Agency, tmp_path: Path) -> None:
    settings = agency.copy(tmp_path / "home")
    result = defs.resolve_job_def("monitor_drift").execute_in_process(resources=resources(settings), raise_on_error=False)
    assert result.success
    with Workspace.open(settings) as workspace:
        report = latest_report(workspace)
        assert report is not None
        assert report.day == LAST_DAY
        assert {(f.monitor, f.model) for f in report.findings} == {(monitor, model) for monitor in MONITORS for model in MODELS}
        assert json.loads(report_path(workspace, LAST_DAY).read_text())["day"] == LAST_DAY.isoformat()
        # Nothing was planted between training and today.
        assert [f for f in report.findings if f.drifted] == []
        assert all(f.reason for f in report.findings)
        # Alerts about what was found link to the run that found it.
        assert {f.evidence["run_id"] for f in report.findings} == {result.run_id}
        checks = {check.check_name: check.passed for check in result.get_asset_check_evaluations()}
        assert set(checks) == {
            "monitoring_is_current",
            *(
                f"{name}_is_calm"
                for name in ("data_drift", "prediction_drift", "concept_drift", "feature_correlation", "estimated_performance")
            ),
        }
        assert all(checks.values())
        metadata = result.asset_materializations_for_node("data_drift")[0].metadata
        assert metadata["measurement_change"].value is False
        assert metadata["account_health_state"].value in set(DriftState)
        # Every feature of every model is followed over days, and what was expected is drawn beside what came.
        for model in MODELS:
            kept = report.of("data_drift", model)[0].evidence["distributions"]
            table = metadata[f"{model}_features_by_day"].records
            assert {record.data["feature"] for record in table} == {row["feature"] for row in kept}
            assert all(LAST_DAY.isoformat() in record.data for record in table)
            assert any(row["p10"] <= row["p50"] <= row["p90"] for row in kept if row["p50"] is not None)
            assert metadata[f"{model}_features_over_time_plot"].value.startswith("![plot]")
        drawn = result.asset_materializations_for_node("estimated_performance")[0].metadata
        tabulated = {f.model for f in report.of("estimated_performance") if f.evidence.get("table")}
        assert tabulated
        assert {name for name in drawn if name.endswith("_realised_plot")} == {f"{m}_estimated_beside_realised_plot" for m in tabulated}

        planted = replace(report.of("concept_drift", "account_health")[0], state=DriftState.DRIFTED)
        explained = replace(report.of("data_drift", "anomaly")[0], state=DriftState.DRIFTED).explained_by("attribution changed")
        MonitoringRepository(workspace.database).save([planted, explained], generated_at=NOW)
    everything = [*MONITORING_ASSETS, *MONITORING_CHECKS]
    again = dg.materialize(everything, selection=["concept_drift", "data_drift"], resources=resources(settings))
    failed = {check.check_name for check in again.get_asset_check_evaluations() if not check.passed}
    assert failed == {"concept_drift_is_calm"}
    assert again.asset_materializations_for_node("data_drift")[0].metadata["measurement_change"].value is True
