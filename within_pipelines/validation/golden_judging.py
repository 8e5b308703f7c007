"""Whether the slices of a golden set hold: what is expected of each against what a model, and the champion, answered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from within_pipelines.stats import Status
from within_pipelines.validation.golden_asking import CaseResult, SliceResult, same_cases, slice_results
from within_pipelines.validation.golden_set import GoldenSet, SliceExpectation


@dataclass(frozen=True, slots=True)
class SliceJudgement:
    """One slice: what was expected, what a model's answers were, and what does not hold.

    `mean` is the mean answer (NaN when a case was not answered), `unmet` the cases that were missed, `lost` those among them that the
    champion meets, each with the champion's answer."""

    expected: SliceExpectation
    found: SliceResult
    mean: float
    unmet: tuple[CaseResult, ...]
    lost: tuple[tuple[CaseResult, CaseResult], ...] = ()

    @property
    def name(self) -> str:
        """Part and slice."""
        return f"{self.found.part.value}: {self.found.slice}"

    @property
    def failures(self) -> tuple[str, ...]:
        """What does not hold, each with what was wanted and what was got; nothing when the slice holds."""
        silent = [result for result in self.unmet if result.fault]
        if silent:
            return (f"{len(silent)} of {self.found.cases} cases were not answered; {silent[0].detail}",)
        said = []
        if self.found.met / self.found.cases < self.expected.least_share:
            least = f"{100 * self.expected.least_share:g} %"
            got = f"{self.found.met} of {self.found.cases} ({self.found.share})"
            said.append(f"wanted at least {least} of cases met, got {got}; {self.unmet[0].detail}")
        if not self.expected.low <= self.mean <= self.expected.high:
            said.append(f"wanted mean answer in [{self.expected.low:g}, {self.expected.high:g}], got {self.mean:.4g}")
        if len(self.lost) > self.expected.most_lost:
            both = ", ".join(f"{own.detail} (the champion {_got(champion)})" for own, champion in self.lost[:5])
            said.append(f"wanted at most {self.expected.most_lost} lost to the champion, got {len(self.lost)}; {both}")
        return tuple(said)

    @property
    def status(self) -> Status:
        """Passed or failed: the cases are all there is of a slice, so nothing is left to chance."""
        return Status.FAILED if self.failures else Status.PASSED


def _got(result: CaseResult) -> str:
    return ", ".join(f"{value:.4g}" for value in result.answers)


def judge_slices(
    results: Sequence[CaseResult], golden_set: GoldenSet, *, champion: Sequence[CaseResult] | None = None
) -> tuple[SliceJudgement, ...]:
    """Each part and slice of `results` against what `golden_set` expects of it, in the order of their names.

    `results` are one model's. With the `champion`'s results of the same cases, cases that only the champion meets are counted too. A case
    that the model did not answer (it raised, answered with NaN or in the wrong shape) fails its slice whatever share was asked for.

    Raises `GoldenSetError` when champion and challenger were asked different cases.

    >>> from datetime import datetime
    >>> import polars as pl
    >>> from within_pipelines.validation import GoldenCase, Kind, Part, ask_cases, changed_set
    >>> rows = pl.DataFrame({"x": [1.0]})
    >>> cases = [GoldenCase(str(n), "m", Part.HARD, "s", Kind.INTERVAL, (rows,), ((0, 0),), low=n) for n in range(5)]
    >>> wanted = SliceExpectation("m", Part.HARD, "s", least_share=0.6)
    >>> empty = GoldenSet(1, "", "made", "ada", "2026-06-01", ())
    >>> soft = changed_set(empty, add=cases, expect=[wanted], reason="noisy", who="ada", now=datetime(2026, 6, 2))
    >>> [judge_slices(ask_cases(lambda rows: [x], cases), soft)[0].status.value for x in (1.5, 2.5)]
    ['failed', 'passed']
    """
    if champion is not None:
        same_cases(results, champion)
    beside = {result.case.id: result for result in champion or ()}
    judged = []
    for found in slice_results(results):
        own = [result for result in results if (result.case.part, result.case.slice) == (found.part, found.slice)]
        unmet = tuple(result for result in own if not result.met)
        lost = tuple((result, beside[result.case.id]) for result in unmet if result.case.id in beside and beside[result.case.id].met)
        mean = math.nan if any(result.fault for result in own) else float(np.mean([np.mean(result.answers) for result in own]))
        judged.append(SliceJudgement(golden_set.expected(own[0].case.model, found.part, found.slice), found, mean, unmet, lost))
    return tuple(judged)
