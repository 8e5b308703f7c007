"""What the predictor says about one account."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, overload

import polars as pl


@dataclass(frozen=True, slots=True)
class RiskFactor:
    """One group of features that raises the risk.

    `log_odds` is how much the group adds to the log-odds of a drop (contributions of all groups and the intercept add up to the
    prediction), `leading_feature` the group's strongest feature, `value` that feature's value. `stability` is the share of the group's
    contributions on which fits that share no account agree in sign: groups below 0.9 are not published."""

    group: str
    log_odds: float
    leading_feature: str
    value: float | None
    stability: float


@dataclass(frozen=True, slots=True)
class AccountHealth:
    """Health of one account (or campaign) on one day.

    `score` is 100 (1 - `probability`), where `probability` is the calibrated probability that efficiency over the next `horizon` days
    falls by at least `drop` (a fifth) below the unit's own usual level, given that it goes on. `stop_probability` is the probability that
    it delivers nothing in those days (None when the model was not taught). `log_ratio` is the predicted logarithm of the ratio with a
    conformal band. `state` is "insufficient_data" (and every number None) below the stated volume, where the efficiency of the last seven
    days is not known, and for a `target` that training never saw; `evidence["reason"]` says which. `target` is what efficiency is measured
    by ("conversions_per_cost", "clicks_per_cost", "ctr", ...), `evidence["target_reason"]` why.

    `money_at_risk` is the spend of the horizon times the probability times `drop`, in `currency` (None where it is not known); None where
    spend was not reported on all of the last 28 days, with `evidence["money_at_risk_reason"]`.

    `out_of_support` says whether a feature lies beyond what the training rows show, `support_reasons` which one and how; such a feature
    counted as the nearest training value, so the score leaves it out of account. A `target` that training never saw is out of support
    too. None: not judged (no score for another reason, or a model from before the ranges were kept). Recommendations are things to look
    at, with the evidence beside each, and claim no cause."""

    platform: str
    account_id: str
    campaign_id: str
    origin: date
    state: str
    score: float | None
    probability: float | None
    log_ratio: float | None
    log_ratio_low: float | None
    log_ratio_high: float | None
    stop_probability: float | None
    horizon: int
    drop: float
    interval_level: float
    tier: str | None
    money_at_risk: float | None
    currency: str | None
    risk_factors: tuple[RiskFactor, ...]
    recommendations: tuple[str, ...]
    evidence: dict[str, Any]
    target: str | None = None
    out_of_support: bool | None = None
    support_reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AccountHealthReports(Sequence[AccountHealth]):
    """The answers for all rows, in their order."""

    reports: tuple[AccountHealth, ...]

    @overload
    def __getitem__(self, index: int) -> AccountHealth: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[AccountHealth, ...]: ...

    def __getitem__(self, index: int | slice) -> AccountHealth | tuple[AccountHealth, ...]:
        return self.reports[index]

    def __len__(self) -> int:
        return len(self.reports)

    def __iter__(self) -> Iterator[AccountHealth]:
        return iter(self.reports)

    def to_frame(self) -> pl.DataFrame:
        """One row per answer; risk factors, recommendations and evidence as nested values."""
        schema: dict[str, Any] = {
            "platform": pl.String, "account_id": pl.String, "campaign_id": pl.String, "origin": pl.Date, "state": pl.String,
            "score": pl.Float64, "probability": pl.Float64, "log_ratio": pl.Float64, "log_ratio_low": pl.Float64,
            "log_ratio_high": pl.Float64, "stop_probability": pl.Float64, "horizon": pl.Int64, "drop": pl.Float64,
            "interval_level": pl.Float64, "tier": pl.String, "money_at_risk": pl.Float64,
            "currency": pl.String, "target": pl.String, "out_of_support": pl.Boolean,
        }  # fmt: skip
        records = [asdict(report) for report in self.reports]
        frame = pl.DataFrame([{name: record[name] for name in schema} for record in records], schema=schema)
        return frame.with_columns(
            pl.Series("risk_factors", [list(record["risk_factors"]) for record in records], dtype=_FACTORS),
            *(pl.Series(name, [list(record[name]) for record in records], dtype=pl.List(pl.String)) for name in _LISTS),
        )


_LISTS = ("recommendations", "support_reasons")
_FACTORS = pl.List(
    pl.Struct({"group": pl.String, "log_odds": pl.Float64, "leading_feature": pl.String, "value": pl.Float64, "stability": pl.Float64})
)
