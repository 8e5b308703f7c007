"""A slice holds when it is as the set expects: enough cases met, few lost to the champion, the mean answer where it should be."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.validation.golden_cases import NOW, case
from within_pipelines.stats import Status
from within_pipelines.validation import (
    CaseResult,
    GoldenSet,
    GoldenSetError,
    Kind,
    Part,
    SliceExpectation,
    SliceJudgement,
    ask_cases,
    changed_set,
    judge_slices,
)

# Case n wants an answer of at least n: whoever answers x meets the cases 0 to x.
CASES = [case(f"at least {n}", Kind.INTERVAL, low=float(n), high=100.0, points=((0, 0),)) for n in range(10)]
EMPTY = GoldenSet(1, "", "the beginning", "ada", NOW.isoformat(), ())


def expecting(**wanted: float) -> GoldenSet:
    expectation = SliceExpectation("ad_score", Part.HARD, "s", **wanted)  # type: ignore[arg-type]
    return changed_set(EMPTY, add=CASES, expect=[expectation], reason="why", who="ada", now=NOW)


def answering(value: float) -> tuple[CaseResult, ...]:
    return ask_cases(lambda rows: np.full(len(rows), value), CASES)


def judged(golden_set: GoldenSet, results: Sequence[CaseResult], champion: Sequence[CaseResult] | None = None) -> SliceJudgement:
    (found,) = judge_slices(results, golden_set, champion=champion)
    return found


def test_without_a_word_every_case_is_wanted_met() -> None:
    silent = changed_set(EMPTY, add=CASES, reason="why", who="ada", now=NOW)
    assert judged(silent, answering(9)).status is Status.PASSED
    found = judged(silent, answering(8))
    assert found.status is Status.FAILED
    assert found.failures == (
        "wanted at least 100 % of cases met, got 9 of 10 (0.900 [0.596, 0.982]); at least 9: wanted in [9, 100], got 8",
    )


@given(st.integers(1, 10), st.integers(0, 9))
def test_exactly_the_shares_below_the_least_one_fail(tenths: int, answer: int) -> None:
    found = judged(expecting(least_share=tenths / 10), answering(answer))
    assert (found.status is Status.PASSED) == (answer + 1 >= tenths)
    assert found.found.met == answer + 1


@pytest.mark.parametrize(("most", "status"), [(0, Status.FAILED), (1, Status.FAILED), (2, Status.PASSED), (5, Status.PASSED)])
def test_a_challenger_loses_at_most_the_stated_number_of_cases_to_the_champion(most: int, status: Status) -> None:
    tolerant = expecting(least_share=0.5, most_lost=most)
    assert judged(tolerant, answering(6)).status is Status.PASSED
    found = judged(tolerant, answering(6), answering(8))
    assert found.status is status
    assert [own.case.id for own, _ in found.lost] == ["at least 7", "at least 8"]
    if status is Status.FAILED:
        assert found.failures[0].startswith(f"wanted at most {most} lost to the champion, got 2; at least 7: wanted in [7, 100], got 6")
        assert "(the champion 8)" in found.failures[0]


def test_gains_elsewhere_do_not_pay_for_lost_cases() -> None:
    """What counts is which cases are lost, not how many more or fewer are met in all."""
    low = [case(f"at most {n}", Kind.INTERVAL, low=-100.0, high=float(n), points=((0, 0),)) for n in range(10)]
    wanted = SliceExpectation("ad_score", Part.HARD, "s", least_share=0.5)
    both = changed_set(EMPTY, add=[*CASES, *low], expect=[wanted], reason="why", who="ada", now=NOW)
    challenger, champion = (ask_cases(lambda rows, x=x: np.full(len(rows), x), both.cases) for x in (3.0, 6.0))
    found = judged(both, challenger, champion)
    assert sum(result.met for result in challenger) == sum(result.met for result in champion)
    assert [own.case.id for own, _ in found.lost] == ["at least 4", "at least 5", "at least 6"]
    assert found.status is Status.FAILED


def test_cases_that_the_champion_misses_too_are_not_lost() -> None:
    tolerant = expecting(least_share=0.5)
    assert judged(tolerant, answering(6), answering(6)).status is Status.PASSED
    assert judged(tolerant, answering(6), answering(4)).lost == ()
    assert judged(tolerant, answering(6), answering(math.nan)).status is Status.PASSED


@pytest.mark.parametrize(("answer", "status"), [(6.9, Status.FAILED), (7.0, Status.PASSED), (8.0, Status.PASSED), (8.1, Status.FAILED)])
def test_the_mean_answer_lies_where_it_should(answer: float, status: Status) -> None:
    found = judged(expecting(least_share=0.1, low=7.0, high=8.0), answering(answer))
    assert found.status is status
    assert found.mean == pytest.approx(answer)
    if status is Status.FAILED:
        assert found.failures == (f"wanted mean answer in [7, 8], got {answer:.4g}",)


def test_each_case_counts_once_in_the_mean_however_many_answers_it_names() -> None:
    cases = [case("both", points=((0, 1), (0, 0))), case("one", Kind.INTERVAL, low=0.0, points=((0, 0),))]
    made = changed_set(EMPTY, add=cases, reason="why", who="ada", now=NOW)
    assert judged(made, ask_cases(lambda rows: rows["x"], cases)).mean == (1.5 + 1.0) / 2


def test_a_model_that_does_not_answer_fails_whatever_is_tolerated() -> None:
    def raising(rows: pl.DataFrame) -> None:
        raise OSError("gone")

    tolerant = expecting(least_share=0.01, most_lost=9)
    for broken, fault in ((raising, "OSError"), (lambda rows: [math.nan] * 2, "not finite"), (lambda rows: [], "too few|not finite|shape")):
        found = judged(tolerant, ask_cases(broken, CASES))
        assert found.status is Status.FAILED
        assert len(found.failures) == 1
        assert found.failures[0].startswith("10 of 10 cases were not answered; at least 0: ")
        assert any(part in found.failures[0] for part in fault.split("|"))
    good, silent = answering(9), ask_cases(raising, CASES[-1:])
    assert judged(tolerant, good).status is Status.PASSED
    assert judged(tolerant, (*good[:-1], *silent)).status is Status.FAILED


def test_a_slice_of_one_part_says_nothing_of_its_namesake() -> None:
    replay = case("replay", part=Part.INCIDENT)
    made = changed_set(expecting(least_share=0.1), add=[replay], reason="seen", who="ada", now=NOW)
    results = (*answering(1), *ask_cases(lambda rows: -rows["x"], [replay]))
    judged_both = judge_slices(results, made)
    assert [(each.name, each.status.value) for each in judged_both] == [("hard: s", "passed"), ("incident: s", "failed")]
    assert [len(each.unmet) for each in judged_both] == [8, 1]


def test_a_champion_that_was_asked_something_else_is_refused() -> None:
    with pytest.raises(GoldenSetError, match="different cases"):
        judge_slices(answering(9), expecting(least_share=0.5), champion=answering(9)[:3])
    assert judge_slices((), expecting(least_share=0.5)) == ()
