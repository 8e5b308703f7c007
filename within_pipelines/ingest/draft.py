"""The columns of a file while they are being understood."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from within_pipelines.ingest.decode import Mask
from within_pipelines.ingest.faults import Faults


@dataclass(slots=True)
class Draft:
    """Parsed columns; one that holds a single value everywhere is kept as a constant, because most do."""

    frame: pl.DataFrame  # the cells as found
    header: tuple[str, ...]
    faults: Faults
    columns: dict[str, pl.Series] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)

    @property
    def height(self) -> int:
        """Rows."""
        return self.frame.height

    def blame(self, rows: Mask, reason: str, wanted: str, at: int | None = None) -> None:
        """Set `rows` aside; `at` is the column whose cell is at fault."""
        if at is None:
            self.faults.add(rows, reason, wanted)
        else:
            self.faults.add(rows, reason, wanted, column=str(at), title=self.header[at].strip())

    def values(self, name: str) -> list[str]:
        """The distinct values of a text column."""
        if name in self.constants:
            return [self.constants[name]]
        return self.columns[name].unique().sort().to_list()
