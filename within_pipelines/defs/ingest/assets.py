"""The facts: what the platforms reported, and the rows that could not be used."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from within_pipelines.defs.metadata import frame_table
from within_pipelines.defs.resource import WithinResource, pin_of

OWNERS = ["team:ml"]
# A file that changed this recently may still be growing.
SETTLE_SECONDS = 5.0


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            "ad_performance",
            group_name="ingest",
            kinds={"deltalake", "polars"},
            owners=OWNERS,
            description="Daily facts per ad as each platform reported them, with every restatement kept (event day x known-at).",
        ),
        dg.AssetSpec(
            "ad_creatives",
            group_name="ingest",
            kinds={"deltalake", "polars"},
            owners=OWNERS,
            description="Headline, description, call to action, format and audience of each ad, latest knowledge first.",
        ),
        dg.AssetSpec(
            "quarantine",
            group_name="ingest",
            kinds={"deltalake", "polars"},
            owners=OWNERS,
            description="Every row that was not accepted, as found, with a reason and the file's sha256.",
        ),
    ],
    can_subset=False,
)
def landed_exports(context: dg.AssetExecutionContext, within: WithinResource) -> Iterator[dg.MaterializeResult]:
    """Ingest what is new in the landing folder. Rows in = accepted + unchanged + quarantined, and the run fails if that is not so."""
    import polars as pl

    from within_pipelines.pipeline import ingest_landing

    with within.open() as workspace:
        now = within.clock()
        # With a fixed clock (a replay, the command line) file times say nothing.
        report = ingest_landing(workspace, now=now, settle_seconds=SETTLE_SECONDS if within.now is None else 0.0)
        context.log.info(f"{report.files} files: {report.rows_accepted} rows accepted, {report.rows_quarantined} quarantined")
        pin = pin_of(context, workspace)
        lake = workspace.lake
        reasons = lake.quarantine(pin.commit_seq).group_by("reason").len("rows").sort("rows", "reason", descending=[True, False])
        log = lake.ingest_log(pin.commit_seq)
        counts: dict[str, Any] = {
            "files": report.files,
            "rows_in": report.rows_in,
            "rows_accepted": report.rows_accepted,
            "rows_unchanged": report.rows_unchanged,
            "rows_quarantined": report.rows_quarantined,
            "commit_seq": pin.commit_seq,
            "data_version": pin.data_version,
            "known_as_of": pin.as_of.isoformat(),
        }
        by_platform = (
            log.group_by("platform").agg(pl.col("rows_in", "rows_accepted", "rows_unchanged", "rows_quarantined").sum()).sort("platform")
        )
        version = dg.DataVersion(pin.data_version[:32])
        yield dg.MaterializeResult("ad_performance", metadata={**counts, "by_platform": frame_table(by_platform)}, data_version=version)
        creatives = lake.creatives(commit_seq=pin.commit_seq)
        yield dg.MaterializeResult(
            "ad_creatives",
            metadata={
                "dagster/row_count": creatives.height,
                "newest": frame_table(creatives.sort("as_of", "ad_id").tail(10).select("platform", "ad_id", "headline", "format")),
            },
            data_version=version,
        )
        yield dg.MaterializeResult(
            "quarantine",
            metadata={
                "dagster/row_count": int(reasons["rows"].sum()),
                "reasons": frame_table(reasons),
                "examples": frame_table(lake.quarantine(pin.commit_seq).tail(10).select("file_name", "row_number", "reason", "detail")),
            },
            data_version=version,
        )


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(
            "facts_are_sound",
            asset="ad_performance",
            blocking=True,
            description="Great Expectations: schema, ranges, currency, uniqueness of the fact key. A failure stops everything downstream.",
        ),
        dg.AssetCheckSpec(
            "facts_look_usual",
            asset="ad_performance",
            description="Great Expectations: clicks <= impressions, freshness, volume against the trailing weeks. Warns, never blocks.",
        ),
        dg.AssetCheckSpec(
            "rows_add_up",
            asset="ad_performance",
            blocking=True,
            description="Rows in = accepted + unchanged + quarantined, for every file ever ingested.",
        ),
    ],
)
def fact_checks(context: dg.AssetCheckExecutionContext, within: WithinResource) -> Iterator[dg.AssetCheckResult]:
    """Expectation suites over the newest 120 days, critical ones apart from warnings."""
    import polars as pl

    from within_pipelines.pipeline import check_quality

    with within.open() as workspace:
        pin = pin_of(context, workspace)
        today = within.clock().date()
        report = check_quality(workspace, commit_seq=pin.commit_seq, today=today)
        log = workspace.lake.ingest_log(pin.commit_seq)
    results = report.to_frame()
    for name, severity, dagster_severity in (
        ("facts_are_sound", "critical", dg.AssetCheckSeverity.ERROR),
        ("facts_look_usual", "warning", dg.AssetCheckSeverity.WARN),
    ):
        mine = results.filter(pl.col("severity") == severity)
        failed = mine.filter(~pl.col("success"))
        yield dg.AssetCheckResult(
            asset_key="ad_performance",
            check_name=name,
            passed=failed.is_empty(),
            severity=dagster_severity,
            metadata={"expectations": mine.height, "failed": failed.height, "results": frame_table(mine)},
        )
    off = log.filter(pl.col("rows_in") != pl.col("rows_accepted") + pl.col("rows_unchanged") + pl.col("rows_quarantined"))
    yield dg.AssetCheckResult(
        asset_key="ad_performance",
        check_name="rows_add_up",
        passed=off.is_empty(),
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"files": log.height, "rows_in": int(log["rows_in"].sum()), "files_off": frame_table(off.head(20))},
    )
