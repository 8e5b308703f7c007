"""The parts of the account-health model: a regularised logistic regression, boosted trees, and their calibrated mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from within_pipelines.prediction.calibration import fit_log_odds

if TYPE_CHECKING:
    import xgboost

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LinearPart:
    """intercept + sum of coefficient x standardised feature; a missing feature counts as usual (0 after centring)."""

    mean: Floats
    scale: Floats
    coefficients: Floats
    intercept: float

    def standardise(self, x: Floats) -> Floats:
        """Centred, scaled, clipped at five standard deviations so that one wild value cannot decide; missing becomes 0."""
        z: Floats = np.nan_to_num(np.clip((x - self.mean) / self.scale, -5, 5), nan=0.0)
        return z

    def contributions(self, x: Floats) -> Floats:
        """One column per feature; they and the intercept add up to the prediction."""
        result: Floats = self.standardise(x) * self.coefficients
        return result

    def __call__(self, x: Floats) -> Floats:
        """The linear prediction."""
        result: Floats = self.contributions(x).sum(axis=1) + self.intercept
        return result

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        return {
            "mean": self.mean.tolist(),
            # JSON has no infinity; a constant column's scale is kept as null.
            "scale": [value if np.isfinite(value) else None for value in self.scale.tolist()],
            "coefficients": self.coefficients.tolist(),
            "intercept": self.intercept,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LinearPart:
        """The part that `to_dict` wrote."""
        mean, coefficients = (np.array(values[name], dtype=np.float64) for name in ("mean", "coefficients"))
        scale = np.array([np.inf if value is None else value for value in values["scale"]], dtype=np.float64)
        return cls(mean, scale, coefficients, float(values["intercept"]))


def _standardiser(x: Floats) -> tuple[Floats, Floats]:
    there = np.isfinite(x)
    n = np.maximum(there.sum(axis=0), 1)
    mean = np.where(there, x, 0).sum(axis=0) / n
    spread = np.sqrt(np.where(there, (x - mean) ** 2, 0).sum(axis=0) / n)
    # A constant column carries no information and must not divide by zero.
    return mean, np.where(spread > 1e-9, spread, np.inf)


def fit_logistic(x: Floats, outcome: Floats, *, ridge: float) -> LinearPart:
    """L2-regularised logistic regression; `ridge` is the penalty on standardised coefficients."""
    mean, scale = _standardiser(x)
    part = LinearPart(mean, scale, np.zeros(x.shape[1]), 0.0)
    z = np.column_stack([np.ones(len(x)), part.standardise(x)])
    penalty = np.r_[1e-6, np.full(x.shape[1], ridge)]
    beta = fit_log_odds(z, outcome, penalty=penalty, prior=np.zeros(z.shape[1]))
    return LinearPart(mean, scale, beta[1:], float(beta[0]))


def fit_ridge(x: Floats, target: Floats, *, ridge: float) -> LinearPart:
    """Ridge regression on standardised features."""
    mean, scale = _standardiser(x)
    part = LinearPart(mean, scale, np.zeros(x.shape[1]), 0.0)
    z = part.standardise(x)
    centre = float(target.mean())
    beta = np.linalg.solve(z.T @ z + ridge * np.eye(x.shape[1]), z.T @ (target - centre))
    return LinearPart(mean, scale, beta, centre)


def fit_trees(x: Floats, outcome: Floats, *, seed: int, threads: int, rounds: int = 150, stiffness: float = 1.0) -> bytes:
    """Boosted trees for the log-odds of `outcome`, in XGBoost's own binary JSON.

    `stiffness` multiplies the penalty and the least weight of a leaf, for rows that say less than independent ones would."""
    import xgboost

    parameters = {
        "objective": "binary:logistic", "tree_method": "hist", "max_depth": 3, "eta": 0.05, "subsample": 0.8, "colsample_bytree": 0.5,
        "min_child_weight": 10 * stiffness, "lambda": 10.0 * stiffness, "seed": seed, "nthread": threads, "verbosity": 0,
    }  # fmt: skip
    booster = xgboost.train(parameters, xgboost.DMatrix(x, outcome), num_boost_round=rounds)
    return bytes(booster.save_raw("ubj"))


def open_trees(raw: bytes) -> xgboost.Booster:
    """The booster that `fit_trees` returned."""
    import xgboost

    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(bytearray(raw))
    return booster


def tree_contributions(booster: xgboost.Booster, x: Floats) -> Floats:
    """Exact contributions per feature, the last column the intercept (Lundberg et al. 2020); rows add up to the log-odds."""
    import xgboost

    result: Floats = np.asarray(booster.predict(xgboost.DMatrix(x), pred_contribs=True), dtype=np.float64)
    return result


def tree_log_odds(booster: xgboost.Booster, x: Floats) -> Floats:
    """Raw log-odds."""
    result: Floats = np.asarray(booster.inplace_predict(x, predict_type="margin"), dtype=np.float64).reshape(-1)
    return result
