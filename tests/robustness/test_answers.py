"""Laws of asking a model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

from within_pipelines.robustness import ask

ROWS = pl.DataFrame({"x": [1.0, 2.0, 3.0]})


@pytest.mark.parametrize(
    "answer", [[1, 2, 3], (1.0, 2.0, 3.0), np.array([1, 2, 3]), pl.Series([1, 2, 3]), pd.Series([1, 2, 3]), pl.Series([1.0, 2.0, 3.0])]
)
def test_whatever_holds_one_number_a_row_is_an_answer(answer) -> None:
    answers = ask(lambda rows: answer, ROWS, expected=3)
    assert answers.usable
    assert answers.values.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "answer", [[], 1.0, [[1.0], [2.0], [3.0]], [1.0, 2.0], [1.0, None, 2.0], pl.Series([1.0, None, 2.0]), ["a"] * 3, {}]
)
def test_anything_else_is_a_fault(answer) -> None:
    answers = ask(lambda rows: answer, ROWS, expected=3)
    assert not answers.usable
    assert len(answers.values) == 0
    assert answers.fault


def test_an_interrupt_is_no_answer_of_the_model() -> None:
    def interrupted(rows: pl.DataFrame) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(interrupted, ROWS)
