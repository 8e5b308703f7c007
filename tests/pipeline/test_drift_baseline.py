"""A version that cannot be monitored does not serve: its drift reference must be there, as written, and its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import NOW, Agency
from within_pipelines.exceptions import PromotionRefusedError
from within_pipelines.pipeline import KINDS, Workspace, train, trained_version
from within_pipelines.pipeline.drift_reference import drift_baseline_verdict
from within_pipelines.registry import POLICY_VERSION, REQUIRED_GATES, ModelVersion, missing_gates
from within_pipelines.stats import Status, Verdict

MODEL = "account_health"


@pytest.fixture
def ws(agency: Agency, tmp_path: Path) -> Iterator[Workspace]:
    with Workspace.open(agency.copy(tmp_path / "home")) as opened:
        yield opened


def newest(ws: Workspace) -> ModelVersion:
    return trained_version(ws, ws.pin(), MODEL, KINDS[MODEL][1])


def folder(ws: Workspace, version: ModelVersion) -> Path:
    return ws.settings.artifacts / str(version.evaluation["details"]["drift_reference"])


def promote(ws: Workspace, version: ModelVersion, verdict: Verdict) -> None:
    """Every other gate passed; the one in question says what it found."""
    others = [Verdict(gate, Status.PASSED, None, None, {}, "as if") for gate in REQUIRED_GATES[MODEL] if gate != verdict.gate]
    ws.registry.record_verdicts(
        v.bind(model_sha256=version.model_sha256, data_version=version.data_version, policy_version=POLICY_VERSION)
        for v in (*others, verdict)
    )
    serving = ws.registry.alias(MODEL, "champion")
    expected = None if serving is None else serving.version
    ws.registry.promote(MODEL, version.version, who="test", why="test", now=NOW, expected_current=expected)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["missing", "tampered", "of another version"])
def test_a_version_whose_reference_is_missing_or_tampered_cannot_become_champion(ws: Workspace, damage: str) -> None:
    version = newest(ws)
    place = folder(ws, version)
    if damage == "missing":
        shutil.rmtree(place)
    elif damage == "tampered":
        file = place / "rows.parquet"
        file.write_bytes(file.read_bytes()[:-1])
    else:
        other = ws.registry.versions("anomaly")[0]
        shutil.rmtree(place)
        shutil.copytree(folder(ws, other), place)
    verdict = drift_baseline_verdict(ws, version)
    assert verdict.status is Status.FAILED
    assert verdict.reason.startswith("Drift cannot be judged: ")
    before = ws.registry.alias(MODEL, "champion")
    with pytest.raises(PromotionRefusedError, match="drift_baseline: failed"):
        promote(ws, version, verdict)
    assert ws.registry.alias(MODEL, "champion") == before
    # The same training writes it anew, and then the version may serve.
    assert train(ws, ws.pin(), MODEL, version.kind, now=NOW).cached
    restored = drift_baseline_verdict(ws, version)
    assert restored.passed
    promote(ws, version, restored)
    serving = ws.registry.alias(MODEL, "champion")
    assert serving is not None
    assert serving.version == version.version


@pytest.mark.slow
def test_the_run_recorded_the_gate_for_every_champion(ws: Workspace) -> None:
    for model in REQUIRED_GATES:
        champion = ws.registry.alias(model, "champion")
        assert champion is not None
        verdicts = ws.registry.verdicts(champion.model_sha256, champion.data_version)
        assert missing_gates(model, verdicts) == ()
        (found, *_) = (v for v in verdicts if v.gate == "drift_baseline")
        assert found.sample_sizes["rows"] > 100
        assert "rows is kept" in found.reason
