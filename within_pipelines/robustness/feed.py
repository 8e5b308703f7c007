"""What a feed gets wrong: order, repetition, missing fields, units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from within_pipelines.exceptions import SchemaError
from within_pipelines.robustness.perturbation import Expectation, Perturbation, Perturbed, in_place

MISSING_RATE = 0.1


def _need(rows: pl.DataFrame, column: str) -> None:
    if column not in rows.columns:
        raise SchemaError(f"There is no column {column!r} to perturb; the table has {', '.join(rows.columns)}.")


def shuffled_rows() -> Perturbation:
    """The same rows in another order: not one score may move."""

    def apply(rows: pl.DataFrame, rng: np.random.Generator) -> Perturbed:
        order = rng.permutation(len(rows))
        return Perturbed(rows[order], order)

    return Perturbation("row order", Expectation.UNCHANGED, apply)


def duplicated_rows() -> Perturbation:
    """Every third row or so twice, at the end: no score may move, and both copies get the same."""

    def apply(rows: pl.DataFrame, rng: np.random.Generator) -> Perturbed:
        again = np.sort(rng.choice(len(rows), size=max(1, len(rows) // 3), replace=False)) if len(rows) else np.empty(0, dtype=np.int64)
        source = np.concatenate([np.arange(len(rows)), again])
        return Perturbed(rows[source], source)

    return Perturbation("duplicated rows", Expectation.UNCHANGED, apply)


def shuffled_columns() -> Perturbation:
    """The same columns in another order, as an export whose layout was rearranged: names tell what they are, so no score may move."""

    def apply(rows: pl.DataFrame, rng: np.random.Generator) -> Perturbed:
        order = [rows.columns[i] for i in rng.permutation(rows.width)]
        return in_place(rows.select(order if order != rows.columns else order[::-1]))

    return Perturbation("column order", Expectation.UNCHANGED, apply)


def missing_column(column: str) -> Perturbation:
    """The feed has dropped the column. The model answers without it, or refuses."""

    def apply(rows: pl.DataFrame, rng: np.random.Generator) -> Perturbed:
        _need(rows, column)
        return in_place(rows.drop(column))

    return Perturbation(f"{column} dropped", Expectation.ANSWERED_OR_REFUSED, apply)


def missing_values(column: str, *, rate: float = MISSING_RATE) -> Perturbation:
    """Some values of the column are null, at least one. Every row still gets a score."""

    def apply(rows: pl.DataFrame, rng: np.random.Generator) -> Perturbed:
        _need(rows, column)
        gone = np.zeros(len(rows), dtype=np.bool_)
        gone[rng.permutation(len(rows))[: max(1, round(rate * len(rows)))]] = True
        blanked = pl.when(pl.Series(gone)).then(None).otherwise(pl.col(column)).alias(column)
        return in_place(rows.with_columns(blanked))

    return Perturbation(f"{column} partly missing", Expectation.ANSWERED, apply)


def scaled_unit(column: str, *, factor: float = 100.0) -> Perturbation:
    """The column arrives in another unit (cents for euros, micros with `factor=1e6`). Scores may move, answers must come."""

    def apply(rows: pl.DataFrame, rng: np.random.Generator) -> Perturbed:
        _need(rows, column)
        kind = rows.schema[column]
        if not kind.is_numeric():
            raise SchemaError(f"Column {column!r} is {kind}, not numeric; only a number has a unit.")
        return in_place(rows.with_columns((pl.col(column).cast(pl.Float64) * factor).cast(kind)))

    return Perturbation(f"{column} x{factor:g}", Expectation.ANSWERED, apply)


def feed_faults(columns: Sequence[str] = (), *, units: Sequence[str] = ()) -> tuple[Perturbation, ...]:
    """Order of rows and columns, repetition, each of `columns` dropped and partly missing, each of `units` times 100."""
    gaps = [make(column) for column in columns for make in (missing_column, missing_values)]
    return (shuffled_rows(), shuffled_columns(), duplicated_rows(), *gaps, *(scaled_unit(column) for column in units))
