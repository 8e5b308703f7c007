"""Has the world moved since the champions were trained? One materialization asks; five assets show what it found."""

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from within_pipelines.defs.metadata import frame_table, png
from within_pipelines.defs.resource import WithinResource, pin_of

if TYPE_CHECKING:
    from within_pipelines.monitoring import MonitorFinding

OWNERS = ["team:ml"]
GROUP = "monitoring"
# Days may be monitored again; without a partition the newest day with facts is.
TABLE = {
    "data_drift": "table",
    "multivariate_drift": "attribution",
    "text_drift": "words",
    "estimated_performance": "table",
    "feature_correlation": "pairs",
}
# The last days of which every feature's distribution is shown.
FEATURE_DAYS = 28
DESCRIPTIONS = {
    "data_drift": "Which features moved since each champion was trained, alone or together, and whether the texts of ads did; accounts "
    "are the units of chance.",
    "prediction_drift": "Whether the champions' answers are distributed as when they were judged.",
    "concept_drift": "Whether the loss rose on mature labels, features relate otherwise to the target, or calibration moved.",
    "feature_correlation": "Which pairs of features changed their correlation since training.",
    "estimated_performance": "Loss and forecast error expected while labels are late, beside those of mature days, in metric units and by "
    "currency.",
}
MONITORS_OF = {name: (name,) for name in DESCRIPTIONS} | {
    "data_drift": ("data_drift", "multivariate_drift", "text_drift"),
    "concept_drift": ("concept_drift", "calibration_drift"),
}


class MonitorConfig(dg.Config):
    """`day` (ISO) to monitor; default the newest day with facts."""

    day: str | None = None


@dg.asset(
    group_name=GROUP,
    kinds={"numpy", "sqlalchemy"},
    owners=OWNERS,
    deps=["ad_performance", *(f"{model}_registry_entry" for model in ("ad_score", "account_health", "anomaly"))],
    description="Every monitor asked about every champion for one day; findings are stored and written as a JSON report.",
)
def monitor_report(context: dg.AssetExecutionContext, within: WithinResource, config: MonitorConfig) -> dg.MaterializeResult:
    from within_pipelines.pipeline import monitor_day, report_path

    with within.open() as workspace:
        day = None if config.day is None else date.fromisoformat(config.day)
        report = monitor_day(workspace, day, now=within.clock(), pin=pin_of(context, workspace), run_id=context.run.run_id)
        path = report_path(workspace, report.day)
    states = [finding.state.value for finding in report.findings]
    return dg.MaterializeResult(
        metadata={
            "day": report.day.isoformat(),
            "findings": len(states),
            **{state: states.count(state) for state in sorted(set(states))},
            "report": dg.MetadataValue.path(str(path)),
        }
    )


def _monitor(name: str) -> dg.AssetsDefinition:
    @dg.asset(name=name, group_name=GROUP, kinds={"numpy"}, owners=OWNERS, deps=["monitor_report"], description=DESCRIPTIONS[name])
    def monitor(context: dg.AssetExecutionContext, within: WithinResource) -> dg.MaterializeResult:
        from within_pipelines.database import MonitoringRepository
        from within_pipelines.pipeline import latest_report
        from within_pipelines.reporting import findings_table, monitor_plot

        with within.open() as workspace:
            report = latest_report(workspace)
            repository = MonitoringRepository(workspace.database)
            history = repository.history()
            found = [f for f in (() if report is None else report.findings) if f.monitor in MONITORS_OF[name]]
            watched = [f for f in found if f.monitor == "data_drift"]
            past = {f.model: repository.findings("data_drift", f.model, since=f.day - timedelta(days=FEATURE_DAYS - 1)) for f in watched}
        states = {f"{_key(f, name)}state": f.state.value for f in found}
        return dg.MaterializeResult(
            metadata={
                "day": "never" if report is None else report.day.isoformat(),
                **states,
                "measurement_change": any(f.state == "measurement_change" for f in found),
                "findings": frame_table(findings_table(found)),
                **{f"{_key(f, name)}details": _details(f, TABLE[f.monitor]) for f in found if f.evidence.get(TABLE.get(f.monitor, ""))},
                **(
                    {("" if one == name else f"{one}_") + "over_time_plot": png(monitor_plot(history, one)) for one in MONITORS_OF[name]}
                    if history.height
                    else {}
                ),
                **_features_over_days(past),
                **_estimated_beside_realised(found),
            }
        )

    return monitor


