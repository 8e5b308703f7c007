"""A deployment's golden set grows out of the shipped one; verdicts say which case was missed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import polars as pl
import pytest

from within_pipelines.exceptions import ModelNotFoundError
from within_pipelines.pipeline import (
    Workspace,
    change_golden_set,
    compare_newest,
    compare_with_champion,
    current_golden_set,
    golden_set_folder,
    golden_set_versions,
    golden_slices,
)
from within_pipelines.pipeline.golden import compared_with, with_cases
from within_pipelines.registry import ModelVersion
from within_pipelines.settings import Settings
from within_pipelines.stats import Status, Verdict
from within_pipelines.validation import GoldenCase, GoldenSetError, Kind, Part, ask_cases

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
ROWS = pl.DataFrame({"x": [1.0, 2.0]})


def case(name: str) -> GoldenCase:
    return GoldenCase(name, "ad_score", Part.INCIDENT, "meta_ads", Kind.ORDER, (ROWS,), ((0, 1), (0, 0)))


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace.open(Settings(home=tmp_path / "home")) as opened:
        yield opened


def test_the_shipped_set_holds_until_a_case_is_added_and_every_version_stays(ws: Workspace) -> None:
    shipped = current_golden_set(ws)
    assert not golden_set_folder(ws).exists()
    change_golden_set(ws, add=[case("one")], reason="a client saw it", who="ada", now=NOW)
    after = change_golden_set(ws, remove=["one"], add=[case("two")], reason="it was another ad", who="bob", now=NOW)
    assert current_golden_set(ws).version == after.version
    versions = golden_set_versions(ws)
    assert [each.number for each in versions] == [1, 2, 3]
    assert versions[0].version == shipped.version
    assert [each.reason for each in versions[1:]] == ["a client saw it", "it was another ad"]
    with pytest.raises(GoldenSetError, match="reason"):
        change_golden_set(ws, add=[case("three")], reason="", who="ada", now=NOW)


@pytest.mark.parametrize(
    ("sample", "sign", "status"),
    [
        (Status.PASSED, 1, Status.PASSED),
        (Status.PASSED, -1, Status.FAILED),
        (Status.FAILED, 1, Status.FAILED),
        (Status.INSUFFICIENT, 1, Status.INSUFFICIENT),
        (Status.INSUFFICIENT, -1, Status.FAILED),
    ],
)
def test_a_verdict_passes_only_with_the_sample_and_every_case(ws: Workspace, sample: Status, sign: int, status: Status) -> None:
    verdict = Verdict("golden_sample", sample, None, 1e-6, {"rows": 40}, "As recorded.", golden_set_version="1-ab")
    joined = with_cases(verdict, current_golden_set(ws), ask_cases(lambda rows: sign * rows["x"], [case("one"), case("two")]))
    assert joined.status is status
    assert joined.golden_set_version == f"1-ab+{current_golden_set(ws).version}"
    assert joined.evidence["cases_met"] == (2 if sign > 0 else 0)
    assert ("one: wanted falling" in joined.reason) == (sign < 0)
    assert golden_slices(joined)["part"].to_list() == ["representative", "incident"]


def test_the_difference_to_the_champion_is_told_case_by_case(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    champion = ModelVersion("ad_score", 1, "stack", "a" * 64, "ad_score/a", "d", NOW, 1, "s", "f", 7, NOW)
    monkeypatch.setattr("within_pipelines.pipeline.training.load_version", lambda *_: None)
    monkeypatch.setattr(import_module("within_pipelines.pipeline.release"), "golden_answers", lambda *_: lambda rows: -rows["x"])
    cases = [case(f"case {number}") for number in range(8)]
    better = compared_with(ws, champion, ask_cases(lambda rows: rows["x"], cases))
    assert [(found.slice, found.cases, found.gain.value) for found in better] == [("all", 8, 1.0), ("meta_ads", 8, 1.0)]
    worse = compared_with(ws, champion, ask_cases(lambda rows: -rows["x"], cases))
    assert worse[0].gain.value == 0.0
    assert compared_with(ws, champion, []) == ()


def test_without_a_champion_there_is_nothing_to_compare_with(ws: Workspace) -> None:
    assert compare_newest(ws, "ad_score").is_empty()
    version = ModelVersion("ad_score", 1, "stack", "a" * 64, "ad_score/a", "d", NOW, 1, "s", "f", 7, NOW)
    with pytest.raises(ModelNotFoundError, match="no champion"):
        compare_with_champion(ws, version)
