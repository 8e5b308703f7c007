"""The fairness report of one version as a page in the artifact store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from within_pipelines.pipeline.audit_time import time_text
from within_pipelines.pipeline.fairness_audit import FairnessReport
from within_pipelines.pipeline.workspace import Workspace

if TYPE_CHECKING:
    from within_pipelines.registry import ModelVersion


def fairness_page_path(ws: Workspace, version: ModelVersion) -> Path:
    """Where the page of a version lies."""
    return ws.settings.artifacts / "fairness" / f"{version.model}-v{version.version}.html"


def write_fairness_page(ws: Workspace, report: FairnessReport) -> Path:
    """Write the page of a report, one per registered version, and return where it lies."""
    from within_pipelines.files import write_text
    from within_pipelines.registry import POLICY_VERSION
    from within_pipelines.reporting import fairness_html

    version = ws.registry.get(report.model, report.version)
    path = fairness_page_path(ws, version)
    verdict = report.verdict.bind(model_sha256=version.model_sha256, data_version=version.data_version, policy_version=POLICY_VERSION)
    title = f"Fairness of {version.model} v{version.version} ({version.kind})"
    notes = (*report.notes, f"This report cost {time_text(report.cpu_seconds)}.")
    write_text(
        path,
        fairness_html(title, verdict, gaps=report.gaps, groups=report.groups, notes=notes, bias=report.bias, details=report.details),
    )
    return path
