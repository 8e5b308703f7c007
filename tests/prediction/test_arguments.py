"""Arguments of another kind than wanted are refused in words, the same in every predictor."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from within_pipelines.exceptions import SettingsError
from within_pipelines.prediction import AccountHealthPredictor, AdScorePredictor
from within_pipelines.prediction.arguments import check_fit, is_number, is_whole


def test_numbers_of_python_and_numpy_are_numbers_and_nothing_else_is() -> None:
    for whole in (0, -3, np.int64(7), np.uint8(1)):
        assert is_whole(whole)
        assert is_number(whole)
    for number in (0.5, 7.0, float("nan"), np.float32(0.5), np.float64(7)):
        assert is_number(number)
        assert not is_whole(number)
    for neither in ("7", None, True, np.bool_(True), [7], np.array([7]), 7j):
        assert not is_number(neither)
        assert not is_whole(neither)


@pytest.mark.parametrize("predictor", [AdScorePredictor, AccountHealthPredictor])
@pytest.mark.parametrize("seed", ["a", None, 7.5, -1, True])
def test_a_seed_that_is_no_whole_number_is_refused_before_the_table_is_read(predictor: type, seed: object) -> None:
    with pytest.raises(SettingsError, match=f"seed={seed!r} starts no randomness; give a whole number of at least 0"):
        predictor().fit(pl.DataFrame(), seed=seed)


@pytest.mark.parametrize("threads", ["a", None, 1.5, 0])
def test_threads_that_are_no_whole_number_are_refused(threads: object) -> None:
    for predictor in (AdScorePredictor(), AccountHealthPredictor()):
        with pytest.raises(SettingsError, match=f"threads={threads!r} is no number of threads; give a whole number of at least 1"):
            predictor.fit(pl.DataFrame(), threads=threads)  # type: ignore[arg-type]
    check_fit(seed=np.int64(0), threads=1)
