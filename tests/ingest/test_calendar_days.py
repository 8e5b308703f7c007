"""Days as exports write them."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from within_pipelines.ingest.calendar_days import parse_days, read_days
from within_pipelines.ingest.layout import Days


@pytest.mark.parametrize(
    "text",
    ["2026-03-05", "2026/3/5", "2026-03-05 00:00:00", "2026-03-05T00:00:00Z", "20260305", "5.3.2026", "Mar 5, 2026", "March 5 2026",
     "5 March 2026", "5-Mar-2026", "5. März 2026", " 2026-03-05 "],
)  # fmt: skip
def test_one_day_in_many_forms(text: str) -> None:
    days, faults = parse_days(pl.Series([text]))
    assert days.to_list() == [date(2026, 3, 5)]
    assert faults == []


@given(st.lists(st.dates(date(2000, 1, 1), date(2199, 12, 31)), min_size=1, max_size=30), st.booleans())
@settings(max_examples=50, deadline=None)
def test_the_order_of_day_and_month_is_never_guessed(dates: list[date], day_first: bool) -> None:
    texts = [f"{d.day}/{d.month}/{d.year}" if day_first else f"{d.month}/{d.day}/{d.year}" for d in dates]
    parsed, faults = parse_days(pl.Series(texts))
    settled = any(d.day > 12 for d in dates)
    for wanted, got in zip(dates, parsed.to_list(), strict=True):
        assert got == wanted if settled or wanted.day == wanted.month else got is None
    assert {fault.reason for fault in faults} <= {"ambiguous_date"}


def test_two_orders_in_one_file_settle_nothing_but_themselves() -> None:
    parsed, faults = parse_days(pl.Series(["13/2/2026", "2/13/2026", "3/4/2026", "5/5/2026"]))
    assert parsed.to_list() == [date(2026, 2, 13), date(2026, 2, 13), None, date(2026, 5, 5)]
    assert [fault.reason for fault in faults] == ["ambiguous_date"]


@pytest.mark.parametrize("text", ["2026-02-30", "31/31/2026", "0001-01-01", "2026-03-05x", "yesterday", "3/1/26", ""])
def test_an_impossible_day_is_no_day(text: str) -> None:
    parsed, faults = parse_days(pl.Series([text, "2026-03-05"]))
    assert parsed.to_list() == [None, date(2026, 3, 5)]
    assert [fault.reason for fault in faults] == ["bad_date"]


def test_a_declared_format_is_used() -> None:
    assert parse_days(pl.Series(["05|03|26"]), "%d|%m|%y")[0].to_list() == [date(2026, 3, 5)]


def test_parts_weeks_and_constants() -> None:
    frame = pl.DataFrame(
        {"0": ["April", "june", "2", "Smarch"], "1": ["19", "31", "28", "1"], "2": ["201446", "202053", "201454", "2014-W01"]}
    )
    parts, faults = read_days(frame, Days(month=0, day=1, year=2020))
    assert parts.to_list() == [date(2020, 4, 19), None, date(2020, 2, 28), None]
    assert [fault.reason for fault in faults] == ["bad_date"]
    weeks, faults = read_days(frame, Days(iso_week=2))
    assert weeks.to_list() == [date(2014, 11, 10), date(2020, 12, 28), None, date(2013, 12, 30)]
    constant, faults = read_days(frame, Days(constant="2017-08-30"))
    assert constant.to_list() == [date(2017, 8, 30)] * 4
    assert faults == []
    nothing, faults = read_days(frame, Days())
    assert nothing.null_count() == 4
    assert faults[0].rows.all()


def test_a_range_of_one_day_is_a_day() -> None:
    frame = pl.DataFrame({"0": ["2026-03-05", "2026-03-05", "x"], "1": ["2026-03-05", "2026-03-06", "2026-03-06"]})
    days, faults = read_days(frame, Days(start=0, end=1))
    assert days.to_list()[0] == date(2026, 3, 5)
    assert {fault.reason: fault.rows.tolist() for fault in faults} == {
        "bad_date": [False, False, True], "range_row": [False, True, False],
    }  # fmt: skip
