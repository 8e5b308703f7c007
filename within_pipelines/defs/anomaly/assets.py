"""Assets and checks of the model `anomaly`, and the alerts about accounts that follow from it."""

from datetime import date

import dagster as dg

from within_pipelines.defs.metadata import frame_table
from within_pipelines.defs.models import model_assets, model_checks
from within_pipelines.defs.release.assets import DAYS
from within_pipelines.defs.resource import WithinResource, pin_of
from within_pipelines.defs.robustness import robustness_checks, robustness_report_asset

ASSETS = [
    *model_assets(
        "anomaly",
        feature_table="metric_series",
        learns="anomaly detector (which metric of which account misbehaves now?)",
        kinds={"numpy"},
    ),
    robustness_report_asset("anomaly"),
]
CHECKS = [*model_checks("anomaly"), *robustness_checks("anomaly")]


@dg.asset(
    group_name="anomaly",
    kinds={"numpy", "sqlalchemy"},
    owners=["team:ml"],
    deps=["anomalies"],
    partitions_def=DAYS,
    description="Alerts about accounts: evidence over metrics and three days, within a stated budget of false alerts; opened and closed.",
)
def account_alerts(context: dg.AssetExecutionContext, within: WithinResource) -> dg.MaterializeResult:
    from within_pipelines.pipeline import review_accounts

    with within.open() as workspace:
        day = date.fromisoformat(context.partition_key)
        review = review_accounts(workspace, pin_of(context, workspace), day, now=within.clock(), run_id=context.run.run_id)
    stated = {} if review.budget is None else {"expected_false_alerts_per_week": round(review.budget.expected_false_per_week, 3)}
    judged = {} if review.precision.estimate is None else {"achieved_precision": str(review.precision.estimate)}
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": review.accounts,
            "opened": len(review.opened),
            "closed": len(review.closed),
            "open": review.still_open,
            "judged_by_people": review.precision.judged,
            **stated,
            **judged,
            **({"not judged because": review.reason} if review.reason else {}),
            "accounts": frame_table(review.table, most=25),
        }
    )


@dg.asset_check(
    asset="anomalies",
    description="Drops to 30 % put into past days open an account alert: at least nine of ten, half of them within a day; and no more "
    "false alerts open than are stated and accepted.",
)
def account_alerts_find_drops(context: dg.AssetCheckExecutionContext, within: WithinResource) -> dg.AssetCheckResult:
    import numpy as np

    from within_pipelines.pipeline import backtest_account_alerts

    with within.open() as workspace:
        pin = pin_of(context, workspace)
        day = workspace.lake.last_event_date(pin.commit_seq)
        assert day is not None  # the pin exists, so there are facts
        rng = np.random.default_rng([workspace.settings.seed, 30])
        found = backtest_account_alerts(workspace, pin, day, rng=rng)
    if found is None:
        return dg.AssetCheckResult(
            passed=False, severity=dg.AssetCheckSeverity.WARN, description="The past is too short to say what is usual."
        )
    return dg.AssetCheckResult(
        passed=found.passed,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join((f"{found.recall} of {found.incidents} drops found, median delay {found.delay_days:g} days", *found.faults))
        + ".",
        metadata={
            "recall": str(found.recall),
            "median_delay_days": found.delay_days,
            "alerts_a_week_on_untouched_days": found.alerts_per_week,
            "stated_false_alerts_a_week": found.stated,
            "accepted_false_alerts_a_week": found.accepted,
            "alerts_a_week_from_incidents_before": found.from_incidents,
            "incidents": found.incidents,
            "accounts": found.accounts,
        },
    )


ALERT_ASSETS = [account_alerts]
ALERT_CHECKS = [account_alerts_find_drops]
