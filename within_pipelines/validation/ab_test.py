"""Read an A/B test: is the split sound, does an arm win, does a guardrail break, what do segments say?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import polars as pl

from within_pipelines.exceptions import SampleError, SchemaError
from within_pipelines.stats import (
    Estimate,
    MeanDifference,
    benjamini_hochberg,
    cuped_difference,
    holm,
    mixture_half_width,
    mixture_wealth,
    ratio_difference,
    welch_t,
)
from within_pipelines.validation.experiment import ExperimentSpec, Metric
from within_pipelines.validation.sample_ratio import SampleRatio, sample_ratio

# Below this many units an arm the normal approximation of the sequential boundary is not to be trusted.
MINIMUM_UNITS = 30


class Outcome(StrEnum):
    """What a look at an experiment says."""

    WINNER = "winner"
    CONTROL = "control is better"
    NO_EVIDENCE = "no evidence"
    GUARDRAIL = "a guardrail is broken"
    TOO_EARLY = "too early"
    MISMATCH = "sample ratio mismatch"
    NOT_CAUSAL = "not causal"


@dataclass(frozen=True, slots=True)
class ArmComparison:
    """One treatment beside control in one metric: absolute difference, p-value adjusted for the number of treatments, relative change.

    With a sequential analysis interval and p-value hold at every look so far. `relative` is None when control's value is 0."""

    arm: str
    metric: str
    difference: Estimate
    p_value: float
    control_value: float
    relative: float | None
    segment: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "arm": self.arm, "metric": self.metric, "segment": self.segment, "difference": self.difference.to_dict(),
            "p_value": self.p_value, "control_value": self.control_value, "relative": self.relative,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class AbResult:
    """One look: the outcome in one sentence, the winner if there is one, and all comparisons behind it."""

    outcome: Outcome
    winner: str | None
    reason: str
    units: Mapping[str, int]
    ratio: SampleRatio
    crossovers: int
    primary: tuple[ArmComparison, ...]
    guardrails: tuple[ArmComparison, ...]
    segments: tuple[ArmComparison, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "outcome": self.outcome.value, "winner": self.winner, "reason": self.reason, "units": dict(self.units),
            "sample_ratio_p_value": self.ratio.p_value, "crossovers": self.crossovers,
            "primary": [found.to_dict() for found in self.primary], "guardrails": [found.to_dict() for found in self.guardrails],
            "segments": [found.to_dict() for found in self.segments],
        }  # fmt: skip


def analyse(spec: ExperimentSpec, units: pl.DataFrame, *, previous: Sequence[AbResult] = (), ended: bool = False) -> AbResult:
    """One look at the experiment.

    `units` holds one row per unit: `unit`, `arm` (the arm that it really got), and a column per metric, denominator, segment and
    covariate. `previous` are the earlier looks of a sequential analysis, whose p-values this one can only lower. `ended` says that no
    more units will come, so that a fixed-horizon test may be read before `planned_units`.

    In this order: a sample ratio mismatch, or an arm that is not the assigned one for more than 1 % of the units, makes every effect void;
    a split that was not randomised is shown and named not causal; a fixed-horizon test is too early before `planned_units`; a guardrail
    whose interval lies wholly on the bad side is broken; then a treatment wins, control is better, or there is no evidence.

    With several treatments p-values are Holm's (fixed) or Bonferroni's (sequential); p-values of segments are Benjamini and Hochberg's over
    all segments and never decide.

    Raises `SchemaError` for a missing column and `SampleError` for a unit that appears twice, a missing value, or an unknown arm."""
    _check(spec, units)
    counts = {arm: units.filter(pl.col("arm") == arm).height for arm in spec.shares}
    ratio = sample_ratio(counts, spec.shares)
    crossovers = 0
    if spec.randomised:
        crossovers = sum(spec.arm_of(unit) != arm for unit, arm in units.select("unit", "arm").iter_rows())
    if min(counts.values()) < MINIMUM_UNITS:
        reason = f"The smallest arm has {min(counts.values())} units; {MINIMUM_UNITS} are needed to look at all."
        return AbResult(Outcome.TOO_EARLY, None, reason, counts, ratio, crossovers, (), (), ())
    primary = _comparisons(spec, units, spec.metric, previous)
    guardrails = tuple(found for metric in spec.guardrails for found in _comparisons(spec, units, metric, previous))
    segments = _segments(spec, units)
    outcome, winner, reason = _judge(spec, units, counts, ratio, crossovers, primary, guardrails, ended=ended)
    return AbResult(outcome, winner, reason, counts, ratio, crossovers, primary, guardrails, segments)