def _key(finding: "MonitorFinding", asset: str) -> str:
    """Prefix of a finding's metadata: the monitor is named where it is not the one that the asset is called after."""
    return f"{finding.model}_" if finding.monitor == asset else f"{finding.model}_{finding.monitor}_"


def _details(finding: "MonitorFinding", key: str) -> dg.TableMetadataValue:
    import polars as pl

    rows: list[dict[str, Any]] = [dict(row) for row in finding.evidence[key]]
    return frame_table(pl.DataFrame(rows, infer_schema_length=None))


def _features_over_days(past: dict[str, list["MonitorFinding"]]) -> dict[str, dg.MetadataValue]:
    """Per model a table of features by days and a plot of those that moved farthest."""
    from within_pipelines.reporting import feature_days, feature_history, feature_plot

    made: dict[str, dg.MetadataValue] = {}
    for model, findings in past.items():
        history = feature_history(findings)
        if history.height:
            made[f"{model}_features_by_day"] = frame_table(feature_days(history, last=FEATURE_DAYS), most=200)
            made[f"{model}_features_over_time_plot"] = png(feature_plot(history, title=model))
    return made


def _estimated_beside_realised(found: list["MonitorFinding"]) -> dict[str, dg.MetadataValue]:
    import polars as pl

    from within_pipelines.reporting import performance_plot

    return {
        f"{f.model}_estimated_beside_realised_plot": png(
            performance_plot(
                pl.DataFrame([dict(row) for row in f.evidence["table"]], infer_schema_length=None),
                loss=str(f.evidence.get("loss", "loss")),
                title=f.model,
            )
        )
        for f in found
        if f.monitor == "estimated_performance" and f.evidence.get("table")
    }


def _check(name: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=name,
        name=f"{name}_is_calm",
        description="Nothing drifted on the newest monitored day. A measurement change is no drift; too little evidence fails nothing.",
    )
    def calm(context: dg.AssetCheckExecutionContext, within: WithinResource) -> dg.AssetCheckResult:
        from within_pipelines.pipeline import latest_report
        from within_pipelines.reporting import findings_table

        with within.open() as workspace:
            report = latest_report(workspace)
        found = [f for f in (() if report is None else report.findings) if f.monitor in MONITORS_OF[name]]
        drifted = [f for f in found if f.drifted]
        return dg.AssetCheckResult(
            passed=bool(found) and not drifted,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "drifted": ", ".join(f"{f.model} ({f.monitor})" for f in drifted),
                "insufficient": sum(f.state == "insufficient" for f in found),
                "measurement_changes": sum(f.state == "measurement_change" for f in found),
                "findings": frame_table(findings_table(found)),
            },
        )

    return calm


@dg.asset_check(asset="monitor_report", description="The newest day with facts was monitored, every monitor about every model.")
def monitoring_is_current(context: dg.AssetCheckExecutionContext, within: WithinResource) -> dg.AssetCheckResult:
    from within_pipelines.monitoring import MONITORS
    from within_pipelines.pipeline import MODELS, latest_report

    with within.open() as workspace:
        report = latest_report(workspace)
        last = workspace.lake.last_event_date(workspace.pin().commit_seq)
    asked = set() if report is None else {(f.monitor, f.model) for f in report.findings}
    missing = sorted({(monitor, model) for monitor in MONITORS for model in MODELS} - asked)
    current = report is not None and last is not None and last - report.day <= timedelta(days=1)
    return dg.AssetCheckResult(
        passed=current and not missing,
        metadata={"monitored": "never" if report is None else report.day.isoformat(), "newest_day": str(last), "missing": str(missing)},
    )


MONITORING_ASSETS = [monitor_report, *(_monitor(name) for name in DESCRIPTIONS)]
MONITORING_CHECKS = [monitoring_is_current, *(_check(name) for name in DESCRIPTIONS)]
