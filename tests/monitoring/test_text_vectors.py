"""Texts as numbers: the same words give the same row in any process, other words another, and the words that moved are named."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.monitoring import hashed_words, moved_words


def test_rows_have_length_one_and_depend_on_words_alone() -> None:
    rows = hashed_words(["Warm coats!", "warm  COATS", "coats, warm", "", "fine shoes"])
    assert np.linalg.norm(rows, axis=1) == pytest.approx([1, 1, 1, 0, 1])
    assert np.allclose(rows[0], rows[1])
    assert not np.allclose(rows[0], rows[2])  # pairs of neighbours know the order
    assert abs(rows[0] @ rows[4]) < 0.5 < rows[0] @ rows[2]


def test_a_hash_is_the_same_in_every_process() -> None:
    number = zlib.crc32(b"coats")
    row = hashed_words(["coats"], width=16)[0]
    assert np.flatnonzero(row).tolist() == [(number >> 1) % 16]
    assert row.sum() == (1.0 if number & 1 else -1.0)
    with pytest.raises(SampleError, match="width is 1"):
        hashed_words(["coats"], width=1)


def test_words_are_counted_once_a_text_and_sorted_by_change() -> None:
    told = moved_words(["sale sale now", "hats", "hats", "hats"], ["sale", "sale", "sale hats", "hats"])
    assert [(w.word, w.before, w.now) for w in told] == [("sale", 0.25, 0.75), ("hats", 0.75, 0.5), ("now", 0.25, 0.0)]
    assert len(moved_words(["a b c d"], ["e f g h"], most=3)) == 3
    with pytest.raises(SampleError, match="0 reference and 1 current"):
        moved_words([], ["a"])
