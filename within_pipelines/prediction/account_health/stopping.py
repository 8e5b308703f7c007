"""Will the unit stop delivering? A risk of its own, because a unit that stops has no efficiency to judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.prediction.account_health.model import LinearPart, fit_logistic
from within_pipelines.prediction.account_health.support import Ranges
from within_pipelines.prediction.frames import matrix

Floats = NDArray[np.float64]

# Delivery of late, its direction, how regular it is, and the unit's weight in its account.
STOPPING: tuple[str, ...] = (
    "silence",
    "active_share_28",
    "log_spend_1",
    "log_spend_3",
    "log_spend_7",
    "log_impressions_1",
    "log_impressions_3",
    "log_impressions_7",
    "slope_spend_28",
    "share_of_account_28",
    "volume_events_28",
    "history_share",
)
# Fewer stops than this teach nothing that could be told from chance.
MINIMUM_STOPS = 20
_RIDGE = 10.0


@dataclass(frozen=True, slots=True)
class StoppingPart:
    """Log-odds of stopping for columns `STOPPING`, moved into the range of the rows fitted on (None: a model from before it was kept)."""

    part: LinearPart
    ranges: Ranges | None

    def __call__(self, x: Floats) -> Floats:
        """Log-odds, one per row."""
        return self.part(x if self.ranges is None else self.ranges.clip(x))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**self.part.to_dict(), "ranges": None if self.ranges is None else self.ranges.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The part that `to_dict` wrote."""
        ranges = values.get("ranges")
        return cls(LinearPart.from_dict(dict(values)), None if ranges is None else Ranges.from_dict(ranges))


def fit_stopping(rows: pl.DataFrame, *, overlap: float) -> StoppingPart | None:
    """Logistic regression of the column `stopped` (rows where it is null are left out: silent before, or not known yet).

    None when the column is missing or holds fewer than 20 stops: then nothing is said about stopping. Few features and a stiff penalty
    keep the mean probability at the observed rate. `overlap` is the number of rows whose labels share a day."""
    if "stopped" not in rows.columns:
        return None
    known = rows.filter(pl.col("stopped").is_not_null())
    stopped = known["stopped"].cast(pl.Float64).to_numpy()
    if stopped.sum() / overlap < MINIMUM_STOPS or stopped.min() == stopped.max():
        return None
    x = matrix(known, STOPPING)
    if not np.isfinite(x).any():
        return None
    ranges = Ranges.learn(x)
    return StoppingPart(fit_logistic(ranges.clip(x), stopped, ridge=_RIDGE * overlap), ranges)
