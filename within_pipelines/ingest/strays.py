"""Lines below a header that are no rows of data: totals, the header again, empty lines of separators."""

from __future__ import annotations

import re

import numpy as np
import polars as pl

from within_pipelines.ingest.faults import Faults
from within_pipelines.ingest.layout import Layout
from within_pipelines.ingest.parts import BLANK

_TOTAL = r"(?i)^\s*(grand )?(total|gesamt|summe|insgesamt)\s*(:.*|of \d+.*)?$"
_TOTAL_PATTERN = re.compile(_TOTAL)
_LONGEST_BLANK = 4
_WANTED = {
    "blank_row": "the line holds separators only",
    "header_row": "the header again, not a fact",
    "total_row": "a total of other rows, not a fact",
}


def is_total(first_cell: str) -> bool:
    """Whether a line that begins so sums other lines.

    >>> is_total("Total: Account"), is_total("Total Wines, spring")
    (True, False)
    """
    return _TOTAL_PATTERN.match(first_cell) is not None


def mark_strays(frame: pl.DataFrame, header: tuple[str, ...], layout: Layout, faults: Faults) -> None:
    """Mark totals, repeated headers and blank lines; they are counted and set aside like any other row that is no fact."""
    keys = sorted({at for part in layout.entities.values() for at in part.columns})
    day = layout.days.column if layout.days.column is not None else layout.days.start
    first = pl.col("0")
    # A quick look keeps the few lines that could be strays; the careful look is for those alone.
    named = (first.str.contains(_TOTAL) | (first == header[0].strip())).fill_null(False)
    short = pl.all_horizontal(_short(str(at)) for at in keys) if keys else first.is_null()
    found = frame.select((named | short).alias("stray")).get_column("stray").to_numpy().copy()
    if keys and found.any():
        # Ids of a few signs are short and not blank.
        blank = pl.all_horizontal(_blank(str(at)) for at in keys)
        found[found] = frame.filter(pl.Series(found)).select((named | blank).alias("stray")).get_column("stray").to_numpy()
    if not found.any():
        return
    titles = tuple(name.strip() for name in header)
    marked: dict[str, list[int]] = {reason: [] for reason in _WANTED}
    rows = np.flatnonzero(found)
    for row, cells in zip(rows.tolist(), frame[rows].iter_rows(), strict=True):
        reason = _kind(tuple((cell or "").strip() for cell in cells), titles, keys, day)
        if reason is not None:
            marked[reason].append(row)
    for reason, strays in marked.items():
        mask = np.zeros(frame.height, dtype=bool)
        mask[strays] = True
        faults.add(mask, reason, _WANTED[reason])


def _kind(cells: tuple[str, ...], titles: tuple[str, ...], keys: list[int], day: int | None) -> str | None:
    if not any(cells):
        return "blank_row"
    if cells == titles:
        return "header_row"
    if keys and all(cells[at] in BLANK for at in keys):
        return "total_row"
    dayless = day is None or cells[day] in BLANK or _TOTAL_PATTERN.match(cells[day]) is not None
    return "total_row" if dayless and _TOTAL_PATTERN.match(cells[0]) else None


def _blank(column: str) -> pl.Expr:
    return pl.col(column).is_null() | pl.col(column).str.strip_chars().is_in(sorted(BLANK))


def _short(column: str) -> pl.Expr:
    return pl.col(column).is_null() | (pl.col(column).str.len_bytes() <= _LONGEST_BLANK)
