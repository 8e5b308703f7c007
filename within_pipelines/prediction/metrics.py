"""Measures of predictions against outcomes, each a formula on arrays."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def auroc(outcome: Floats, score: Floats) -> float:
    """Probability that a random positive scores above a random negative, ties counted half; NaN when a class is missing.

    Source: Hanley and McNeil (1982), through ranks.

    >>> auroc(np.array([0., 0., 1., 1.]), np.array([.1, .4, .35, .8]))
    0.75
    """
    positive = outcome > 0.5
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if n_positive == 0 or n_negative == 0:
        return float("nan")
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    return float((mean_rank[inverse][positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def brier_skill(outcome: Floats, probability: Floats, *, reference: float | None = None) -> float:
    """1 - Brier score over that of a constant (`reference`, default the outcome's own rate): 1 is perfect, 0 no skill, below 0 harmful."""
    constant = outcome.mean() if reference is None else reference
    worst = float(np.mean((outcome - constant) ** 2))
    return float("nan") if worst == 0 else 1 - float(np.mean((outcome - probability) ** 2)) / worst


def log_loss(outcome: Floats, probability: Floats) -> float:
    """Mean negative log-likelihood in nats; a coin has log 2 = 0.693."""
    p = np.clip(probability, 1e-12, 1 - 1e-12)
    return float(-np.mean(outcome * np.log(p) + (1 - outcome) * np.log1p(-p)))


def reliability_table(outcome: Floats, probability: Floats, *, bins: int = 10) -> pl.DataFrame:
    """Per bin of equally many predictions: mean prediction, observed rate, count."""
    edges = np.unique(np.quantile(probability, np.linspace(0, 1, bins + 1)[1:-1]))
    bin_of = np.searchsorted(edges, probability, side="right")
    table = pl.DataFrame({"bin": bin_of, "predicted": probability, "observed": outcome})
    return table.group_by("bin").agg(pl.col("predicted").mean(), pl.col("observed").mean(), pl.len().cast(pl.Int64).alias("n")).sort("bin")


def debiased_ece(outcome: Floats, probability: Floats, *, bins: int = 10) -> float:
    """Root mean squared calibration error over equally filled bins, less what chance alone adds; 0 is perfect.

    Each bin's squared gap is reduced by the variance of its observed rate. Source: Kumar, Liang and Ma (2019), debiased estimator."""
    table = reliability_table(outcome, probability, bins=bins)
    observed, predicted, n = (table[name].to_numpy().astype(float) for name in ("observed", "predicted", "n"))
    chance = observed * (1 - observed) / np.maximum(n - 1, 1)
    return float(np.sqrt(max(0.0, np.sum(n / n.sum() * ((observed - predicted) ** 2 - chance)))))


def spearman(a: Floats, b: Floats) -> float:
    """Rank correlation, ties at their mean rank; NaN when one side is constant."""

    def ranks(values: Floats) -> Floats:
        _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        result: Floats = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
        return result

    x, y = ranks(a), ranks(b)
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return float("nan") if scale == 0 else float((x * y).sum() / scale)
