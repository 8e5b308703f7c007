"""The robustness report of each model, and its checks.

Promotion reads the recorded verdict itself; the blocking check stops a run in which nothing robust could serve."""

import dagster as dg

from within_pipelines.defs.metadata import frame_table, png
from within_pipelines.defs.resource import WithinResource, pin_of

_OWNERS = ["team:ml"]
_ASKED = {
    "ad_score": "How far typos, case, punctuation, look-alike letters, missing fields and row order move the scores of unseen ads.",
    "account_health": "What wrong units, copied, doubled and missing days and noise do to health scores, and whether the door notices.",
    "anomaly": "Which faults of a feed raise false alarms, and whether they are reported as problems of the feed instead.",
}


def robustness_report_asset(model: str) -> dg.AssetsDefinition:
    """The asset `<model>_robustness_report`."""

    @dg.asset(
        name=f"{model}_robustness_report",
        group_name=model,
        kinds={"numpy"},
        owners=_OWNERS,
        deps=[f"{model}_model"],
        description=f"{_ASKED[model]} Its verdict is a gate of promotion.",
    )
    def report_asset(context: dg.AssetExecutionContext, within: WithinResource) -> dg.MaterializeResult:
        from within_pipelines.pipeline import audit_robustness, time_text
        from within_pipelines.reporting import certified_plot, robustness_plot, verdict_table

        with within.open() as workspace:
            report, verdict = audit_robustness(workspace, pin_of(context, workspace), model, progress=context.log.info)
        radius = "Euclidean radius in standard deviations of the inputs"
        certified = (
            {} if not report.certified else {"certified_plot": png(certified_plot(dict(report.certified), title=model, unit=radius))}
        )
        return dg.MaterializeResult(
            metadata={
                "status": verdict.status.value,
                "reason": verdict.reason,
                "warnings": ", ".join(report.warnings()) or "none",
                "cpu_seconds": report.cpu_seconds,
                "cpu_budget": time_text(report.cpu_seconds),
                "faults": frame_table(report.to_frame(), most=30),
                "verdict": frame_table(verdict_table([verdict])),
                "faults_plot": png(robustness_plot(report.to_frame(), limit=report.limit, title=f"{model}: {report.model}")),
                **certified,
            },
            data_version=dg.DataVersion(verdict.model_sha256[:32]),
        )

    return report_asset


def robustness_checks(model: str) -> list[dg.AssetChecksDefinition]:
    """Whether the newest challenger is robust (shown), and whether anything that may serve is (blocking)."""

    @dg.asset_check(
        asset=f"{model}_robustness_report",
        name=f"{model}_robustness",
        description="The newest challenger passed its robustness gate. Insufficient evidence is not a pass.",
    )
    def challenger(context: dg.AssetCheckExecutionContext, within: WithinResource) -> dg.AssetCheckResult:
        from within_pipelines.pipeline import KINDS, trained_version

        with within.open() as workspace:
            version = trained_version(workspace, pin_of(context, workspace), model, KINDS[model][0])
            found = [v for v in workspace.registry.verdicts(version.model_sha256, version.data_version) if v.gate == "robustness"]
        return dg.AssetCheckResult(
            passed=bool(found) and found[-1].passed,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "reason": found[-1].reason if found else "not audited",
                "warning": str(found[-1].evidence.get("warning", "")) if found else "",
            },
        )

    @dg.asset_check(
        asset=f"{model}_robustness_report",
        name=f"{model}_robust_candidate",
        blocking=True,
        description="Something robust may serve: the challenger, a champion whose verdict passed, or, on a cold start, the simple rival.",
    )
    def candidate(context: dg.AssetCheckExecutionContext, within: WithinResource) -> dg.AssetCheckResult:
        from within_pipelines.pipeline import KINDS, robustness_report, trained_version

        with within.open() as workspace:
            pin = pin_of(context, workspace)
            champion = workspace.registry.alias(model, "champion")
            statuses = {}
            for kind in KINDS[model][: 1 if champion is not None else 2]:
                statuses[kind] = robustness_report(workspace, pin, trained_version(workspace, pin, model, kind)).verdict().status.value
            kept = [] if champion is None else workspace.registry.verdicts(champion.model_sha256, champion.data_version)
        robust = [kind for kind, status in statuses.items() if status == "passed"]
        # What was recorded when it was promoted: a champion from before this gate, or one that failed later, vouches for nothing.
        told = [v for v in kept if v.gate == "robustness"]
        vouches = bool(told) and told[-1].passed
        serving = "none" if champion is None else f"{champion.kind} v{champion.version}, {told[-1].status.value if told else 'not audited'}"
        return dg.AssetCheckResult(passed=bool(robust) or vouches, metadata={"champion": serving, **statuses})

    return [challenger, candidate]
