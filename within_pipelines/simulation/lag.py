"""Let conversions arrive late: how many of a day's final conversions were known so many days later."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from within_pipelines.simulation.draws import Array

# Conversions are dated by their click and keep coming for about a month.
LONGEST_AGE = 30
# The export of the next morning comes this long (in days) after the average click.
FIRST_LOOK = 0.8


@dataclass(frozen=True, slots=True)
class ConversionLag:
    """Log-normal delay between click and recorded conversion.

    >>> lag = ConversionLag("google_ads", 0.8, 1.3)
    >>> round(lag.known_share(0), 3), round(lag.known_share(13), 3)
    (0.5, 0.986)
    """

    platform: str
    median_days: float
    sigma: float

    def known_share(self, age: int) -> float:
        """Share of the final conversions that an export knows; age 0 is the morning after the event day, from 30 on it is 1."""
        if age >= LONGEST_AGE:
            return 1.0
        z = math.log((age + FIRST_LOOK) / self.median_days) / self.sigma
        return 0.5 * (1.0 + math.erf(z / math.sqrt(2.0)))

    def arrivals(self) -> Array:
        """Share that becomes known at each age 0..30; sums to 1."""
        known = np.array([self.known_share(age) for age in range(LONGEST_AGE + 1)])
        return np.diff(known, prepend=0.0)


LAGS: dict[str, ConversionLag] = {
    "google_ads": ConversionLag("google_ads", 0.8, 1.3),
    "meta_ads": ConversionLag("meta_ads", 0.6, 1.2),
    "tiktok_ads": ConversionLag("tiktok_ads", 0.5, 1.1),
}


def known_conversions(final: Array, lag: ConversionLag, rng: np.random.Generator) -> Array:
    """Conversions known at ages 0..30, shape `final.shape + (31,)`: never falling, and `final` at the last age."""
    return np.cumsum(rng.multinomial(final, lag.arrivals()), axis=-1)
