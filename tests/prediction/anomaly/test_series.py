"""What a table of numbers becomes before anything is judged."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from within_pipelines.exceptions import SchemaError
from within_pipelines.prediction.anomaly.series import observations


def test_a_metric_that_came_as_text_is_refused_and_words_are_no_metric() -> None:
    first = date(2026, 1, 1)
    with pytest.raises(SchemaError, match="the numbers of clicks as text"):
        observations(pl.DataFrame({"timestamp": [first], "spend": [1.0], "clicks": ["7"]}), what="The table")
    words = pl.DataFrame({"timestamp": [first], "spend": [1.0], "note": ["calm"]})
    assert observations(words, what="The table").keys["metric"].to_list() == ["spend"]
