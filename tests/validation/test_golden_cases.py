"""The shipped cases are what the code makes of the frozen samples, and they can fail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from within_pipelines.validation import Part, ask_cases, judge_slices, load_golden_set, set_difference
from within_pipelines.validation.golden_cases import first_set, main, shipped_set

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "golden"


def test_every_shipped_file_is_made_by_this_code(tmp_path: Path) -> None:
    first, made = first_set(GOLDEN), shipped_set(GOLDEN)
    for version in (first, made):
        (shipped,) = GOLDEN.glob(f"golden-set-{version.number}-*.json")
        assert shipped.read_bytes() == version.to_json().encode()
    assert load_golden_set(GOLDEN).version == made.version
    assert (made.parent, first.version) == (first.version, "1-1bf65bcf557d")
    changes = set_difference(first, made)
    assert (len(changes["added"]), changes["removed"], changes["changed"], len(changes["slices"])) == (24, (), (), 2)
    with pytest.raises(SystemExit, match="usage"):
        main([])


def test_every_model_has_hard_cases_in_several_slices() -> None:
    cases = load_golden_set(GOLDEN).cases
    for model in ("ad_score", "account_health", "anomaly"):
        assert len({case.slice for case in cases if case.model == model and case.part is Part.HARD}) >= 2


def test_a_model_that_sees_nothing_meets_no_case_that_tells_days_or_accounts_apart() -> None:
    cases = load_golden_set(GOLDEN).of("anomaly") + load_golden_set(GOLDEN).of("account_health")
    for constant in (0.0, 0.5, 1.0):
        met = {result.case.id: result.met for result in ask_cases(lambda rows, c=constant: np.full(6, c), cases)}
        assert not (met["series-a-spend-70"] and met["series-b-clicks-65"])
        assert not met["account-declining"]


def test_the_shipped_slices_tolerate_what_chance_does_and_no_more() -> None:
    golden_set = load_golden_set(GOLDEN)
    usual = [case for case in golden_set.of("anomaly") if case.slice == "usual days"]

    def outcome(p_values: list[float]) -> list[str]:
        asked = iter(p_values)
        results = ask_cases(lambda rows: np.full(len(rows), next(asked)), usual)
        return [each.status.value for each in judge_slices(results, golden_set)]

    spread = list(np.linspace(0.01, 0.99, len(usual)))
    assert outcome(spread) == ["passed"]
    assert outcome([0.01] * 4 + spread[4:]) == ["passed"]
    assert outcome([0.01] * 5 + spread[5:]) == ["failed"]
    for constant in (0.0, 0.05, 1.0):
        assert outcome([constant] * len(usual)) == ["failed"]


def test_a_score_that_dismisses_every_odd_text_fails_although_each_lies_in_its_interval() -> None:
    golden_set = load_golden_set(GOLDEN)
    odd = [case for case in golden_set.of("ad_score") if case.slice == "odd text"]
    for score, status in ((0.0, "failed"), (50.0, "passed"), (100.0, "failed")):
        results = ask_cases(lambda rows, score=score: np.full(len(rows), score), odd)
        assert all(result.met for result in results)
        assert [each.status.value for each in judge_slices(results, golden_set)] == [status]
