"""What an ad says: its texts, format, audience and names."""

from __future__ import annotations

import polars as pl

from within_pipelines.ingest.draft import Draft
from within_pipelines.ingest.layout import Layout
from within_pipelines.ingest.parts import BLANK
from within_pipelines.lake.schema import CREATIVE_KEY


def read_texts(draft: Draft, layout: Layout) -> list[str]:
    """Fill the creative columns; returns their names. Several headlines (responsive search ads) are joined by " | "."""
    expressions = []
    for name, at in (*((name, (at,)) for name, at in layout.names.items()), *layout.creative.items()):
        parts = []
        for column in at:
            text = pl.col(str(column)).str.strip_chars()
            parts.append(pl.when(~text.is_in(BLANK)).then(text))
        joined = parts[0] if len(parts) == 1 else pl.concat_str(parts, separator=" | ", ignore_nulls=True)
        joined = pl.when(joined != "").then(joined)
        expressions.append((joined.str.to_lowercase() if name == "format" else joined).alias(name))
    texts = draft.frame.select(expressions)
    draft.columns |= {name: texts.get_column(name) for name in texts.columns}
    return texts.columns


def creative_rows(rows: pl.DataFrame, texts: list[str], *, dated: bool) -> pl.DataFrame:
    """One row an ad. With daily rows: the texts of its newest day, and `first_day`, the first day on which the file has it."""
    ids = [name for name in (*CREATIVE_KEY, "campaign_id", "ad_group_id") if name in rows.columns]
    if not dated:
        return rows.select([*ids, *texts])
    key = [name for name in CREATIVE_KEY if name in rows.columns]
    days = rows.select([*ids, *texts, "event_date"]).sort("event_date", maintain_order=True)
    if not key:
        return days.tail(1).with_columns(first_day=days.get_column("event_date").min())
    first = pl.col("event_date").min().over(key).alias("first_day")
    return days.with_columns(first).unique(key, keep="last", maintain_order=True).drop("event_date")
