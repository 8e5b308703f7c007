"""The expectation suites over the facts, run by Great Expectations."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import polars as pl

from within_pipelines.lake import FACT_KEY
from within_pipelines.quality.feeds import faulty_feeds
from within_pipelines.quality.report import CRITICAL, WARNING, ExpectationResult, QualityReport

# Platforms count clicks without an impression of the same day (late clicks, video engagement), so a few rows may have more.
CLICKS_MOSTLY = 0.995
# An account's newest day may be this old before its feed counts as stale.
FRESH_DAYS = 3
# A day's rows per account against the median of its trailing four weeks.
VOLUME_RANGE = (0.5, 2.0)
_MICROS = 10**15  # a billion currency units on one day of one ad
_KEY = "fact_key"


@dataclass(frozen=True, slots=True)
class _Stated:
    """One expectation with what it means here."""

    name: str
    severity: str
    table: str
    kind: str
    arguments: dict[str, Any]
    detail: str


def _stated() -> list[_Stated]:
    def critical(name: str, kind: str, detail: str, table: str = "facts", **arguments: Any) -> _Stated:
        return _Stated(name, CRITICAL, table, kind, arguments, detail)

    def warning(name: str, kind: str, detail: str, table: str = "facts", **arguments: Any) -> _Stated:
        return _Stated(name, WARNING, table, kind, arguments, detail)

    required = ("platform", "account_id", "event_date", "currency", "as_of", "grain")
    return [
        critical("facts_exist", "ExpectTableRowCountToBeBetween", "At least one fact.", min_value=1),
        *(critical(f"{name}_is_there", "ExpectColumnValuesToNotBeNull", f"{name} is never missing.", column=name) for name in required),
        critical("fact_key_is_unique", "ExpectColumnValuesToBeUnique", "One latest version per key and day.", column=_KEY),
        critical(
            "currency_is_iso_4217", "ExpectColumnValuesToMatchRegex", "Three capital letters.", column="currency", regex="^[A-Z]{3}$"
        ),
        *(
            critical(
                f"{name}_in_range", "ExpectColumnValuesToBeBetween", f"{name} lies between 0 and {most:,}.",
                column=name, min_value=0, max_value=most,
            )
            for name, most in (
                ("impressions", 10**12), ("clicks", 10**11), ("spend_micros", _MICROS), ("conversions", 10**9), ("revenue_micros", _MICROS),
            )
        ),
        critical("no_fact_from_the_future", "ExpectColumnValuesToBeBetween", "No day after today.", column="days_ahead", max_value=0),
        warning(
            "clicks_within_impressions", "ExpectColumnValuesToBeBetween",
            f"Clicks exceed impressions on at most {1 - CLICKS_MOSTLY:.1%} of rows (platforms count late clicks).",
            column="clicks_over_impressions", max_value=0, mostly=CLICKS_MOSTLY,
        ),
        warning(
            "feeds_are_fresh", "ExpectColumnValuesToBeBetween", f"Every account that was active lately has a day within {FRESH_DAYS} days.",
            table="accounts", column="days_old", max_value=FRESH_DAYS,
        ),
        warning(
            "volume_is_usual", "ExpectColumnValuesToBeBetween",
            f"Rows of each account's newest day are {VOLUME_RANGE[0]:g} to {VOLUME_RANGE[1]:g} times its four-week median.",
            table="accounts", column="volume_ratio", min_value=VOLUME_RANGE[0], max_value=VOLUME_RANGE[1],
        ),
        warning(
            "feeds_hold_together", "ExpectColumnValuesToBeBetween",
            "No account's newest two weeks hold a blocking fault (units, currencies, copied, repeated or multiplied days).",
            table="accounts", column="blocking_faults", max_value=0,
        ),
        critical(
            "rows_add_up", "ExpectColumnValuesToBeBetween", "Rows in = accepted + unchanged + quarantined, in every file.",
            table="files", column="rows_lost", min_value=0, max_value=0,
        ),
    ]  # fmt: skip


def check_facts(facts: pl.DataFrame, log: pl.DataFrame, *, today: date) -> QualityReport:
    """Judge the latest facts (`Lake.facts(grain=None)`) and the ingest log (`Lake.ingest_log`).

    Freshness asks only of accounts with facts in the four weeks before the newest day of all, so that a closed account does not warn
    for ever. Nothing is written to disk and nothing is sent anywhere."""
    tables = {
        "facts": _judged_columns(facts, today),
        "accounts": _accounts(facts, today),
        "files": log.select(rows_lost=pl.col("rows_in") - pl.col("rows_accepted") - pl.col("rows_unchanged") - pl.col("rows_quarantined")),
    }
    stated = _stated()
    results: dict[str, ExpectationResult] = {}
    for name, table in tables.items():
        results |= _validate(name, table, [expectation for expectation in stated if expectation.table == name])
    return QualityReport(tuple(results[expectation.name] for expectation in stated))


def _judged_columns(facts: pl.DataFrame, today: date) -> pl.DataFrame:
    # The key as one short integer per row: a uniqueness test on eight text columns would cost more than all other rules together.
    key = facts.select(pl.struct(FACT_KEY).rank("dense").cast(pl.Int64).alias(_KEY))
    return pl.concat(
        [
            facts.select(
                "platform", "account_id", "event_date", "currency", "as_of", "grain", "impressions", "clicks", "spend_micros",
                "conversions", "revenue_micros",
                days_ahead=(pl.col("event_date") - today).dt.total_days(),
                clicks_over_impressions=pl.col("clicks") - pl.col("impressions"),
            ),
            key,
        ],
        how="horizontal",
    )  # fmt: skip


def _accounts(facts: pl.DataFrame, today: date) -> pl.DataFrame:
    newest = facts["event_date"].max()
    if not isinstance(newest, date):
        return pl.DataFrame(schema={"days_old": pl.Int64, "volume_ratio": pl.Float64, "blocking_faults": pl.Int64})
    lately = facts.filter(pl.col("event_date") > newest - timedelta(days=28))
    daily = lately.group_by("platform", "account_id", "event_date").len("rows")
    faults = (
        faulty_feeds(facts.filter(pl.col("grain") == "ad"), day=newest).filter("blocking").group_by("platform", "account_id").len("faults")
    )
    return (
        daily.sort("event_date")
        .group_by("platform", "account_id")
        .agg(
            days_old=(pl.lit(today) - pl.col("event_date").max()).dt.total_days(),
            volume_ratio=pl.col("rows").last() / pl.col("rows").median(),
        )
        .join(faults, on=["platform", "account_id"], how="left")
        .select("days_old", "volume_ratio", blocking_faults=pl.col("faults").cast(pl.Int64).fill_null(0))
    )


def _validate(name: str, table: pl.DataFrame, stated: list[_Stated]) -> dict[str, ExpectationResult]:
    # Set before the import: the library reads it once and would otherwise report usage.
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    with warnings.catch_warnings():
        # Great Expectations' own deprecation notices are not about our data.
        warnings.simplefilter("ignore")
        import great_expectations as gx
        from great_expectations import expectations

        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False}
        batch = (
            context.data_sources.add_pandas(name)
            .add_dataframe_asset(name)
            .add_batch_definition_whole_dataframe(name)
            .get_batch({"dataframe": table.to_pandas()})
        )
        suite = gx.ExpectationSuite(
            name=name, expectations=[getattr(expectations, e.kind)(**e.arguments, meta={"name": e.name}) for e in stated]
        )
        validated = batch.validate(suite, result_format="BASIC")
    by_name = {e.name: e for e in stated}
    results = {}
    for found in validated.results:
        expectation = by_name[found.expectation_config.meta["name"]]
        values = found.result or {}
        raised = found.exception_info or {}
        problem = "" if not raised.get("raised_exception") else f" (could not be evaluated: {raised.get('exception_message')})"
        observed = values.get("observed_value", values.get("unexpected_percent"))
        results[expectation.name] = ExpectationResult(
            name=expectation.name,
            severity=expectation.severity,
            success=bool(found.success),
            observed=_shown(observed, percent="observed_value" not in values),
            unexpected_count=int(values.get("unexpected_count") or 0),
            element_count=int(values.get("element_count") or table.height),
            detail=expectation.detail + problem,
        )
    return results


def _shown(value: Any, *, percent: bool) -> str:
    if value is None:
        return ""
    return f"{value:.4g} % unexpected" if percent else str(value)
