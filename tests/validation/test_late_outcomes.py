"""Only what has matured counts, by the same rule in both arms."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from within_pipelines.exceptions import SampleError, SchemaError
from within_pipelines.validation import matured

ROWS = pl.DataFrame(
    {
        "unit": ["in time", "late", "never", "young"],
        "arm": ["canary", "control", "canary", "control"],
        "day": [date(2026, 5, 1)] * 3 + [date(2026, 5, 6)],
        "known_on": [date(2026, 5, 3), date(2026, 5, 20), None, date(2026, 5, 6)],
        "won": [1.0, 1.0, None, 1.0],
    }
)


def test_missing_outcomes_count_as_declared() -> None:
    zero = matured(ROWS, ["won"], on=date(2026, 5, 8), maturity_days=7)
    assert dict(zero.select("unit", "won").iter_rows()) == {"in time": 1.0, "late": 0.0, "never": 0.0}
    out = matured(ROWS, ["won"], on=date(2026, 5, 8), maturity_days=7, missing="exclude")
    assert out["unit"].to_list() == ["in time"]


def test_a_late_report_counts_from_its_day_on() -> None:
    later = matured(ROWS, ["won"], on=date(2026, 5, 20), maturity_days=7)
    assert dict(later.select("unit", "won").iter_rows()) == {"in time": 1.0, "late": 1.0, "never": 0.0, "young": 1.0}


def test_a_number_that_is_not_finite_is_no_outcome() -> None:
    odd = matured(ROWS.with_columns(won=pl.lit(float("nan"))), ["won"], on=date(2026, 5, 20), maturity_days=0)
    assert odd["won"].to_list() == [0.0] * 4


def test_unfit_requests_are_refused() -> None:
    with pytest.raises(SchemaError, match="lack lost"):
        matured(ROWS, ["lost"], on=date(2026, 5, 8), maturity_days=7)
    with pytest.raises(SampleError, match="maturity_days is -1"):
        matured(ROWS, ["won"], on=date(2026, 5, 8), maturity_days=-1)
