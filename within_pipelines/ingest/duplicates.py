"""Rows of one file that speak of the same thing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from within_pipelines.ingest.draft import Draft


def mark_duplicates(draft: Draft, key: Sequence[str], compared: Sequence[str]) -> None:
    """Of good rows with equal keys: the first stays when all say the same, none stays when they disagree.

    Which of two different rows is right, nobody can say; most often a segment column is missing that would tell them apart."""
    good = draft.faults.good
    varying = [name for name in key if name in draft.columns]
    if draft.height < 2:
        return
    table = pl.DataFrame([draft.columns[name] for name in dict.fromkeys((*varying, *compared)) if name in draft.columns])
    # Equal rows have equal hashes, so as many hashes as rows leave nothing to look for.
    if varying and table.select(varying).hash_rows(seed=1).n_unique() == draft.height:
        return
    values = [name for name in compared if name in draft.columns]
    rows = table.with_columns(pl.int_range(pl.len()).alias("row")).filter(pl.Series(good))
    groups = pl.struct(varying) if varying else pl.lit(0)
    repeated = rows.filter(pl.len().over(groups) > 1)
    if not repeated.height:
        return
    differs = pl.struct(values).n_unique().over(groups) > 1 if values else pl.lit(False)
    marked = repeated.select("row", differs.alias("conflict"), (pl.col("row") != pl.col("row").min().over(groups)).alias("later"))
    conflict, duplicate = np.zeros(draft.height, dtype=bool), np.zeros(draft.height, dtype=bool)
    conflict[marked.filter("conflict").get_column("row").to_numpy()] = True
    duplicate[marked.filter(~pl.col("conflict") & pl.col("later")).get_column("row").to_numpy()] = True
    draft.blame(conflict, "conflicting_rows", "another row has the same key and other values; perhaps an id or segment column is missing")
    draft.blame(duplicate, "duplicate_row", "an earlier row of the file says exactly the same")
