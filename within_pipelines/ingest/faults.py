"""Collect what is wrong with rows: the first fault of a row names the reason under which it is quarantined."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from within_pipelines.ingest.decode import Mask, Rows

_SHOWN = 80


class BadRow(NamedTuple):
    """A row set aside."""

    line: int
    reason: str
    detail: str
    raw: str


class Faults:
    """At most one reason a row."""

    def __init__(self, height: int) -> None:
        self._which = np.full(height, -1, dtype=np.int16)
        self._kinds: list[tuple[str, str | None, str, str]] = []
        self.any = False

    def add(self, rows: Mask, reason: str, wanted: str, *, column: str | None = None, title: str = "") -> None:
        """Mark `rows` (bool) unless they are marked already; `column` is the frame's column whose cell the detail shows."""
        fresh = rows & (self._which < 0)
        if not fresh.any():
            return
        self.any = True
        self._kinds.append((reason, column, title, wanted))
        self._which[fresh] = len(self._kinds) - 1

    @property
    def good(self) -> Mask:
        """Rows without a fault."""
        return self._which < 0

    def described(self, frame: pl.DataFrame, lines: npt.NDArray[np.int64], raw: Callable[[Rows], list[str]]) -> list[BadRow]:
        """Every bad row, in the file's order."""
        rows = np.flatnonzero(self._which >= 0)
        if not len(rows):
            return []
        bad = frame[rows]
        texts = raw(rows)
        cells = {column: bad.get_column(column).to_list() for _, column, _, _ in self._kinds if column is not None}
        result = []
        for position, (row, text) in enumerate(zip(rows.tolist(), texts, strict=True)):
            reason, column, title, wanted = self._kinds[self._which[row]]
            if column is None:
                detail = wanted
            else:
                cell = cells[column][position] or ""
                shown = cell if len(cell) <= _SHOWN else cell[:_SHOWN] + "..."
                detail = f"{title} is {shown!r}: {wanted}"
            result.append(BadRow(int(lines[row]), reason, detail, text))
        return result
