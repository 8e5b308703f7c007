"""Parts of the ad-score model: weighted ridge and boosted trees on contrasts between siblings, and the weights that stack them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from within_pipelines.prediction.ad_score.contrasts import within_group

if TYPE_CHECKING:
    import xgboost

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
PENALTIES: tuple[float, ...] = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
# Thousands of nearly collinear columns: only strong penalties are worth trying.
MEANING_PENALTIES: tuple[float, ...] = (1000.0, 3000.0, 10000.0, 20000.0, 40000.0)


@dataclass(frozen=True, slots=True)
class Ridge:
    """sum of coefficient x (feature - mean) / scale; a missing feature counts as usual."""

    mean: Floats
    scale: Floats
    coefficients: Floats

    def contributions(self, x: Floats) -> Floats:
        """One column per feature; they add up to the prediction."""
        result: Floats = np.nan_to_num(np.clip((x - self.mean) / self.scale, -6, 6), nan=0.0) * self.coefficients
        return result

    def __call__(self, x: Floats) -> Floats:
        """The prediction in log-odds."""
        result: Floats = self.contributions(x).sum(axis=1)
        return result


@dataclass(frozen=True, slots=True)
class Sample:
    """Features, contrasts, weights and groups of some ads."""

    x: Floats
    y: Floats
    weight: Floats
    group: Indices

    @property
    def n_groups(self) -> int:
        """How many group numbers there may be."""
        return int(self.group.max()) + 1

    def part(self, chosen: NDArray[np.bool_]) -> Sample:
        """The rows where `chosen` is true."""
        return Sample(self.x[chosen], self.y[chosen], self.weight[chosen], self.group[chosen])


def standardiser(x: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Weighted mean and standard deviation per column over the values that are there; a constant column gets an infinite scale."""
    there = np.isfinite(x)
    w = weight[:, None] * there
    total = np.maximum(w.sum(axis=0), 1e-12)
    mean = np.where(there, x, 0.0)
    mean = (w * mean).sum(axis=0) / total
    spread = np.sqrt((w * np.where(there, x - mean, 0.0) ** 2).sum(axis=0) / total)
    return mean, np.where(spread > 1e-9, spread, np.inf)


def ridge_path(sample: Sample, penalties: tuple[float, ...]) -> list[Ridge]:
    """Weighted ridge of contrasts on features centred within their group, one per penalty.

    Minimises sum w (y - x b)^2 + penalty |b|^2 with weights scaled to mean 1; solved in the space of the ads where these are fewer than
    the features."""
    mean, scale = standardiser(sample.x, sample.weight)
    z, y = _whitened(sample, mean, scale)
    return [Ridge(mean, scale, coefficients) for coefficients in _solved(z, y, penalties)]


def _whitened(sample: Sample, mean: Floats, scale: Floats) -> tuple[Floats, Floats]:
    """Standardised features centred within their group, and contrasts; both times the square root of the weight."""
    z = np.nan_to_num(np.clip((sample.x - mean) / scale, -6, 6), nan=0.0)
    root = np.sqrt(sample.weight / sample.weight.mean())
    return within_group(z, sample.weight, sample.group, sample.n_groups) * root[:, None], sample.y * root


def _solved(z: Floats, y: Floats, penalties: tuple[float, ...]) -> list[Floats]:
    from scipy.linalg import solve

    rows, columns = z.shape
    if rows < columns:
        kernel = z @ z.T
        return [z.T @ solve(kernel + penalty * np.eye(rows), y, assume_a="pos") for penalty in penalties]
    gram, right = z.T @ z, z.T @ y
    return [solve(gram + penalty * np.eye(columns), right, assume_a="pos") for penalty in penalties]


def fit_ridge(sample: Sample, *, penalty: float) -> Ridge:
    """Weighted ridge with one penalty."""
    return ridge_path(sample, (penalty,))[0]


