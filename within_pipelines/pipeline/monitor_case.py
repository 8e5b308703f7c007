"""What a monitor is given: one champion on one day, its reference and the window."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from within_pipelines.monitoring.findings import MonitorFinding
from within_pipelines.monitoring.state import DriftState

if TYPE_CHECKING:
    from within_pipelines.monitoring import MeasurementCalendar
    from within_pipelines.pipeline.drift_reference import DriftReference
    from within_pipelines.pipeline.monitored_rows import Monitored
    from within_pipelines.registry import ModelVersion

PERMUTATIONS = (999, 9_999)


@dataclass(frozen=True, slots=True)
class MonitorCase:
    """One champion on one day: its reference, the window, and what else the monitors need."""

    model: str
    version: ModelVersion
    reference: DriftReference
    window: Monitored
    day: date
    spend: dict[str, float]
    calendar: MeasurementCalendar
    rng: np.random.Generator

    @property
    def window_start(self) -> date:
        """The first day of the window."""
        first: date = self.window.rows["day"].min() if self.window.rows.height else self.day  # type: ignore[assignment]
        return first

    def silent(self, monitor: str, reason: str) -> MonitorFinding:
        """The finding of a monitor that cannot answer."""
        return MonitorFinding(monitor, self.model, self.day, DriftState.INSUFFICIENT, reason=reason)


def permutations_for(level: float) -> int:
    """How many random signs are drawn so that a p-value can fall well below `level`."""
    return int(np.clip(math.ceil(4 / level), *PERMUTATIONS))
