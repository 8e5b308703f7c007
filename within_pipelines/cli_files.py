"""What people hand to a command besides words: tables in files, and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from within_pipelines.exceptions import SchemaError, SettingsError

if TYPE_CHECKING:
    import polars as pl


def read_table(path: Path) -> pl.DataFrame:
    """A CSV or Parquet file; day columns as days."""
    import polars as pl

    if not path.is_file():
        raise SchemaError(f"{path} does not exist; give a CSV or Parquet file.")
    try:
        frame = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, try_parse_dates=True)
    except pl.exceptions.PolarsError as error:
        raise SchemaError(f"{path} cannot be read as a table: {error}") from error
    days = [name for name in ("day", "known_on") if name in frame.columns]
    texts = [name for name in ("unit", "arm") if name in frame.columns]
    try:
        return frame.with_columns(pl.col(days).cast(pl.Date), pl.col(texts).cast(pl.String))
    except pl.exceptions.PolarsError as error:
        raise SchemaError(f"{path} has days that cannot be read ({str(error).splitlines()[0]}); write them as 2026-05-31.") from error


def number_of(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SettingsError(f"{what}: {text!r} is no number.") from None
