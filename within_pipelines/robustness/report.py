"""One report for every model: what was done to its input, what came of it, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import polars as pl

from within_pipelines.robustness.gate import share_status
from within_pipelines.robustness.perturbation import Expectation
from within_pipelines.robustness.stability import ROUNDING, StabilityReport
from within_pipelines.stats import Estimate, Status, Verdict

_ESTIMATES = ("unhandled", "mean_change", "rank_stability")


def _with_ends(name: str, estimate: Estimate | None, low: str, high: str) -> dict[str, float | None]:
    found = (None, None, None) if estimate is None else (estimate.value, estimate.low, estimate.high)
    return dict(zip((name, low, high), found, strict=True))


@dataclass(frozen=True, slots=True)
class FaultResult:
    """What one kind of fault did.

    `unhandled` is the share of units that it moved beyond the tolerance without anybody being told; `noticed` the share for which the
    door told; `mean_change` (of absolute changes) and `worst_change` are in units of the score; `rank_stability` is Spearman's correlation
    of the answers before and after, of units whose fault nobody was told of, None where answers have no order; `money` is the largest
    amount per currency that hung on an unhandled change; `fault` says that the model gave no usable answer."""

    name: str
    what: str
    expectation: Expectation
    unhandled: Estimate | None = None
    noticed: float = 0.0
    mean_change: Estimate | None = None
    rank_stability: Estimate | None = None
    worst_change: float | None = None
    money: Mapping[str, float] = field(default_factory=dict)
    fault: str = ""

    def status(self, *, limit: float, minimum_units: int, scale: float) -> Status:
        """Whether the model did what it owes: see `Expectation` and `gate.share_status`."""
        if self.fault:
            refused = self.expectation is Expectation.ANSWERED_OR_REFUSED and self.fault.startswith("raised ")
            return Status.PASSED if refused else Status.FAILED
        if self.expectation is Expectation.UNCHANGED:
            moved = self.worst_change is None or self.worst_change > ROUNDING * max(1.0, scale)
            return Status.FAILED if moved else Status.PASSED
        if self.expectation is not Expectation.STABLE:
            return Status.PASSED
        return share_status(self.unhandled, limit=limit, minimum_units=minimum_units)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain = {name: getattr(self, name) for name in ("name", "what", "noticed", "worst_change", "fault")}
        found: dict[str, Estimate | None] = {name: getattr(self, name) for name in _ESTIMATES}
        estimates = {name: None if estimate is None else estimate.to_dict() for name, estimate in found.items()}
        return plain | {"expectation": self.expectation.value, **estimates, "money": dict(self.money)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The result that `to_dict` wrote."""
        estimates = {name: None if values[name] is None else Estimate(**values[name]) for name in _ESTIMATES}
        return cls(**{**values, "expectation": Expectation(values["expectation"]), **estimates})


