"""Feature rows from what a caller has: feature rows already, the lake's facts, or a plain daily table."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import polars as pl

from within_pipelines.exceptions import SampleError, SchemaError
from within_pipelines.prediction.account_health.money import NO_CURRENCY
from within_pipelines.prediction.frames import as_polars, names, numbers, require

ENTITY: tuple[str, ...] = ("platform", "account_id", "campaign_id")
_INFORMATION = ("spend_28", "clicks_28", "conversions_28", "baseline_efficiency", "recent_efficiency")
_NAMES = (*ENTITY, "ad_group_id", "ad_id", "breakdown", "attribution", "grain", "currency", "timezone", "as_of_source", "file_sha256")
_WHOLE = ("impressions", "clicks", "spend_micros", "revenue_micros", "reach")
# Nobody counts or spends as much in a day; a thousand times more would not fit the whole numbers that micros are kept in.
_LARGEST = 1e12
LONGEST_HOLE_DAYS = 3653
# A unit that is a million times as efficient as usual, or a millionth: no outcome is, a slip of units may be.
_LARGEST_LOG_RATIO = 13.8
# Feature rows from before it was counted lack it; then spend counts as complete.
_SOMETIMES = ("spend_unknown_28",)
_PLAIN = {"date": "event_date", "day": "event_date", "timestamp": "event_date", "cost": "spend"}


def is_feature_table(frame: pl.DataFrame) -> bool:
    """Whether the rows already hold account features."""
    from within_pipelines.features import ACCOUNT_FEATURES

    return "origin" in frame.columns and ACCOUNT_FEATURES.columns[0] in frame.columns


def checked_features(frame: pl.DataFrame) -> pl.DataFrame:
    """The feature table with `origin` as days (pandas keeps them as moments), features as Float64 and names as text.

    Raises `SchemaError` when a column that `account_features` writes is missing, because absent is not the same as unknown, and when
    `origin` holds no days; `SampleError` for an unknown origin, for a feature that is no number, and for a `log_ratio` beyond a factor of a
    million."""
    from within_pipelines.features import ACCOUNT_FEATURES

    named = ("platform", "account_id", "target")
    measured = (*_INFORMATION, *ACCOUNT_FEATURES.columns)
    require(frame, (*named, *measured), why="give whole rows of features.account_features.")
    if frame.schema["origin"] not in (pl.Date, pl.Datetime):
        raise SchemaError(f"The column origin holds {frame.schema['origin']}; give days.")
    unknown = frame["origin"].null_count()
    if unknown:
        raise SampleError(f"{unknown} of {frame.height} feature rows have no origin; give the day that each was computed for.")
    more = [name for name in (*_SOMETIMES, "log_ratio") if name in frame.columns]
    found = frame.with_columns(
        pl.col("origin").cast(pl.Date),
        *(names(frame, name) for name in ("platform", "account_id", "campaign_id") if name in frame.columns),
        *(names(frame, name).replace("", None) for name in ("target", "currency") if name in frame.columns),
        *(numbers(frame, name) for name in (*measured, *more) if frame.schema[name] != pl.Float64),
    )
    if "log_ratio" in more:
        ratio = found["log_ratio"]
        beyond = int((ratio.is_finite() & (ratio.abs() > _LARGEST_LOG_RATIO)).sum())
        if beyond:
            raise SampleError(f"log_ratio lies beyond a factor of a million in {beyond} of {frame.height} feature rows; correct them.")
    return found


def refuse_repeated(frame: pl.DataFrame) -> None:
    """Raise `SampleError` when one unit has two feature rows of one origin, which would count twice."""
    key = [name for name in (*ENTITY, "origin") if name in frame.columns]
    repeated = frame.height - frame.n_unique(key)
    if repeated:
        raise SampleError(f"{repeated} of {frame.height} feature rows repeat the {', '.join(key)} of another row; keep one of each.")


def daily_facts(data: Any) -> pl.DataFrame:
    """Facts with the lake's columns from a plain daily table.

    Needed: `account_id`, a day (`event_date`, `date` or `day`), `impressions`, `clicks`. Known: `spend` (or `spend_micros`),
    `conversions`, `revenue` (or `revenue_micros`), `currency`, `platform`, `campaign_id`, `ad_group_id`, `ad_id`. Rows count as known
    34 hours after their day began. The lake's facts are checked as well and stay as they are.

    Raises `SchemaError` when a needed column is missing or holds another kind of values, and `SampleError` for a day that is none, for more
    than ten years without a row, for amounts that cannot be, and for rows that nothing tells apart."""
    from within_pipelines.lake import ASSUMED_LAG, FACT_COLUMNS

    frame = as_polars(data)
    frame = frame.rename({old: new for old, new in _PLAIN.items() if old in frame.columns and new not in frame.columns})
    require(frame, ["account_id", "event_date", "impressions", "clicks"], why="give daily rows per account (or the lake's facts).")
    frame = _with_days(frame)
    given = [name for name in _NAMES if name in frame.columns and name != "account_id"]
    frame = frame.with_columns(names(frame, name) for name in given)
    unnamed = frame["account_id"].null_count()
    if unnamed:
        raise SampleError(f"{unnamed} of {frame.height} rows have no account_id; name the account, because its rows make its history.")
    frame = frame.with_columns(names(frame, "account_id"))
    told_apart = (*ENTITY, "ad_group_id", "ad_id", "breakdown", "attribution", "grain", "event_date")
    # The lake keeps every version of a day; they differ in when they were known.
    key = [name for name in (*told_apart, "as_of", "commit_seq") if name in frame.columns]
    repeated = frame.height - frame.n_unique(key)
    if repeated:
        raise SampleError(
            f"{repeated} of {frame.height} rows repeat the {', '.join(key)} of another row; add them up, or give the campaign_id, "
            "ad_group_id and ad_id that tell them apart."
        )
    _refuse_unusable_amounts(frame)
    if {"as_of", "spend_micros", "platform"} <= set(frame.columns):
        if not isinstance(frame.schema["as_of"], pl.Datetime) or frame.schema["as_of"].time_zone is None:
            raise SchemaError(f"The column as_of holds {frame.schema['as_of']}; give moments with a time zone, or leave the column out.")
        return _with_amounts(frame)
    if "grain" not in frame.columns:
        frame = frame.with_columns(grain=pl.lit("ad"))
    for micros, units in (("spend_micros", "spend"), ("revenue_micros", "revenue")):
        if micros not in frame.columns:
            amount = numbers(frame, units) * 1e6 if units in frame.columns else pl.lit(None, pl.Float64)
            frame = frame.with_columns(amount.alias(micros))
    frame = _with_amounts(frame)
    defaults: dict[str, Any] = {"platform": "", "campaign_id": "", "ad_group_id": "", "ad_id": "", "breakdown": "", "attribution": ""}
    defaults |= {"currency": NO_CURRENCY, "timezone": "UTC", "as_of_source": "assumed_lag", "file_sha256": ""}
    frame = frame.with_columns(pl.lit(v, pl.String).alias(k) for k, v in defaults.items() if k not in frame.columns)
    frame = frame.with_columns(pl.col("currency").replace("", NO_CURRENCY))
    frame = frame.with_columns(
        pl.lit(None, pl.Float64).alias(name) for name in ("conversions", "reach") if name not in frame.columns
    ).with_columns(as_of=(pl.col("event_date").cast(pl.Datetime("us", "UTC")) + ASSUMED_LAG))
    schema = pl.DataFrame(FACT_COLUMNS.empty_table()).schema
    return frame.select(pl.col(name).cast(dtype) for name, dtype in schema.items()).with_columns(
        ingested_at=pl.col("as_of"), commit_seq=pl.lit(1, pl.Int64)
    )


def _with_days(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows with `event_date` as days, from text, days or moments."""
    day, kind = pl.col("event_date"), frame.schema["event_date"]
    if kind not in (pl.String, pl.Date, pl.Datetime, pl.Null):
        raise SchemaError(f"The column of days holds {kind}; write days as YYYY-MM-DD.")
    # The day of a time with a zone is that of its own calendar, not of UTC.
    frame = frame.with_columns(
        day.str.to_date(strict=False) if kind == pl.String else day.dt.date() if isinstance(kind, pl.Datetime) else day.cast(pl.Date)
    )
    bad = frame["event_date"].null_count()
    if bad:
        raise SampleError(f"{bad} of {frame.height} rows have no usable day; write days as YYYY-MM-DD.")
    _refuse_far_days(frame["event_date"])
    return frame


