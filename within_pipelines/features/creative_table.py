"""One row per ad: its texts, what it achieved, and what was known about its siblings before it started."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from within_pipelines.exceptions import SampleError
from within_pipelines.features.knowledge import DAY_US, KNOWLEDGE_DELAY_US, currencies, known_changes, one_grain, require_columns
from within_pipelines.lake.schema import CREATIVE_KEY

_AD = ("platform", "account_id", "campaign_id", "ad_group_id", "ad_id")
_GROUP = ("platform", "account_id", "campaign_id", "ad_group_id")
_CAMPAIGN = ("platform", "account_id", "campaign_id")
_ACCOUNT = ("platform", "account_id")
_TEXTS = (
    "campaign_name", "ad_group_name", "ad_name", "headline", "description", "call_to_action", "format", "audience_segment", "image_path",
)  # fmt: skip
_TOTALS = ("impressions", "clicks", "spend", "conversions", "revenue")


def creative_table(facts: pl.DataFrame, creatives: pl.DataFrame, *, as_of: datetime) -> pl.DataFrame:
    """One row per ad known at `as_of`, sorted by platform, account, campaign, ad group and ad.

    `facts` holds every version at grain "ad" (`Lake.history`), `creatives` the texts (`Lake.creatives`). Columns: the keys, `group_id`
    ("platform/account/campaign/ad group"), the texts (null where unknown), `first_day`, `last_day`, totals `impressions`, `clicks`,
    `spend` (currency units), `conversions`, `revenue` as known at `as_of` (null where never reported), `currency`, and the history that
    was known the day before the ad's first day (knowledge time of that day; for an ad without facts: now): `siblings_before` (other ads
    of the group with delivery), `group_impressions_before`, `group_clicks_before`, `group_ctr_before` (null without impressions), and the
    same three for `campaign_` and `account_`. An ad in several ad groups has one row in each.

    Raises `SchemaError` for missing columns or mixed grains, `MixedCurrencyError`, `SampleError` for a naive `as_of`."""
    if as_of.tzinfo is None:
        raise SampleError(f"as_of {as_of.isoformat()} has no time zone; give an aware datetime, e.g. with tzinfo=UTC.")
    require_columns(creatives, [*CREATIVE_KEY, "campaign_id", "ad_group_id", "as_of"], "The creatives table")
    one_grain(facts)
    facts = facts.filter(pl.col("as_of") <= as_of)
    texts = creatives.filter(pl.col("as_of") <= as_of).sort(*CREATIVE_KEY, "as_of").unique(CREATIVE_KEY, keep="last", maintain_order=True)
    changes = known_changes(facts, _AD)
    ads = _results(changes, facts)
    ads = _with_texts(ads, texts)
    newest = int(as_of.timestamp() * 1e6 - KNOWLEDGE_DELAY_US) // DAY_US
    moments = ads.with_columns(moment=pl.col("first_day").to_physical().cast(pl.Int64).sub(1).fill_null(newest))
    moments = _history_before(moments, changes, _GROUP, "group")
    moments = _history_before(moments, changes, _CAMPAIGN, "campaign")
    moments = _history_before(moments, changes, _ACCOUNT, "account")
    moments = _siblings_before(moments, changes)
    return moments.drop("moment").sort(*_AD)


def _results(changes: pl.DataFrame, facts: pl.DataFrame) -> pl.DataFrame:
    units = {"impressions": 1.0, "clicks": 1.0, "spend_micros": 1e6, "conversions": 1e6, "revenue_micros": 1e6}

    def total(name: str) -> pl.Expr:
        value = pl.col(name) if name in changes.columns else pl.col(f"{name}_final") + pl.col(f"{name}_maturing")
        measured = pl.when(pl.col(f"has_{name}").sum() > 0).then(value.sum() / units[name])
        return measured.alias(name.removesuffix("_micros"))

    totals = changes.group_by(_AD).agg(
        first_day=pl.col("day").min().cast(pl.Int32).cast(pl.Date),
        last_day=pl.col("day").max().cast(pl.Int32).cast(pl.Date),
        **{name.removesuffix("_micros"): total(name) for name in units},
    )
    return totals.join(currencies(facts, _ACCOUNT), on=list(_ACCOUNT), how="left")


def _with_texts(ads: pl.DataFrame, texts: pl.DataFrame) -> pl.DataFrame:
    """Ads with facts take their texts by ad id; creatives without facts follow as rows of their own."""
    missing = [pl.lit(None, pl.String).alias(name) for name in _TEXTS if name not in texts.columns]
    texts = texts.with_columns(missing).select(*_AD, *_TEXTS)
    delivered = ads.join(texts.drop("campaign_id", "ad_group_id"), on=list(CREATIVE_KEY), how="left")
    waiting = texts.join(ads, on=list(CREATIVE_KEY), how="anti")
    table = pl.concat([delivered, waiting], how="diagonal")
    group = pl.concat_str([pl.col(name) for name in _GROUP], separator="/")
    return table.select(*_AD, *_TEXTS, pl.all().exclude(*_AD, *_TEXTS)).with_columns(
        group_id=group, impressions=pl.when(pl.col("first_day").is_null()).then(0.0).otherwise("impressions")
    )


def _history_before(ads: pl.DataFrame, changes: pl.DataFrame, level: Sequence[str], name: str) -> pl.DataFrame:
    """Impressions and clicks of the level as known on the ad's `moment`.

    A change belongs to what is known on origin o once `known_from <= o` (which is never before its day), so sums up to o are exact."""
    running = (
        changes.group_by(*level, "known_from")
        .agg(pl.col("impressions").sum(), pl.col("clicks").sum())
        .sort(*level, "known_from")
        .with_columns(
            pl.col("impressions").cum_sum().over(level).alias(f"{name}_impressions_before"),
            pl.col("clicks").cum_sum().over(level).alias(f"{name}_clicks_before"),
        )
        .drop("impressions", "clicks")
        .sort("known_from")
    )
    joined = ads.sort("moment", *_AD).join_asof(
        running, left_on="moment", right_on="known_from", by=list(level), strategy="backward", check_sortedness=False
    )
    shown, clicks = pl.col(f"{name}_impressions_before").fill_null(0), pl.col(f"{name}_clicks_before").fill_null(0)
    return (
        joined.drop("known_from")
        .with_columns(shown, clicks)
        .with_columns(pl.when(shown > 0).then(clicks / shown).alias(f"{name}_ctr_before"))
    )


def _siblings_before(ads: pl.DataFrame, changes: pl.DataFrame) -> pl.DataFrame:
    """How many ads of the group had facts known on the ad's `moment`."""
    started = changes.group_by(_AD).agg(known_from=pl.col("known_from").min()).group_by(*_GROUP, "known_from").len()
    running = (
        started.sort(*_GROUP, "known_from")
        .with_columns(siblings_before=pl.col("len").cum_sum().over(_GROUP).cast(pl.Int64))
        .drop("len")
        .sort("known_from")
    )
    joined = ads.sort("moment", *_AD).join_asof(
        running, left_on="moment", right_on="known_from", by=list(_GROUP), strategy="backward", check_sortedness=False
    )
    return joined.drop("known_from").with_columns(pl.col("siblings_before").fill_null(0))
