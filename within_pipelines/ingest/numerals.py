"""Read numbers as ad exports write them: plain, with thousands separators or decimal comma, missing, censored, or damaged.

A column that casts as it stands costs one cast. Only a column that does not is looked at cell by cell, and then the whole file decides
whether its comma is a decimal comma."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from within_pipelines.ingest.decode import Mask
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

    rows: Mask
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
        # The cast to a decimal rounds half to even in decimal arithmetic, so no float error can creep in; 24 digits leave room for the
        # product, which must not overflow.
        return (text.cast(pl.Decimal(24, 6), strict=False) * MICROS).cast(pl.Int64, strict=False)
    return text.cast(_DTYPES[unit], strict=False)


def read_numbers(
    frame: pl.DataFrame, measures: Mapping[str, Measure], *, language: str = "en", decimal: str | None = None
) -> dict[str, Numbers]:
    """Parse the measure columns of `frame`, keyed like `measures`.

    Money becomes Int64 micros, counts Int64, other numbers Float64; missing cells are null. `decimal` ("," or ".") overrides what the
    numbers themselves say; `language` decides only where they say nothing."""
    if not measures:
        return {}
    quick = frame.select(_cast(pl.col(str(measure.column)), measure.unit).alias(key) for key, measure in measures.items())
    odd = [
        key for key, measure in measures.items() if quick.get_column(key).null_count() != frame.get_column(str(measure.column)).null_count()
    ]
    parsed = {key: quick.get_column(key) for key in measures}
    if not odd and language == "en" and decimal != ",":
        return {key: Numbers(values, tuple(_limits(values, measures[key].unit))) for key, values in parsed.items()}
    cells = _cells(frame, {key: measures[key] for key in odd}, parsed)
    comma = decimal == "," if decimal else _decimal_comma(cells)
    if comma or comma is None or (decimal is None and language == "de"):
        # Cells that were cast as they stand may have been misread, so all are read again.
        cells = _cells(frame, measures, None)
        if decimal is None:
            comma = _decimal_comma(cells, language)
    faults: dict[str, list[Fault]] = {key: [] for key in measures}
    if cells.height:
        judged = _judged(cells, comma)
        for (key,), group in judged.partition_by("key", as_dict=True, maintain_order=True).items():
            name = str(key)
            parsed[name] = parsed[name].scatter(group.get_column("row"), group.get_column(measures[name].unit))
        if judged.get_column("reason").null_count() < judged.height:
            wrong = judged.filter(pl.col("reason").is_not_null())
            for (key, reason), group in wrong.partition_by("key", "reason", as_dict=True, maintain_order=True).items():
                mask = np.zeros(frame.height, dtype=bool)
                mask[group.get_column("row").to_numpy()] = True
                faults[str(key)].append(Fault(mask, str(reason), _WANTED[str(reason)]))
    return {key: Numbers(values, (*faults[key], *_limits(values, measures[key].unit))) for key, values in parsed.items()}


def _cells(frame: pl.DataFrame, measures: Mapping[str, Measure], parsed: Mapping[str, pl.Series] | None) -> pl.DataFrame:
    """The cells to look at one by one: all of the columns, or only those that `parsed` could not cast."""
    texts = [frame.get_column(str(measure.column)).alias(key) for key, measure in measures.items()]
    if not texts:
        return pl.DataFrame(schema={"row": pl.Int64, "key": pl.String, "text": pl.String, "unit": pl.String})
    if parsed is None:
        wide = pl.LazyFrame(texts)
    else:
        both = pl.LazyFrame([*texts, *(parsed[key].alias(f"parsed {key}") for key in measures)])
        wide = both.select(pl.when(pl.col(f"parsed {key}").is_null()).then(pl.col(key)).alias(key) for key in measures)
    units = {key: measure.unit for key, measure in measures.items()}
    text = pl.col("text").str.replace_all(_NOISE, "").str.replace_all("−", "-", literal=True)
    return (
        wide.with_row_index("row")
        .unpivot(index="row", variable_name="key", value_name="text")
        .drop_nulls("text")
        .with_columns(text, pl.col("key").replace_strict(units, return_dtype=pl.String).alias("unit"))
        .collect()
    )


def _decimal_comma(cells: pl.DataFrame, language: str = "en") -> bool | None:
    """True for a decimal comma, False for a decimal point, None when the file holds unmistakable signs of both."""
    text, count = pl.col("text"), pl.col("unit") == "count"
    # A count has no decimals, so a single separator before three digits groups thousands.
    signs = cells.select(
        (text.str.contains(_SURELY_COMMA) | (count & text.str.contains(_ONE_POINT))).any().alias("comma"),
        (text.str.contains(_SURELY_POINT) | (count & text.str.contains(_ONE_COMMA))).any().alias("point"),
    )
    comma, point = bool(signs.item(0, "comma")), bool(signs.item(0, "point"))
    if comma and point:
        return None
    return comma or (language == "de" and not point)


def _judged(cells: pl.DataFrame, comma: bool | None) -> pl.DataFrame:
    """Value (a column per unit) and reason of every cell."""
    text, unit = pl.col("text"), pl.col("unit")
    from_comma = text.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    from_point = text.str.replace_all(",", "", literal=True)
    doubtful = text.str.contains(_ONE_COMMA) | text.str.contains(_ONE_POINT)
    canonical: pl.Expr
    if comma is None:
        canonical = (
            pl.when(doubtful & (unit == "count")).then(text.str.replace_all(r"[.,]", ""))
            .when(text.str.contains(_SURELY_COMMA)).then(from_comma)
            .when(text.str.contains(_SURELY_POINT)).then(from_point)
            .when(text.str.contains(_PLAIN) & ~doubtful).then(text)
        )  # fmt: skip
    elif comma:
        canonical = pl.when(text.str.contains(_COMMA)).then(from_comma)
    else:
        canonical = pl.when(text.str.contains(_PLAIN) | text.str.contains(_POINT)).then(from_point)
    whole = unit.is_in(["count", "micros"])
    canonical = pl.when(whole).then(canonical.str.replace(r"\.0*$", "")).otherwise(canonical)
    missing = text.str.to_lowercase().is_in(_MISSING)
    number = pl.col("canonical")
    judged = cells.with_columns(canonical.alias("canonical")).with_columns(_cast(number, unit).alias(unit) for unit in _DTYPES)
    valued = pl.when(unit == "currency").then(pl.col("currency").is_not_null()).when(whole).then(pl.col("count").is_not_null())
    reason = (
        pl.when(missing | valued.otherwise(pl.col("number").is_not_null())).then(None)
        .when(text.str.contains(_FINITE)).then(pl.lit("not_finite"))
        .when(text.str.contains(r"[<>%]")).then(pl.lit("censored_value"))
        .when(number.is_null() & doubtful & pl.lit(comma is None)).then(pl.lit("ambiguous_number"))
        .when(number.is_null() | (whole & ~number.str.contains(r"^[+-]?\d+$"))).then(pl.lit("bad_number"))
        .otherwise(pl.lit("out_of_range"))
    )  # fmt: skip
    return judged.with_columns(reason.alias("reason"))


_WANTED = {
    "not_finite": "wanted a finite number",
    "censored_value": "the platform hides the exact value",
    "ambiguous_number": "the file mixes decimal commas and decimal points, so this could mean two numbers",
    "bad_number": "wanted a number, whole for counts",
    "out_of_range": "the number is too large to be real",
}


def _limits(values: pl.Series, unit: str) -> list[Fault]:
    """Refuse what parses but cannot be real."""
    faults = []
    if unit == "number":
        finite = values.is_finite().fill_null(True)
        if not finite.all():
            faults.append(Fault((~finite).to_numpy(), "not_finite", _WANTED["not_finite"]))
    limit = MAX_COUNT if unit in ("count", "number") else MAX_MICROS
    largest, smallest = values.max(), values.min()
    if isinstance(largest, int | float) and isinstance(smallest, int | float) and (largest > limit or smallest < -limit):
        beyond = ((values > limit) | (values < -limit)).fill_null(False).to_numpy()
        faults.append(Fault(beyond, "out_of_range", _WANTED["out_of_range"]))
    return faults
