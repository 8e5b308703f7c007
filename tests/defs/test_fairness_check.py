"""The check `<model>_fairness` stops a run where a champion serves, and only there, and only for what is shown to be unfair."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from tests.conftest import NOW
from within_pipelines import pipeline
from within_pipelines.defs.models import model_checks
from within_pipelines.defs.resource import WithinResource
from within_pipelines.pipeline import Pin, Workspace
from within_pipelines.registry import POLICY_VERSION, REQUIRED_GATES, ModelVersion
from within_pipelines.settings import Settings
from within_pipelines.stats import Estimate, Status, Verdict

MODEL = "ad_score"
PIN = Pin(commit_seq=1, as_of=datetime(2026, 6, 30, tzinfo=UTC), data_version="d" * 64)


def crown(settings: Settings) -> None:
    """Make a version the champion, by the rules."""
    version = ModelVersion(
        model=MODEL, version=0, kind="stack", model_sha256="a" * 64, artifact="x", data_version=PIN.data_version, as_of=PIN.as_of,
        commit_seq=1, spec_sha256="c" * 64, training_fingerprint="f" * 64, seed=7, trained_at=NOW, metrics={}, baseline_metrics={},
        code_version="v", evaluation={},
    )  # fmt: skip
    with Workspace.open(settings) as ws:
        registered = ws.registry.register(version)
        passed = Verdict("gate", Status.PASSED, Estimate(1.0, 0.9, 1.0, n=99), 0.5, {"rows": 99}, "as if")
        ws.registry.record_verdicts(
            replace(passed, gate=gate).bind(
                model_sha256=version.model_sha256, data_version=version.data_version, policy_version=POLICY_VERSION
            )
            for gate in REQUIRED_GATES[MODEL]
        )
        ws.registry.promote(MODEL, registered.version, who="test", why="test", now=NOW, expected_current=None)


def run(settings: Settings, status: Status, monkeypatch: pytest.MonkeyPatch) -> tuple[bool, bool, dg.AssetCheckEvaluation]:
    """(the run succeeded, what follows the report ran, the check's result) when the report says `status`."""
    verdict = Verdict("fairness", status, None, 0.25, {}, "women are ranked by a coin")
    monkeypatch.setattr(pipeline, "newest_fairness", lambda *_, **__: [SimpleNamespace(verdict=verdict, notes=("note",))])

    @dg.asset(name=f"{MODEL}_fairness_report")
    def report() -> None:
        """Stands for the report; what it says is set above."""

    @dg.asset(name=f"{MODEL}_registry_entry", deps=[report])
    def entry() -> None:
        """Stands for the promotion."""

    check = next(c for c in model_checks(MODEL) if next(iter(c.check_keys)).name == f"{MODEL}_fairness")
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize(
            [report, entry, check],
            instance=instance,
            resources={"within": WithinResource(home=str(settings.home), now=NOW.isoformat())},
            tags=PIN.to_tags(),
            raise_on_error=False,
        )
    followed = any(event.is_step_success and event.step_key == entry.op.name for event in done.all_events)
    (evaluation,) = done.get_asset_check_evaluations()
    return done.success, followed, evaluation


@pytest.mark.parametrize("serves", [True, False])
@pytest.mark.parametrize("status", list(Status))
def test_only_what_is_shown_to_be_unfair_stops_a_run_and_only_beside_a_champion(
    status: Status, serves: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path / "home")
    if serves:
        crown(settings)
    success, followed, evaluation = run(settings, status, monkeypatch)
    stopped = status is Status.FAILED and serves
    assert success is not stopped
    assert followed is not stopped
    assert evaluation.passed is (status is Status.PASSED)
    assert evaluation.severity is (dg.AssetCheckSeverity.ERROR if stopped else dg.AssetCheckSeverity.WARN)
    assert evaluation.metadata["reason"].value == "women are ranked by a coin"
