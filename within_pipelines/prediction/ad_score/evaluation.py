"""How often the better of two siblings is told from the worse, on ads that no part of the model has seen."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.exceptions import SampleError
from within_pipelines.prediction.ad_score.contrasts import Observed, group_mean, observe, pairs_within, within_group
from within_pipelines.prediction.ad_score.predictor import AdScorePredictor, win_probability
from within_pipelines.prediction.calibration import calibration_slope
from within_pipelines.prediction.evaluation import Evaluation
from within_pipelines.prediction.metrics import auroc, debiased_ece, log_loss, reliability_table
from within_pipelines.stats import Estimate, cluster_bootstrap

Floats = NDArray[np.float64]
TEST_SHARE = 0.3
# Two-sided 5 % for the difference of two siblings' log-odds.
_SIGNIFICANT = 1.959964


def split_ad_score(training_set: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(ads to fit on, ads to test on): the newest 30 % of ads by their first day test, beside siblings that are new as well.

    Raises `SampleError` when fewer than ten ads are left on a side."""
    days = training_set["first_day"].sort()
    cut: date = days[int(len(days) * (1 - TEST_SHARE))] if len(days) else date.min
    older, newer = training_set.filter(pl.col("first_day") < cut), training_set.filter(pl.col("first_day") >= cut)
    newer = newer.filter(pl.len().over("group_id") > 1)
    if older.height < 10 or newer.height < 10:
        raise SampleError(f"{older.height} older and {newer.height} newer ads are too few to hold some back; give a longer history.")
    return older, newer


def train_ad_score(training_set: pl.DataFrame, *, seed: int, threads: int = 1, kind: str = "stack") -> AdScorePredictor:
    """Fit on the older ads; the newest stay unseen for `evaluate_ad_score`."""
    older, _ = split_ad_score(training_set)
    return AdScorePredictor(kind=kind).fit(older, older["clicks"] / older["impressions"], seed=seed, threads=threads)


def evaluate_ad_score(
    predictor: AdScorePredictor,
    baseline: AdScorePredictor,
    test: pl.DataFrame,
    *,
    rng: np.random.Generator,
    n_resamples: int = 400,
) -> Evaluation:
    """Metrics over pairs of siblings with intervals from a bootstrap over accounts (groups where there are few accounts).

    A pair's outcome is which of the two had the higher click-through rate; its predicted probability allows for the sampling noise of
    both. `lift` is the mean click-through rate of the chosen ad over the mean of its group, less 1; ads that share the highest score
    count by their mean, and groups without a click say nothing.

    Raises `SampleError` when the test ads hold no pair, or none that differs by more than chance."""
    rate = (test["clicks"] / test["impressions"]).cast(pl.Float64).to_numpy()
    seen = observe(rate, test["impressions"].cast(pl.Float64).to_numpy(), test["group_id"].to_numpy())
    # One orientation per pair, drawn at random, so that the order of rows cannot help.
    first, second = pairs_within(seen.group)
    if first.size == 0:
        raise SampleError(f"{test.height} test ads hold no two siblings; nothing can be compared.")
    flip = rng.random(first.size) < 0.5
    first, second = np.where(flip, second, first), np.where(flip, first, second)
    gap = seen.log_odds[first] - seen.log_odds[second]
    noise = seen.variance[first] + seen.variance[second]
    decided = gap != 0
    first, second, gap, noise = first[decided], second[decided], gap[decided], noise[decided]
    won = (gap > 0).astype(float)
    significant = np.abs(gap) > _SIGNIFICANT * np.sqrt(noise)
    if not significant.any():
        raise SampleError(f"No pair of the {first.size} test pairs differs by more than chance; give ads with more impressions.")
    clusters = _clusters(test)[first]
    scores = {"candidate": predictor.contrasts(test), "baseline": baseline.contrasts(test)}
    models = {"candidate": predictor, "baseline": baseline}
    chance = {name: _win_probability(scores[name], seen, first, second, models[name].residual_sd) for name in scores}
    right = {name: np.where(s[first] == s[second], 0.5, ((s[first] > s[second]) == (won > 0.5))) for name, s in scores.items()}

    def over_pairs(statistic: Callable[[NDArray[np.intp]], float]) -> Estimate:
        return cluster_bootstrap(statistic, clusters, rng=rng, n_resamples=n_resamples)

    def metrics_of(name: str) -> dict[str, Estimate]:
        p, hit = chance[name], right[name].astype(float)
        clear = np.flatnonzero(significant)
        return {
            "pairwise_accuracy_all": over_pairs(lambda i: float(hit[i].mean())),
            "pairwise_accuracy_significant": cluster_bootstrap(
                lambda i: float(hit[clear][i].mean()), clusters[clear], rng=rng, n_resamples=n_resamples
            ),
            "auc": over_pairs(lambda i: auroc(won[i], p[i])),
            "log_loss": over_pairs(lambda i: log_loss(won[i], p[i])),
            "calibration_slope": over_pairs(lambda i: calibration_slope(won[i], p[i])),
            "debiased_ece": over_pairs(lambda i: debiased_ece(won[i], p[i])),
            "lift": _lift(scores[name], rate, seen, test, rng, n_resamples),
        }

    metrics = metrics_of("candidate")
    covered = _covered(predictor, scores["candidate"], seen)
    metrics["coverage_90"] = cluster_bootstrap(lambda i: float(covered[i].mean()), _clusters(test), rng=rng, n_resamples=n_resamples)
    difference = over_pairs(lambda i: float(right["candidate"][i].mean() - right["baseline"][i].mean()))
    days = test["first_day"].sort()
    return Evaluation(
        model=predictor.model,
        model_kind=predictor.kind,
        main_metric="pairwise_accuracy_all",
        higher_is_better=True,
        metrics=metrics,
        baseline=baseline.kind,
        baseline_metrics=metrics_of("baseline"),
        difference=difference,
        n={"ads": test.height, "groups": seen.n_groups, "pairs": int(first.size), "significant_pairs": int(significant.sum())},
        first_day=days[0],
        last_day=days[-1],
        tables={"reliability": reliability_table(won, chance["candidate"]), "importance": _importance(predictor, test)},
    )


