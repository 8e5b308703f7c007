"""The state of a deployment on one screen, read from what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from within_pipelines.pipeline.training import MODELS
from within_pipelines.pipeline.workspace import Workspace
from within_pipelines.reporting import ModelLine, RunSummary
from within_pipelines.stats import Estimate

if TYPE_CHECKING:
    from within_pipelines.registry import ModelVersion


def summarise(ws: Workspace) -> RunSummary:
    """Rows ever offered, every model's newest version beside its baseline, and the newest scored day."""
    import polars as pl

    from within_pipelines.database import AccountHealthRepository, AdScoreRepository, PerformanceMetricRepository

    log = ws.lake.ingest_log()
    reasons = ws.lake.quarantine().group_by("reason").len().sort("len", "reason", descending=[True, False])
    ads, health, metrics = AdScoreRepository(ws.database), AccountHealthRepository(ws.database), PerformanceMetricRepository(ws.database)
    days = ads.days() + health.days()
    day = max(days, default=None)
    found = metrics.on(day) if day is not None else pl.DataFrame()
    return RunSummary(
        files=log.height,
        rows_in=int(log["rows_in"].sum()),
        rows_accepted=int(log["rows_accepted"].sum()),
        rows_unchanged=int(log["rows_unchanged"].sum()),
        rows_quarantined=int(log["rows_quarantined"].sum()),
        quarantine_reasons={str(reason): int(count) for reason, count in reasons.iter_rows()},
        models=tuple(_model_line(ws, model) for model in MODELS),
        scored_day=day,
        ads_scored=ads.on(day).height if day is not None else 0,
        accounts_scored=health.on(day).height if day is not None else 0,
        anomalies_found=int(found["is_anomaly"].sum()) if found.height else 0,
        where_next=(
            "`make dev` opens the Dagster UI on this instance: assets, checks, runs, schedules.",
            "`within models show ad_score` prints the model card with every verdict and its evidence.",
            f"Put your own exports into {ws.settings.landing} (docs/ingest-your-exports.md) and run again.",
        ),
    )


def _model_line(ws: Workspace, model: str) -> ModelLine:
    """The champion where there is one, else the newest version that was evaluated."""
    champion = ws.registry.alias(model, "champion")
    versions = [version for version in ws.registry.versions(model) if version.main_metric]
    shown = champion if champion is not None else (versions[-1] if versions else None)
    if shown is None:
        return ModelLine(model, None, "", "", None, "", None, (), None, "nothing trained yet")
    verdicts = {verdict.gate: verdict.status for verdict in ws.registry.verdicts(shown.model_sha256, shown.data_version)}
    note = "" if champion is not None else "no version has passed its gates"
    newer = [version for version in versions if champion is not None and version.version > champion.version]
    if newer and newer[-1].data_version != shown.data_version:
        note = f"v{newer[-1].version} was trained on newer data and does not serve"
    return ModelLine(
        model=model,
        version=str(shown.version),
        kind=shown.kind,
        metric=shown.main_metric,
        estimate=_estimate(shown, baseline=False),
        baseline=str(shown.evaluation.get("baseline", "")),
        baseline_estimate=_estimate(shown, baseline=True),
        verdicts=tuple(verdicts.items()),
        alias="champion" if champion is not None else None,
        note=note,
    )


def _estimate(version: ModelVersion, *, baseline: bool) -> Estimate | None:
    numbers = (version.baseline_metrics if baseline else version.metrics).get(version.main_metric)
    if numbers is None:
        return None
    return Estimate(numbers["value"], numbers["low"], numbers["high"], int(numbers["n"]), numbers["level"])
