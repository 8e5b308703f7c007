"""A declared canary of the anomaly model, and what its accounts say of the answers."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl

from tests.conftest import NOW
from within_pipelines.database import CanaryRecord

DECLARED = """
anomaly:
  through: canary
  outcomes: recorded
  metrics: ["useful:0.2"]
  shares: [0.2, 0.5, 1]
  maturity_days: 0
"""


def online(canary: CanaryRecord, *, useful: float, day: int) -> pl.DataFrame:
    """What 600 new accounts found of the answers that they got on a day, beside 60 % of the champion's that were useful."""
    rng, on = np.random.default_rng([4, day]), NOW.date() + timedelta(days=day)
    units = [f"account-{day}-{number}" for number in range(600)]
    arms = [canary.spec.arm_of(unit, share=canary.share) for unit in units]
    found = (rng.random(600) < np.where(np.array(arms) == "canary", useful, 0.6)).astype(float)
    return pl.DataFrame({"unit": units, "arm": arms, "day": [on] * 600, "known_on": [on] * 600, "useful": found})