def _check(spec: ExperimentSpec, units: pl.DataFrame) -> None:
    numbers = [name for metric in (spec.metric, *spec.guardrails) for name in (metric.name, metric.denominator) if name]
    if spec.covariate:
        numbers.append(spec.covariate)
    wanted = ["unit", "arm", *dict.fromkeys(numbers), *spec.segments]
    if missing := [name for name in wanted if name not in units.columns]:
        raise SchemaError(f"The units lack {', '.join(missing)}; give one row per unit with {', '.join(wanted)}.")
    if repeated := units.height - units["unit"].n_unique():
        raise SampleError(f"{repeated} rows repeat a unit; add up each unit's rows first, because only units are independent.")
    if unknown := sorted(set(units["arm"].to_list()) - set(spec.shares)):
        raise SampleError(f"The arms {unknown} are not among {sorted(spec.shares)}.")
    for name in dict.fromkeys(numbers):
        values = units[name].cast(pl.Float64)
        if bad := int(values.null_count() + (~values.is_finite()).sum()):
            raise SampleError(
                f"{name} is missing or not finite for {bad} of {units.height} units; decide what they count and fill them in."
            )


def _test(metric: Metric, treated: pl.DataFrame, control: pl.DataFrame, covariate: str | None, level: float) -> MeanDifference:
    a, b = (frame[metric.name].cast(pl.Float64).to_numpy() for frame in (treated, control))
    if metric.denominator is not None:
        da, db = (frame[metric.denominator].cast(pl.Float64).to_numpy() for frame in (treated, control))
        return ratio_difference(a, da, b, db, level=level)
    if covariate is not None:
        xa, xb = (frame[covariate].cast(pl.Float64).to_numpy() for frame in (treated, control))
        return cuped_difference(a, xa, b, xb, level=level).test
    return welch_t(a, b, level=level)


def _value(metric: Metric, frame: pl.DataFrame) -> float:
    total = float(frame[metric.name].cast(pl.Float64).sum())
    return total / (frame.height if metric.denominator is None else float(frame[metric.denominator].cast(pl.Float64).sum()))


def _scale(spec: ExperimentSpec, metric: Metric) -> float:
    return metric.margin if metric is not spec.metric and metric.margin > 0 else spec.minimum_effect


def _comparisons(spec: ExperimentSpec, units: pl.DataFrame, metric: Metric, previous: Sequence[AbResult]) -> tuple[ArmComparison, ...]:
    control = units.filter(pl.col("arm") == spec.control)
    base = _value(metric, control)
    alpha = spec.alpha / len(spec.treatments)
    # Only the primary metric may use the covariate: it is that metric from before the experiment.
    covariate = spec.covariate if metric is spec.metric else None
    tests = [_test(metric, units.filter(pl.col("arm") == arm), control, covariate, 1 - alpha) for arm in spec.treatments]
    p_values = holm([test.p_value for test in tests]).tolist()
    found = []
    for arm, test, p_value in zip(spec.treatments, tests, p_values, strict=True):
        interval = test.difference
        if spec.analysis == "sequential":
            interval, p_value = _always_valid(spec, metric, arm, test, alpha, previous)
        relative = interval.value / base if base else None
        found.append(ArmComparison(arm, metric.name, interval, p_value, base, relative))
    return tuple(found)


def _always_valid(
    spec: ExperimentSpec, metric: Metric, arm: str, test: MeanDifference, alpha: float, previous: Sequence[AbResult]
) -> tuple[Estimate, float]:
    value, variance = test.difference.value, test.standard_error**2
    earlier = [c.p_value for look in previous for c in (*look.primary, *look.guardrails) if (c.arm, c.metric) == (arm, metric.name)]
    if variance == 0:
        return Estimate(value, -math.inf, math.inf, n=test.difference.n, level=1 - alpha), min([1.0, *earlier])
    scale = _scale(spec, metric)
    half = mixture_half_width(variance, scale=scale, alpha=alpha)
    p_value = min(1.0, len(spec.treatments) / float(mixture_wealth(value, variance, scale=scale)))
    return Estimate(value, value - half, value + half, n=test.difference.n, level=1 - alpha), min([p_value, *earlier])


def _segments(spec: ExperimentSpec, units: pl.DataFrame) -> tuple[ArmComparison, ...]:
    found: list[ArmComparison] = []
    for name in spec.segments:
        for value in sorted(units[name].drop_nulls().unique().to_list(), key=str):
            rows = units.filter(pl.col(name) == value)
            control = rows.filter(pl.col("arm") == spec.control)
            for arm in spec.treatments:
                treated = rows.filter(pl.col("arm") == arm)
                if min(treated.height, control.height) < MINIMUM_UNITS:
                    continue
                test = _test(spec.metric, treated, control, None, 1 - spec.alpha)
                base = _value(spec.metric, control)
                relative = test.difference.value / base if base else None
                found.append(ArmComparison(arm, spec.metric.name, test.difference, test.p_value, base, relative, f"{name} = {value}"))
    adjusted = benjamini_hochberg([segment.p_value for segment in found])
    return tuple(
        ArmComparison(c.arm, c.metric, c.difference, float(p), c.control_value, c.relative, c.segment)
        for c, p in zip(found, adjusted, strict=True)
    )


