"""What one ingest hands to the lake, and what the lake answers."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from within_pipelines.exceptions import SchemaError
from within_pipelines.lake.schema import CREATIVE_COLUMNS, FACT_COLUMNS, INGEST_LOG_COLUMNS, QUARANTINE_COLUMNS


@dataclass(frozen=True, slots=True)
class IngestBatch:
    """The rows of one or more files, to be committed together.

    `log` has one row per file; it counts every good row as accepted, and the lake moves those that it already knew to unchanged.
    Raises `SchemaError` when a table does not have its declared columns."""

    facts: pa.Table
    creatives: pa.Table
    quarantine: pa.Table
    log: pa.Table

    def __post_init__(self) -> None:
        for name, schema in (
            ("facts", FACT_COLUMNS),
            ("creatives", CREATIVE_COLUMNS),
            ("quarantine", QUARANTINE_COLUMNS),
            ("log", INGEST_LOG_COLUMNS),
        ):
            table: pa.Table = getattr(self, name)
            missing = [column for column in schema.names if column not in table.column_names]
            if missing:
                raise SchemaError(f"The table {name} of an ingest batch lacks {', '.join(missing)}; give all of {schema.names}.")
            object.__setattr__(self, name, table.select(schema.names).cast(schema))


@dataclass(frozen=True, slots=True)
class Commit:
    """One committed batch: `rows_in == rows_accepted + rows_unchanged + rows_quarantined`."""

    commit_seq: int
    files: int
    rows_in: int
    rows_accepted: int
    rows_unchanged: int
    rows_quarantined: int
