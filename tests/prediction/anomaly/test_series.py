"""What a table of numbers becomes before anything is judged."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from within_pipelines.exceptions import SampleError, SchemaError
from within_pipelines.prediction.anomaly import AnomalyDetector
from within_pipelines.prediction.anomaly.series import microseconds_of, observations


def test_a_metric_that_came_as_text_is_refused_and_words_are_no_metric() -> None:
    first = date(2026, 1, 1)
    with pytest.raises(SchemaError, match="the numbers of clicks as text"):
        observations(pl.DataFrame({"timestamp": [first], "spend": [1.0], "clicks": ["7"]}), what="The table")
    words = pl.DataFrame({"timestamp": [first], "spend": [1.0], "note": ["calm"]})
    assert observations(words, what="The table").keys["metric"].to_list() == ["spend"]


@pytest.mark.parametrize("name", ["metric", "account_id", "series_id", "currency"])
def test_a_name_that_is_a_list_is_refused_in_words(name: str) -> None:
    table = pl.DataFrame({"timestamp": [date(2026, 1, 1)], "metric": ["spend"], "value": [1.0]})
    with pytest.raises(SchemaError, match=rf"The column {name} holds List\(String\); give text"):
        observations(table.with_columns(pl.Series(name, [["a"]])), what="The table")


def test_a_currency_may_be_any_name_and_now_must_be_a_moment() -> None:
    table = pl.DataFrame({"timestamp": [date(2026, 1, 1)] * 2, "metric": ["a", "b"], "value": [1.0, 2.0], "currency": [978, None]})
    observed = observations(table, what="The table")
    assert observed.currency == ["978", None]
    with pytest.raises(SchemaError, match="is no moment; give a date, a datetime or ISO text like the table's times"):
        microseconds_of(np.datetime64("2026-01-02"), observed)


def test_a_time_decades_from_the_rest_is_refused_and_changes_nothing() -> None:
    hours = [datetime(2026, 1, 1) + timedelta(hours=hour) for hour in range(24 * 40)]  # noqa: DTZ001
    spend = 100 * np.exp(0.1 * np.random.default_rng(3).standard_normal(len(hours)))
    table = pl.DataFrame({"timestamp": hours, "spend": spend})
    detector = AnomalyDetector().fit(table[:-24])
    told = "The series spend has no values between {}, more than ten years; correct the times, or give what follows as a series of its own"
    for year, between in ((1970, "1970-01-01 and 2026-02-08"), (2126, "2026-02-09 and 2126-01-01")):
        mistaken = pl.concat([table[-24:], pl.DataFrame({"timestamp": [datetime(year, 1, 1)], "spend": [100.0]})])  # noqa: DTZ001
        for ask in (detector.detect, detector.update, detector.score_series, detector.explain):
            with pytest.raises(SampleError, match=told.format(between)):
                ask(mistaken)
        with pytest.raises(SampleError, match="more than ten years"):
            AnomalyDetector().fit(mistaken)
    fresh = AnomalyDetector().fit(table[:-24])
    assert detector.score_series(table[-24:]).equals(fresh.score_series(table[-24:]))
    nine_years = pl.DataFrame({"timestamp": [hours[-1] + timedelta(days=365 * 9)], "spend": [100.0]})
    assert detector.score_series(nine_years).height == 1
