"""Feature tables: what models see, as it was known on each origin day."""

import dagster as dg

from within_pipelines.defs.metadata import frame_table
from within_pipelines.defs.resource import WithinResource, pin_of

OWNERS = ["team:ml"]


def _feature_table(name: str, builder: str, description: str, deps: list[str]) -> dg.AssetsDefinition:
    @dg.asset(name=name, group_name="features", kinds={"polars", "parquet"}, owners=OWNERS, description=description, deps=deps)
    def table(context: dg.AssetExecutionContext, within: WithinResource) -> dg.MaterializeResult:
        from within_pipelines import pipeline

        with within.open() as workspace:
            pin = pin_of(context, workspace)
            built = getattr(pipeline, builder)(workspace, pin)
            stored = workspace.derived.latest(name)
        newest = {} if stored is None else {"newest_rows": frame_table(stored[1].tail(10).select(stored[1].columns[:12]))}
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": built.rows,
                "columns": len(built.columns),
                "cached": built.cached,
                "known_as_of": pin.as_of.isoformat(),
                **newest,
            },
            data_version=dg.DataVersion(built.fingerprint[:32]),
        )

    return table


def _filled_check(name: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=name,
        name=f"{name}_are_filled",
        blocking=True,
        description="The table has rows, no infinite value, and no numeric column that is missing everywhere.",
    )
    def check(context: dg.AssetCheckExecutionContext, within: WithinResource) -> dg.AssetCheckResult:
        import polars as pl
        import polars.selectors as cs

        with within.open() as workspace:
            latest = workspace.derived.latest(name)
        frame = latest[1] if latest is not None else pl.DataFrame()
        numeric = frame.select(cs.float())
        infinite = [c for c in numeric.columns if numeric[c].is_infinite().any()]
        empty = [c for c in numeric.columns if numeric[c].null_count() == frame.height]
        return dg.AssetCheckResult(
            passed=frame.height > 0 and not infinite and not empty,
            metadata={"rows": frame.height, "infinite": ", ".join(infinite), "missing_everywhere": ", ".join(empty)},
        )

    return check


FEATURE_TABLES = [
    _feature_table(
        "creative_features",
        "build_creative_features",
        "One row per ad: text statistics, format, siblings' history before its first day, results so far.",
        ["ad_performance", "ad_creatives"],
    ),
    _feature_table(
        "account_features",
        "build_account_features",
        "One row per account or campaign and origin day: scale-free ratios of 1/3/7/28-day windows, volatility, slope, share.",
        ["ad_performance"],
    ),
    _feature_table(
        "metric_series",
        "build_metric_series",
        "Daily metrics per account with the maturity of each value; never summed across currencies.",
        ["ad_performance"],
    ),
]

FEATURE_CHECKS = [_filled_check(name) for name in ("creative_features", "account_features", "metric_series")]
