"""What is remembered is what was computed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from within_pipelines.features import remembered
from within_pipelines.features.remembered import FEW, Floats, Remembered


def test_each_key_is_computed_once_and_rows_keep_their_order() -> None:
    asked: list[int] = []

    def squares(keys: Sequence[int]) -> Floats:
        asked.extend(keys)
        return np.array([[key, key**2] for key in keys], dtype=np.float64)

    rows = Remembered(squares, width=2)
    assert rows.rows([3, 1, 3]).tolist() == [[3, 9], [1, 1], [3, 9]]
    assert rows.rows([1, 2]).tolist() == [[1, 1], [2, 4]]
    assert asked == [3, 1, 2]
    assert rows.rows([]).shape == (0, 2)
    many = list(range(FEW + 1))
    assert rows.rows(many)[:, 1].tolist() == [key**2 for key in many]


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "_MOST", 4)
    rows = Remembered(lambda keys: np.array([[float(key)] for key in keys]), width=1)
    for start in range(10):
        assert rows.rows([start, start + 1, start + 2]).ravel().tolist() == [start, start + 1, start + 2]
        assert len(rows._known) <= 4
