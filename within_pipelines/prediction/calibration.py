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


def fit_log_odds(design: Floats, target: Floats, *, penalty: Floats, prior: Floats) -> Floats:
    """Coefficients of the log-odds that minimise log loss + sum penalty (coefficient - prior)^2 / 2, by damped Newton steps from `prior`.

    `target` lies in [0, 1]. A full step from a confident start can go uphill for ever, so each is halved until the loss falls
    (Nocedal and Wright 2006, 3.1).

    >>> fit_log_odds(np.ones((4, 1)), np.array([0., 0., 0., 1.]), penalty=np.array([1e-9]), prior=np.zeros(1)).round(4)
    array([-1.0986])
    """

    def loss(beta: Floats) -> float:
        eta = design @ beta
        return float(np.sum(np.logaddexp(0, eta) - target * eta) + 0.5 * np.sum(penalty * (beta - prior) ** 2))

    beta = prior.astype(np.float64)
    now = loss(beta)
    for _ in range(100):
        p = sigmoid(design @ beta)
        gradient = design.T @ (p - target) + penalty * (beta - prior)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient)
        # Near the optimum the loss moves by less than its rounding; the last full steps must still be taken.
        allowed = now + 1e-12 * abs(now)
        while (then := loss(beta - step)) > allowed and np.abs(step).max() > 1e-12:
            step = step / 2
        beta, now = beta - step, then
        if np.abs(step).max() < 1e-10:
            break
    return beta


@dataclass(frozen=True, slots=True)
class PlattScaling:
    """Calibrated log-odds = intercept + slope * raw log-odds. Source: Platt (1999)."""

    intercept: float
    slope: float

    def __call__(self, raw: Floats) -> Floats:
        """Calibrated log-odds."""
        return self.intercept + self.slope * raw


def fit_platt(raw: Floats, outcome: Floats, *, intercept: bool = True, ridge: float = 1e-3) -> PlattScaling:
    """Logistic regression of `outcome` (0/1) on raw log-odds.

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
    beta = fit_log_odds(design, target, penalty=np.full(prior.size, ridge), prior=prior)
    return PlattScaling(float(beta[0]), float(beta[1])) if intercept else PlattScaling(0.0, float(beta[0]))


def calibration_slope(outcome: Floats, probability: Floats) -> float:
    """Slope of outcomes on predicted log-odds: 1 is calibrated, below 1 too extreme, above 1 too timid; NaN with one class.

    Source: Cox (1958); Van Calster et al. (2019)."""
    raw = logit(probability)
    if outcome.min() == outcome.max() or np.ptp(raw) < 1e-9:
        return float("nan")
    design = np.column_stack([np.ones_like(raw), raw])
    return float(fit_log_odds(design, outcome, penalty=np.full(2, 1e-9), prior=np.array([0.0, 1.0]))[1])
