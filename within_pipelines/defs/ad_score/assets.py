"""Assets and checks of the model `ad_score`."""

import dagster as dg

from within_pipelines.defs.metadata import frame_table
from within_pipelines.defs.models import OWNERS, model_assets, model_checks
from within_pipelines.defs.resource import WithinResource, pin_of
from within_pipelines.defs.robustness import robustness_checks, robustness_report_asset


@dg.asset(
    group_name="ad_score",
    kinds={"numpy"},
    owners=OWNERS,
    deps=["ad_score_model"],
    description="Gap in scores between audience segments on unseen ads, against what shuffled segments would give.",
)
def ad_score_fairness_report(context: dg.AssetExecutionContext, within: WithinResource) -> dg.MaterializeResult:
    """Shown and recorded; the promotion policy does not require it yet."""
    import polars as pl

    from within_pipelines.pipeline import audit_fairness
    from within_pipelines.reporting import verdict_table

    with within.open() as workspace:
        gap, verdict = audit_fairness(workspace, pin_of(context, workspace))
    groups = pl.DataFrame({"segment": list(gap.means), "mean_score": list(gap.means.values()), "units": [gap.units[g] for g in gap.means]})
    return dg.MaterializeResult(
        metadata={
            "status": verdict.status.value,
            "reason": verdict.reason,
            "segments": frame_table(groups),
            "verdict": frame_table(verdict_table([verdict])),
        }
    )


def _audit_check(gate: str, description: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=f"ad_score_{gate}_report", name=f"ad_score_{gate}", description=description)
    def check(context: dg.AssetCheckExecutionContext, within: WithinResource) -> dg.AssetCheckResult:
        from within_pipelines.pipeline import KINDS, trained_version

        with within.open() as workspace:
            version = trained_version(workspace, pin_of(context, workspace), "ad_score", KINDS["ad_score"][0])
            found = [v for v in workspace.registry.verdicts(version.model_sha256, version.data_version) if v.gate == gate]
        return dg.AssetCheckResult(
            passed=bool(found) and found[-1].passed,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"reason": found[-1].reason if found else "not audited"},
        )

    return check


ASSETS = [
    *model_assets(
        "ad_score",
        feature_table="creative_features",
        learns="ad-score model (how well will this creative do beside its siblings?)",
        kinds={"xgboost", "pytorch", "numpy"},
    ),
    ad_score_fairness_report,
    robustness_report_asset("ad_score"),
]
CHECKS = [
    *model_checks("ad_score"),
    _audit_check("fairness", "No certain gap between audience segments beyond ten points. A failure is shown, it blocks nothing yet."),
    *robustness_checks("ad_score"),
]
