"""Days of a canary whose truth is known."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl

from within_pipelines.validation import CanaryMetric, CanarySpec
from within_pipelines.validation.canary_replay import DayLog

DAY = date(2026, 5, 1)


def days(n: int) -> list[date]:
    return [DAY + timedelta(days=number) for number in range(n)]


def spec(**changes: object) -> CanarySpec:
    options: dict[str, object] = {
        "name": "c", "model": "ad_score", "version": 2, "control_version": 1, "metrics": (CanaryMetric("won", margin=0.05),), "key": "k",
        "shares": (0.1, 0.5, 1.0),
    }  # fmt: skip
    return CanarySpec(**(options | changes))  # type: ignore[arg-type]


def world(
    made: CanarySpec,
    rng: np.random.Generator,
    *,
    effect: float = 0.0,
    per_day: int = 400,
    rate: float = 0.3,
    lag: int = 0,
    population: int = 0,
) -> DayLog:
    """Units that convert at `rate`, in the canary at `rate * (1 + effect)`; with `population` the same unlike units come back."""
    own = np.clip(rate * (1 + 0.6 * rng.normal(size=population)), 0, 1)

    def log(day: date, share: float) -> pl.DataFrame:
        if population:
            picked = rng.choice(population, per_day, replace=False)
            units, rates = [f"u{number}" for number in picked], own[picked]
        else:
            units, rates = [f"{day}-{number}" for number in range(per_day)], np.full(per_day, rate)
        arms = [made.arm_of(unit, share=share) for unit in units]
        in_canary = np.array(arms) == "canary"
        won = (rng.random(per_day) < rates * (1 + effect * in_canary)).astype(float)
        known = [day + timedelta(days=int(late)) for late in rng.integers(0, lag + 1, per_day)]
        return pl.DataFrame({"unit": units, "arm": arms, "day": [day] * per_day, "known_on": known, "share": share, "won": won})

    return log
