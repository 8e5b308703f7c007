"""Cases that tests of the golden set share."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl

from within_pipelines.validation import GoldenCase, Kind, Part

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
ROWS = pl.DataFrame(
    {
        "account_id": ["a", "b"],
        "x": [1.0, 2.0],
        "n": [1, None],
        "day": [date(2026, 6, 1), date(2026, 6, 2)],
        "as_of": pl.Series([NOW, NOW], dtype=pl.Datetime("us", "UTC")),
        "text": ['with "quotes", commas', None],
    }
)


def case(name: str = "one", kind: Kind = Kind.ORDER, **changes: object) -> GoldenCase:
    options: dict[str, object] = {"inputs": (ROWS,), "points": ((0, 1), (0, 0)), "part": Part.HARD, "slice": "s"} | changes
    return GoldenCase(name, "ad_score", kind=kind, **options)  # type: ignore[arg-type]