def cross_fit_ridge(sample: Sample, fold: NDArray[np.int64], *, penalties: tuple[float, ...]) -> tuple[Floats, float]:
    """(predictions, penalty): each ad predicted by a ridge that has not seen its fold; groups must not be split by folds.

    The penalty is the one whose such predictions have the least weighted error. Features are standardised once, without labels; then
    the sums of squares of a fold are taken away from those of all, so that the cost does not grow with the number of folds."""
    from scipy.linalg import solve

    mean, scale = standardiser(sample.x, sample.weight)
    z, y = _whitened(sample, mean, scale)
    raw = np.nan_to_num(np.clip((sample.x - mean) / scale, -6, 6), nan=0.0)
    predictions = np.zeros((len(penalties), sample.y.size))
    few = z.shape[0] < z.shape[1]
    gram, right = (np.zeros((0, 0)), np.zeros(0)) if few else (z.T @ z, z.T @ y)
    for k in np.unique(fold):
        unseen = fold == k
        if few:
            found = _solved(z[~unseen], y[~unseen], penalties)
        else:
            own = z[unseen]
            left, aim = gram - own.T @ own, right - own.T @ y[unseen]
            found = [solve(left + penalty * np.eye(len(aim)), aim, assume_a="pos") for penalty in penalties]
        for row, coefficients in enumerate(found):
            predictions[row, unseen] = raw[unseen] @ coefficients
    best = int(np.argmin([squared_error(sample, prediction) for prediction in predictions]))
    return predictions[best], penalties[best]


def cross_fit(sample: Sample, fold: NDArray[np.int64], fitted: Callable[[Sample], Callable[[Floats], Floats]]) -> Floats:
    """Predictions of each ad by what `fitted` makes of the other folds."""
    result = np.zeros(sample.y.size)
    for k in np.unique(fold):
        unseen = fold == k
        result[unseen] = fitted(sample.part(~unseen))(sample.x[unseen])
    return result


def squared_error(sample: Sample, prediction: Floats) -> float:
    """Weighted mean squared error of contrasts, predictions centred within their group."""
    centred = within_group(prediction, sample.weight, sample.group, sample.n_groups)
    return float(np.sum(sample.weight * (sample.y - centred) ** 2) / sample.weight.sum())


def fit_trees(sample: Sample, *, seed: int, threads: int, rounds: int = 150) -> bytes:
    """Boosted trees on contrasts between siblings; the features are not centred, because a cut needs their level."""
    import xgboost

    parameters = {
        "objective": "reg:squarederror", "tree_method": "hist", "max_depth": 3, "eta": 0.05, "subsample": 0.8, "colsample_bytree": 0.3,
        "min_child_weight": 5, "lambda": 5.0, "base_score": 0.0, "seed": seed, "nthread": threads, "verbosity": 0,
    }  # fmt: skip
    weights = sample.weight / sample.weight.mean()
    booster = xgboost.train(parameters, xgboost.DMatrix(sample.x, sample.y, weight=weights), num_boost_round=rounds)
    return bytes(booster.save_raw("ubj"))


def open_trees(raw: bytes) -> xgboost.Booster:
    """The booster that `fit_trees` returned."""
    import xgboost

    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(bytearray(raw))
    return booster


def tree_contributions(booster: xgboost.Booster, x: Floats) -> Floats:
    """Exact contributions per feature, the last column the intercept; rows add up to the prediction.

    XGBoost adds contributions up in single precision; the intercept takes the rounding."""
    import xgboost

    matrix = xgboost.DMatrix(x)
    result: Floats = np.asarray(booster.predict(matrix, pred_contribs=True), dtype=np.float64)
    result[:, -1] = np.asarray(booster.predict(matrix), dtype=np.float64).reshape(-1) - result[:, :-1].sum(axis=1)
    return result


def tree_values(booster: Any, x: Floats) -> Floats:
    """The trees' prediction in log-odds."""
    result: Floats = np.asarray(booster.inplace_predict(x), dtype=np.float64).reshape(-1)
    return result


def stack_weights(sample: Sample, predictions: Sequence[Floats]) -> Floats:
    """Non-negative weights of several predictions of unseen ads with the least weighted error on contrasts (Breiman 1996).

    Their sum is the one-parameter calibration: predictions that are too bold get weights that add up to less than 1."""
    from scipy.optimize import nnls

    root = np.sqrt(sample.weight / sample.weight.mean())
    centred = np.column_stack([within_group(p, sample.weight, sample.group, sample.n_groups) for p in predictions])
    found: Floats = nnls(centred * root[:, None], sample.y * root)[0]
    return np.minimum(found, 2.0)
