"""Texts are counted the same whether all of them are missing or only some."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from within_pipelines.features.remembered import FEW
from within_pipelines.features.text import TEXT_FEATURES, text_counts, text_statistics


@pytest.mark.parametrize("rows", [1, 3])
def test_a_column_without_a_text_counts_like_missing_texts_beside_others(rows: int) -> None:
    beside = text_statistics(pl.Series([None] * rows + ["Why mothers love 3 tricks?"], dtype=pl.String), "x").head(rows)
    alone = text_statistics(pl.Series([None] * rows, dtype=pl.String), "x")
    assert_frame_equal(alone, beside)
    assert_frame_equal(text_statistics(pl.Series([" "] * rows), "x"), alone)
    assert alone.columns == [f"x_{name}" for name in TEXT_FEATURES]


def test_no_texts_make_an_empty_table() -> None:
    empty = text_statistics(pl.Series([], dtype=pl.String), "x")
    assert empty.shape == (0, len(TEXT_FEATURES))
    assert set(empty.dtypes) == {pl.Float64}


def test_many_texts_are_counted_as_each_by_itself() -> None:
    texts = ["Why 3 mothers love this?", None, "  ", "SALE – 50 % off!", "You won't believe it…", "Ünïted"]
    alone = np.concatenate([text_counts([text]) for text in texts])
    many = text_counts(texts * 100)
    assert len(many) > FEW
    np.testing.assert_array_equal(many, np.tile(alone, (100, 1)))
    np.testing.assert_array_equal(text_counts(texts), alone)
