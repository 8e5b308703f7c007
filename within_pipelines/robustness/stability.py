"""How much scores move when the input is perturbed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.exceptions import SampleError, SchemaError
from within_pipelines.robustness.answers import Predict, ask
from within_pipelines.robustness.gate import share_status
from within_pipelines.robustness.perturbation import Expectation, Perturbation
from within_pipelines.stats import Estimate, Status, Verdict, cluster_bootstrap, cluster_mean, wilson_interval

# Scores that differ by less are the same score computed in another order, relative to the largest score: of 100 points a ten-thousandth.
# Encoders and networks compute in float32; a text that is computed beside others moved such a score by 2e-5 points.
ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class PerturbationResult:
    """What one perturbation did. `fault` says that the model gave no usable answer; the estimates are then None.

    `mean_change` and `p95_change` are of absolute changes, in units of the score; `rank_stability` is Spearman's correlation of scores
    before and after, -1 to 1; `share_beyond` the share of rows that moved by more than the tolerance; `money` the largest amount per
    currency at stake on such a row."""

    name: str
    expectation: Expectation
    mean_change: Estimate | None = None
    p95_change: Estimate | None = None
    rank_stability: Estimate | None = None
    share_beyond: Estimate | None = None
    largest_change: float | None = None
    money: Mapping[str, float] = field(default_factory=dict)
    fault: str = ""

    def status(self, *, limit: float, minimum_units: int, scale: float) -> Status:
        """Whether the model did what it owes: see `Expectation`. `limit` is the largest share of rows that may move."""
        if self.fault:
            refused = self.expectation is Expectation.ANSWERED_OR_REFUSED and self.fault.startswith("raised ")
            return Status.PASSED if refused else Status.FAILED
        if self.expectation is Expectation.UNCHANGED:
            return Status.PASSED if self.largest_change is not None and self.largest_change <= ROUNDING * max(1.0, scale) else Status.FAILED
        if self.expectation is not Expectation.STABLE:
            return Status.PASSED
        return share_status(self.share_beyond, limit=limit, minimum_units=minimum_units)


@dataclass(frozen=True, slots=True)
class StabilityReport:
    """What each perturbation did to the scores of one model on one sample of `n_rows` rows in `n_units` independent units.

    `fault` says that the model did not answer even the clean rows. `scale` is the largest absolute clean score."""

    results: tuple[PerturbationResult, ...]
    tolerance: float
    n_rows: int
    n_units: int
    scale: float = 0.0
    fault: str = ""

    def verdict(self, *, limit: float = 0.1, minimum_units: int = 30) -> Verdict:
        """The gate `robustness`.

        Failed when the model does not answer, when row order or repeated rows move a score, or when a perturbation that should matter
        little moves certainly more than a share `limit` of the rows beyond the tolerance (`gate.share_status`); insufficient when the
        sample cannot tell, or when no perturbation asks for stability. The estimate is the largest share moved among those; the evidence
        warns of every share whose interval reaches the limit."""
        sizes = {"rows": self.n_rows, "units": self.n_units}
        if self.fault:
            return Verdict("robustness", Status.FAILED, None, limit, sizes, f"On the unchanged rows the model {self.fault}.")
        outcome = {r.name: r.status(limit=limit, minimum_units=minimum_units, scale=self.scale) for r in self.results}
        evidence: dict[str, Any] = {"tolerance": self.tolerance, "outcome": {name: status.value for name, status in outcome.items()}}
        close = [r.name for r in self.results if outcome[r.name] is Status.PASSED and reaches(r.share_beyond, limit, r.expectation)]
        if close:
            evidence["warning"] = f"the interval reaches {limit:g} for {', '.join(close)}"
        shares = [r.share_beyond for r in self.results if r.expectation is Expectation.STABLE and r.share_beyond is not None]
        worst = max(shares, key=lambda share: share.value, default=None)
        failed = [r for r in self.results if outcome[r.name] is Status.FAILED]
        if failed:
            parts = [f"{r.name}: {self._what(r)}" for r in failed]
            return Verdict("robustness", Status.FAILED, worst, limit, sizes, f"{'; '.join(parts)}.", evidence=evidence)
        unclear = [name for name, status in outcome.items() if status is Status.INSUFFICIENT]
        if unclear or worst is None:
            why = f"Cannot tell about {', '.join(unclear)}" if unclear else "No perturbation asked for stable scores"
            return Verdict("robustness", Status.INSUFFICIENT, worst, limit, sizes, f"{why} ({self.n_units} units).", evidence=evidence)
        reason = f"At most {worst} of the rows move by more than {self.tolerance:g} under any of {len(shares)} small changes."
        return Verdict("robustness", Status.PASSED, worst, limit, sizes, reason, evidence=evidence)

    def _what(self, result: PerturbationResult) -> str:
        if result.fault:
            return f"the model {result.fault}"
        if result.expectation is Expectation.UNCHANGED:
            return f"a score moved by {result.largest_change:.3g} though nothing was said"
        return f"{result.share_beyond} of the rows move by more than {self.tolerance:g}"

    def to_frame(self) -> pl.DataFrame:
        """A row per perturbation: name, expectation, fault, and each estimate with its `_low` and `_high`."""
        measures = ("mean_change", "p95_change", "rank_stability", "share_beyond")
        rows = []
        for result in self.results:
            row: dict[str, str | float | None] = {"name": result.name, "expectation": result.expectation.value, "fault": result.fault}
            for measure in measures:
                estimate: Estimate | None = getattr(result, measure)
                row[measure] = None if estimate is None else estimate.value
                row[f"{measure}_low"] = None if estimate is None else estimate.low
                row[f"{measure}_high"] = None if estimate is None else estimate.high
            rows.append(row | {"largest_change": result.largest_change})
        numbers = [f"{measure}{end}" for measure in measures for end in ("", "_low", "_high")] + ["largest_change"]
        return pl.DataFrame(
            rows, schema={"name": pl.String, "expectation": pl.String, "fault": pl.String} | dict.fromkeys(numbers, pl.Float64)
        )


def reaches(share: Estimate | None, limit: float, expectation: Expectation) -> bool:
    """Whether the interval of a share that is judged reaches the limit."""
    return expectation is Expectation.STABLE and share is not None and share.high > limit


def mean_of_changes(changes: NDArray[np.float64], clusters: NDArray[np.int64], *, rng: np.random.Generator) -> Estimate | None:
    """The mean of absolute changes with its interval over clusters; None with fewer than two, of which no interval can be told.

    >>> mean_of_changes(np.ones(2), np.zeros(2, dtype=np.int64), rng=np.random.default_rng(7)) is None
    True
    """
    return cluster_mean(changes, clusters, rng=rng, n_resamples=300) if len(np.unique(clusters)) > 1 else None


def largest_amounts(at_stake: pl.DataFrame) -> dict[str, float]:
    """The largest `amount` per `currency`; rows without either are left out.

    >>> largest_amounts(pl.DataFrame({"amount": [3.0, 5.0, None], "currency": ["EUR", "EUR", "USD"]}))
    {'EUR': 5.0}
    """
    known = at_stake.drop_nulls(["amount", "currency"]).group_by("currency").agg(pl.col("amount").max()).sort("currency")
    return {str(currency): float(amount) for currency, amount in known.select("currency", "amount").iter_rows()}


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 0, the mean rank for ties."""
    _, code, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts + 1) / 2)[code]
    return ranks


