"""Accept pandas or polars at the door, work in polars behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.exceptions import SampleError, SchemaError


def as_polars(data: Any) -> pl.DataFrame:
    """A polars frame from a polars or pandas frame; NaN counts as missing, as it does in pandas.

    Raises `SchemaError` for anything else, for repeated column names and for a column that mixes times with and without a time zone."""
    if isinstance(data, pl.LazyFrame):
        data = data.collect()
    if isinstance(data, pl.DataFrame):
        # NaN is greater than every number in polars, so a missing volume would pass as a large one.
        floats = [name for name, kind in data.schema.items() if kind in (pl.Float32, pl.Float64) and data[name].null_count() < data.height]
        wrong = [name for name in floats if data[name].is_nan().any()]
        return data.with_columns(pl.col(wrong).fill_nan(None)) if wrong else data
    if type(data).__module__.startswith("pandas") and hasattr(data, "columns"):
        names = [str(name) for name in data.columns]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise SchemaError(f"The columns {', '.join(repeated)} occur more than once; rename them.")
        try:
            frame = pl.DataFrame(pl.from_pandas(data.reset_index(drop=True)))
        except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
            _refuse_mixed_zones(data, names)
            mixed = [str(name) for name in data.columns if data[name].dtype == object and data[name].dropna().map(type).nunique() > 1]
            raise SchemaError(f"The columns {', '.join(mixed) or 'of this table'} mix kinds of values; give one kind each.") from error
        _refuse_mixed_zones(data, [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime)])
        # pandas keeps a column without any value as objects, which is no text.
        texts = [name for name, kind in frame.schema.items() if kind == pl.String] if frame.height else []
        empty = [name for name in texts if frame[name].null_count() == frame.height]
        return frame.with_columns(pl.lit(None).alias(name) for name in empty) if empty else frame
    raise SchemaError(f"A {type(data).__name__} is no table; give a pandas or polars DataFrame.")


def _refuse_mixed_zones(data: Any, names: Sequence[str]) -> None:
    """Raise `SchemaError` for times of which some have a time zone: taken for UTC the others could move to another day."""
    for name in data.columns:
        if str(name) in names and data[name].dtype == object:
            kinds = {getattr(value, "tzinfo", None) is not None for value in data[name].dropna() if hasattr(value, "tzinfo")}
            if len(kinds) > 1:
                raise SchemaError(f"The column {name} mixes times with and without a time zone; convert all of them to UTC.")


def as_vector(values: Any, *, rows: int, what: str) -> NDArray[np.float64]:
    """Finite numbers, one per row; values and rows are matched by position, whatever a pandas index says.

    Raises `SampleError` with the count of what is missing or not finite."""
    try:
        vector = np.asarray(values.to_numpy() if hasattr(values, "to_numpy") else values, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise SampleError(f"{what} holds values that are no numbers: {error}.") from error
    if vector.size != rows:
        raise SampleError(f"{what} holds {vector.size} values for {rows} rows; give one value per row.")
    bad = int((~np.isfinite(vector)).sum())
    if bad:
        raise SampleError(f"{what} holds {bad} of {rows} values that are missing or not finite; drop those rows first.")
    return vector


def require(frame: pl.DataFrame, columns: Sequence[str], *, why: str) -> None:
    """Raise `SchemaError` when a column is missing."""
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise SchemaError(f"The table lacks {', '.join(missing)}; {why}")


def numbers(frame: pl.DataFrame, name: str) -> pl.Series:
    """A column as Float64; text that says a number counts as it.

    Raises `SampleError` for a value that is no number, naming it, and `SchemaError` for a column of another kind (days, lists)."""
    column = frame[name]
    if column.dtype == pl.Float64:
        return column
    if not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null, pl.String, pl.Categorical)):
        raise SchemaError(f"The column {name} holds {column.dtype}; give numbers.")
    if not column.dtype.is_numeric():
        # Text behind numbered categories has to be read as text first.
        column = column.cast(pl.String) if column.dtype == pl.Categorical else column
        told = column.cast(pl.Float64, strict=False)
        wrong = frame[name].filter(told.is_null() & column.is_not_null())
        if wrong.len():
            raise SampleError(
                f"The column {name} holds {wrong.len()} of {frame.height} values that are no numbers, such as {str(wrong[0])!r}; "
                "correct them, or leave them empty where nothing is known."
            )
        # "nan" and "inf" are numbers to a reader of text, and nothing that a column of numbers should say in words.
        return told.fill_nan(None)
    return column.cast(pl.Float64)


def refuse_nested(frame: pl.DataFrame, columns: Sequence[str]) -> None:
    """Raise `SchemaError` where one of the columns holds lists or structs, which are no text."""
    for name in columns:
        kind = frame.schema.get(name)
        if kind is not None and kind.is_nested():
            raise SchemaError(f"The column {name} holds {kind}; give text.")


def names(frame: pl.DataFrame, name: str) -> pl.Series:
    """A column of names as text, "" where there is none; numbers count as their digits.

    Raises `SchemaError` for a column of another kind (moments, lists)."""
    kind = frame.schema[name]
    if not (kind in (pl.String, pl.Categorical, pl.Enum, pl.Null, pl.Boolean, pl.Date) or kind.is_numeric()):
        raise SchemaError(f"The column {name} holds {kind}; give text.")
    return frame[name].cast(pl.String).fill_null("")


def matrix(frame: pl.DataFrame, columns: Sequence[str]) -> NDArray[np.float64]:
    """Numeric columns as a row-major float matrix; absent columns, nulls and infinities become NaN.

    Raises `SampleError` for a value that is no number, `SchemaError` for a column that cannot hold any."""
    schema = frame.schema
    if all(schema.get(name) == pl.Float64 for name in columns):
        values = np.array(frame.select(columns).to_numpy(), dtype=np.float64, order="C")
        values[~np.isfinite(values)] = np.nan
        return values
    present = [numbers(frame, name) if name in schema else pl.Series(name, [None], dtype=pl.Float64).new_from_index(0, frame.height)
               for name in columns]  # fmt: skip
    values = np.ascontiguousarray(pl.DataFrame(present).to_numpy(), dtype=np.float64).copy()
    values[~np.isfinite(values)] = np.nan
    return values