def _clusters(test: pl.DataFrame) -> NDArray[np.object_]:
    if "account_id" in test.columns and test["account_id"].n_unique() >= 12:
        return (test["platform"] + "/" + test["account_id"]).to_numpy()
    groups: NDArray[np.object_] = test["group_id"].cast(pl.String).to_numpy()
    return groups


def _win_probability(scores: Floats, seen: Observed, first: NDArray[np.intp], second: NDArray[np.intp], residual: float) -> Floats:
    """P(the first of a pair shows the higher rate), from the model's residual and the sampling noise at the group's rate."""
    clicks_rate = group_mean(1 / (1 + np.exp(-seen.log_odds)), seen.impressions, seen.group, seen.n_groups)[seen.group]
    noise = 1 / np.maximum(seen.impressions * clicks_rate * (1 - clicks_rate), 0.5)
    return win_probability(scores[first] - scores[second], residual=residual, noise=noise[first] + noise[second])


def _lift(scores: Floats, rate: Floats, seen: Observed, test: pl.DataFrame, rng: np.random.Generator, n_resamples: int) -> Estimate:
    order = np.lexsort((-scores, seen.group))
    starts = np.flatnonzero(np.r_[True, np.diff(seen.group[order]) > 0])
    tied = (scores == scores[order[starts]][seen.group]).astype(float)
    chosen = group_mean(rate, tied, seen.group, seen.n_groups)
    average = group_mean(rate, np.ones_like(rate), seen.group, seen.n_groups)
    clicked = average > 0
    shares = chosen[clicked] / average[clicked]
    clusters = _clusters(test)[order[starts]][clicked]
    return cluster_bootstrap(lambda i: float(shares[i].mean()) - 1, clusters, rng=rng, n_resamples=n_resamples)


def _covered(predictor: AdScorePredictor, scores: Floats, seen: Observed) -> Floats:
    weight = 1 / (seen.variance + predictor.residual_sd**2)
    error = within_group(seen.log_odds - scores, weight, seen.group, seen.n_groups)
    limit = predictor.interval_quantile * np.sqrt(predictor.residual_sd**2 + seen.variance)
    inside: Floats = (np.abs(error) <= limit).astype(float)
    return inside


def _importance(predictor: AdScorePredictor, test: pl.DataFrame) -> pl.DataFrame:
    """Mean absolute contribution per feature in log-odds, the strongest 40."""
    parts = predictor.explain(test).drop("intercept", "log_odds_contrast")
    values = np.abs(parts.to_numpy()).mean(axis=0)
    table = pl.DataFrame({"feature": parts.columns, "importance": values})
    return table.sort("importance", "feature", descending=[True, False]).head(40)
