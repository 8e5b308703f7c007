"""Clean the cells that identify things: ids, names, codes."""

from __future__ import annotations

import polars as pl

from within_pipelines.ingest.layout import Part

# Cells that say nothing.
BLANK = ("", "--", "-")


def strip_text(column: str) -> pl.Expr:
    """A cell without surrounding space, "" when it says nothing."""
    text = pl.col(column).fill_null("").str.strip_chars()
    return pl.when(text.is_in(BLANK)).then(pl.lit("")).otherwise(text)


def part_text(part: Part) -> pl.Expr:
    """The identifier of a part, "" where it is blank.

    Spreadsheet guards (`="12"`) and the `.0` that a float column leaves behind go; several columns are joined by "/"; an id made from a
    name is marked `name:`, so that it can never be taken for the platform's own id."""
    if part.row_number:
        return pl.int_range(1, pl.len() + 1).cast(pl.String)
    cleaned = []
    for column in part.columns:
        text = strip_text(str(column))
        if not part.derived_from_name:
            text = text.str.replace(r'^="(.*)"$', "${1}").str.replace(r"^(\d{6,})\.0$", "${1}")
        cleaned.append(text)
    if len(cleaned) == 1:
        joined = cleaned[0]
    else:
        joined = pl.concat_str(cleaned, separator="/")
        joined = pl.when(joined.str.strip_chars("/") == "").then(pl.lit("")).otherwise(joined)
    if part.derived_from_name:
        joined = pl.when(joined == "").then(pl.lit("")).otherwise(pl.lit("name:") + joined)
    return joined


def only_value(frame: pl.DataFrame, part: Part) -> str | None:
    """The part's text when it is the same in every row, None when it varies."""
    if part.constant is not None:
        return part.constant
    if part.row_number or not frame.height or any(frame.get_column(str(column)).n_unique() != 1 for column in part.columns):
        return None
    return str(frame.head(1).select(part_text(part)).item())
