"""A deployment's golden set grows out of the shipped one; verdicts say which case was missed."""

from __future__ import annotations

import json
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
from within_pipelines.pipeline.golden import ask_version, compared, with_cases
from within_pipelines.pipeline.release import golden_verdict
from within_pipelines.registry import ModelVersion
from within_pipelines.settings import Settings
from within_pipelines.stats import Status, Verdict
from within_pipelines.validation import GoldenCase, GoldenSetError, Kind, Part, SliceExpectation, ask_cases

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
    assert [each.number for each in versions] == [1, 2, 3, 4]
    assert versions[1].version == shipped.version
    assert [each.reason for each in versions[2:]] == ["a client saw it", "it was another ad"]
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
def test_a_verdict_passes_only_with_the_sample_and_every_case_where_nothing_else_is_expected(
    ws: Workspace, sample: Status, sign: int, status: Status
) -> None:
    verdict = Verdict("golden_sample", sample, None, 1e-6, {"rows": 40}, "As recorded.", golden_set_version="1-ab")
    joined = with_cases(verdict, current_golden_set(ws), ask_cases(lambda rows: sign * rows["x"], [case("one"), case("two")]))
    assert joined.status is status
    assert joined.golden_set_version == f"1-ab+{current_golden_set(ws).version}"
    assert joined.evidence["cases_met"] == (2 if sign > 0 else 0)
    assert ("one: wanted falling" in joined.reason) == (sign < 0)
    table = golden_slices(joined)
    assert table["part"].to_list() == ["representative", "incident"]
    assert table["wanted"].to_list() == ["answers as recorded", "every case met"]
    assert table["outcome"].to_list() == [sample.value, "passed" if sign > 0 else "failed"]


