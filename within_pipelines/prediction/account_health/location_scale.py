"""Where the future log ratio will lie and how widely it will scatter, and so how likely it falls below a threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from within_pipelines.prediction.account_health.model import LinearPart, fit_ridge
from within_pipelines.prediction.calibration import fit_log_odds

Floats = NDArray[np.float64]

# Log ratios beyond this are a factor of seven: single events of small units, which must not steer the mean.
_FARTHEST = 2.0
# Keeps the logarithm of a residual finite; a fiftieth is below what daily counts can resolve.
_LEAST_RESIDUAL = 0.05
# The spread is believed between the 1st and 99th percentile of what was seen in fitting.
_BELIEVED = (0.01, 0.99)


@dataclass(frozen=True, slots=True)
class LocationScale:
    """log ratio ~ mu(x) + sigma(x) noise, with linear mu and linear log sigma; P(log ratio < threshold) through a logistic law.

    Much of a drop's probability is noise: the fewer events a unit has, the wider its next week scatters. This part says so directly.
    log-odds = intercept + slope (threshold - mu(x)) / sigma(x)."""

    location: LinearPart
    log_scale: LinearPart
    lowest: float  # bounds of log sigma
    highest: float
    threshold: float
    intercept: float
    slope: float

    def scale(self, x: Floats) -> Floats:
        """Typical absolute distance of the log ratio from `location`, always positive."""
        result: Floats = np.exp(np.clip(self.log_scale(x), self.lowest, self.highest))
        return result

    @property
    def typical_scale(self) -> float:
        """The scale of the usual unit."""
        return float(np.exp(np.clip(self.log_scale.intercept, self.lowest, self.highest)))

    def log_odds(self, x: Floats) -> Floats:
        """Log-odds of a log ratio below the threshold."""
        result: Floats = self.intercept + self.slope * (self.threshold - self.location(x)) / self.scale(x)
        return result

    def contributions(self, x: Floats) -> Floats:
        """One column per feature and a last one for the usual unit; rows add up to `log_odds` exactly.

        Integrated gradients from the usual unit (every feature at its mean) along a straight line (Sundararajan et al. 2017). With
        location m0 + t M and log sigma l0 + t L their integrals have closed forms: A = e^-l0 (1 - e^-L) / L belongs to the location's
        contributions, B = e^-l0 [(threshold - m0) (1 - e^-L) / L - M (1 - (1 + L) e^-L) / L^2] to those of log sigma."""
        u, v = self.location.contributions(x), self.log_scale.contributions(x)
        start = float(np.clip(self.log_scale.intercept, self.lowest, self.highest))
        raw = v.sum(axis=1)
        moved = np.clip(self.log_scale(x), self.lowest, self.highest) - start
        with np.errstate(divide="ignore", invalid="ignore"):
            # Where the bounds cut the spread's movement, every feature's part of it is cut alike.
            v = v * np.where(np.abs(raw) > 1e-12, moved / raw, 0.0)[:, None]
            small = np.abs(moved) < 1e-4
            first = np.where(small, 1 - moved / 2 + moved**2 / 6, -np.expm1(-moved) / moved)
            second = np.where(small, 0.5 - moved / 3 + moved**2 / 8, (1 - (1 + moved) * np.exp(-moved)) / moved**2)
        gap = self.threshold - self.location.intercept
        a = np.exp(-start) * first
        b = np.exp(-start) * (gap * first - u.sum(axis=1) * second)
        parts = -self.slope * (u * a[:, None] + v * b[:, None])
        usual = self.intercept + self.slope * gap * np.exp(-start)
        total = self.log_odds(x)
        # What the bounds leave over (a spread whose parts cancel exactly) stays with the usual unit, so that the sum holds.
        return np.column_stack([parts, usual + (total - usual - parts.sum(axis=1))])

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        return {
            "location": self.location.to_dict(),
            "log_scale": self.log_scale.to_dict(),
            "numbers": [self.lowest, self.highest, self.threshold, self.intercept, self.slope],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LocationScale:
        """The part that `to_dict` wrote."""
        return cls(LinearPart.from_dict(values["location"]), LinearPart.from_dict(values["log_scale"]), *values["numbers"])


def fit_location_scale(
    x: Floats, log_ratio: Floats, outcome: Floats, *, threshold: float, ridge: float, scale_ridge: float
) -> LocationScale:
    """Ridge regression of the log ratio, then of the log absolute residual, then the logistic law of `outcome` on the standardised gap.

    `ridge` and `scale_ridge` are penalties on standardised coefficients, `threshold` the log ratio below which a unit has dropped. The
    floor of the residuals makes the spread's coefficients a little smaller than the truth's.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(4000, 2))
    >>> r = 0.3 * x[:, 0] + np.exp(-1 + 0.5 * x[:, 1]) * rng.normal(size=4000)
    >>> part = fit_location_scale(x, r, (r < -0.2).astype(float), threshold=-0.2, ridge=1.0, scale_ridge=1.0)
    >>> abs(part.location.coefficients[0] - 0.3) < 0.03, 0.3 < part.log_scale.coefficients[1] < 0.5
    (True, True)
    """
    ratio = np.clip(log_ratio, -_FARTHEST, _FARTHEST)
    location = fit_ridge(x, ratio, ridge=ridge)
    residual = np.log(np.abs(ratio - location(x)) + _LEAST_RESIDUAL)
    log_scale = fit_ridge(x, residual, ridge=scale_ridge)
    lowest, highest = (float(edge) for edge in np.quantile(log_scale(x), _BELIEVED))
    gap = (threshold - location(x)) / np.exp(np.clip(log_scale(x), lowest, highest))
    law = fit_log_odds(np.column_stack([np.ones(len(x)), gap]), outcome, penalty=np.full(2, 1e-3), prior=np.array([0.0, 1.0]))
    return LocationScale(location, log_scale, lowest, highest, threshold, float(law[0]), float(law[1]))