def rank_correlation(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Spearman's correlation; of two constants 1 (the ranking is as it was), of one constant 0 (the ranking is lost or invented).

    >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 9.0]))
    1.0
    """
    a, b = _ranks(before), _ranks(after)
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    if norm == 0:
        return 1.0 if not a.any() and not b.any() else 0.0
    return float(a @ b) / norm


def stability_report(
    predict: Predict,
    rows: pl.DataFrame,
    perturbations: Sequence[Perturbation],
    *,
    rng: np.random.Generator,
    tolerance: float,
    clusters: str | None = None,
    at_stake: pl.DataFrame | None = None,
    n_resamples: int = 500,
    level: float = 0.95,
) -> StabilityReport:
    """Ask `predict` (rows to one number each) about clean and perturbed rows, and compare.

    `tolerance` is the change of a score that does not matter, in its units. `clusters` names the column of rows that are not independent
    (account, ad group) for the intervals. Levels are adjusted for the number of perturbations (Bonferroni), so the intervals hold
    together. `at_stake` says what money hangs on each row (columns `amount` and `currency`, in the order of `rows`). A model that fails is
    a finding in the report, not an exception.

    Raises `SampleError` when `tolerance` is negative, names repeat, `at_stake` is not as long as `rows`, or there are fewer than two rows
    or clusters; `SchemaError` when a perturbation or `clusters` needs a column that the table lacks.

    >>> from within_pipelines.robustness.text import text_perturbations
    >>> ads = pl.DataFrame({"headline": ["Shoes", "Warm winter coats", "Tea", "Read this book"] * 25})
    >>> report = stability_report(lambda rows: [50.0] * len(rows), ads, text_perturbations(), rng=np.random.default_rng(7), tolerance=0)
    >>> report.verdict().status.value, max(result.largest_change for result in report.results)
    ('passed', 0.0)
    """
    names = [perturbation.name for perturbation in perturbations]
    if not tolerance >= 0 or len(set(names)) < len(names):
        raise SampleError(f"tolerance is {tolerance} and perturbations are {names}; give a tolerance >= 0 and different names.")
    if at_stake is not None and at_stake.height != rows.height:
        raise SampleError(f"at_stake has {at_stake.height} rows for {rows.height} rows that are scored; give an amount for each.")
    if clusters is not None and clusters not in rows.columns:
        raise SchemaError(f"There is no cluster column {clusters!r}; the table has {', '.join(rows.columns)}.")
    unit = (
        np.arange(len(rows))
        if clusters is None
        else np.unique(rows[clusters].cast(pl.String).fill_null("").to_numpy(), return_inverse=True)[1]
    )
    n_units = len(np.unique(unit))
    if n_units < 2:
        raise SampleError(f"The sample has {len(rows)} rows in {n_units} units; intervals need at least two units.")
    clean = ask(predict, rows, expected=len(rows))
    if not clean.usable:
        return StabilityReport((), tolerance, len(rows), n_units, fault=clean.fault)
    joint = 1 - (1 - level) / max(1, len(perturbations))
    results = []
    for perturbation in perturbations:
        changed = perturbation.apply(rows, rng)
        answers = ask(predict, changed.rows, expected=len(changed.rows))
        if answers.usable:
            before, of = clean.values[changed.source], unit[changed.source]
            found = _compare(perturbation, before, answers.values, of, tolerance, rng=rng, n_resamples=n_resamples, level=joint)
            if at_stake is not None:
                beyond = np.abs(answers.values - before) > tolerance
                found = replace(found, money=largest_amounts(at_stake[changed.source[beyond]]))
            results.append(found)
        else:
            results.append(PerturbationResult(perturbation.name, perturbation.expectation, fault=answers.fault))
    return StabilityReport(tuple(results), tolerance, len(rows), n_units, scale=float(np.max(np.abs(clean.values))))


def _compare(
    perturbation: Perturbation, before: NDArray[np.float64], after: NDArray[np.float64], unit: NDArray[np.int64], tolerance: float,
    *, rng: np.random.Generator, n_resamples: int, level: float,
) -> PerturbationResult:  # fmt: skip
    moved = np.abs(after - before)

    def p95(at: NDArray[np.int64]) -> float:
        return float(np.quantile(moved[at], 0.95))

    def ranking(at: NDArray[np.int64]) -> float:
        return rank_correlation(before[at], after[at])

    return PerturbationResult(
        perturbation.name,
        perturbation.expectation,
        mean_change=cluster_mean(moved, unit, rng=rng, n_resamples=n_resamples, level=level),
        p95_change=cluster_bootstrap(p95, unit, rng=rng, n_resamples=n_resamples, level=level),
        rank_stability=cluster_bootstrap(ranking, unit, rng=rng, n_resamples=n_resamples, level=level),
        share_beyond=_share(cluster_mean(moved > tolerance, unit, rng=rng, n_resamples=n_resamples, level=level)),
        largest_change=float(moved.max()),
    )


def _share(drawn: Estimate) -> Estimate:
    """The bootstrap interval, at least as wide as Wilson's over units: resampling rows of which none moved says nothing about the rest."""
    successes = drawn.value * drawn.n
    low = wilson_interval(math.floor(successes), drawn.n, level=drawn.level).low
    high = wilson_interval(min(drawn.n, math.ceil(successes)), drawn.n, level=drawn.level).high
    return Estimate(drawn.value, min(drawn.low, low), max(drawn.high, high), n=drawn.n, level=drawn.level)