def test_the_difference_to_the_champion_is_told_case_by_case(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    champion = ModelVersion("ad_score", 1, "stack", "a" * 64, "ad_score/a", "d", NOW, 1, "s", "f", 7, NOW)
    monkeypatch.setattr("within_pipelines.pipeline.training.load_version", lambda *_: None)
    monkeypatch.setattr(import_module("within_pipelines.pipeline.release"), "golden_answers", lambda *_: lambda rows: -rows["x"])
    cases = [case(f"case {number}") for number in range(8)]
    own = ask_version(ws, champion, cases)
    better = compared(ws, ask_cases(lambda rows: rows["x"], cases), own)
    assert [(found.slice, found.cases, found.gain.value) for found in better] == [("all", 8, 1.0), ("meta_ads", 8, 1.0)]
    worse = compared(ws, ask_cases(lambda rows: -rows["x"], cases), own)
    assert worse[0].gain.value == 0.0
    assert compared(ws, [], []) == ()


def soft(ws: Workspace, **wanted: float) -> list[GoldenCase]:
    """Ten replays in one slice of which case n wants a score of at least n, with what is expected of them together."""
    cases = [
        GoldenCase(f"at least {n}", "ad_score", Part.INCIDENT, "noisy", Kind.INTERVAL, (ROWS,), ((0, 0),), low=float(n), high=100.0)
        for n in range(10)
    ]
    expect = [SliceExpectation("ad_score", Part.INCIDENT, "noisy", **wanted)]  # type: ignore[arg-type]
    change_golden_set(ws, add=cases, expect=expect, reason="these accounts are noisy", who="ada", now=NOW)
    return cases


SAMPLE = Verdict("golden_sample", Status.PASSED, None, 1e-6, {"rows": 40}, "As recorded.", golden_set_version="1-ab")


def test_a_slice_that_tolerates_some_misses_is_told_with_what_it_wanted_and_got(ws: Workspace) -> None:
    cases = soft(ws, least_share=0.8, low=5.0)
    found = {x: with_cases(SAMPLE, current_golden_set(ws), ask_cases(lambda rows, x=x: [x] * len(rows), cases)) for x in (7.0, 6.0, 4.0)}
    assert found[7.0].passed
    assert found[7.0].reason == "As recorded. 8 of 10 cases with an expectation are met, and no slice misses more than it tolerates."
    assert len(found[7.0].evidence["unmet"]) == 2
    assert found[6.0].status is Status.FAILED
    assert found[6.0].reason.startswith(
        "3 of 10 cases are not met. incident: noisy fails: wanted at least 80 % of cases met, got 7 of 10 (0.700 [0.397, 0.892]); "
        "at least 7: wanted in [7, 100], got 6"
    )
    assert "wanted mean answer in [5, inf], got 4" in found[4.0].reason
    assert found[6.0].evidence["slices"]["incident: noisy"] == {
        "cases": 10, "met": 7, "share": "0.700 [0.397, 0.892]", "mean": 6.0, "status": "failed", "lost": [],
        "wanted": "at least 80 % of cases met, none lost to the champion, mean answer in [5, inf]",
    }  # fmt: skip


def test_a_model_that_does_not_answer_fails_a_slice_that_tolerates_nearly_all_and_its_evidence_can_be_kept(ws: Workspace) -> None:
    cases = soft(ws, least_share=0.01, most_lost=9)
    joined = with_cases(SAMPLE, current_golden_set(ws), ask_cases(lambda rows: [float("nan")] * len(rows), cases))
    assert joined.status is Status.FAILED
    assert "10 of 10 cases were not answered; at least 0: wanted in [0, 100], the model" in joined.reason
    assert json.loads(json.dumps(dict(joined.evidence), allow_nan=False))["slices"]["incident: noisy"]["mean"] is None
    assert golden_slices(joined)["mean answer"].to_list() == [None, None]


def test_every_slice_that_fails_is_named(ws: Workspace) -> None:
    cases = [*soft(ws, least_share=0.5), case("one")]
    joined = with_cases(SAMPLE, current_golden_set(ws), ask_cases(lambda rows: -rows["x"], cases))
    assert joined.reason.startswith("11 of 11 cases are not met. incident: meta_ads fails: ")
    assert joined.reason.endswith("; failing too: incident: noisy.")


@pytest.mark.parametrize(("lost", "passed"), [(0, False), (1, False), (2, True)])
def test_a_challenger_that_loses_more_of_a_slice_than_it_may_does_not_pass(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, lost: int, passed: bool
) -> None:
    soft(ws, least_share=0.5, most_lost=lost)
    versions = [ModelVersion("ad_score", n, "stack", str(n) * 64, f"ad_score/{n}", "d", NOW, 1, "s", "f", 7, NOW) for n in (1, 2)]
    champion, challenger = versions
    change_golden_set(
        ws, remove=[each.id for each in current_golden_set(ws).of("ad_score") if each.slice != "noisy"], reason="to see", who="ada", now=NOW
    )
    release = import_module("within_pipelines.pipeline.release")
    monkeypatch.setattr(release, "load_version", lambda _, version: version.version)
    monkeypatch.setattr("within_pipelines.pipeline.training.load_version", lambda _, version: version.version)
    monkeypatch.setattr(release, "golden_answers", lambda _, number: lambda rows: [8.0 if number == 1 else 6.0] * len(rows))
    assert golden_verdict(ws, challenger).passed
    assert golden_verdict(ws, champion).passed
    verdict = golden_verdict(ws, challenger, beside=champion)
    assert verdict.passed == passed
    assert verdict.evidence["slices"]["incident: noisy"]["lost"] == ["at least 7", "at least 8"]
    assert verdict.evidence["differences"]["noisy"]["lost"] == ["at least 7", "at least 8"]
    named = f"wanted at most {lost} lost to the champion, got 2; at least 7: wanted in [7, 100], got 6 (the champion 8), at least 8: "
    assert (named in verdict.reason) == (not passed)


def test_without_a_champion_there_is_nothing_to_compare_with(ws: Workspace) -> None:
    assert compare_newest(ws, "ad_score").is_empty()
    version = ModelVersion("ad_score", 1, "stack", "a" * 64, "ad_score/a", "d", NOW, 1, "s", "f", 7, NOW)
    with pytest.raises(ModelNotFoundError, match="no champion"):
        compare_with_champion(ws, version)
