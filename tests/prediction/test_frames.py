"""pandas and polars mean the same."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

from within_pipelines.exceptions import SampleError, SchemaError
from within_pipelines.prediction.frames import as_polars, as_vector, matrix, require


def test_pandas_polars_and_lazy_frames_become_the_same_table() -> None:
    wanted = pl.DataFrame({"x": [1.0, None, 3.0], "t": ["a", None, "c"]})
    pandas = pd.DataFrame({"x": [1.0, np.nan, 3.0], "t": ["a", None, "c"]}, index=[7, 7, 7])
    assert as_polars(wanted).equals(wanted)
    assert as_polars(wanted.lazy()).equals(wanted)
    assert as_polars(pandas).equals(wanted)


def test_a_float_that_is_no_number_is_missing_in_polars_too() -> None:
    assert as_polars(pl.DataFrame({"x": [1.0, float("nan")]}))["x"].to_list() == [1.0, None]


def test_what_is_no_table_is_refused_by_its_type() -> None:
    with pytest.raises(SchemaError, match="A dict is no table; give a pandas or polars DataFrame"):
        as_polars({"x": [1]})
    with pytest.raises(SchemaError, match="The columns x occur more than once; rename them"):
        as_polars(pd.DataFrame([[1, 2]], columns=["x", "x"]))


@pytest.mark.parametrize(
    "values", [[0, 1], np.array([False, True]), pl.Series([0.0, 1.0]), pd.Series([False, True], index=[4, 4]), (0.0, 1.0)]
)
def test_labels_may_come_in_many_shapes(values: object) -> None:
    assert as_vector(values, rows=2, what="labels").tolist() == [0.0, 1.0]


def test_unusable_labels_are_refused_with_their_count() -> None:
    with pytest.raises(SampleError, match="labels holds 2 values for 3 rows; give one value per row"):
        as_vector([1, 2], rows=3, what="labels")
    with pytest.raises(SampleError, match="labels holds 2 of 3 values that are missing or not finite; drop those rows first"):
        as_vector([1.0, None, np.inf], rows=3, what="labels")
    with pytest.raises(SampleError, match="labels holds values that are no numbers"):
        as_vector(["high", "low"], rows=2, what="labels")


def test_missing_columns_are_named() -> None:
    with pytest.raises(SchemaError, match=r"The table lacks b, c; give them\."):
        require(pl.DataFrame({"a": [1]}), ["a", "b", "c"], why="give them.")


def test_a_matrix_knows_no_infinity_and_fills_absent_columns_with_missing() -> None:
    frame = pl.DataFrame({"a": [1.0, None, float("inf")], "b": [True, False, None], "c": ["1.5", None, "2"]})
    found = matrix(frame, ["b", "a", "absent", "c"])
    wanted = [[1, 1, np.nan, 1.5], [0, np.nan, np.nan, np.nan], [np.nan, np.nan, np.nan, 2]]
    np.testing.assert_array_equal(found, wanted)
    assert found.flags["C_CONTIGUOUS"]
    assert found.flags["WRITEABLE"]


def test_text_that_is_no_number_is_told_and_not_taken_for_missing() -> None:
    frame = pl.DataFrame({"a": ["1.5", "n/a", "n/a", None]})
    told = r"The column a holds 2 of 4 values that are no numbers, such as 'n/a'; correct them, or leave them empty where nothing is known"
    for kind in (pl.String, pl.Categorical):
        with pytest.raises(SampleError, match=told):
            matrix(frame.cast(kind), ["a"])
    with pytest.raises(SchemaError, match="The column a holds Date; give numbers"):
        matrix(pl.DataFrame({"a": [None]}, schema={"a": pl.Date}), ["a"])
    assert np.isnan(matrix(pl.DataFrame({"a": [None, None]}), ["a"])).all()


def test_times_of_which_some_have_a_time_zone_are_refused() -> None:
    told = "The column date mixes times with and without a time zone; convert all of them to UTC"
    with_zone, without = pd.Timestamp("2026-05-01 21:00", tz="America/New_York"), pd.Timestamp("2026-05-01")
    for times in ([with_zone, without], [without, with_zone]):
        with pytest.raises(SchemaError, match=told):
            as_polars(pd.DataFrame({"date": pd.Series(times, dtype=object)}))
    alike = pd.DataFrame({"date": pd.Series([with_zone, with_zone, None], dtype=object), "word": ["a", "b", "c"]})
    assert as_polars(alike)["date"].null_count() == 1


def test_one_column_of_pandas_is_no_table() -> None:
    with pytest.raises(SchemaError, match="A Series is no table; give a pandas or polars DataFrame"):
        as_polars(pd.Series([1.0, 2.0], name="x"))


def test_a_column_of_pandas_without_any_value_has_no_kind() -> None:
    frame = as_polars(pd.DataFrame({"x": [None, None], "t": ["a", None]}))
    assert frame.schema == {"x": pl.Null, "t": pl.String}
    assert as_polars(pd.DataFrame({"x": ["a"]}).head(0)).schema == {"x": pl.String}
