"""Run a canary over logged days: what would the controller have done, and when?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from within_pipelines.exceptions import SchemaError
from within_pipelines.validation.canary import CANARY, CONTROL, CanaryLook, CanarySpec, CanaryState, Step, look

# What units would have shown on a day under canary and under control: columns unit, and per arm <metric>, known_on.
DayLog = Callable[[date, float], pl.DataFrame]


@dataclass(frozen=True, slots=True)
class Replay:
    """Every look in order, how it ended, and how many days that took (None when it was still running at the end of the log)."""

    looks: tuple[CanaryLook, ...]
    state: CanaryState
    days: int | None


def replay(spec: CanarySpec, log: DayLog, days: Sequence[date]) -> Replay:
    """Walk through `days` as the controller would have: expose, wait for outcomes to mature, look, move.

    `log(day, share)` gives what happened on that day with the canary at that share: one row per unit with `unit`, `arm`, `day`,
    `known_on`, `share` and the metrics. While a canary waits for its last outcomes it goes on serving its current share.

    >>> import numpy as np
    >>> from datetime import timedelta
    >>> from within_pipelines.validation.canary import CanaryMetric
    >>> spec = CanarySpec("demo", "ad_score", 2, 1, (CanaryMetric("won", margin=0.2),), key="k", shares=(0.5, 1.0))
    >>> rng = np.random.default_rng(1)
    >>> def log(day, share):
    ...     units = [f"{day}-{n}" for n in range(400)]
    ...     arms = [spec.arm_of(unit, share=share) for unit in units]
    ...     won = [float(rng.random() < (0.1 if arm == "canary" else 0.5)) for arm in arms]
    ...     return pl.DataFrame({"unit": units, "arm": arms, "day": day, "known_on": day, "share": share, "won": won})
    >>> days = [date(2026, 5, 1) + timedelta(days=n) for n in range(5)]
    >>> replay(spec, log, days).state.value
    'rolled_back'
    """
    looks: list[CanaryLook] = []
    seen: list[pl.DataFrame] = []
    stage, since = 0, days[0]
    for number, day in enumerate(days):
        seen.append(log(day, spec.shares[stage]))
        found = look(spec, pl.concat(seen, how="vertical_relaxed"), on=day, stage=stage, stage_since=since)
        looks.append(found)
        if found.step is Step.ROLL_BACK:
            return Replay(tuple(looks), CanaryState.ROLLED_BACK, number + 1)
        if found.step is Step.PROMOTE:
            return Replay(tuple(looks), CanaryState.PROMOTED, number + 1)
        if found.step is Step.ADVANCE:
            stage, since = stage + 1, day
    return Replay(tuple(looks), CanaryState.RUNNING, None)


def logged(spec: CanarySpec, both: pl.DataFrame) -> DayLog:
    """A `DayLog` from a log in which both versions answered every unit (as a shadow deployment records them).

    `both` holds `unit`, `day`, `known_on`, and for every metric the columns `canary_<metric>` and `control_<metric>`; the arm that the
    unit would have been in decides which of the two counts. What the canary would have changed in the world itself (other ads shown, other
    clicks) is not in such a log: replay finds worse answers, not worse consequences.

    Raises `SchemaError` for a missing column."""
    columns = [f"{arm}_{metric.name}" for metric in spec.metrics for arm in (CANARY, CONTROL)]
    if lacking := [name for name in ("unit", "day", "known_on", *columns) if name not in both.columns]:
        raise SchemaError(f"The log lacks {', '.join(lacking)}; give unit, day, known_on and {', '.join(columns)}.")

    def log(day: date, share: float) -> pl.DataFrame:
        rows = both.filter(pl.col("day") == day)
        arms = pl.Series("arm", [spec.arm_of(str(unit), share=share) for unit in rows["unit"]], dtype=pl.String)
        chosen = rows.with_columns(arms, share=pl.lit(share)).with_columns(
            pl.when(pl.col("arm") == CANARY).then(f"{CANARY}_{metric.name}").otherwise(f"{CONTROL}_{metric.name}").alias(metric.name)
            for metric in spec.metrics
        )
        return chosen.select("unit", "arm", "day", "known_on", "share", *(metric.name for metric in spec.metrics))

    return log
