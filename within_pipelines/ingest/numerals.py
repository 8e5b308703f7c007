"""Read numbers as ad exports write them: plain, with thousands separators or decimal comma, missing, censored, or damaged.

A column that casts as it stands costs one cast. Only a column that does not is looked at cell by cell, and then the whole file decides whether its
comma is a decimal comma."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from within_pipelines.ingest.layout import Measure

MICROS = 1_000_000
# Beyond these nothing real is counted, and sums stay exact in 64 bits.
MAX_COUNT = 10**15
MAX_MICROS = 10**18
_MISSING = ("", "--", "-", "—", "–", "n/a", "null", "none")
_FINITE = r"(?i)^[+-]?(nan|inf|infinity|∞)$"
_NOISE = r"[\s\x{00a0}\x{202f}\x{2009}'’]"
_PLAIN = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$"
_POINT = r"^[+-]?\d{1,3}(,\d{2,3})*,\d{3}(\.\d*)?$"
_COMMA = r"^[+-]?(\d{1,3}(\.\d{3})+|\d+)(,\d*)?$"
# Signs that only one of the two readings explains.
_SURELY_COMMA = r"^[+-]?(\d{1,3}(\.\d{3})+,\d*|\d+,(\d{1,2}|\d{4,})|\d{4,},\d+|0\d*,\d+|\d{1,3}(\.\d{3}){2,})$"
_SURELY_POINT = r"^[+-]?(\d{1,3}(,\d{2,3})*,\d{3}\.\d*|\d*\.(\d{1,2}|\d{4,})|\d{4,}\.\d+|0\d*\.\d+|\d{1,3}(,\d{2,3})+,\d{3})$"
_ONE_COMMA = r"^[+-]?\d{1,3},\d{3}$"
_ONE_POINT = r"^[+-]?\d{1,3}\.\d{3}$"


@dataclass(frozen=True, slots=True)
class Fault:
    """Rows of one column that cannot be used, and why."""

    rows: np.ndarray  # bool
    reason: str
    wanted: str


@dataclass(frozen=True, slots=True)
class Numbers:
    """One parsed column."""

    values: pl.Series
    faults: tuple[Fault, ...] = ()


_DTYPES = {"count": pl.Int64(), "number": pl.Float64(), "currency": pl.Int64(), "micros": pl.Int64()}


def _cast(text: pl.Expr, unit: str) -> pl.Expr:
    if unit == "currency":
        # Decimal(38, 6) rounds half to even in decimal arithmetic, so no float error can creep in.
        return (text.cast(pl.Decimal(38, 6), strict=False) * MICROS).cast(pl.Int64, strict=False)
    return text.cast(_DTYPES[unit], strict=False)


def read_numbers(
    frame: pl.DataFrame, measures: Mapping[str, Measure], *, language: str = "en", decimal: str | None = None
) -> dict[str, Numbers]:
    """Parse the measure columns of `frame`, keyed like `measures`.

    Money becomes Int64 micros, counts Int64, other numbers Float64; missing cells are null. `decimal` ("," or ".") overrides what the
    numbers themselves say; `language` decides only where they say nothing."""
    if not measures:
        return {}
    keys = list(measures)
    casts = frame.select(_cast(pl.col(str(measures[key].column)), measures[key].unit).alias(key) for key in keys)
    blanks = {key: frame.get_column(str(measures[key].column)).null_count() for key in keys}
    clean = {key: casts.get_column(key).null_count() == blanks[key] for key in keys}
    if language == "en" and decimal != "," and all(clean.values()):
        return {key: _checked(casts.get_column(key), measures[key].unit) for key in keys}
    cells = {key: _cells(frame.get_column(str(measures[key].column))) for key in keys}
    comma = decimal == "," if decimal else _decimal_comma(cells, measures, language)
    if comma is False:
        return {
            key: _checked(casts.get_column(key), measures[key].unit) if clean[key] else _tolerant(cells[key], measures[key].unit, comma)
            for key in keys
        }
    return {key: _tolerant(cells[key], measures[key].unit, comma) for key in keys}


def _cells(column: pl.Series) -> pl.Series:
    name = column.name
    text = pl.col(name).str.replace_all(_NOISE, "").str.replace_all("−", "-", literal=True)
    cleaned = column.to_frame().select(text.alias(name))
    return cleaned.select(
        pl.when(pl.col(name).str.to_lowercase().is_in(_MISSING)).then(None).otherwise(pl.col(name)).alias(name)
    ).to_series()


def _decimal_comma(cells: Mapping[str, pl.Series], measures: Mapping[str, Measure], language: str) -> bool | None:
    """True for a decimal comma, False for a decimal point, None when the file holds unmistakable signs of both."""
    comma = point = False
    for key, column in cells.items():
        comma_sign, point_sign = column.str.contains(_SURELY_COMMA), column.str.contains(_SURELY_POINT)
        if measures[key].unit == "count":
            # A count has no decimals, so a single separator before three digits groups thousands.
            comma_sign |= column.str.contains(_ONE_POINT)
            point_sign |= column.str.contains(_ONE_COMMA)
        comma |= bool(comma_sign.any())
        point |= bool(point_sign.any())
    if comma and point:
        return None
    return comma or (language == "de" and not point)


def _tolerant(cells: pl.Series, unit: str, comma: bool | None) -> Numbers:
    name = cells.name
    text = pl.col(name)
    from_comma = text.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    from_point = text.str.replace_all(",", "", literal=True)
    if comma is None:
        canonical = (
            pl.when(text.str.contains(_SURELY_COMMA)).then(from_comma).when(text.str.contains(_SURELY_POINT)).then(from_point)
            .when(text.str.contains(_ONE_COMMA) | text.str.contains(_ONE_POINT))
            .then(text.str.replace_all(r"[.,]", "") if unit == "count" else None)
            .when(text.str.contains(_PLAIN)).then(text)
        )  # fmt: skip
    elif comma:
        canonical = pl.when(text.str.contains(_COMMA)).then(from_comma)
    else:
        canonical = pl.when(text.str.contains(_PLAIN) | text.str.contains(_POINT)).then(from_point)
    if unit == "count":
        canonical = canonical.str.replace(r"\.0*$", "")
    frame = cells.to_frame().select(
        text,
        canonical.alias("canonical"),
        _cast(canonical, unit).alias("value"),
        text.str.contains(_FINITE).fill_null(False).alias("infinite"),
        text.str.contains(r"[<>%]").fill_null(False).alias("censored"),
        (text.str.contains(_ONE_COMMA) | text.str.contains(_ONE_POINT)).fill_null(False).alias("doubtful"),
    )
    values = frame.get_column("value")
    bad = (values.is_null() & cells.is_not_null()).to_numpy()
    if not bad.any():
        return _checked(values, unit)
    infinite, censored, doubtful = (frame.get_column(column).to_numpy() for column in ("infinite", "censored", "doubtful"))
    readable = frame.get_column("canonical").is_not_null().to_numpy()
    whole = (
        frame.get_column("canonical").str.contains(r"^[+-]?\d+$").fill_null(False).to_numpy() if unit in ("count", "micros") else readable
    )
    ambiguous = (bad & ~readable & doubtful) if comma is None else np.zeros_like(bad)
    rest = bad & ~infinite & ~censored & ~ambiguous
    faults = (
        Fault(bad & infinite, "not_finite", "wanted a finite number"),
        Fault(bad & censored, "censored_value", "the platform hides the exact value"),
        Fault(ambiguous, "ambiguous_number", "the file mixes decimal commas and decimal points, so this could mean two numbers"),
        Fault(rest & readable & whole, "out_of_range", "the number is too large to be real"),
        Fault(rest & ~(readable & whole), "bad_number", "wanted a whole number" if unit in ("count", "micros") else "wanted a number"),
    )
    checked = _checked(values, unit)
    return Numbers(checked.values, (*(fault for fault in faults if fault.rows.any()), *checked.faults))


def _checked(values: pl.Series, unit: str) -> Numbers:
    """Refuse what parses but cannot be real."""
    faults = []
    if unit == "number":
        finite = values.is_finite().fill_null(True)
        if not finite.all():
            faults.append(Fault((~finite).to_numpy(), "not_finite", "wanted a finite number"))
            values = values.to_frame().select(pl.when(pl.col(values.name).is_finite()).then(pl.col(values.name))).to_series()
    limit = MAX_COUNT if unit in ("count", "number") else MAX_MICROS
    largest, smallest = values.max(), values.min()
    if isinstance(largest, int | float) and isinstance(smallest, int | float) and (largest > limit or smallest < -limit):
        faults.append(
            Fault(((values > limit) | (values < -limit)).fill_null(False).to_numpy(), "out_of_range", "the number is too large to be real")
        )
    return Numbers(values, tuple(faults))
