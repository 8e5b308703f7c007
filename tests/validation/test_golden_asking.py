"""Cases asked of models: met or missed, by slice, challenger beside champion."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from tests.validation.golden_cases import ROWS, case
from within_pipelines.validation import (
    GoldenSetError,
    Kind,
    ask_cases,
    compare_cases,
    slice_results,
    without_golden_groups,
)


def test_each_expectation_can_be_met_and_missed() -> None:
    order, interval = case(), case("two", Kind.INTERVAL, low=1.5, high=2.5, points=((0, 1),))
    alike = case("three", Kind.INVARIANCE, inputs=(ROWS, ROWS.reverse()), points=((0, 0), (1, 1)), tolerance=1e-9)
    by_x = ask_cases(lambda rows: rows["x"], [order, interval, alike])
    assert [result.met for result in by_x] == [True, True, True]
    by_place = ask_cases(lambda rows: -np.arange(len(rows)), [order, interval, alike])
    assert [result.met for result in by_place] == [False, False, False]
    assert by_place[0].detail == "one: wanted falling, got -1, 0"


def test_a_model_that_fails_to_answer_fails_every_case() -> None:
    def raising(rows: pl.DataFrame) -> None:
        raise OSError("gone")

    cases = [case(), case("two", Kind.INTERVAL, low=-9.0, points=((0, 1),))]
    for broken, fault in ((raising, "OSError"), (lambda rows: [np.nan] * 2, "not finite"), (lambda rows: [1.0], "too few")):
        results = ask_cases(broken, cases)
        assert [result.met for result in results] == [False, False]
        assert fault in results[0].fault


def test_a_challenger_is_compared_case_by_case_in_every_slice() -> None:
    cases = [case(f"{name}{n}", slice=name) for name in ("text", "volume") for n in range(6)]
    champion = ask_cases(lambda rows: rows["x"], cases)
    challenger = ask_cases(lambda rows: rows["x"], cases[:6]) + ask_cases(lambda rows: -rows["x"], cases[6:])
    everything, text, volume = compare_cases(challenger, champion, rng=np.random.default_rng(1))
    assert (everything.gain.value, text.gain.value, volume.gain.value) == (-0.5, 0.0, -1.0)
    assert everything.gain.high < 0
    assert volume.lost == tuple(f"volume{n}" for n in range(6))
    assert volume.mcnemar.p_value == pytest.approx(2 / 2**6)
    assert [(s.slice, s.met, s.cases) for s in slice_results(challenger)] == [("text", 6, 6), ("volume", 0, 6)]
    with pytest.raises(GoldenSetError, match="different cases"):
        compare_cases(challenger[:3], champion, rng=np.random.default_rng(1))


def test_golden_groups_are_left_out_of_training() -> None:
    whole, early = case(group={"account_id": "a"}), case("two", group={"account_id": "b"}, until="2026-06-01")
    assert without_golden_groups(ROWS, [whole])["account_id"].to_list() == ["b"]
    later = pl.concat([ROWS, ROWS.with_columns(day=pl.lit(date(2026, 5, 1)))])
    assert without_golden_groups(later, [early], day_column="day").filter(pl.col("account_id") == "b").height == 1
    assert without_golden_groups(ROWS, [case(group={"elsewhere": "a"})]).height == 2
