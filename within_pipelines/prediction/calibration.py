"""Make probabilities mean what they say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from within_pipelines.exceptions import SampleError

Floats = NDArray[np.float64]


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    result: Floats = 0.5 * (1 + np.tanh(0.5 * np.asarray(x, dtype=np.float64)))
    return result


def logit(p: Floats) -> Floats:
    """log(p / (1 - p)); probabilities are kept a hair away from 0 and 1."""
    clipped = np.clip(p, 1e-9, 1 - 1e-9)
    result: Floats = np.log(clipped) - np.log1p(-clipped)
    return result


@dataclass(frozen=True, slots=True)
class PlattScaling:
    """Calibrated log-odds = intercept + slope * raw log-odds. Source: Platt (1999)."""

    intercept: float
    slope: float

    def __call__(self, raw: Floats) -> Floats:
        """Calibrated log-odds."""
        return self.intercept + self.slope * raw


def fit_platt(raw: Floats, outcome: Floats, *, intercept: bool = True, ridge: float = 1e-3) -> PlattScaling:
    """Logistic regression of `outcome` (0/1) on raw log-odds by Newton's method.

    A tiny ridge towards slope 1 keeps separable data finite. Outcomes are smoothed as Platt (1999) does.

    Raises `SampleError` when one class is missing.

    >>> rng = np.random.default_rng(0)
    >>> raw = rng.normal(0, 2, 4000)
    >>> y = (rng.random(4000) < sigmoid(0.3 + 0.5 * raw)).astype(float)
    >>> found = fit_platt(raw, y)
    >>> abs(found.slope - .5) < .05, abs(found.intercept - .3) < .1
    (True, True)
    """
    positives = float(outcome.sum())
    negatives = outcome.size - positives
    if positives == 0 or negatives == 0:
        raise SampleError(f"Calibration needs both outcomes; {outcome.size} rows hold {positives:.0f} positive ones.")
    target = np.where(outcome > 0.5, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    design = np.column_stack([np.ones_like(raw), raw]) if intercept else raw[:, None]
    prior = np.array([0.0, 1.0]) if intercept else np.array([1.0])
    beta = prior.copy()
    for _ in range(100):
        p = sigmoid(design @ beta)
        gradient = design.T @ (p - target) + ridge * (beta - prior)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + ridge * np.eye(prior.size)
        step = np.linalg.solve(hessian, gradient)
        # A long Newton step from a flat start may overshoot; halves of it still go downhill.
        beta = beta - step / max(1.0, float(np.abs(step).max()) / 2)
        if np.abs(step).max() < 1e-10:
            break
    return PlattScaling(float(beta[0]), float(beta[1])) if intercept else PlattScaling(0.0, float(beta[0]))


def calibration_slope(outcome: Floats, probability: Floats) -> float:
    """Slope of outcomes on predicted log-odds: 1 is calibrated, below 1 too extreme, above 1 too timid; NaN with one class.

    Source: Cox (1958); Van Calster et al. (2019)."""
    raw = logit(probability)
    if outcome.min() == outcome.max() or np.ptp(raw) < 1e-9:
        return float("nan")
    design = np.column_stack([np.ones_like(raw), raw])
    beta = np.array([0.0, 1.0])
    for _ in range(50):
        p = sigmoid(design @ beta)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, design.T @ (p - outcome))
        beta = beta - step / max(1.0, float(np.abs(step).max()) / 2)
        if np.abs(step).max() < 1e-8:
            break
    return float(beta[1])
