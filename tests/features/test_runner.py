from __future__ import annotations

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.features.ledger import day, random_history
from within_pipelines.exceptions import SplitAccountError
from within_pipelines.features import account_features, run_by_account


def features(history: pl.DataFrame) -> pl.DataFrame:
    return account_features(history, origins=[day(25), day(39)])


def test_account_by_account_gives_what_all_at_once_gives() -> None:
    history = random_history(1)
    parts = history.partition_by("platform", "account_id", as_dict=True)
    assert_frame_equal(run_by_account([parts[key] for key in sorted(parts)], features), features(history), check_exact=True)


def test_a_split_account_is_refused_by_name() -> None:
    history = random_history(1)
    with pytest.raises(SplitAccountError, match=r"Batch 2 continues google_ads/A, which an earlier batch began \(accounts cut so: 1\)"):
        run_by_account([history[:100], history[100:]], features)


def test_empty_answers_are_left_out() -> None:
    history = random_history(1).partition_by("account_id")
    answers = iter([pl.DataFrame(), pl.DataFrame({"x": [1]})])
    assert run_by_account(history, lambda _: next(answers)).to_dicts() == [{"x": 1}]
    assert run_by_account([], features).is_empty()
