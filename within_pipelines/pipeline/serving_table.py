"""Who serves each model, since when and why; who answers beside, and how the next version comes to serve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from within_pipelines.pipeline.release_policy import release_rules
from within_pipelines.pipeline.training import MODELS
from within_pipelines.pipeline.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl


def serving_table(ws: Workspace) -> pl.DataFrame:
    """One row a model: version of each alias (null for none), moment, author and reason of the champion's last move, and the release rule.

    Raises `SchemaError` when HOME/release.yaml cannot be understood."""
    import polars as pl

    rules, rows = release_rules(ws), []
    for model in MODELS:
        aliases = {alias: ws.registry.alias(model, alias) for alias in ("champion", "challenger", "shadow", "canary")}
        history = ws.registry.alias_history(model).filter(alias="champion")
        last: dict[str, Any] = history.row(-1, named=True) if history.height else {}
        row: dict[str, Any] = {"model": model}
        row |= {alias: None if version is None else version.version for alias, version in aliases.items()}
        row |= {name: last.get(name) for name in ("moved_at", "who", "why")}
        rows.append(row | {"next_version": rules[model].through})
    numbers = dict.fromkeys(("champion", "challenger", "shadow", "canary"), pl.Int64)
    schema: dict[str, Any] = {
        "model": pl.String, **numbers, "moved_at": pl.Datetime("us", "UTC"), "who": pl.String, "why": pl.String, "next_version": pl.String,
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema)
