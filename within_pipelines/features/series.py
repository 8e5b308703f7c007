"""Daily metrics per account as long series, with how mature each value is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from within_pipelines.exceptions import SchemaError
from within_pipelines.features.knowledge import currencies, one_grain, require_columns

if TYPE_CHECKING:
    from within_pipelines.lake import MaturityCurve

METRICS: tuple[str, ...] = (
    "spend", "impressions", "clicks", "ctr", "cpc", "cpm", "conversions", "cvr", "cpa", "revenue", "roas",
)  # fmt: skip
_TOTALS = ("impressions", "clicks", "spend", "conversions", "revenue")
_RATIOS = {
    "ctr": ("clicks", "impressions", 1.0),
    "cpc": ("spend", "clicks", 1.0),
    "cpm": ("spend", "impressions", 1000.0),
    "cvr": ("conversions", "clicks", 1.0),
    "cpa": ("spend", "conversions", 1.0),
    "roas": ("revenue", "spend", 1.0),
}
_LATE = {
    "conversions": ("conversions",),
    "cvr": ("conversions",),
    "cpa": ("conversions",),
    "revenue": ("revenue_micros",),
    "roas": ("revenue_micros",),
}


def metric_series(
    facts: pl.DataFrame,
    *,
    metrics: Sequence[str] = METRICS,
    entity: tuple[str, ...] = ("platform", "account_id"),
    maturity: MaturityCurve | None = None,
) -> pl.DataFrame:
    """Long table with one row per entity, metric and day: entity, `metric`, `timestamp` (Date), `value`, `maturity`, `currency`.

    `facts` is the latest knowledge at one grain (`Lake.facts`). `value` is as reported: money in currency units, ctr, cvr and roas as
    plain ratios, cpm per thousand; null where the platform does not report a part or the denominator is 0. A day that no row of the
    account is about is a gap and has no rows; a unit without rows on a day that its account reports delivered nothing, so its totals
    are 0. `maturity` is the share of the late part (conversions or revenue) expected to be known, weighted by what was reported; 1 for
    metrics that arrive at once and for backfills.

    Raises `SchemaError` (missing columns, mixed grains, unknown metric) and `MixedCurrencyError`."""
    unknown = [metric for metric in metrics if metric not in METRICS]
    if unknown:
        raise SchemaError(f"The metrics {unknown} are unknown; give any of {list(METRICS)}.")
    require_columns(facts, ("platform", "account_id", "event_date", "as_of", "as_of_source", "currency", *entity), "The facts table")
    one_grain(facts)
    money = currencies(facts, entity)
    keys = list(entity)
    aged = facts.with_columns(
        age=pl.when(pl.col("as_of_source") == "assumed_lag")
        .then(-1)
        .otherwise((pl.col("as_of").dt.date().max().over("platform", "account_id") - pl.col("event_date")).dt.total_days().clip(0))
        .cast(pl.Int32)
    )
    aged = aged.with_columns(_share(aged, metric, maturity) for metric in ("conversions", "revenue_micros"))
    present = {
        name: pl.col(name).is_not_null().any().alias(f"has_{name}")
        for name in ("impressions", "clicks", "spend_micros", "conversions", "revenue_micros")
    }
    daily = aged.group_by(*keys, "event_date").agg(
        *present.values(),
        *(pl.col(name).cast(pl.Int64).sum().alias(name) for name in ("impressions", "clicks", "spend_micros", "revenue_micros")),
        (pl.col("conversions") * 1e6).round().cast(pl.Int64).sum().alias("conversions"),
        *(_mean_share(metric) for metric in ("conversions", "revenue_micros")),
    )
    micros = {"impressions": 1.0, "clicks": 1.0, "spend_micros": 1e6, "conversions": 1e6, "revenue_micros": 1e6}
    daily = daily.with_columns(pl.when(f"has_{name}").then(pl.col(name) / unit).alias(name) for name, unit in micros.items())
    daily = _filled(daily, aged, keys).rename({"spend_micros": "spend", "revenue_micros": "revenue"})
    ratios = [
        pl.when(pl.col(below) > 0).then(pl.col(above) / pl.col(below) * scale).alias(name)
        for name, (above, below, scale) in _RATIOS.items()
    ]
    wide = daily.with_columns(ratios).join(money, on=keys, how="left").sort(*keys, "event_date")
    long = [
        wide.select(
            *keys,
            metric=pl.lit(metric),
            timestamp="event_date",
            value=pl.col(metric).cast(pl.Float64),
            maturity=pl.col(f"share_{_LATE[metric][0]}") if metric in _LATE else pl.lit(1.0),
            currency="currency",
        )
        for metric in metrics
    ]
    table = pl.concat(long) if long else wide.clear().select(*keys)
    return table.sort(*keys, "metric", "timestamp")


def _share(facts: pl.DataFrame, metric: str, maturity: MaturityCurve | None) -> pl.Series:
    """Share of the final value expected to be known, per fact."""
    name = f"share_{metric}"
    if maturity is None:
        return pl.Series(name, [1.0]).new_from_index(0, facts.height)
    ages = facts.select("platform", "account_id", "age").unique(maintain_order=True)
    shares = [1.0 if age < 0 else maturity.share(platform, account, metric, age) for platform, account, age in ages.iter_rows()]
    coded = ages.with_columns(pl.Series(name, shares, dtype=pl.Float64))
    return facts.select("platform", "account_id", "age").join(
        coded, on=["platform", "account_id", "age"], how="left", maintain_order="left"
    )[name]


def _mean_share(metric: str) -> pl.Expr:
    """Reported over expected final value; the plain mean of the shares where nothing has been reported yet."""
    value, share = pl.col(metric).cast(pl.Float64), pl.col(f"share_{metric}")
    weighted = value.sum() / (value / share).sum()
    return pl.when(value.sum() > 0).then(weighted).otherwise(share.mean()).fill_nan(1.0).alias(f"share_{metric}")


def _filled(daily: pl.DataFrame, facts: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Add the days on which the account reported but the unit did not, as zero for every total that the unit otherwise reports."""
    if len(keys) == 2:
        return daily
    reported = facts.select("platform", "account_id", "event_date").unique()
    spans = daily.group_by(keys).agg(
        first=pl.col("event_date").min(),
        last=pl.col("event_date").max(),
        **{
            f"ever_{name}": pl.col(f"has_{name}").any()
            for name in ("impressions", "clicks", "spend_micros", "conversions", "revenue_micros")
        },
    )
    full = spans.join(reported, on=["platform", "account_id"]).filter(pl.col("event_date").is_between("first", "last"))
    joined = full.join(daily, on=[*keys, "event_date"], how="left")
    absent = pl.col("has_impressions").is_null()
    zero = [
        pl.when(absent & pl.col(f"ever_{name}")).then(0.0).otherwise(name).alias(name)
        for name in ("impressions", "clicks", "spend_micros", "conversions", "revenue_micros")
    ]
    shares = [pl.col(f"share_{metric}").fill_null(1.0) for metric in ("conversions", "revenue_micros")]
    return joined.with_columns(*zero, *shares).select(daily.columns)
