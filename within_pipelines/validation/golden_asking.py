"""Ask models the cases of a golden set: what is met by slice, how a challenger stands beside the champion, what training leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from within_pipelines.robustness import Predict, ask
from within_pipelines.stats import Estimate, paired_difference, wilson_interval
from within_pipelines.validation.comparison import McNemar, mcnemar_exact
from within_pipelines.validation.golden_set import GoldenCase, GoldenSetError, Part


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case asked of one model: whether it was met, the answers that counted, and the fault if the model did not answer."""

    case: GoldenCase
    met: bool
    answers: tuple[float, ...]
    fault: str = ""

    @property
    def detail(self) -> str:
        """One line for a person."""
        got = self.fault or ", ".join(f"{value:.4g}" for value in self.answers)
        return f"{self.case.id}: wanted {self.case.wanted}, {'the model ' if self.fault else 'got '}{got}"


def ask_cases(predict: Predict, cases: Sequence[GoldenCase]) -> tuple[CaseResult, ...]:
    """Ask a model every case. That it raises, answers with NaN or too few numbers is a fault, and a fault is never met."""
    results = []
    for case in cases:
        answers = [ask(predict, frame) for frame in case.inputs]
        fault = next((answer.fault for answer in answers if not answer.usable), "")
        values: list[float] = []
        if not fault:
            short = [
                answer
                for (which, at), answer in ((p, answers[p[0]]) for p in case.points)
                if not -len(answer.values) <= at < len(answer.values)
            ]
            if short:
                fault = f"answered with {len(short[0].values)} numbers, too few for {case.points}"
            else:
                values = [float(answers[which].values[at]) for which, at in case.points]
        results.append(CaseResult(case, not fault and case.met(values), tuple(values), fault))
    return tuple(results)


@dataclass(frozen=True, slots=True)
class SliceResult:
    """How many cases of a slice were met, with Wilson's interval of the share."""

    part: Part
    slice: str
    met: int
    cases: int
    share: Estimate


def slice_results(results: Sequence[CaseResult]) -> tuple[SliceResult, ...]:
    """The results by part and slice, in the order of their names."""
    keys = sorted({(result.case.part, result.case.slice) for result in results})
    found = []
    for part, name in keys:
        own = [result.met for result in results if (result.case.part, result.case.slice) == (part, name)]
        found.append(SliceResult(part, name, sum(own), len(own), wilson_interval(sum(own), len(own))))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class SliceComparison:
    """Challenger beside champion in one slice: gain in the share of cases met with its interval, and McNemar's test."""

    slice: str
    cases: int
    gain: Estimate
    mcnemar: McNemar
    lost: tuple[str, ...]


def same_cases(challenger: Sequence[CaseResult], champion: Sequence[CaseResult]) -> None:
    """Raise `GoldenSetError` when the two were not asked the same cases in the same order."""
    if [result.case.id for result in challenger] != [result.case.id for result in champion]:
        raise GoldenSetError("Challenger and champion were asked different cases; ask both the same version of the set.")


def compare_cases(
    challenger: Sequence[CaseResult], champion: Sequence[CaseResult], *, rng: np.random.Generator
) -> tuple[SliceComparison, ...]:
    """Case by case, challenger minus champion, per slice and over all ("all", first). `lost` names cases that only the champion met.

    Raises `GoldenSetError` when the two were not asked the same cases."""
    same_cases(challenger, champion)
    found = []
    for name in ("all", *sorted({result.case.slice for result in challenger})):
        pairs = [(a, b) for a, b in zip(challenger, champion, strict=True) if name in ("all", a.case.slice)]
        if not pairs:
            continue
        new, old = ([float(pair[side].met) for pair in pairs] for side in (0, 1))
        if len({a - b for a, b in zip(new, old, strict=True)}) > 1:
            gain = paired_difference(new, old, np.arange(len(pairs)), rng=rng)
        else:
            # Every case says the same; a bootstrap would call that certain. Other cases would differ at most this often (97.5 % exact).
            gap, rare = new[0] - old[0], 1 - 0.025 ** (1 / len(pairs))
            gain = Estimate(gap, max(-1.0, gap - rare), min(1.0, gap + rare), n=len(pairs))
        lost = tuple(a.case.id for a, b in pairs if b.met and not a.met)
        found.append(SliceComparison(name, len(pairs), gain, mcnemar_exact(new, old), lost))
    return tuple(found)


def without_golden_groups(frame: pl.DataFrame, cases: Sequence[GoldenCase], *, day_column: str | None = None) -> pl.DataFrame:
    """The rows that may be trained on: those of no case's group (up to the case's day, where it has one)."""
    kept = frame
    for case in cases:
        if not case.group or not set(case.group) <= set(frame.columns):
            continue
        inside = pl.all_horizontal(pl.col(name).cast(pl.String) == value for name, value in case.group.items()).fill_null(value=False)
        if case.until and day_column is not None and day_column in frame.columns:
            inside = inside & (pl.col(day_column).cast(pl.Date) <= pl.lit(case.until).str.to_date())
        kept = kept.filter(~inside)
    return kept
