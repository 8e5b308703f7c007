"""Derived tables are named by what went into them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from within_pipelines.exceptions import SchemaError
from within_pipelines.lake import DerivedTables


def test_a_stored_table_comes_back_and_an_unknown_one_is_none(tmp_path: Path) -> None:
    tables = DerivedTables(tmp_path)
    frame = pl.DataFrame({"a": [1, 2]})
    tables.put("features", "ab12cd34", frame)
    assert tables.get("features", "ffff0000") is None
    assert tables.latest("nothing") is None
    fingerprint, latest = tables.latest("features") or ("", frame.clear())
    assert (fingerprint, latest.equals(frame)) == ("ab12cd34", True)


def test_forgetting_keeps_the_named_ones_and_the_latest(tmp_path: Path) -> None:
    tables = DerivedTables(tmp_path)
    for fingerprint in ("aaaaaaaa", "bbbbbbbb", "cccccccc"):
        tables.put("features", fingerprint, pl.DataFrame({"a": [1]}))
    assert tables.forget("features", keep=["aaaaaaaa"]) == 1
    assert tables.get("features", "bbbbbbbb") is None
    assert tables.get("features", "cccccccc") is not None


@pytest.mark.parametrize(("name", "fingerprint"), [("../up", "aaaaaaaa"), ("features", "../../x")])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str, fingerprint: str) -> None:
    with pytest.raises(SchemaError, match="no name / fingerprint"):
        DerivedTables(tmp_path).put(name, fingerprint, pl.DataFrame({"a": [1]}))
