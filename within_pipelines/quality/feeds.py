"""Feeds that say something that cannot be: wrong units, copied or multiplied days, gaps, measures that stopped."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import polars as pl

from within_pipelines.exceptions import SchemaError

# Days before `day` that are looked at, and the days before each that say what is usual.
RECENT_DAYS = 14
USUAL_DAYS = 28
# Price per click, per thousand impressions, per conversion, and volumes never move twentyfold from their own median overnight; units do.
UNIT_JUMP = 20.0
VOLUME_JUMP = 50.0
# When the price of a click and of an impression move together this far, it is the spend that is told in another currency.
CURRENCY_JUMP = 4.0
# Fewer clicks on a day make no price.
_ENOUGH_CLICKS = 30
# Fewer known days make no usual level.
_FEWEST_DAYS = 7
# A row with fewer impressions may repeat another's numbers by chance.
_TELLING = 50
# A day whose counts are all even (or all divisible by three) was added up twice: by chance that happens once in 2^16 days at most.
_FEWEST_COUNTS = 16
_DAILY = 0.95
_REPORTED = 0.9
_ACCOUNT = ("platform", "account_id")
_ROW = ("platform", "account_id", "campaign_id", "ad_group_id", "ad_id", "breakdown")
_NUMBERS = ("impressions", "clicks", "spend_micros")
# Kinds that make the account's numbers wrong; gaps and missing measures are told to the reader, and the models know them as such.
BLOCKING: frozenset[str] = frozenset({"unit", "copied_day", "repeated_rows", "multiplied_day", "impossible", "currency"})
_NEEDED = (*_ROW, "event_date", "currency", *_NUMBERS, "conversions", "revenue_micros")
_SCHEMA: dict[str, Any] = {
    "platform": pl.String, "account_id": pl.String, "kind": pl.String, "event_date": pl.Date, "blocking": pl.Boolean, "detail": pl.String,
}  # fmt: skip


def faulty_feeds(facts: pl.DataFrame, *, day: date) -> pl.DataFrame:
    """One row per account, day and kind of fault among the 14 days up to `day`: platform, account_id, `kind`, `event_date`, `blocking`,
    `detail`. `facts` is the latest knowledge at one grain, with the six weeks before `day`.

    - `unit`: money or counts per event left their 28-day median by a factor of 20 (micros or cents for units), a volume by 50; or spend
      per click and per impression by a factor of 4 in the same direction (another currency).
    - `currency`: the account's money comes in more than one currency.
    - `copied_day`: nine in ten rows repeat the day before to the digit (a stale export under a new date).
    - `repeated_rows`: half of the day's rows have the same numbers as another row of the day (the file was joined to itself).
    - `multiplied_day`: every count of the day, sixteen or more, is even, or divisible by three (rows added up twice or thrice).
    - `impossible`: a tenth more clicks than impressions.
    - `gap`: no rows on a day of an account that reported on 95 % of the four weeks before (not blocking).
    - `missing_metric`: nobody reports a measure that was reported on 90 % of the four weeks before (not blocking).

    Raises `SchemaError` when a column is missing."""
    missing = [name for name in _NEEDED if name not in facts.columns]
    if missing:
        raise SchemaError(f"The facts lack the columns {missing}; read them with Lake.facts.")
    start = day - timedelta(days=RECENT_DAYS - 1)
    known = facts.filter(pl.col("event_date").is_between(start - timedelta(days=USUAL_DAYS), day))
    if known.is_empty():
        return pl.DataFrame(schema=_SCHEMA)
    daily = _daily(known)
    found = [
        _units(daily), _impossible(daily), _currencies(known), _copied(known), _repeated(known), _multiplied(known), _gaps(daily, day),
        _silent_measures(daily),
    ]  # fmt: skip
    columns = [name for name in _SCHEMA if name != "blocking"]
    table = pl.concat([part.select(columns).cast({name: _SCHEMA[name] for name in columns}) for part in found])
    table = table.filter(pl.col("event_date") >= start).with_columns(blocking=pl.col("kind").is_in(sorted(BLOCKING)))
    return table.select(*_SCHEMA).unique(["platform", "account_id", "kind", "event_date"]).sort(*_ACCOUNT, "event_date", "kind")


def _daily(facts: pl.DataFrame) -> pl.DataFrame:
    measures = (*_NUMBERS, "conversions", "revenue_micros")
    return (
        facts.group_by(*_ACCOUNT, "event_date")
        .agg(
            **{name: pl.col(name).cast(pl.Float64).sum() for name in measures},
            **{f"has_{name}": pl.col(name).is_not_null().any() for name in measures},
        )
        .sort(*_ACCOUNT, "event_date")
    )


def _usual(column: str) -> pl.Expr:
    """Median of the known values of the 28 days before, null where fewer than seven are known."""
    return (
        pl.col(column)
        .rolling_median_by("event_date", window_size=f"{USUAL_DAYS}d", closed="left", min_samples=_FEWEST_DAYS)
        .over(list(_ACCOUNT))
    )


def _units(daily: pl.DataFrame) -> pl.DataFrame:
    per = {
        "spend per click": ("spend_micros", "clicks", UNIT_JUMP),
        "spend per impression": ("spend_micros", "impressions", UNIT_JUMP),
        "revenue per conversion": ("revenue_micros", "conversions", UNIT_JUMP),
        "impressions": ("impressions", None, VOLUME_JUMP),
        "clicks": ("clicks", None, VOLUME_JUMP),
        "spend": ("spend_micros", None, VOLUME_JUMP),
    }
    parts = []
    for name, (above, below, most) in per.items():
        value = pl.col(above) / pl.col(below) if below is not None else pl.col(above)
        enough = (pl.col(above) > 0) & (pl.col(below) > 0 if below is not None else True)
        table = daily.with_columns(value=pl.when(enough).then(value)).with_columns(usual=_usual("value"))
        ratio = pl.col("value") / pl.col("usual")
        # A quiet day is no unit; only a price may fall as far as it may rise.
        jumped = (ratio >= most) | ((ratio <= 1 / most) if below is not None else False)
        parts.append(
            table.filter(jumped.fill_null(False)).with_columns(
                kind=pl.lit("unit"),
                detail=pl.format("{} is {} times its usual level: another unit?", pl.lit(name), ratio.round_sig_figs(3)),
            )
        )
    prices = daily.filter(pl.col("clicks") >= _ENOUGH_CLICKS).with_columns(
        a=pl.when(pl.col("spend_micros") > 0).then(pl.col("spend_micros") / pl.col("clicks")),
        b=pl.when((pl.col("spend_micros") > 0) & (pl.col("impressions") > 0)).then(pl.col("spend_micros") / pl.col("impressions")),
    )
    prices = prices.with_columns(a=pl.col("a") / _usual("a"), b=pl.col("b") / _usual("b"))
    both = (pl.min_horizontal("a", "b") >= CURRENCY_JUMP) | (pl.max_horizontal("a", "b") <= 1 / CURRENCY_JUMP)
    told = pl.format("spend per click and per impression are {} times their usual level: another currency?", pl.col("a").round_sig_figs(3))
    parts.append(prices.filter(both.fill_null(False)).with_columns(kind=pl.lit("unit"), detail=told).drop("a", "b"))
    return pl.concat([part.select(*_ACCOUNT, "event_date", "kind", "detail") for part in parts])


def _impossible(daily: pl.DataFrame) -> pl.DataFrame:
    off = daily.filter(pl.col("has_impressions") & (pl.col("clicks") > 1.1 * pl.col("impressions") + 10))
    return off.with_columns(
        kind=pl.lit("impossible"), detail=pl.format("{} clicks on {} impressions", pl.col("clicks"), pl.col("impressions"))
    )


def _currencies(facts: pl.DataFrame) -> pl.DataFrame:
    money = facts.filter(pl.col("spend_micros").is_not_null() | pl.col("revenue_micros").is_not_null())
    found = money.group_by(*_ACCOUNT).agg(c=pl.col("currency").unique().sort(), event_date=pl.col("event_date").max())
    found = found.filter(pl.col("c").list.len() > 1)
    return found.with_columns(kind=pl.lit("currency"), detail=pl.format("money comes in {}", pl.col("c").list.join(" and ")))


def _copied(facts: pl.DataFrame) -> pl.DataFrame:
    # One attribution setting: another one of the same day is a second telling, not a second day.
    rows = facts.unique([*_ROW, "event_date"], keep="last", maintain_order=True).sort(*_ROW, "event_date")
    before = rows.select(
        *_ROW, (pl.col("event_date") + pl.duration(days=1)).alias("event_date"), *(pl.col(n).alias(f"{n}_before") for n in _NUMBERS)
    )
    joined = rows.join(before, on=[*_ROW, "event_date"], how="left").filter(pl.col("impressions") >= _TELLING)
    same = pl.all_horizontal(pl.col(n).eq_missing(pl.col(f"{n}_before")) for n in _NUMBERS)
    share = joined.group_by(*_ACCOUNT, "event_date").agg(share=same.mean(), rows=pl.len())
    return share.filter(pl.col("share") >= _REPORTED).with_columns(
        kind=pl.lit("copied_day"), detail=pl.format("{} rows repeat the day before to the digit", pl.col("rows"))
    )


def _repeated(facts: pl.DataFrame) -> pl.DataFrame:
    rows = facts.filter((pl.col("impressions") >= _TELLING) & (pl.col("clicks") > 0))
    twice = pl.len().over(*_ACCOUNT, "event_date", *_NUMBERS) > 1
    share = rows.with_columns(twice=twice).group_by(*_ACCOUNT, "event_date").agg(share=pl.col("twice").mean(), rows=pl.len())
    return share.filter((pl.col("share") >= 0.5) & (pl.col("rows") >= 4)).with_columns(
        kind=pl.lit("repeated_rows"), detail=pl.format("half of {} rows have the same numbers as another row", pl.col("rows"))
    )


def _multiplied(facts: pl.DataFrame) -> pl.DataFrame:
    counts = facts.unpivot(on=["impressions", "clicks"], index=[*_ACCOUNT, "event_date"], value_name="count").filter(pl.col("count") > 0)
    shares = counts.group_by(*_ACCOUNT, "event_date").agg(
        n=pl.len(), twice=(pl.col("count") % 2 == 0).all(), thrice=(pl.col("count") % 3 == 0).all()
    )
    found = shares.filter((pl.col("n") >= _FEWEST_COUNTS) & (pl.col("twice") | pl.col("thrice")))
    factor = pl.when("twice").then(pl.lit("2")).otherwise(pl.lit("3"))
    return found.with_columns(
        kind=pl.lit("multiplied_day"), detail=pl.format("all {} counts are divisible by {}: added up more than once?", "n", factor)
    )


def _gaps(daily: pl.DataFrame, day: date) -> pl.DataFrame:
    spans = daily.group_by(*_ACCOUNT).agg(first=pl.col("event_date").min())
    every = spans.with_columns(event_date=pl.date_ranges("first", pl.lit(day))).explode("event_date", empty_as_null=True)
    there = daily.select(*_ACCOUNT, "event_date", there=pl.lit(1.0))
    table = (
        every.join(there, on=[*_ACCOUNT, "event_date"], how="left")
        .with_columns(pl.col("there").fill_null(0.0))
        .sort(*_ACCOUNT, "event_date")
    )
    usual = (
        pl.col("there")
        .rolling_mean_by("event_date", window_size=f"{USUAL_DAYS}d", closed="left", min_samples=_FEWEST_DAYS)
        .over(list(_ACCOUNT))
    )
    # The days after the first missing one are judged by the days before it.
    steady = table.with_columns(usual=usual).with_columns(steady=pl.col("usual") >= _DAILY)
    before_gap = pl.col("steady").cast(pl.Int8).cum_max().over(list(_ACCOUNT)) == 1
    found = steady.filter((pl.col("there") == 0) & before_gap.fill_null(False))
    return found.with_columns(kind=pl.lit("gap"), detail=pl.lit("no rows, though the account reports daily"))


def _silent_measures(daily: pl.DataFrame) -> pl.DataFrame:
    parts = []
    for name in ("impressions", "clicks", "spend_micros", "conversions", "revenue_micros"):
        told = pl.col(f"has_{name}").cast(pl.Float64)
        usual = told.rolling_mean_by("event_date", window_size=f"{USUAL_DAYS}d", closed="left", min_samples=_FEWEST_DAYS).over(
            list(_ACCOUNT)
        )
        shown = name.removesuffix("_micros")
        once = daily.with_columns(usual=usual).with_columns(
            usually=(pl.col("usual") >= _REPORTED).fill_null(False).cast(pl.Int8).cum_max().over(list(_ACCOUNT))
        )
        parts.append(
            once.filter(~pl.col(f"has_{name}") & (pl.col("usually") == 1)).with_columns(
                kind=pl.lit("missing_metric"), detail=pl.lit(f"no row reports {shown}, which usually comes every day")
            )
        )
    return pl.concat(parts)
