"""One Delta table of the lake: create on first use, append, read with a filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

if TYPE_CHECKING:
    from deltalake import DeltaTable


class StoredTable:
    """A Delta table at `uri` with a fixed schema and partitioning."""

    def __init__(self, uri: str, schema: pa.Schema, partition_by: Sequence[str] = ()) -> None:
        self.uri = uri
        self.schema = schema
        self.partition_by = list(partition_by)

    def open(self) -> DeltaTable | None:
        """The table, or None before its first row."""
        from deltalake import DeltaTable

        return DeltaTable(self.uri) if DeltaTable.is_deltatable(self.uri) else None

    def append(self, rows: pa.Table) -> None:
        """Append rows in one Delta commit; conflicting writers are retried by Delta."""
        from deltalake import CommitProperties, write_deltalake

        write_deltalake(
            self.uri,
            rows.select(self.schema.names).cast(self.schema),
            mode="append",
            partition_by=self.partition_by or None,
            commit_properties=CommitProperties(max_commit_retries=20),
        )

    def replace(self, rows: pa.Table) -> None:
        """Replace the whole content in one Delta commit."""
        from deltalake import write_deltalake

        write_deltalake(self.uri, rows.cast(self.schema), mode="overwrite", partition_by=self.partition_by or None)

    def remove_after(self, commit_seq: int) -> int:
        """Remove rows that a killed writer left with a sequence number that was never committed; returns how many went."""
        table = self.open()
        if table is None:
            return 0
        actions = pl.DataFrame(table.get_add_actions(flatten=True))
        column = "max.commit_seq"
        if column in actions.columns and actions[column].null_count() == 0 and (actions[column].max() or 0) <= commit_seq:  # type: ignore[operator]
            return 0
        return int(table.delete(f"commit_seq > {commit_seq:d}").get("num_deleted_rows") or 0)

    def read(self, condition: Any = None, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Rows that fulfil a `pyarrow.dataset` condition; an empty frame of the right schema before the first row."""
        names = list(columns) if columns is not None else self.schema.names
        table = self.open()
        if table is None:
            return empty_frame(self.schema).select(names)
        found = table.to_pyarrow_dataset().to_table(columns=names, filter=condition)
        frame = pl.DataFrame(found.cast(pa.schema([self.schema.field(name) for name in names])))
        return frame

    def newest(self, column: str) -> Any:
        """The largest value of a column, from what Delta knows of each file, else from its rows; None before the first."""
        table = self.open()
        if table is None:
            return None
        files = pl.DataFrame(table.get_add_actions(flatten=True))
        largest, nulls = f"max.{column}", f"null_count.{column}"
        if not {largest, nulls, "num_records"} <= set(files.columns):
            return self.read(columns=[column])[column].max()
        # Nothing is known of a file either when it holds only nulls or when no statistics were written.
        if files.filter(pl.col(largest).is_null() & pl.col(nulls).ne_missing(pl.col("num_records"))).height:
            return self.read(columns=[column])[column].max()
        return files[largest].max()


def empty_frame(schema: pa.Schema) -> pl.DataFrame:
    """A frame without rows that has the types of `schema`."""
    return pl.DataFrame(schema.empty_table())
