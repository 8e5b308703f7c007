"""Read calendar days as exports write them; an order of day and month that the file does not settle is never guessed."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from within_pipelines.ingest.decode import Mask
from within_pipelines.ingest.layout import Days
from within_pipelines.ingest.numerals import Fault

# Before this no ad platform kept daily reports, so an earlier year is a damaged one.
FIRST_YEAR = 2000
LAST_YEAR = 2199
_MONTHS = {
    "jan": 1, "january": 1, "januar": 1, "jänner": 1, "feb": 2, "february": 2, "februar": 2, "mar": 3, "march": 3,
    "märz": 3, "mär": 3, "mrz": 3,
    "apr": 4, "april": 4, "may": 5, "mai": 5, "jun": 6, "june": 6, "juni": 6, "jul": 7, "july": 7, "juli": 7, "aug": 8, "august": 8,
    "sep": 9, "sept": 9, "september": 9, "oct": 10, "october": 10, "oktober": 10, "okt": 10, "nov": 11, "november": 11,
    "dec": 12, "december": 12, "dezember": 12, "dez": 12,
}  # fmt: skip
_NO_DAY = "wanted a day such as 2026-03-31"


def read_days(frame: pl.DataFrame, days: Days) -> tuple[pl.Series, list[Fault]]:
    """The day of every row, null where there is none, with what is wrong."""
    if days.constant is not None:
        return pl.Series("day", [date.fromisoformat(days.constant)], dtype=pl.Date).new_from_index(0, frame.height), []
    if days.whole_range:
        rows = np.ones(frame.height, dtype=bool)
        return _nothing(frame.height), [
            Fault(rows, "range_row", f"the row covers a {days.whole_range.lower()}, not a day; add Day to the report")
        ]
    if days.start is not None and days.end is not None:
        return _from_range(frame, days.start, days.end)
    if days.month is not None:
        return _from_parts(frame, days)
    if days.iso_week is not None:
        return _from_iso_week(frame, days.iso_week)
    if days.column is None:
        rows = np.ones(frame.height, dtype=bool)
        return _nothing(frame.height), [Fault(rows, "bad_date", _NO_DAY)]
    return parse_days(frame.get_column(str(days.column)), days.format)


def _nothing(height: int) -> pl.Series:
    return pl.Series("day", [None], dtype=pl.Date).new_from_index(0, height)


def _sane(parsed: pl.Expr) -> pl.Expr:
    return pl.when(parsed.dt.year().is_between(FIRST_YEAR, LAST_YEAR)).then(parsed)


def parse_days(column: pl.Series, form: str | None = None) -> tuple[pl.Series, list[Fault]]:
    """Parse one text column. Known forms: ISO (with or without a time), 20260331, 31.03.2026, 3/31/2026 or 31/3/2026 (the file's
    own unmistakable days decide which), Mar 31, 2026, 31 March 2026, also with German month names.

    >>> parse_days(pl.Series(["01/02/2026", "13/02/2026"]))[0].to_list()
    [datetime.date(2026, 2, 1), datetime.date(2026, 2, 13)]
    """
    name = "text"
    frame = column.alias(name).to_frame()
    text = pl.col(name)
    if form is None:
        quick = frame.select(
            _sane(text.str.to_date("%Y-%m-%d", strict=False)).alias("day"),
            text.str.len_bytes().max().alias("longest"),
            text.str.len_bytes().min().alias("shortest"),
        )
        parsed = quick.get_column("day")
        if quick.height and parsed.null_count() == 0 and quick.item(0, "longest") == 10 == quick.item(0, "shortest"):
            return parsed, []
        parsed, doubtful = _tolerant(frame)
    else:
        parsed = frame.select(_sane(text.str.strip_chars().str.to_date(form, strict=False)).alias("day")).to_series()
        doubtful = np.zeros(len(column), dtype=bool)
    missing = parsed.is_null().to_numpy()
    faults = [
        Fault(doubtful, "ambiguous_date", "day and month could be exchanged and no other row of the file settles it; export ISO dates"),
        Fault(missing & ~doubtful, "bad_date", _NO_DAY),
    ]
    return parsed, [fault for fault in faults if fault.rows.any()]


def _tolerant(frame: pl.DataFrame) -> tuple[pl.Series, Mask]:
    text = pl.col("text").str.strip_chars().str.replace(r"[T ]\d{1,2}:\d{2}.*$", "")
    parts = frame.select(
        text.str.extract_groups(r"^(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})$").alias("iso"),
        text.str.extract_groups(r"^(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})$").alias("packed"),
        text.str.extract_groups(r"^(?P<d>\d{1,2})\.(?P<m>\d{1,2})\.(?P<y>\d{4})$").alias("dotted"),
        text.str.extract_groups(r"^(?P<a>\d{1,2})[/-](?P<b>\d{1,2})[/-](?P<y>\d{4})$").alias("slashed"),
        text.str.to_lowercase()
        .str.extract_groups(r"^(?P<m>\p{L}{3,9})\.?\s+(?P<d>\d{1,2})(?:st|nd|rd|th)?,?\s+(?P<y>\d{4})$")
        .alias("named_first"),
        text.str.to_lowercase().str.extract_groups(r"^(?P<d>\d{1,2})\.?[\s-]+(?P<m>\p{L}{3,9})\.?[\s-]+(?P<y>\d{4})$").alias("named_last"),
    )

    def number(form: str, part: str) -> pl.Expr:
        return pl.col(form).struct.field(part).cast(pl.Int32, strict=False)

    def month(form: str) -> pl.Expr:
        return pl.col(form).struct.field("m").replace_strict(_MONTHS, default=None, return_dtype=pl.Int32)

    first, second = number("slashed", "a"), number("slashed", "b")
    signs = parts.select((first > 12).any().alias("day_first"), (second > 12).any().alias("month_first"))
    day_first, month_first = bool(signs.item(0, "day_first")), bool(signs.item(0, "month_first"))
    # A day beyond 12 shows its own order; the other rows follow it unless the file shows both orders.
    own_order = (first > 12) | (second > 12) | (first == second)
    settled = day_first != month_first
    use_day_first = pl.when(own_order).then(first > 12).otherwise(pl.lit(day_first)) if settled or day_first else first > 12
    known = own_order | pl.lit(settled)
    slashed_day = pl.when(known).then(pl.when(use_day_first).then(first).otherwise(second))
    slashed_month = pl.when(known).then(pl.when(use_day_first).then(second).otherwise(first))
    year = pl.coalesce(*(number(form, "y") for form in ("iso", "packed", "dotted", "slashed", "named_first", "named_last")))
    months = pl.coalesce(
        number("iso", "m"), number("packed", "m"), number("dotted", "m"), slashed_month, month("named_first"), month("named_last")
    )
    day = pl.coalesce(
        number("iso", "d"), number("packed", "d"), number("dotted", "d"), slashed_day, number("named_first", "d"), number("named_last", "d")
    )
    result = parts.select(
        _sane(_date(year, months, day)).alias("day"),
        (first.is_between(1, 12) & second.is_between(1, 12) & ~known).fill_null(False).alias("doubtful"),
    )
    return result.get_column("day"), result.get_column("doubtful").to_numpy()


def _date(year: pl.Expr, month: pl.Expr, day: pl.Expr) -> pl.Expr:
    text = pl.format("{}-{}-{}", year, month.cast(pl.String).str.zfill(2), day.cast(pl.String).str.zfill(2))
    return text.str.to_date("%Y-%m-%d", strict=False)


def _from_range(frame: pl.DataFrame, start: int, end: int) -> tuple[pl.Series, list[Fault]]:
    first, faults = parse_days(frame.get_column(str(start)))
    last, more = parse_days(frame.get_column(str(end)))
    spans = ((first != last).fill_null(False)).to_numpy()
    faults = [*faults, *more]
    if spans.any():
        faults.append(
            Fault(spans, "range_row", "the row covers several days and has no Day; break the report down by day before exporting")
        )
    return first, faults


def _from_parts(frame: pl.DataFrame, days: Days) -> tuple[pl.Series, list[Fault]]:
    text = pl.col(str(days.month)).str.strip_chars().str.to_lowercase().str.strip_chars_end(".")
    month = text.replace_strict(_MONTHS, default=None, return_dtype=pl.Int32)
    month = pl.coalesce(text.cast(pl.Int32, strict=False), month)
    day = pl.col(str(days.day)).str.strip_chars().cast(pl.Int32, strict=False)
    year = pl.lit(days.year, dtype=pl.Int32) if days.year_column is None else pl.col(str(days.year_column)).cast(pl.Int32, strict=False)
    parsed = frame.select(_sane(_date(year, month, day)).alias("day")).to_series()
    missing = parsed.is_null().to_numpy()
    return parsed, [Fault(missing, "bad_date", "month and day are no day of the calendar")] if missing.any() else []


def _from_iso_week(frame: pl.DataFrame, column: int) -> tuple[pl.Series, list[Fault]]:
    """The Monday of an ISO week written 201446 or 2014-W46."""
    text = pl.col(str(column)).str.strip_chars().str.replace(r"^(\d{4})-?[Ww]?(\d{2})$", "${1}-W${2}-1")
    parsed = frame.select(_sane(text.str.to_date("%G-W%V-%u", strict=False)).alias("day")).to_series()
    missing = parsed.is_null().to_numpy()
    return parsed, [Fault(missing, "bad_date", "wanted an ISO week such as 202614")] if missing.any() else []
