"""How well account health is predicted on days that no part of the model has seen."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.exceptions import SampleError
from within_pipelines.prediction.account_health.predictor import AccountHealthPredictor
from within_pipelines.prediction.calibration import calibration_slope
from within_pipelines.prediction.evaluation import Evaluation
from within_pipelines.prediction.frames import as_polars, matrix
from within_pipelines.prediction.metrics import auroc, brier_skill, debiased_ece, log_loss, reliability_table
from within_pipelines.stats import Estimate, cluster_bootstrap

Floats = NDArray[np.float64]
TEST_SHARE = 0.3


def split_account_health(training_set: pl.DataFrame, *, horizon: int = 7) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(rows to fit and calibrate on, rows to test on): the newest 30 % of origins test, with an embargo of `horizon` days before them.

    Raises `SampleError` when there are too few origins to split."""
    origins = training_set["origin"].unique().sort()
    if len(origins) < 8:
        raise SampleError(f"{len(origins)} origin days are too few to hold some back; give a longer history.")
    cut: date = origins[int(len(origins) * (1 - TEST_SHARE))]
    return (
        training_set.filter(pl.col("origin") < cut - timedelta(days=horizon)),
        training_set.filter(pl.col("origin") >= cut),
    )


def train_account_health(
    training_set: pl.DataFrame, *, seed: int, threads: int = 1, kind: str = "logistic_xgboost", horizon: int = 7
) -> AccountHealthPredictor:
    """Fit on the older part of the training set; the newest part stays unseen for `evaluate_account_health`."""
    older, _ = split_account_health(training_set, horizon=horizon)
    return AccountHealthPredictor(kind=kind, horizon=horizon).fit(older, seed=seed, threads=threads)


def evaluate_account_health(
    predictor: AccountHealthPredictor,
    baseline: AccountHealthPredictor,
    test: pl.DataFrame,
    *,
    rng: np.random.Generator,
    n_resamples: int = 400,
) -> Evaluation:
    """Metrics with intervals from a bootstrap over accounts, beside `baseline` on the same rows.

    Brier skill is against the test rows' own rate of drops, so a constant cannot have skill.

    Raises `SampleError` when the test rows are too few or hold one outcome only."""
    rows = as_polars(test).filter((pl.col("clicks_28").fill_null(0) >= predictor.minimum_clicks) & pl.col("degraded").is_not_null())
    if rows.height < 20 or rows["degraded"].n_unique() < 2:
        raise SampleError(
            f"{rows.height} test rows with {rows['degraded'].sum() or 0} drops cannot be evaluated; both outcomes are needed."
        )
    y = rows["degraded"].cast(pl.Float64).to_numpy()
    p, q = predictor.probability(rows), baseline.probability(rows)
    clusters = (rows["platform"] + "/" + rows["account_id"]).to_numpy()

    def interval(statistic: Callable[[NDArray[np.intp]], float]) -> Estimate:
        return cluster_bootstrap(statistic, clusters, rng=rng, n_resamples=n_resamples)

    def metrics_of(scores: Floats) -> dict[str, Estimate]:
        return {
            "brier_skill": interval(lambda i: brier_skill(y[i], scores[i])),
            "auroc": interval(lambda i: auroc(y[i], scores[i])),
            "log_loss": interval(lambda i: log_loss(y[i], scores[i])),
            "calibration_slope": interval(lambda i: calibration_slope(y[i], scores[i])),
            "debiased_ece": interval(lambda i: debiased_ece(y[i], scores[i])),
            "lift_10": interval(lambda i: _lift(y[i], scores[i], share=0.1)),
        }

    metrics = metrics_of(p)
    metrics["base_rate"] = interval(lambda i: float(y[i].mean()))
    covered = _covered(predictor, rows)
    if covered is not None:
        metrics["coverage_90"] = interval(lambda i: float(np.nanmean(covered[i])))
    difference = interval(lambda i: brier_skill(y[i], p[i]) - brier_skill(y[i], q[i]))
    return Evaluation(
        model=predictor.model,
        model_kind=predictor.kind,
        main_metric="brier_skill",
        higher_is_better=True,
        metrics=metrics,
        baseline=baseline.kind,
        baseline_metrics=metrics_of(q),
        difference=difference,
        n={"rows": rows.height, "accounts": difference.n, "drops": int(y.sum())},
        first_day=_day(rows["origin"].min()),
        last_day=_day(rows["origin"].max()),
        tables={"reliability": reliability_table(y, p), "importance": _importance(predictor, rows)},
    )


def _day(value: object) -> date:
    if not isinstance(value, date):
        raise SampleError("The test rows hold no origin days.")
    return value


def _lift(y: Floats, scores: Floats, *, share: float) -> float:
    """Rate of drops among the riskiest `share` of rows over the rate among all; 1 is chance."""
    n = max(1, round(share * y.size))
    worst = np.argsort(-scores, kind="stable")[:n]
    return float("nan") if y.mean() == 0 else float(y[worst].mean() / y.mean())


def _covered(predictor: AccountHealthPredictor, rows: pl.DataFrame) -> Floats | None:
    band = predictor.band(rows)
    if band is None:
        return None
    actual = rows["log_ratio"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    inside = ((actual >= band[0]) & (actual <= band[1])).astype(float)
    inside[~np.isfinite(actual)] = np.nan
    return inside


def _importance(predictor: AccountHealthPredictor, rows: pl.DataFrame) -> pl.DataFrame:
    """Mean absolute contribution per feature in log-odds."""
    contributions = predictor.contributions(matrix(rows, predictor.features))
    table = pl.DataFrame({"feature": predictor.features, "importance": np.abs(contributions[:, :-1]).mean(axis=0)})
    return table.sort("importance", "feature", descending=[True, False])
