"""What an audit says: one row per attribute and measure, one verdict, the sentences behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from within_pipelines.fairness.measures import Role
from within_pipelines.stats import Estimate, Status, Verdict

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class GapRow:
    """One measure over the groups of one attribute.

    `gap` is the largest less the smallest group value with its bootstrap interval over clusters; `p_value` the chance of such a gap when
    groups are shuffled, `adjusted` after Holm over all gating rows of the audit; `null_limit` what shuffled groups stay below with
    probability 1 - alpha; `detectable` the gap that this sample finds with 80 % probability. `small` lists groups that were left out."""

    attribute: str
    measure: str
    role: Role
    threshold: float
    values: Mapping[str, Estimate]
    units: Mapping[str, int]
    small: tuple[str, ...]
    gap: Estimate | None
    ratio: float | None
    p_value: float | None
    adjusted: float | None
    null_limit: float | None
    detectable: float | None
    alpha: float

    @property
    def status(self) -> Status:
        """Failed only when the gap exceeds the threshold and what chance gives; passed only when a gap at the threshold would show."""
        if self.gap is None or self.adjusted is None or self.detectable is None:
            return Status.INSUFFICIENT
        if self.gap.value > self.threshold:
            return Status.FAILED if self.adjusted <= self.alpha else Status.INSUFFICIENT
        if self.small or self.detectable > self.threshold:
            return Status.INSUFFICIENT
        return Status.PASSED

    @property
    def warns(self) -> bool:
        """A deciding row whose interval reaches the threshold, or a watched one that is certainly over it."""
        if self.gap is None:
            return False
        return self.status is Status.FAILED if self.role is Role.WATCHED else self.gap.high >= self.threshold

    @property
    def reason(self) -> str:
        """One sentence that a person can act on."""
        left_out = f" Left out as too small: {', '.join(self.small)}." if self.small else ""
        what = f"{self.measure.replace('_', ' ')} by {self.attribute}"
        if self.gap is None or self.adjusted is None or self.detectable is None or self.null_limit is None:
            return f"{what}: no two groups are large enough.{left_out}"
        start = f"{what}: gap {self.gap}"
        if self.status is Status.FAILED:
            low, high = min(self.values, key=lambda g: self.values[g].value), max(self.values, key=lambda g: self.values[g].value)
            return (
                f"{start} ({high} over {low}), above {self.threshold:g} and above the {self.null_limit:.3f} that shuffled groups give "
                f"(p {self.adjusted:.3f}).{left_out}"
            )
        if self.gap.value > self.threshold:
            return (
                f"{start}, above {self.threshold:g}, but shuffled groups give up to {self.null_limit:.3f}; more data will tell.{left_out}"
            )
        if self.detectable > self.threshold:
            return f"{start}; this sample would only find {self.detectable:.3f}, and {self.threshold:g} is asked.{left_out}"
        near = f" The interval reaches {self.threshold:g}: watch it." if self.warns else ""
        return f"{start}, at most {self.threshold:g}.{near}{left_out}"


@dataclass(frozen=True, slots=True)
class FairnessAudit:
    """All rows of an audit; rows that decide come first."""

    rows: tuple[GapRow, ...]

    @property
    def deciding(self) -> tuple[GapRow, ...]:
        """The required rows, and the refutable ones that are shown to be over their threshold."""
        return tuple(row for row in self.rows if row.role is Role.REQUIRED or (row.role is Role.REFUTABLE and row.status is Status.FAILED))

    @property
    def status(self) -> Status:
        """Failed when a required or refutable row fails, passed when all required rows pass, else (or without one) insufficient."""
        states = {row.status for row in self.deciding}
        if Status.FAILED in states:
            return Status.FAILED
        return Status.PASSED if states == {Status.PASSED} else Status.INSUFFICIENT

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on what to watch."""
        return tuple(row.reason for row in self.rows if row.warns)

    def verdict(self, *, evidence: Mapping[str, Any] | None = None) -> Verdict:
        """The gate `fairness`: the row that decides, with all others as evidence."""
        order = {Status.FAILED: 0, Status.INSUFFICIENT: 1, Status.PASSED: 2}
        if not self.deciding:
            return Verdict("fairness", Status.INSUFFICIENT, None, None, {}, "No measure and attribute that decides could be compared.")
        worst = min(self.deciding, key=lambda r: (order[r.status], -(0.0 if r.gap is None else r.gap.value / r.threshold)))
        found = {
            "attribute": worst.attribute,
            "measure": worst.measure,
            "rows": [_plain(row) for row in self.rows],
            "warnings": list(self.warnings),
        }
        others = [
            row.reason for row in self.deciding if row.status is worst.status and row is not worst and worst.status is not Status.PASSED
        ]
        reason = " ".join([worst.reason, *others])
        return Verdict(
            "fairness", self.status, worst.gap, worst.threshold, dict(worst.units), reason, evidence={**found, **(evidence or {})}
        )

    def to_frame(self) -> pl.DataFrame:
        """One row per attribute and measure."""
        import polars as pl

        return pl.DataFrame([_plain(row) for row in self.rows], infer_schema_length=None)

    def groups(self) -> pl.DataFrame:
        """One row per attribute, measure and group: value with interval, units."""
        import polars as pl

        schema: dict[str, Any] = {"attribute": pl.String, "measure": pl.String, "group": pl.String, "value": pl.Float64,
                                  "low": pl.Float64, "high": pl.Float64, "units": pl.Int64}  # fmt: skip
        found = [
            (row.attribute, row.measure, group, own.value, own.low, own.high, row.units[group])
            for row in self.rows
            for group, own in row.values.items()
        ]
        return pl.DataFrame(found, schema=schema, orient="row")


def _plain(row: GapRow) -> dict[str, Any]:
    gap = row.gap
    return {
        "attribute": row.attribute, "measure": row.measure, "role": row.role.value, "status": row.status.value,
        "gap": None if gap is None else gap.value, "low": None if gap is None else gap.low, "high": None if gap is None else gap.high,
        "threshold": row.threshold, "ratio": row.ratio, "p_value": row.p_value, "adjusted": row.adjusted, "null_limit": row.null_limit,
        "detectable": row.detectable, "small": ", ".join(row.small), "warns": row.warns, "reason": row.reason,
    }  # fmt: skip
