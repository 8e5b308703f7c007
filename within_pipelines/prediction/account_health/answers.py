"""From numbers and contributions to what a person reads of one unit: reasons, evidence, or why there is no score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.prediction.account_health.groups import group_of, recommendation
from within_pipelines.prediction.account_health.money import currency_of, money_reasons
from within_pipelines.prediction.account_health.report import AccountHealth, RiskFactor
from within_pipelines.prediction.account_health.targets import recent_reason, target_reason, unseen_reason

Floats = NDArray[np.float64]

# Fewer days than this make no usual level, whatever their volume.
MINIMUM_DAYS = 14
_HISTORY_DAYS = 112  # what history_share is a share of
# A target that fewer rows had was hardly learned from.
_LEAST_OF_TARGET = 20


def unseen(target: pl.Series, targets: Mapping[str, int] | None) -> pl.Series:
    """Whether fewer than 20 of the rows fitted on (`targets`: rows per target) were measured by each row's target; no where not known."""
    if not targets:
        return pl.Series("unseen", np.zeros(target.len(), dtype=bool))
    seen = [name for name, rows in targets.items() if rows >= _LEAST_OF_TARGET]
    return ~target.is_in(seen).fill_null(False)


def short_history(history_share: pl.Series) -> pl.Series:
    """Whether fewer than 14 days of the unit's history are known; unknown counts as long."""
    return (history_share.cast(pl.Float64, strict=False) * _HISTORY_DAYS < MINIMUM_DAYS - 1e-9).fill_null(False)


@dataclass(frozen=True, slots=True)
class Answering:
    """What all answers of one predictor share: its settings, the features that it reads, which groups may be published with their
    stability, and how many training rows had which target (None where that was not kept)."""

    horizon: int
    drop: float
    level: float
    minimum_clicks: float
    features: Sequence[str]
    published: Mapping[str, float]
    targets: Mapping[str, int] | None

    def scored(
        self, row: dict[str, Any], numbers: dict[str, Any], contributions: Floats, x: Floats, outside: tuple[str, ...]
    ) -> AccountHealth:
        """The answer for a feature row with `numbers` (score to money at risk); `contributions` and features `x` give the reasons,
        `outside` says why the row is unlike those fitted on."""
        factors = self.risk_factors(contributions, x)
        evidence = {name: row[name] for name in ("recent_efficiency", "baseline_efficiency", "spend_28", "clicks_28", "conversions_28")}
        usual = {k: float(v) for k, v in evidence.items() if v is not None and k.endswith("efficiency")}
        return AccountHealth(
            **_identity(row),
            **numbers,
            horizon=self.horizon,
            drop=self.drop,
            interval_level=self.level,
            currency=currency_of(row),
            risk_factors=factors,
            recommendations=tuple(recommendation(factor.group, {factor.leading_feature: factor.value, **usual}) for factor in factors[:1]),
            evidence={**evidence, "target": row["target"], "target_reason": target_reason(row), **money_reasons(row)},
            target=row["target"],
            support_reasons=outside,
        )

    def risk_factors(self, contributions: Floats, x: Floats) -> tuple[RiskFactor, ...]:
        """Groups that raise the risk and that refits agree on, the strongest first."""
        by_group: dict[str, list[int]] = {}
        for index, name in enumerate(self.features):
            by_group.setdefault(group_of(name), []).append(index)
        factors = []
        for group, stability in self.published.items():
            members = by_group[group]
            total = float(contributions[members].sum())
            # What is missing can raise the risk, but cannot be shown; a known feature leads where there is one.
            leading = max(members, key=lambda index: (bool(np.isfinite(x[index])), float(contributions[index])))
            if total > 0:
                value = float(x[leading])
                known = value if np.isfinite(value) else None
                factors.append(RiskFactor(group, total, self.features[leading], known, stability))
        return tuple(sorted(factors, key=lambda factor: (-factor.log_odds, factor.group)))

    def insufficient(self, row: dict[str, Any]) -> AccountHealth:
        """The answer for a feature row that gets no score, with the reason."""
        unlike: tuple[str, ...] = ()
        if unseen(pl.Series([row["target"]], dtype=pl.String), self.targets)[0]:
            unlike = (unseen_reason(row, self.targets or {}, least=_LEAST_OF_TARGET),)
        reason = self._why_insufficient(row) or "; ".join(unlike)
        return AccountHealth(
            **_identity(row), state="insufficient_data", score=None, probability=None, log_ratio=None, log_ratio_low=None,
            log_ratio_high=None, stop_probability=None, horizon=self.horizon, drop=self.drop, interval_level=self.level, tier=None,
            money_at_risk=None, currency=currency_of(row), risk_factors=(), recommendations=(),
            evidence={"reason": reason, "clicks_28": row["clicks_28"] or 0.0, "target_reason": target_reason(row)},
            target=row["target"], out_of_support=True if unlike else None, support_reasons=unlike,
        )  # fmt: skip

    def _why_insufficient(self, row: dict[str, Any]) -> str:
        """Why there is no score, whatever the target; empty when it is the target alone."""
        clicks = row["clicks_28"] or 0.0
        if clicks < self.minimum_clicks:
            return f"{clicks:.0f} clicks in 28 days are fewer than {self.minimum_clicks:.0f}"
        if short_history(pl.Series([row["history_share"]], dtype=pl.Float64))[0]:
            return f"{_HISTORY_DAYS * row['history_share']:.0f} days of history are fewer than {MINIMUM_DAYS}"
        if not any(row[name] is not None and np.isfinite(row[name]) for name in self.features):
            return "no feature of the account is known on this day"
        return recent_reason(row) if row["recent_efficiency"] is None else ""


def _identity(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("platform", "account_id", "campaign_id", "origin")}