@dataclass(frozen=True, slots=True)
class RobustnessReport:
    """All faults of one model: `tolerance` in units of its score, `limit` the largest share of units that may move unnoticed, `scale` the
    largest clean score, `fault` that the model did not even answer clean input, `cpu_seconds` what making the report cost.
    `certified` holds per part of the model radii and the certified accuracy at each; it is shown, not judged."""

    model: str
    results: tuple[FaultResult, ...]
    tolerance: float
    limit: float
    minimum_units: int
    n_units: int
    scale: float = 0.0
    fault: str = ""
    notes: Mapping[str, Any] = field(default_factory=dict)
    certified: Mapping[str, tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)
    cpu_seconds: float = 0.0

    @classmethod
    def of_stability(cls, model: str, report: StabilityReport, *, limit: float, minimum_units: int, notes: Mapping[str, Any]) -> Self:
        """The report of scores of single rows (`stability_report`)."""
        results = tuple(
            FaultResult(
                r.name,
                r.name,
                r.expectation,
                unhandled=r.share_beyond,
                mean_change=r.mean_change,
                rank_stability=r.rank_stability,
                worst_change=r.largest_change,
                money=r.money,
                fault=r.fault,
            )
            for r in report.results
        )
        return cls(model, results, report.tolerance, limit, minimum_units, report.n_units, report.scale, report.fault, notes)

    def statuses(self) -> dict[str, Status]:
        """Outcome of each fault by name."""
        return {r.name: r.status(limit=self.limit, minimum_units=self.minimum_units, scale=self.scale) for r in self.results}

    def warnings(self) -> tuple[str, ...]:
        """Faults that passed although their interval reaches the limit."""
        found = self.statuses()
        return tuple(
            r.name
            for r in self.results
            if r.expectation is Expectation.STABLE
            and found[r.name] is Status.PASSED
            and r.unhandled is not None
            and r.unhandled.high > self.limit
        )

    def verdict(self) -> Verdict:
        """The gate `robustness`: failed when one fault failed or clean input was not answered, insufficient when one cannot be told or
        none asks for stability, passed otherwise. The evidence warns of intervals that reach the limit."""
        sizes = {"units": self.n_units}
        if self.fault:
            reason = f"On the unchanged rows the model {self.fault}."
            return Verdict("robustness", Status.FAILED, None, self.limit, sizes, reason)
        found = self.statuses()
        judged = [r for r in self.results if r.expectation is Expectation.STABLE and r.unhandled is not None]
        worst = max((r.unhandled for r in judged if r.unhandled is not None), key=lambda share: share.value, default=None)
        evidence: dict[str, Any] = {"tolerance": self.tolerance, "outcome": {name: status.value for name, status in found.items()}}
        evidence |= dict(self.notes)
        if self.warnings():
            evidence["warning"] = f"the interval reaches {self.limit:g} for {', '.join(self.warnings())}"
        failed = [r for r in self.results if found[r.name] is Status.FAILED]
        unclear = [name for name, status in found.items() if status is Status.INSUFFICIENT]
        if failed:
            status, reason = Status.FAILED, "; ".join(f"{r.name}: {self._what(r)}" for r in failed) + "."
        elif unclear or worst is None:
            why = f"Cannot tell about {', '.join(unclear)}" if unclear else "No fault asked for stable answers"
            status, reason = Status.INSUFFICIENT, f"{why} ({self.n_units} units)."
        else:
            reason = f"At most {worst} of the units move by more than {self.tolerance:g} unnoticed under any of {len(judged)} faults."
            status = Status.PASSED
        return Verdict("robustness", status, worst, self.limit, sizes, reason, evidence=evidence)

    def _what(self, result: FaultResult) -> str:
        if result.fault:
            return f"the model {result.fault}"
        if result.expectation is Expectation.UNCHANGED:
            return f"an answer moved by {result.worst_change or float('nan'):.3g} though nothing was said"
        return f"{result.unhandled} of the units move by more than {self.tolerance:g} and nobody is told"

    def to_frame(self) -> pl.DataFrame:
        """A row per fault: what, status, shares, mean changes and rank stability with their intervals, worst change, money."""
        found = self.statuses()
        rows = [
            {
                "fault": r.name,
                "what": r.what,
                "owed": r.expectation.value,
                "status": found[r.name].value,
                **_with_ends("unhandled", r.unhandled, "low", "high"),
                "noticed": r.noticed,
                **_with_ends("mean_change", r.mean_change, "mean_low", "mean_high"),
                **_with_ends("rank_stability", r.rank_stability, "rank_low", "rank_high"),
                "worst_change": r.worst_change,
                "worst_money": ", ".join(f"{amount:,.0f} {currency}" for currency, amount in sorted(r.money.items())),
                "problem": r.fault,
            }
            for r in self.results
        ]
        text = dict.fromkeys(("fault", "what", "owed", "status", "worst_money", "problem"), pl.String)
        changes = ("mean_change", "mean_low", "mean_high", "rank_stability", "rank_low", "rank_high", "worst_change")
        numbers = dict.fromkeys(("unhandled", "low", "high", "noticed", *changes), pl.Float64)
        order = ("fault", "what", "owed", "status", *numbers, "worst_money", "problem")
        return pl.DataFrame(rows, schema={name: (text | numbers)[name] for name in order})

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        names = ("model", "tolerance", "limit", "minimum_units", "n_units", "scale", "fault", "cpu_seconds")
        plain = {name: getattr(self, name) for name in names}
        curves = {name: [list(radii), list(accuracy)] for name, (radii, accuracy) in self.certified.items()}
        return plain | {"notes": dict(self.notes), "results": [r.to_dict() for r in self.results], "certified": curves}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The report that `to_dict` wrote."""
        results: Sequence[Mapping[str, Any]] = values["results"]
        curves = {name: (radii, accuracy) for name, (radii, accuracy) in values["certified"].items()}
        return cls(**{**values, "results": tuple(FaultResult.from_dict(r) for r in results), "certified": curves})
