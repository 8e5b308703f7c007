"""The parts of the ad-score model: weighted ridge and boosted trees on contrasts between siblings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from within_pipelines.prediction.ad_score.contrasts import within_group

if TYPE_CHECKING:
    import xgboost

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
PENALTIES: tuple[float, ...] = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)


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

    Minimises sum w (y - x b)^2 + penalty |b|^2 with weights scaled to mean 1; one eigendecomposition serves all penalties."""
    mean, scale = standardiser(sample.x, sample.weight)
    z = np.nan_to_num(np.clip((sample.x - mean) / scale, -6, 6), nan=0.0)
    w = sample.weight / sample.weight.mean()
    centred = within_group(z, w, sample.group, sample.n_groups)
    values, vectors = np.linalg.eigh((centred * w[:, None]).T @ centred)
    values = np.maximum(values, 0.0)
    rotated = vectors.T @ (centred.T @ (w * sample.y))
    return [Ridge(mean, scale, vectors @ (rotated / (values + penalty))) for penalty in penalties]


def fit_ridge(sample: Sample, *, penalty: float) -> Ridge:
    """Weighted ridge with one penalty."""
    return ridge_path(sample, (penalty,))[0]


def cross_fit(
    sample: Sample, fold: NDArray[np.int64], *, penalties: tuple[float, ...], with_trees: bool, seed: int, threads: int
) -> tuple[Floats, Floats | None, float]:
    """(linear predictions, tree predictions, penalty): each ad predicted by models that have not seen its fold.

    The penalty is the one whose such predictions have the least weighted error."""
    linear = np.zeros((len(penalties), sample.y.size))
    trees = np.zeros(sample.y.size) if with_trees else None
    for k in np.unique(fold):
        seen, unseen = sample.part(fold != k), fold == k
        for row, ridge in enumerate(ridge_path(seen, penalties)):
            linear[row, unseen] = ridge(sample.x[unseen])
        if trees is not None:
            trees[unseen] = tree_values(open_trees(fit_trees(seen, seed=seed, threads=threads)), sample.x[unseen])
    errors = [squared_error(sample, prediction) for prediction in linear]
    best = int(np.argmin(errors))
    return linear[best], trees, penalties[best]


def squared_error(sample: Sample, prediction: Floats) -> float:
    """Weighted mean squared error of contrasts, predictions centred within their group."""
    centred = within_group(prediction, sample.weight, sample.group, sample.n_groups)
    return float(np.sum(sample.weight * (sample.y - centred) ** 2) / sample.weight.sum())


def fit_trees(sample: Sample, *, seed: int, threads: int, rounds: int = 150) -> bytes:
    """Boosted trees on contrasts, features centred within their group so that only differences between siblings are learned."""
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
    """Exact contributions per feature, the last column the intercept; rows add up to the prediction."""
    import xgboost

    result: Floats = np.asarray(booster.predict(xgboost.DMatrix(x), pred_contribs=True), dtype=np.float64)
    return result


def tree_values(booster: Any, x: Floats) -> Floats:
    """The trees' prediction in log-odds."""
    result: Floats = np.asarray(booster.inplace_predict(x), dtype=np.float64).reshape(-1)
    return result


def best_blend(sample: Sample, linear: Floats, trees: Floats | None) -> tuple[float, float]:
    """(share of the linear part, slope): the blend whose best multiple has the least weighted error on contrasts.

    The slope is the one-parameter calibration: below 1 it pulls predictions towards no difference; it is never negative."""

    def slope_and_error(share: float) -> tuple[float, float]:
        mixed = linear if trees is None else share * linear + (1 - share) * trees
        centred = within_group(mixed, sample.weight, sample.group, sample.n_groups)
        power = float(np.sum(sample.weight * centred**2))
        slope = 0.0 if power <= 0 else max(0.0, float(np.sum(sample.weight * centred * sample.y)) / power)
        return slope, float(np.sum(sample.weight * (sample.y - slope * centred) ** 2))

    shares = (1.0,) if trees is None else tuple(np.linspace(0, 1, 11).tolist())
    share = min(shares, key=lambda candidate: slope_and_error(candidate)[1])
    return share, min(slope_and_error(share)[0], 2.0)
