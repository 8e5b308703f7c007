"""Numbers, exactly."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from within_pipelines.ingest.layout import Measure
from within_pipelines.ingest.numerals import read_numbers


def money(*cells: str | None, language: str = "en", decimal: str | None = None) -> list[int | None]:
    frame = pl.DataFrame({"0": pl.Series(cells, dtype=pl.String)})
    return read_numbers(frame, {"x": Measure(0, "currency")}, language=language, decimal=decimal)["x"].values.to_list()


decimals = st.decimals(min_value=Decimal("-1e9"), max_value=Decimal("1e9"), allow_nan=False, allow_infinity=False, places=9)


@given(st.lists(decimals, min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_money_is_rounded_half_to_even_in_decimal_arithmetic(values: list[Decimal]) -> None:
    expected = [int((value * 1_000_000).to_integral_value(ROUND_HALF_EVEN)) for value in values]
    assert money(*(f"{value:f}" for value in values)) == expected


@given(st.lists(st.decimals(min_value=0, max_value=Decimal("1e8"), places=2), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_grouping_and_decimal_comma_do_not_change_a_number(values: list[Decimal]) -> None:
    expected = [int(value * 1_000_000) for value in values]
    english = [f"{value:,.2f}" for value in values]
    german = [text.translate(str.maketrans(",.", ".,")) for text in english]
    assert money(*english) == expected
    assert money(*german) == expected


@pytest.mark.parametrize("cell", ["", "--", " --", "-", "—", "n/a", None])
def test_missing_cells_are_null_without_fault(cell: str | None) -> None:
    frame = pl.DataFrame({"0": pl.Series([cell, "1.5"], dtype=pl.String)})
    numbers = read_numbers(frame, {"x": Measure(0, "currency")})["x"]
    assert numbers.values.to_list() == [None, 1_500_000]
    assert numbers.faults == ()


def test_spaces_apostrophes_and_typographic_minus_are_understood() -> None:
    assert money("1 234.50", "1\u00a0234.50", "1\u202f234.50", "1'234.50", "\u22125.00") == [1_234_500_000] * 4 + [-5_000_000]


def test_a_file_with_both_marks_keeps_what_is_certain() -> None:
    frame = pl.DataFrame({"0": ["1.234,50", "1,234.50", "1,234", "7", "12,5"]})
    numbers = read_numbers(frame, {"x": Measure(0, "currency")})["x"]
    assert numbers.values.to_list() == [1_234_500_000, 1_234_500_000, None, 7_000_000, 12_500_000]
    assert [(fault.reason, fault.rows.tolist()) for fault in numbers.faults] == [("ambiguous_number", [False, False, True, False, False])]


def test_counts_settle_what_a_separator_means() -> None:
    frame = pl.DataFrame({"0": ["1.234", "56"], "1": ["2.500", "3"]})
    numbers = read_numbers(frame, {"impressions": Measure(0, "count"), "spend": Measure(1, "currency")})
    assert numbers["impressions"].values.to_list() == [1234, 56]
    assert numbers["spend"].values.to_list() == [2_500_000_000, 3_000_000]


def test_the_header_language_decides_only_what_is_open() -> None:
    assert money("1.234", language="de") == [1_234_000_000]
    assert money("1.234", language="en") == [1_234_000]
    assert money("1.234", "2.50", language="de") == [1_234_000, 2_500_000]
    assert money("1.234", language="en", decimal=",") == [1_234_000_000]


def test_micros_are_whole() -> None:
    frame = pl.DataFrame({"0": ["1500000", "1.5"]})
    numbers = read_numbers(frame, {"x": Measure(0, "micros")})["x"]
    assert numbers.values.to_list() == [1_500_000, None]
    assert numbers.faults[0].reason == "bad_number"


def test_indian_grouping_is_read() -> None:
    assert money("12,34,567.50") == [1_234_567_500_000]


def test_without_measures_there_is_nothing_to_read() -> None:
    assert read_numbers(pl.DataFrame({"0": ["a"]}), {}) == {}
