"""A golden set changes with a reason, keeps what it was, and no model passes that does not answer."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.validation.golden_cases import NOW, ROWS, case
from within_pipelines.validation import (
    GoldenSet,
    GoldenSetError,
    Kind,
    Part,
    SliceExpectation,
    changed_set,
    load_golden_set,
    set_difference,
    write_golden_set,
)

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "golden"
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
    assert set_difference(before, found) == {"added": ("two",), "removed": ("one",), "changed": (), "slices": ()}


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
        ({"expect": [SliceExpectation("ad_score", Part.HARD, "elsewhere", least_share=0.5)]}, "elsewhere has no cases"),
        ({"expect": [SliceExpectation("ad_score", Part.INCIDENT, "s", least_share=0.5)]}, "incident: s has no cases"),
        ({"expect": [SliceExpectation("ad_score", Part.HARD, "s", least_share=share) for share in (0.5, 0.6)]}, "More than one thing"),
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


def soft(share: float = 0.5, lost: int = 1, **changes: object) -> SliceExpectation:
    return SliceExpectation("ad_score", Part.HARD, "s", least_share=share, most_lost=lost, **changes)  # type: ignore[arg-type]


def test_what_is_expected_of_a_slice_is_kept_hashed_and_told_of(tmp_path: Path) -> None:
    first = changed_set(EMPTY, add=[case(), case("two"), case("other", slice="t")], reason="why", who="ada", now=NOW)
    second = changed_set(first, expect=[soft(low=-1.0, note="noisy")], reason="two are noisy", who="bob", now=NOW)
    for version in (first, second):
        write_golden_set(tmp_path, version)
    found = load_golden_set(tmp_path)
    assert found.slices == second.slices
    assert found.slices[0].note == "noisy"
    assert (found.number, found.parent, found.reason, found.who) == (3, first.version, "two are noisy", "bob")
    assert found.version == second.version != first.version
    assert found.expected("ad_score", Part.HARD, "s").least_share == 0.5
    assert found.expected("ad_score", Part.HARD, "t").wanted == "every case met"
    assert [(each.slice, count) for each, count in found.expectations()] == [("s", 2), ("t", 1)]
    now = "at least 50 % of cases met, at most 1 lost to the champion, mean answer in [-1, inf]"
    assert set_difference(first, found)["slices"] == (f"ad_score, hard: s: every case met -> {now}",)
    assert set_difference(found, found)["slices"] == ()
    path = tmp_path / f"golden-set-{second.version}.json"
    path.write_text(path.read_text().replace('"least_share": 0.5', '"least_share": 0.4'))
    with pytest.raises(GoldenSetError, match="changed after it was written"):
        load_golden_set(tmp_path)


def test_the_same_expectation_again_is_no_change_and_another_replaces_it() -> None:
    first = changed_set(EMPTY, add=[case()], expect=[soft()], reason="why", who="ada", now=NOW)
    with pytest.raises(GoldenSetError, match="nothing else is expected than before"):
        changed_set(first, expect=[soft(note="again")], reason="why", who="ada", now=NOW)
    second = changed_set(first, expect=[soft(0.9)], reason="why", who="ada", now=NOW)
    assert second.slices == (soft(0.9),)
    kept = changed_set(second, add=[case("two")], reason="why", who="ada", now=NOW)
    assert kept.slices == (soft(0.9),)


def test_what_was_tolerated_of_a_slice_goes_with_its_last_case() -> None:
    first = changed_set(EMPTY, add=[case(), case("two", slice="t")], expect=[soft()], reason="why", who="ada", now=NOW)
    second = changed_set(first, remove=["one"], reason="it was mislabelled", who="ada", now=NOW)
    assert second.slices == ()
    assert set_difference(first, second)["slices"] == (
        "ad_score, hard: s: at least 50 % of cases met, at most 1 lost to the champion -> nothing",
    )
    again = changed_set(second, add=[case()], reason="it was not", who="ada", now=NOW)
    assert again.expected("ad_score", Part.HARD, "s").least_share == 1.0


def test_a_set_without_expectations_of_slices_is_the_file_that_it_was() -> None:
    """Version 1 was written before slices had expectations; its bytes, its hash and what it asks for hold."""
    path = GOLDEN / "golden-set-1-1bf65bcf557d.json"
    first = load_golden_set(GOLDEN, "1-1bf65bcf557d")
    assert json.loads(path.read_bytes())["format"] == first.format == 1
    assert first.to_json().encode() == path.read_bytes()
    assert first.version == f"1-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    assert {each.wanted for each, _ in first.expectations()} == {"every case met"}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda values: values.update(format=3), "format 3; this version of the package reads the formats 1, 2"),
        (lambda values: values.update(format=1), "states format 1 and holds format 2"),
        (lambda values: values.update(slices=[]), "states format 2 and holds format 1"),
        (lambda values: values["slices"][0].pop("least_share"), "cannot be read as a golden set"),
        (lambda values: values["slices"][0].update(least_share=0), "which any model meets"),
    ],
)
def test_a_file_that_states_what_it_does_not_hold_is_refused(tmp_path: Path, change: Callable[[dict[str, Any]], object], text: str) -> None:
    values = json.loads(changed_set(EMPTY, add=[case()], expect=[soft()], reason="why", who="ada", now=NOW).to_json())
    change(values)
    content = json.dumps(values).encode()
    version = f"2-{hashlib.sha256(content).hexdigest()[:12]}"
    (tmp_path / f"golden-set-{version}.json").write_bytes(content)
    with pytest.raises(GoldenSetError, match=text):
        load_golden_set(tmp_path, version)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"least_share": 0.0}, "more than 0, which any model meets"),
        ({"least_share": 1.01}, "at most 1"),
        ({"least_share": math.nan}, "at most 1"),
        ({"least_share": 0.5, "most_lost": -1}, "a number of cases from 0"),
        ({"most_lost": 2}, "lose 2 cases and wants every case met"),
        ({"low": 2.0, "high": 1.0}, "no number lies there"),
        ({"low": math.nan}, "no number lies there"),
        ({"high": -math.inf}, "no number lies there"),
    ],
)
def test_an_expectation_that_says_nothing_is_refused(change: dict[str, float], text: str) -> None:
    with pytest.raises(GoldenSetError, match=text):
        SliceExpectation("ad_score", Part.HARD, "s", **change)  # type: ignore[arg-type]
