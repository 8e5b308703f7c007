"""Let a new version serve a growing share of units, and take it back at the first sound sign of harm.

One sequence of looks runs over the whole canary, not one a stage, so nothing is tested anew and the error rates hold over all looks
together:

- roll back when a metric's gain (canary minus control, signed so that more is better) is below 0 beyond the anytime-valid boundary at
  `alpha` over the number of metrics. A canary that equals control is taken back with probability at most `alpha`, however often one looks.
- go on to share s when s times the largest plausible loss (lower end of the one-sided confidence sequence at `alpha`) is at most the
  metric's margin, for every metric. At s = 1 that is non-inferiority: a canary that loses more than the margin is promoted with
  probability at most `alpha`.

Differences are taken within days (shares change between days), variances add up over units (the same unit comes back), and only matured
outcomes count."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from enum import StrEnum
from typing import Any, Literal, Self, get_args

import polars as pl

from within_pipelines.exceptions import SampleError
from within_pipelines.stats import Estimate, mixture_half_width, mixture_wealth
from within_pipelines.validation.assignment import assign
from within_pipelines.validation.late_outcomes import Missing, matured
from within_pipelines.validation.sample_ratio import sample_ratio
from within_pipelines.validation.stratified import stratified_difference

STAGES = (0.01, 0.05, 0.25, 0.50, 1.0)
# Below this many units an arm the estimate is not yet normal and its variance not yet known.
MINIMUM_UNITS = 30
# Asked at every look, so stricter than for a test that is read once.
MISMATCH_ALPHA = 1e-5

CANARY, CONTROL = "canary", "control"
# Where outcomes come from: answers that people got, days of the lake that both versions answer afterwards, or a file that somebody gives.
Outcomes = Literal["live", "replay", "recorded"]


class CanaryState(StrEnum):
    """Where a canary stands. `ROLLING_BACK` and `PROMOTING` are intentions: written down before they are carried out."""

    RUNNING = "running"
    PAUSED = "paused"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    PROMOTING = "promoting"
    PROMOTED = "promoted"

    @property
    def final(self) -> bool:
        """True when nothing is left to do."""
        return self in (CanaryState.ROLLED_BACK, CanaryState.PROMOTED)


class Step(StrEnum):
    """What a look says."""

    HOLD = "hold"
    ADVANCE = "advance"
    PROMOTE = "promote"
    ROLL_BACK = "roll back"


@dataclass(frozen=True, slots=True)
class CanaryMetric:
    """A number per unit and day. `margin` is the loss that would be accepted, in its units; the boundary is tuned to find such a loss."""

    name: str
    margin: float
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        if not self.name or not (self.margin > 0 and math.isfinite(self.margin)):
            raise SampleError(f"The metric {self.name!r} has margin {self.margin}; give a name and how much it may lose, above 0.")

    @classmethod
    def of(cls, text: str) -> Self:
        """Read `NAME:MARGIN[:higher|lower]`: a name, the loss that is accepted, and which way is better.

        Raises `SampleError` for another form.

        >>> CanaryMetric.of("latency_ms:20:lower")
        CanaryMetric(name='latency_ms', margin=20.0, higher_is_better=False)
        """
        name, *rest = text.split(":")
        if len(rest) not in (1, 2) or (len(rest) == 2 and rest[1] not in ("higher", "lower")):
            raise SampleError(f"{text!r} is not of the form NAME:MARGIN[:higher|lower].")
        try:
            margin = float(rest[0])
        except ValueError:
            raise SampleError(f"{text}: {rest[0]!r} is no number.") from None
        return cls(name, margin=margin, higher_is_better=rest[-1] != "lower")


@dataclass(frozen=True, slots=True)
class CanarySpec:
    """Everything that is fixed before the first unit: who, against whom, on which metrics, in which stages, at which error rate.

    `metrics` names the success metric first, then the guardrails. `days_per_stage` is the least time in a stage, so that every stage sees
    whole days (7 sees a whole week). `maturity_days` and `missing` say when an outcome counts and what a missing one counts. `outcomes`
    says where they come from; a canary over replayed days answers nobody."""

    name: str
    model: str
    version: int
    control_version: int
    metrics: tuple[CanaryMetric, ...]
    key: str
    shares: tuple[float, ...] = STAGES
    alpha: float = 0.05
    days_per_stage: int = 1
    maturity_days: int = 0
    missing: Missing = "zero"
    minimum_units: int = MINIMUM_UNITS
    outcomes: Outcomes = "live"

    def __post_init__(self) -> None:
        if not self.metrics or len({metric.name for metric in self.metrics}) != len(self.metrics):
            raise SampleError(f"The metrics are {[metric.name for metric in self.metrics]}; give at least one, each once.")
        rising = all(a < b for a, b in zip(self.shares, self.shares[1:], strict=False))
        if len(self.shares) < 2 or not rising or not self.shares[0] > 0 or self.shares[-1] != 1.0:
            raise SampleError(f"The shares are {self.shares}; give rising shares above 0 that end with 1.")
        if not 0 < self.alpha < 0.5 or self.days_per_stage < 1 or self.maturity_days < 0 or self.minimum_units < 2:
            raise SampleError(
                f"alpha is {self.alpha}, days_per_stage {self.days_per_stage}, maturity_days {self.maturity_days}, minimum_units "
                f"{self.minimum_units}; give alpha in (0, 0.5), at least one day a stage, maturity >= 0 and at least two units."
            )
        if self.version == self.control_version:
            raise SampleError(f"Canary and control are both v{self.version}; a version cannot be compared with itself.")
        if self.outcomes not in get_args(Outcomes):
            raise SampleError(f"outcomes is {self.outcomes!r}; give {', '.join(get_args(Outcomes))}.")
        self.arm_of("any unit", share=0.5)  # the key is checked where it is used

    def arm_of(self, unit: str, *, share: float) -> str:
        """`canary` or `control`; who is in the canary stays in it as the share grows."""
        return assign(unit, experiment=self.name, shares={CANARY: share, CONTROL: 1 - share}, key=self.key)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` reads them back."""
        return {**asdict(self), "metrics": [asdict(metric) for metric in self.metrics], "shares": list(self.shares)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        read = dict(values)
        read["metrics"] = tuple(CanaryMetric(**metric) for metric in read["metrics"])
        read["shares"] = tuple(read["shares"])
        return cls(**read)


@dataclass(frozen=True, slots=True)
class MetricLook:
    """One metric on one day: gain with its one-sided ends (each holds at all looks with 1 - alpha), and the p-value of harm."""

    metric: str
    gain: Estimate
    p_harm: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"metric": self.metric, "gain": self.gain.to_dict(), "p_harm": self.p_harm}


