"""Which rows of a new export say something that was not known before."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl


def changed_rows(incoming: pl.DataFrame, known: pl.DataFrame, *, key: Sequence[str], values: Sequence[str]) -> pl.DataFrame:
    """The rows of `incoming` whose values differ from the version of the same key that was known just before their `as_of`.

    `known` holds every stored version of the keys concerned (with `as_of` and `commit_seq`). Versions inside `incoming` are compared with
    each other too, in order of `as_of`. Row order is kept.

    >>> import polars as pl
    >>> old = pl.DataFrame({"k": ["a"], "v": [1], "as_of": [1], "commit_seq": [1]})
    >>> new = pl.DataFrame({"k": ["a", "a", "b"], "v": [1, 2, 5], "as_of": [2, 3, 2]})
    >>> changed_rows(new, old, key=["k"], values=["v"]).rows()
    [('a', 2, 3), ('b', 5, 2)]
    """
    if incoming.is_empty():
        return incoming
    columns = [*key, *values, "as_of"]
    marked = incoming.with_row_index("_row").select("_row", *columns, pl.lit(2**62).alias("commit_seq"))
    stored = known.select(pl.lit(None, pl.get_index_type()).alias("_row"), *columns, pl.col("commit_seq").cast(pl.Int64))
    every = pl.concat([stored, marked.with_columns(pl.col("commit_seq").cast(pl.Int64))], how="vertical_relaxed").sort(
        *key, "as_of", "commit_seq", "_row", nulls_last=False
    )
    first = pl.struct(key).ne_missing(pl.struct(key).shift(1))
    differs = pl.any_horizontal(pl.col(value).ne_missing(pl.col(value).shift(1)) for value in values)
    new = every.filter(first | differs)["_row"].drop_nulls().sort()
    return incoming[new.to_list()] if new.len() < incoming.height else incoming
