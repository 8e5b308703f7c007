"""What goes wrong with numbers that are known of an ad's past: noise, units, gaps, and a past that is old."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from within_pipelines.exceptions import SchemaError
from within_pipelines.robustness.feed import MISSING_RATE
from within_pipelines.robustness.perturbation import Expectation, Perturbation, Perturbed, in_place

# Numbers of two exports of the same past differ by about so much.
NOISE = 0.02
HUNDRED, MICROS = 100.0, 1e6


def history_faults(columns: Sequence[str], *, order: str, within: str, noise: float = NOISE) -> tuple[Perturbation, ...]:
    """Faults of the numeric history `columns` together, because one export brings them all.

    - history noise: each value times 1 + `noise` x a standard normal number, counts whole, clicks within impressions. Scores should hold.
    - history x100, history in micros: a rate in per cent or a count in another unit; a score, or an error.
    - history missing: a tenth of the rows has none. A score for each.
    - history stale: each row brings what was known at the previous row of the same `within` by `order`; the first of each brings nothing.

    Raises `SchemaError` when a column is missing or not numeric, at the time it is applied."""

    def checked(rows: pl.DataFrame) -> list[str]:
        lost = [name for name in (*columns, order, within) if name not in rows.columns]
        kinds = [name for name in columns if name in rows.columns and not rows.schema[name].is_numeric()]
        if lost or kinds:
            raise SchemaError(f"The history lacks {', '.join(lost) or 'nothing'}; not numeric: {', '.join(kinds) or 'none'}.")
        return list(columns)

    def noisy(rows: pl.DataFrame, rng: np.random.Generator) -> Perturbed:
        changed = {}
        for name in checked(rows):
            value = pl.col(name).cast(pl.Float64) * pl.Series(np.maximum(0, 1 + noise * rng.standard_normal(rows.height)))
            changed[name] = (value.round() if rows.schema[name].is_integer() else value).cast(rows.schema[name])
        told = rows.with_columns(**changed)
        pairs = [(name, name.replace("clicks", "impressions")) for name in columns if "clicks" in name]
        ordered = {name: pl.min_horizontal(name, shown).cast(rows.schema[name]) for name, shown in pairs if shown in columns}
        return in_place(told.with_columns(**ordered))

    def scaled(factor: float) -> Callable[[pl.DataFrame, np.random.Generator], Perturbed]:
        def apply(rows: pl.DataFrame, rng: np.random.Generator) -> Perturbed:
            return in_place(rows.with_columns((pl.col(name).cast(pl.Float64) * factor).alias(name) for name in checked(rows)))

        return apply

    def gone(rows: pl.DataFrame, rng: np.random.Generator) -> Perturbed:
        lost = np.zeros(rows.height, dtype=np.bool_)
        lost[rng.permutation(rows.height)[: max(1, round(MISSING_RATE * rows.height))]] = True
        flag = pl.Series(lost)
        return in_place(rows.with_columns(pl.when(flag).then(None).otherwise(pl.col(name)).alias(name) for name in checked(rows)))

    def stale(rows: pl.DataFrame, rng: np.random.Generator) -> Perturbed:
        return in_place(rows.with_columns(pl.col(name).shift(1).over(within, order_by=order) for name in checked(rows)))

    return (
        Perturbation("history noise", Expectation.STABLE, noisy),
        Perturbation("history x100", Expectation.ANSWERED_OR_REFUSED, scaled(HUNDRED)),
        Perturbation("history in micros", Expectation.ANSWERED_OR_REFUSED, scaled(MICROS)),
        Perturbation("history missing", Expectation.ANSWERED, gone),
        Perturbation("history stale", Expectation.ANSWERED, stale),
    )
