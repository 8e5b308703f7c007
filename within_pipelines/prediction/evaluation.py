"""What an evaluation says: metrics with intervals, beside a baseline, on rows that the model has not seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Self

import polars as pl

from within_pipelines.stats import Estimate


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One model's numbers beside its rival's.

    `difference` is the paired difference of the main metric, candidate minus baseline, signed so that positive is better. `n` counts
    rows and independent units. `tables` holds what plots are drawn from (`reliability`, `importance`) and what a model's parts are worth
    (`components` of the ad score)."""

    model: str
    model_kind: str
    main_metric: str
    higher_is_better: bool
    metrics: Mapping[str, Estimate]
    baseline: str
    baseline_metrics: Mapping[str, Estimate]
    difference: Estimate
    n: Mapping[str, int]
    first_day: date
    last_day: date
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` brings them back."""
        return {
            "model": self.model,
            "model_kind": self.model_kind,
            "main_metric": self.main_metric,
            "higher_is_better": self.higher_is_better,
            "metrics": {name: estimate.to_dict() for name, estimate in self.metrics.items()},
            "baseline": self.baseline,
            "baseline_metrics": {name: estimate.to_dict() for name, estimate in self.baseline_metrics.items()},
            "difference": self.difference.to_dict(),
            "n": dict(self.n),
            "first_day": self.first_day.isoformat(),
            "last_day": self.last_day.isoformat(),
            "tables": {name: table.to_dicts() for name, table in self.tables.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The evaluation that `to_dict` wrote."""

        def estimates(found: Mapping[str, Any]) -> dict[str, Estimate]:
            return {name: Estimate(**numbers) for name, numbers in found.items()}

        return cls(
            model=values["model"],
            model_kind=values["model_kind"],
            main_metric=values["main_metric"],
            higher_is_better=values["higher_is_better"],
            metrics=estimates(values["metrics"]),
            baseline=values["baseline"],
            baseline_metrics=estimates(values["baseline_metrics"]),
            difference=Estimate(**values["difference"]),
            n=values["n"],
            first_day=date.fromisoformat(values["first_day"]),
            last_day=date.fromisoformat(values["last_day"]),
            tables={name: pl.DataFrame(rows, infer_schema_length=None) for name, rows in values["tables"].items()},
        )
