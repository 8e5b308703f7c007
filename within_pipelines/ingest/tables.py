"""Give parsed rows the exact Arrow schemas of the lake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl
import pyarrow as pa

from within_pipelines.ingest.faults import BadRow
from within_pipelines.lake import ASSUMED_LAG
from within_pipelines.lake.schema import CREATIVE_COLUMNS, FACT_COLUMNS, INGEST_LOG_COLUMNS, QUARANTINE_COLUMNS

# An ad's text without any hint of its age counts as always known: an origin of the past must not be blind to it.
ALWAYS = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
# A 32-bit string array holds 2 GB; a slice of this many rows stays far below.
_SLICE = 1_000_000


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where rows come from; `as_of` is None when the file does not say when it was made."""

    as_of: datetime | None
    source: str
    file_sha256: str


def fact_table(frame: pl.DataFrame, constants: Mapping[str, str], origin: Provenance) -> pa.Table:
    """Facts in the lake's schema; without `as_of` each row is known `ASSUMED_LAG` after the start of its day."""
    return _arrow(frame, FACT_COLUMNS, constants, origin, "event_date")


def creative_table(frame: pl.DataFrame, constants: Mapping[str, str], origin: Provenance) -> pa.Table:
    """Creatives in the lake's schema; without `as_of` an ad is known from its first day, or always when the file has no days."""
    if origin.as_of is None and "first_day" not in frame.columns:
        origin = Provenance(ALWAYS, origin.source, origin.file_sha256)
    return _arrow(frame, CREATIVE_COLUMNS, constants, origin, "first_day")


def _arrow(frame: pl.DataFrame, schema: pa.Schema, constants: Mapping[str, str], origin: Provenance, day: str) -> pa.Table:
    same = {**constants, "as_of_source": origin.source, "file_sha256": origin.file_sha256}
    slices = [_slice(part, schema, same, origin.as_of, day) for part in frame.iter_slices(_SLICE)]
    return pa.concat_tables(slices) if slices else schema.empty_table()


def _slice(frame: pl.DataFrame, schema: pa.Schema, constants: Mapping[str, str], as_of: datetime | None, day: str) -> pa.Table:
    columns = []
    for field in schema:
        if field.name in constants:
            columns.append(pa.repeat(pa.scalar(constants[field.name], field.type), frame.height))
        elif field.name == "as_of" and as_of is not None:
            columns.append(pa.repeat(pa.scalar(as_of, field.type), frame.height))
        elif field.name == "as_of":
            known = frame.get_column(day).cast(pl.Datetime("us", "UTC")) + ASSUMED_LAG
            columns.append(known.to_arrow().cast(field.type))
        elif field.name in frame.columns:
            columns.append(frame.get_column(field.name).to_arrow().cast(field.type))
        else:
            columns.append(pa.nulls(frame.height, field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def quarantine_table(rows: Sequence[BadRow], *, file_sha256: str, file_name: str) -> pa.Table:
    """Rows set aside: (line, reason, detail, row as found)."""
    if not rows:
        return QUARANTINE_COLUMNS.empty_table()
    lines, reasons, details, raws = zip(*rows, strict=True)
    n = len(rows)
    return pa.Table.from_arrays(
        [
            pa.array([file_sha256] * n),
            pa.array([file_name] * n),
            pa.array(lines, pa.int64()),
            pa.array(reasons),
            pa.array(details),
            pa.array(raws),
        ],
        schema=QUARANTINE_COLUMNS,
    )


def log_table(rows: Sequence[Mapping[str, object]]) -> pa.Table:
    """Rows of the ingest log."""
    return pa.Table.from_pylist([dict(row) for row in rows], schema=INGEST_LOG_COLUMNS)
