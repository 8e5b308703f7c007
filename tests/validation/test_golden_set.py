"""A golden set changes with a reason, keeps what it was, and no model passes that does not answer."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pytest

from tests.validation.golden_cases import NOW, ROWS, case
from within_pipelines.validation import (
    GoldenSet,
    GoldenSetError,
    Kind,
    Part,
    changed_set,
    load_golden_set,
    set_difference,
    write_golden_set,
)

EMPTY = GoldenSet(1, "", "the beginning", "ada", NOW.isoformat(), ())


def test_a_set_comes_back_as_it_was_written_and_older_versions_stay(tmp_path: Path) -> None:
    first = changed_set(EMPTY, add=[case(group={"account_id": "a"}, until="2026-06-01", note="n")], reason="why", who="ada", now=NOW)
    write_golden_set(tmp_path, first)
    second = changed_set(first, add=[case("two", Kind.INTERVAL, low=0.0, points=((0, 0),))], remove=["one"], reason="w", who="b", now=NOW)
    write_golden_set(tmp_path, second)
    found, before = load_golden_set(tmp_path), load_golden_set(tmp_path, first.version)
    assert (found.version, before.version, found.parent) == (second.version, first.version, first.version)
    assert before.cases[0].inputs[0].equals(ROWS)
    assert before.cases[0].group == {"account_id": "a"}
    assert found.cases[0].high == math.inf
    assert set_difference(before, found) == {"added": ("two",), "removed": ("one",), "changed": ()}


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    made = changed_set(EMPTY, add=[case()], reason="why", who="ada", now=NOW)
    path = write_golden_set(tmp_path, made)
    path.write_text(path.read_text().replace("why", "because"))
    with pytest.raises(GoldenSetError, match="changed after it was written"):
        load_golden_set(tmp_path)
    with pytest.raises(GoldenSetError, match="does not exist"):
        load_golden_set(tmp_path, "../../etc/passwd")
    with pytest.raises(GoldenSetError, match="restore it"):
        load_golden_set(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"reason": " "}, "changes with a reason"),
        ({"add": []}, "Nothing is added"),
        ({"remove": ["nine"]}, "not in version"),
        ({"add": [case("two"), case("two")]}, "two are there already"),
    ],
)
def test_a_change_needs_a_reason_and_a_meaning(change: dict[str, object], text: str) -> None:
    options: dict[str, object] = {"add": [case()], "reason": "why", "who": "ada", "now": NOW} | change
    with pytest.raises(GoldenSetError, match=text):
        changed_set(EMPTY, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"part": Part.REPRESENTATIVE}, "frozen sample"),
        ({"inputs": (ROWS.clear(),)}, "no rows"),
        ({"points": ((1, 0), (0, 0))}, "name answers of them"),
        ({"points": ((0, 0),)}, "at least two"),
        ({"kind": Kind.INTERVAL}, "for none or for all"),
    ],
)
def test_a_case_that_says_nothing_is_refused(change: dict[str, object], text: str) -> None:
    with pytest.raises(GoldenSetError, match=text):
        case(**change)  # type: ignore[arg-type]


def test_a_column_that_a_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    odd = case(inputs=(ROWS.with_columns(pl.lit([1]).alias("list")),))
    with pytest.raises(GoldenSetError, match="column list of case 'one'"):
        write_golden_set(tmp_path, changed_set(EMPTY, add=[odd], reason="why", who="ada", now=NOW))
