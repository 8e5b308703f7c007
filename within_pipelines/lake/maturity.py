"""How complete a day's numbers are, by their age, learned from the table's own restatements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from within_pipelines.lake.schema import FACT_KEY

MATURING: tuple[str, ...] = ("impressions", "clicks", "spend_micros", "conversions", "revenue_micros")
# An account's own curve counts once this much of the final value stands behind it; below, the platform's pool does.
_MINIMUM_FINAL = 30.0


@dataclass(frozen=True, slots=True)
class MaturityCurve:
    """Share of the final value expected to be known at each age in days, per platform, account and metric.

    `shares` maps (platform, account_id, metric) to the shares at age 0, 1, 2, ...; account "" is the platform's pool."""

    shares: Mapping[tuple[str, str, str], tuple[float, ...]]

    def share(self, platform: str, account_id: str, metric: str, age_days: int) -> float:
        """Expected share in (0, 1]; 1 beyond the last age seen, and where nothing was ever restated."""
        curve = self.shares.get((platform, account_id, metric)) or self.shares.get((platform, "", metric))
        if curve is None or age_days >= len(curve):
            return 1.0
        return curve[max(age_days, 0)]

    @property
    def longest(self) -> int:
        """The age in days from which every metric counts as complete."""
        return max((len(curve) for curve in self.shares.values()), default=0)

    def to_frame(self) -> pl.DataFrame:
        """Long table: platform, account_id, metric, age_days, share."""
        rows = [(*key, age, share) for key, curve in sorted(self.shares.items()) for age, share in enumerate(curve)]
        schema = {
            "platform": pl.String,
            "account_id": pl.String,
            "metric": pl.String,
            "age_days": pl.Int32,
            "share": pl.Float64,
        }
        return pl.DataFrame(rows, schema=schema, orient="row")


def maturity_curve(history: pl.DataFrame) -> MaturityCurve:
    """Estimate the curve from every version of the facts (`Lake.history`).

    For the days that are older than the longest restatement seen, the share at age a is the sum of all changes reported up to age a over
    the sum of all changes. Facts whose export time was only assumed carry final values and teach nothing."""
    reported = history.filter(pl.col("as_of_source") != "assumed_lag")
    if reported.is_empty():
        return MaturityCurve({})
    aged = reported.with_columns(age=(pl.col("as_of").dt.date() - pl.col("event_date")).dt.total_days())
    # Days first reported late (a backfill with an export time) have no early versions to learn from.
    early = pl.col("age").min().over(FACT_KEY) <= 2
    aged = aged.filter(early & (pl.col("age") >= 0))
    if aged.is_empty():
        return MaturityCurve({})
    newest = pl.col("as_of").max().over("platform", "account_id").dt.date()
    oldest_restated = pl.col("age").max().over("platform", "account_id")
    settled = aged.filter((newest - pl.col("event_date")).dt.total_days() >= oldest_restated)
    ordered = settled.sort(*FACT_KEY, "as_of", "commit_seq")
    changes = ordered.select(
        "platform",
        "account_id",
        "age",
        *((pl.col(m) - pl.col(m).shift(1).over(FACT_KEY).fill_null(0)).cast(pl.Float64).alias(m) for m in MATURING),
    )
    by_account = changes.group_by("platform", "account_id", "age").sum()
    by_platform = changes.drop("account_id").group_by("platform", "age").sum().with_columns(account_id=pl.lit(""))
    every = pl.concat([by_account, by_platform.select(by_account.columns)]).sort("platform", "account_id", "age")
    shares: dict[tuple[str, str, str], tuple[float, ...]] = {}
    for (platform, account), rows in every.group_by("platform", "account_id", maintain_order=True):
        ages = rows["age"].to_list()
        for metric in MATURING:
            curve = _cumulative_share(ages, rows[metric].to_list())
            if curve is not None:
                shares[(str(platform), str(account), metric)] = curve
    return MaturityCurve(shares)


def _cumulative_share(ages: list[int], changes: list[float]) -> tuple[float, ...] | None:
    final = sum(changes)
    if final < _MINIMUM_FINAL:
        return None
    by_age = dict(zip(ages, changes, strict=True))
    known, curve = 0.0, []
    for age in range(max(ages) + 1):
        known += by_age.get(age, 0.0)
        # A share of zero would divide by zero in a consumer; a day that nothing is known about is no fact at all.
        curve.append(min(max(known / final, 0.01), 1.0))
    return tuple(curve)
