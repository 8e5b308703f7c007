"""The audit judges the newest ad score on ads that it has not seen, and records what it found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Agency
from within_pipelines.pipeline import KINDS, Workspace, audit_fairness, trained_version

pytestmark = pytest.mark.slow


def test_the_audit_is_recorded_for_exactly_the_newest_artifact(agency: Agency, tmp_path: Path) -> None:
    with Workspace.open(agency.copy(tmp_path / "home")) as ws:
        pin = ws.pin()
        version = trained_version(ws, pin, "ad_score", KINDS["ad_score"][0])
        gap, fair = audit_fairness(ws, pin)
        recorded = {v.gate: v.status for v in ws.registry.verdicts(version.model_sha256, version.data_version)}
    assert recorded["fairness"] is fair.status
    assert fair.model_sha256 == version.model_sha256
    assert len(gap.means) >= 2
