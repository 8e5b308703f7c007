"""Frames and plots as Dagster metadata."""

from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    import polars as pl

_TYPES = {"Int": "int", "UInt": "int", "Float": "float", "Boolean": "bool"}


def _plain(value: Any) -> str | int | float | bool | None:
    if value is None or isinstance(value, str | int | bool):
        return value
    if isinstance(value, float):
        # The UI's table reads JSON, which has no NaN.
        return round(value, 6) if value == value else None
    return str(value)


def frame_table(frame: "pl.DataFrame", *, most: int = 50) -> dg.TableMetadataValue:
    """The first `most` rows of a frame as a table in the UI."""
    columns = [
        dg.TableColumn(name, next((kind for start, kind in _TYPES.items() if str(dtype).startswith(start)), "string"))
        for name, dtype in frame.schema.items()
    ]
    records = [dg.TableRecord({name: _plain(value) for name, value in row.items()}) for row in frame.head(most).to_dicts()]
    return dg.MetadataValue.table(records, schema=dg.TableSchema(columns=columns))


def png(content: bytes) -> dg.MarkdownMetadataValue:
    """A plot; the UI shows it behind "Show Markdown"."""
    import base64

    return dg.MetadataValue.md(f"![plot](data:image/png;base64,{base64.b64encode(content).decode()})")
