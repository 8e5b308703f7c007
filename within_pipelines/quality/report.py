"""What the expectations found."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import polars as pl

CRITICAL = "critical"
WARNING = "warning"


@dataclass(frozen=True, slots=True)
class ExpectationResult:
    """One expectation: `critical` ones stop what comes after, `warning` ones are shown.

    `observed` is what Great Expectations measured (text), `unexpected_count` of `element_count` rows broke it."""

    name: str
    severity: str
    success: bool
    observed: str
    unexpected_count: int
    element_count: int
    detail: str


@dataclass(frozen=True, slots=True)
class QualityReport:
    """Every expectation's result, in the order in which they were stated."""

    results: tuple[ExpectationResult, ...]

    @property
    def critical_failures(self) -> tuple[ExpectationResult, ...]:
        """What must be mended before anything downstream runs."""
        return tuple(result for result in self.results if result.severity == CRITICAL and not result.success)

    @property
    def warnings(self) -> tuple[ExpectationResult, ...]:
        """What somebody should look at."""
        return tuple(result for result in self.results if result.severity == WARNING and not result.success)

    def to_frame(self) -> pl.DataFrame:
        """One row per expectation."""
        schema: dict[str, type[pl.DataType]] = {
            "name": pl.String, "severity": pl.String, "success": pl.Boolean, "observed": pl.String, "unexpected_count": pl.Int64,
            "element_count": pl.Int64, "detail": pl.String,
        }  # fmt: skip
        return pl.DataFrame([asdict(result) for result in self.results], schema=schema)
