"""What an ingest did, on one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from within_pipelines.reporting.terminal import print_frame, print_table

if TYPE_CHECKING:
    from rich.console import Console

    from within_pipelines.ingest import IngestReport

_FILES_SHOWN = 10


def print_ingest(console: Console, report: IngestReport, quarantine: pl.DataFrame) -> None:
    """Print counts, why rows were set aside (`quarantine` holds those of this ingest), and files that were refused or left for later."""
    names = ("files", "ingested", "refused", "skipped_known", "rows_in", "rows_accepted", "rows_unchanged", "rows_quarantined")
    print_table(console, [name.replace("_", " ") for name in names], [[f"{getattr(report, name):,}" for name in names]])
    if quarantine.height:
        reasons = quarantine.group_by("reason", maintain_order=True).agg(
            pl.len().alias("rows"), pl.col("detail").first().alias("for example"), pl.col("file_name").first().alias("in")
        )
        console.print("\nset aside", style="bold")
        print_frame(console, reasons.sort("rows", "reason", descending=[True, False]))
    left = [(item.file_name, "refused", item.reason) for item in report.refusals]
    left += [(item.file_name, "left for later", item.reason) for item in report.pending]
    if left:
        console.print("\nfiles that were not read", style="bold")
        print_table(console, ("file", "state", "why"), left[:_FILES_SHOWN])
    if len(left) > _FILES_SHOWN:
        console.print(f"and {len(left) - _FILES_SHOWN:,} more")
