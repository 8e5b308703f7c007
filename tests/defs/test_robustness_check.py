"""The check `<model>_robust_candidate` stops a run in which nothing robust could serve; beside a robust champion it tells."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from tests.conftest import NOW
from tests.defs.test_fairness_check import MODEL, PIN, crown
from within_pipelines import pipeline
from within_pipelines.defs.resource import WithinResource
from within_pipelines.defs.robustness import robustness_checks
from within_pipelines.pipeline import KINDS, Workspace
from within_pipelines.registry import POLICY_VERSION
from within_pipelines.settings import Settings
from within_pipelines.stats import Status, Verdict


def run(
    settings: Settings, statuses: dict[str, Status], monkeypatch: pytest.MonkeyPatch
) -> tuple[bool, dict[str, dg.AssetCheckEvaluation]]:
    """(the promotion's asset ran, the checks' results) when the reports of the kinds say `statuses`."""
    monkeypatch.setattr(
        pipeline, "trained_version", lambda ws, pin, model, kind: SimpleNamespace(kind=kind, model_sha256="b" * 64, data_version="d" * 64)
    )
    monkeypatch.setattr(
        pipeline,
        "robustness_report",
        lambda ws, pin, version: SimpleNamespace(verdict=lambda: Verdict("robustness", statuses[version.kind], None, 0.05, {}, "as if")),
    )

    @dg.asset(name=f"{MODEL}_robustness_report")
    def report() -> None:
        """Stands for the report; what it says is set above."""

    @dg.asset(name=f"{MODEL}_registry_entry", deps=[report])
    def entry() -> None:
        """Stands for the promotion."""

    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize(
            [report, entry, *robustness_checks(MODEL)],
            instance=instance,
            resources={"within": WithinResource(home=str(settings.home), now=NOW.isoformat())},
            tags=PIN.to_tags(),
            raise_on_error=False,
        )
    followed = any(event.is_step_success and event.step_key == entry.op.name for event in done.all_events)
    return followed, {evaluation.check_name: evaluation for evaluation in done.get_asset_check_evaluations()}


@pytest.mark.parametrize("rival", [Status.PASSED, Status.FAILED])
@pytest.mark.parametrize("challenger", list(Status))
def test_a_cold_start_goes_on_only_where_one_of_the_two_is_robust(
    challenger: Status, rival: Status, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = KINDS[MODEL]
    followed, told = run(Settings(home=tmp_path / "home"), {first: challenger, second: rival}, monkeypatch)
    assert followed is (Status.PASSED in (challenger, rival))
    candidate = told[f"{MODEL}_robust_candidate"]
    assert candidate.passed is followed
    assert {name: candidate.metadata[name].value for name in (first, second)} == {first: challenger.value, second: rival.value}


def test_beside_a_champion_a_fragile_challenger_is_told_and_the_gate_keeps_it_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=tmp_path / "home")
    crown(settings)
    followed, told = run(settings, dict.fromkeys(KINDS[MODEL], Status.FAILED), monkeypatch)
    assert followed
    assert told[f"{MODEL}_robust_candidate"].passed
    assert told[f"{MODEL}_robust_candidate"].metadata[KINDS[MODEL][0]].value == "failed"
    # No verdict of the registry says that it is robust, so the check of the challenger warns.
    assert not told[f"{MODEL}_robustness"].passed
    assert told[f"{MODEL}_robustness"].severity is dg.AssetCheckSeverity.WARN


@pytest.mark.parametrize("challenger", [Status.PASSED, Status.FAILED])
def test_a_champion_that_failed_since_vouches_for_nothing(challenger: Status, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=tmp_path / "home")
    crown(settings)
    with Workspace.open(settings) as ws:
        later = Verdict("robustness", Status.FAILED, None, 0.1, {"units": 48}, "a typo moves half of the scores")
        ws.registry.record_verdicts([later.bind(model_sha256="a" * 64, data_version=PIN.data_version, policy_version=POLICY_VERSION)])
    followed, told = run(settings, dict.fromkeys(KINDS[MODEL], challenger), monkeypatch)
    assert followed is (challenger is Status.PASSED)
    assert str(told[f"{MODEL}_robust_candidate"].metadata["champion"].value).endswith("failed")
