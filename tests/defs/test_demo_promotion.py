"""The planted drift to its end: found, told, decided about, trained on, passed by every gate, and served."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from tests.defs.daemon import runs_of
from within_pipelines.database import AlertRepository, RetrainingRepository
from within_pipelines.defs.demo import BY_DRIFT, play_drift
from within_pipelines.pipeline import Workspace
from within_pipelines.registry import missing_gates
from within_pipelines.settings import Settings

pytestmark = pytest.mark.slow

# One look, at the end: a retrained ad score is judged on the newest ads, and needs that many days of the changed world.
DAYS = 70


def test_a_drift_that_costs_money_ends_with_a_version_that_every_gate_passed(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", threads=1, seed=7)
    told: list[str] = []
    outcome = play_drift(settings, now=datetime(2026, 11, 1, 6, tzinfo=UTC), say=told.append, every=DAYS, at_most=DAYS)

    with Workspace.open(settings) as ws:
        # A refusal is told with what every gate said, or nobody could learn from it.
        told += [
            f"v{version.version} {verdict.gate}: {verdict.status}, {verdict.reason}"
            for version in ws.registry.versions("ad_score")
            for verdict in ws.registry.verdicts(version.model_sha256, version.data_version)
        ]
        assert (outcome.days, outcome.found, outcome.model, outcome.promoted) == (DAYS, True, "ad_score", True), "\n".join(told)
        (decision,) = (d for d in RetrainingRepository(ws.database).decisions("ad_score", action="retrain") if d.trigger in BY_DRIFT)
        # The reason is a loss in money beside what a retraining costs, and the findings that show it are kept with it.
        assert "USD to win back" in decision.reason
        assert {"concept_drift"} <= {finding["monitor"] for finding in decision.evidence["findings"]}
        alerts = AlertRepository(ws.database).alerts(status=None)
        assert "monitor/ad_score/concept_drift" in alerts["dedup_key"].to_list()

        serving = ws.registry.alias("ad_score", "champion")
        assert serving is not None
        # The first training and the one that the decision asked for made two versions each, a model and its baseline.
        *before, _, _ = versions = sorted(ws.registry.versions("ad_score"), key=lambda version: version.version)
        assert len(before) == 2
        assert serving.version in {version.version for version in versions} - {version.version for version in before}
        assert not missing_gates("ad_score", ws.registry.verdicts(serving.model_sha256, serving.data_version))

    (run,) = runs_of(settings, "retrain_ad_score")
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert run.tags["dagster/run_key"] == decision.run_key