def _refuse_far_days(days: pl.Series) -> None:
    """Raise `SampleError` where more than ten years without a row lie between two days: they are mistakes (1970 for a missing day), and a
    single one of the far future would make every account's history end long ago."""
    known = days.unique().sort()
    wide = known.diff().dt.total_days().gt(LONGEST_HOLE_DAYS).arg_true()
    if len(wide):
        second = int(wide[0])
        before = int((days < known[second]).sum())
        raise SampleError(
            f"The table holds no rows between {known[second - 1]} ({before} rows up to it) and {known[second]} ({len(days) - before} rows "
            "from it on), more than ten years; correct the days."
        )


def _with_amounts(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows with counts and micros as whole numbers, conversions as numbers, whatever they were read as."""
    whole = [name for name in _WHOLE if name in frame.columns and not frame.schema[name].is_integer()]
    other = [name for name in ("conversions",) if name in frame.columns and frame.schema[name] != pl.Float64]
    return frame.with_columns(
        *(numbers(frame, name).round().cast(pl.Int64) for name in whole),
        *(numbers(frame, name) for name in other),
    )


def _refuse_unusable_amounts(frame: pl.DataFrame) -> None:
    """Raise `SampleError` for counts and amounts that are no numbers, infinite, too large, below 0 or (impressions, clicks) fractions, and
    `SchemaError` for columns of days; null means not reported and is allowed."""
    for name in (*_WHOLE, "conversions", "spend", "revenue"):
        if name not in frame.columns:
            continue
        kind = frame.schema[name]
        if not (kind.is_numeric() or kind in (pl.Boolean, pl.Null, pl.String, pl.Categorical)):
            raise SchemaError(f"The column {name} holds {kind}; give numbers.")
        text = pl.col(name).cast(pl.String) if kind == pl.Categorical else pl.col(name)
        number = text.cast(pl.Float64, strict=False)
        broken = (number != number.round()) & number.is_finite() if name in ("impressions", "clicks") else pl.lit(False)
        told = frame.select(
            text=(number.is_null() & pl.col(name).is_not_null()).sum(),
            infinite=number.is_infinite().sum(),
            large=((number > _LARGEST * (1e6 if name.endswith("_micros") else 1)) & number.is_finite()).sum(),
            negative=(number < 0).sum(),
            broken=broken.sum(),
        ).row(0, named=True)
        bad = {kind: count for kind, count in told.items() if count}
        if bad:
            what = {
                "text": "no number",
                "infinite": "infinite",
                "large": "larger than any account's",
                "negative": "below 0",
                "broken": "fractions of a count",
            }
            found = ", ".join(f"{count} of {frame.height} values are {what[kind]}" for kind, count in bad.items())
            raise SampleError(f"{name}: {found}; correct them, or leave them empty where nothing was reported.")


def feature_rows(data: Any, *, origins: list[date] | None = None, usual_days: int = 28) -> pl.DataFrame:
    """Feature rows for `data`; computed for the newest day of daily facts unless `origins` says otherwise."""
    from within_pipelines.features import account_features

    frame = as_polars(data)
    if is_feature_table(frame):
        frame = checked_features(frame)
        if frame.is_empty():
            raise SampleError("The table holds no feature rows; give at least one.")
        return frame if "campaign_id" in frame.columns else frame.with_columns(campaign_id=pl.lit(""))
    facts = daily_facts(frame)
    if facts.is_empty():
        raise SampleError("The table holds no rows; give at least 28 days per account.")
    last: Any = facts["event_date"].max()
    entity = ("platform", "account_id")
    features = account_features(facts, origins=origins if origins is not None else [last], entity=entity, usual_days=usual_days)
    return features.with_columns(campaign_id=pl.lit(""))


def labelled_rows(data: Any, *, horizon: int, drop: float = 0.2, usual_days: int = 28) -> pl.DataFrame:
    """Feature rows with labels from daily facts: every third day that has 28 days before it and `horizon` days after it.

    Units that stopped, or for which too little was to be expected, have no `degraded` and no `log_ratio`; their rows are kept for the
    column `stopped`."""
    from datetime import timedelta

    from within_pipelines.features import account_features, account_labels
    from within_pipelines.lake import ASSUMED_LAG

    facts = daily_facts(data)
    first, last = facts["event_date"].min(), facts["event_date"].max()
    if not isinstance(first, date) or not isinstance(last, date):
        raise SampleError("The table holds no days; give daily rows.")
    span = (last - first).days - 28 - horizon
    origins = [last - timedelta(days=horizon + back) for back in range(0, max(span, -1) + 1, 3)][::-1]
    if not origins:
        raise SampleError(f"{(last - first).days + 1} days are too few; give at least {29 + horizon}.")
    known: Any = facts["as_of"].max()
    as_of: datetime = known + ASSUMED_LAG
    entity = ("platform", "account_id")
    rows = account_features(facts, origins=origins, entity=entity, usual_days=usual_days)
    labels = account_labels(facts, origins=origins, entity=entity, horizon=horizon, as_of=as_of, drop=drop, usual_days=usual_days)
    joined = rows.join(labels, on=[*entity, "origin"], how="inner", suffix="_label")
    return joined.with_columns(campaign_id=pl.lit("")).filter(
        pl.col("mature") & (pl.col("degraded").is_not_null() | pl.col("stopped").is_not_null())
    )