@dataclass(frozen=True, slots=True)
class CanaryLook:
    """What one look saw and said; `known` is how many outcomes had been reported by then (0 when nobody counted)."""

    on: date
    stage: int
    share: float
    step: Step
    reason: str
    units: Mapping[str, int]
    metrics: tuple[MetricLook, ...] = ()
    known: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` reads them back."""
        return {
            "on": self.on.isoformat(), "stage": self.stage, "share": self.share, "step": self.step.value, "reason": self.reason,
            "units": dict(self.units), "metrics": [metric.to_dict() for metric in self.metrics], "known": self.known,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        metrics = tuple(MetricLook(m["metric"], Estimate(**m["gain"]), m["p_harm"]) for m in values["metrics"])
        return cls(
            date.fromisoformat(values["on"]), values["stage"], values["share"], Step(values["step"]), values["reason"], values["units"],
            metrics, values["known"],
        )  # fmt: skip


def look(spec: CanarySpec, outcomes: pl.DataFrame, *, on: date, stage: int, stage_since: date) -> CanaryLook:
    """Read the canary on a day.

    `outcomes` holds everything since the canary began: `unit`, `arm` (`canary` or `control`), `day`, `known_on`, a column per metric, and
    optionally `share` (the canary's share on that day), which lets the split be checked. `stage` is the current stage, `stage_since` the
    day on which it began.

    Raises what `matured` raises, and `SampleError` for a stage that does not exist."""
    if not 0 <= stage < len(spec.shares) - 1:
        raise SampleError(f"Stage {stage} is none of the {len(spec.shares) - 1} stages in which canary and control stand side by side.")
    share = spec.shares[stage]
    names = [metric.name for metric in spec.metrics]
    rows = matured(outcomes, names, on=on, maturity_days=spec.maturity_days, missing=spec.missing)
    rows = rows.filter(pl.col("arm").is_in([CANARY, CONTROL]))
    units = {arm: rows.filter(pl.col("arm") == arm)["unit"].n_unique() for arm in (CANARY, CONTROL)}

    def said(step: Step, reason: str, metrics: Sequence[MetricLook] = ()) -> CanaryLook:
        return CanaryLook(on, stage, share, step, reason, units, tuple(metrics))

    if min(units.values()) < spec.minimum_units:
        return said(
            Step.HOLD, f"{units[CANARY]} canary and {units[CONTROL]} control units have matured; {spec.minimum_units} each are needed."
        )
    seen: list[MetricLook] = []
    for metric in spec.metrics:
        found = _read(spec, metric, rows)
        if found is None:
            return said(Step.HOLD, f"{metric.name} does not vary, or no day holds both arms; nothing can be compared yet.", seen)
        seen.append(found)
    harmed = [found for found in seen if found.p_harm <= spec.alpha / len(spec.metrics)]
    if harmed:
        return said(Step.ROLL_BACK, "; ".join(f"{found.metric} lost beyond chance: {found.gain}" for found in harmed), seen)
    if lost := _lost_units(outcomes, share=share):
        return said(Step.HOLD, lost, seen)
    if (stood := (on - stage_since).days) < spec.days_per_stage:
        return said(Step.HOLD, f"Day {stood} of {spec.days_per_stage} in this stage; no harm shown.", seen)
    target = spec.shares[stage + 1]
    at_risk = [
        f"{found.metric} may lose {target * -found.gain.low:.3g} of {metric.margin:g}"
        for metric, found in zip(spec.metrics, seen, strict=True)
        if target * -found.gain.low > metric.margin
    ]
    if at_risk:
        return said(Step.HOLD, f"No harm shown, but at {target:.0%} {', '.join(at_risk)}.", seen)
    step = Step.PROMOTE if target == 1.0 else Step.ADVANCE
    return said(step, f"At {target:.0%} no metric can plausibly lose more than its margin.", seen)


def _read(spec: CanarySpec, metric: CanaryMetric, rows: pl.DataFrame) -> MetricLook | None:
    sign = 1.0 if metric.higher_is_better else -1.0
    found = stratified_difference(
        sign * rows[metric.name].cast(pl.Float64).to_numpy(),
        (rows["arm"] == CANARY).to_numpy(),
        rows["day"].to_physical().to_numpy(),
        rows["unit"].rank("dense").to_numpy(),
    )
    if found is None or found.variance <= 0 or min(found.units_first, found.units_second) < spec.minimum_units:
        return None
    half = mixture_half_width(found.variance, scale=metric.margin, alpha=spec.alpha, one_sided=True)
    wealth = float(mixture_wealth(found.difference, found.variance, scale=metric.margin, alternative="less"))
    n = found.units_first + found.units_second
    gain = Estimate(found.difference, found.difference - half, found.difference + half, n=n, level=1 - spec.alpha)
    return MetricLook(metric.name, gain, min(1.0, 1 / wealth))


def _lost_units(outcomes: pl.DataFrame, *, share: float) -> str:
    """Why the split at the current share cannot be believed; empty when it can, or when nobody recorded the share."""
    if "share" not in outcomes.columns:
        return ""
    at_share = outcomes.filter((pl.col("share") - share).abs() < 1e-12)
    counts = {arm: at_share.filter(pl.col("arm") == arm)["unit"].n_unique() for arm in (CANARY, CONTROL)}
    if sum(counts.values()) == 0:
        return ""
    ratio = sample_ratio(counts, {CANARY: share, CONTROL: 1 - share}, alpha=MISMATCH_ALPHA)
    if not ratio.mismatch:
        return ""
    return f"Sample ratio mismatch: {counts} units at a share of {share:.0%} (p = {ratio.p_value:.2g}); find what loses units."