# A unit that got another arm than its own is a fault of the delivery; a few are tolerated (shared devices, retries).
MOST_CROSSOVERS = 0.01


def _judge(
    spec: ExperimentSpec,
    units: pl.DataFrame,
    counts: Mapping[str, int],
    ratio: SampleRatio,
    crossovers: int,
    primary: Sequence[ArmComparison],
    guardrails: Sequence[ArmComparison],
    *,
    ended: bool,
) -> tuple[Outcome, str | None, str]:
    if not spec.randomised:
        return (
            Outcome.NOT_CAUSAL, None,
            "Who saw which arm was decided by the platform's optimiser and not by chance, so the arms reached different people: "
            "the differences are shown, but they are not effects of the arms.",
        )  # fmt: skip
    if ratio.mismatch:
        wanted = {arm: round(n) for arm, n in ratio.expected.items()}
        expected = f"{wanted} were expected (p = {ratio.p_value:.2g})"
        reason = f"The arms have {dict(counts)} units, {expected}: find what loses units; no effect counts."
        return Outcome.MISMATCH, None, reason
    if crossovers > MOST_CROSSOVERS * units.height:
        return Outcome.MISMATCH, None, f"{crossovers} of {units.height} units got another arm than theirs; no effect counts."
    if spec.analysis == "fixed" and units.height < spec.planned_units and not ended:
        reason = f"{units.height} of {spec.planned_units} planned units; a fixed-horizon test is read once, at its end."
        return Outcome.TOO_EARLY, None, reason
    signs = {metric.name: 1.0 if metric.higher_is_better else -1.0 for metric in (spec.metric, *spec.guardrails)}
    better = [c for c in primary if c.p_value <= spec.alpha and signs[c.metric] * c.difference.value > 0]
    worse = [c for c in primary if c.p_value <= spec.alpha and signs[c.metric] * c.difference.value < 0]
    broken = [g for g in guardrails if _gain_interval(g, signs[g.metric])[1] < 0]
    sound = [c for c in better if c.arm not in {g.arm for g in broken}]
    if sound:
        best = max(sound, key=lambda c: signs[c.metric] * c.difference.value)
        margins = {metric.name: metric.margin for metric in spec.guardrails}
        unsure = [g.metric for g in guardrails if g.arm == best.arm and _gain_interval(g, signs[g.metric])[0] < -margins[g.metric]]
        if unsure:
            reason = (
                f"{best.arm} is better in {best.metric} ({best.difference}), but {', '.join(unsure)} may have lost more than its margin."
            )
            return Outcome.NO_EVIDENCE, None, reason
        return Outcome.WINNER, best.arm, f"{best.arm} changes {best.metric} by {best.difference} (p = {best.p_value:.2g})."
    if broken:
        named = "; ".join(f"{g.arm} changes {g.metric} by {g.difference}" for g in broken)
        return Outcome.GUARDRAIL, None, f"Worse beyond chance: {named}."
    if worse and len(worse) == len(primary):
        reason = "; ".join(f"{c.arm} changes {c.metric} by {c.difference}" for c in worse)
        return Outcome.CONTROL, spec.control, f"Every treatment is worse: {reason}."
    closest = min(primary, key=lambda c: c.p_value)
    reason = (
        f"No arm differs from control beyond chance; the strongest is {closest.arm} with {closest.difference} (p = {closest.p_value:.2g})."
    )
    return Outcome.NO_EVIDENCE, None, reason


def _gain_interval(found: ArmComparison, sign: float) -> tuple[float, float]:
    low, high = sign * found.difference.low, sign * found.difference.high
    return min(low, high), max(low, high)


def spread(metric: Metric, units: pl.DataFrame) -> float:
    """Standard deviation of one unit's contribution to the metric, for planning from earlier data: for a ratio that of (y - R x) / mean x.

    >>> round(spread(Metric("y"), pl.DataFrame({"y": [0.0, 1.0, 0.0, 1.0]})), 3)
    0.577
    """
    y = units[metric.name].cast(pl.Float64).to_numpy()
    if metric.denominator is None:
        return float(np.std(y, ddof=1))
    x = units[metric.denominator].cast(pl.Float64).to_numpy()
    return float(np.std(y - y.sum() / x.sum() * x, ddof=1) / x.mean())
