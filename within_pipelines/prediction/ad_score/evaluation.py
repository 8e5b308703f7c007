"""How often the better of two siblings is told from the worse, on ads that no part of the model has seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.exceptions import SampleError
from within_pipelines.prediction.ad_score.components import component_validation
from within_pipelines.prediction.ad_score.contrasts import Observed, group_mean, observe, pairs_within, within_group
from within_pipelines.prediction.ad_score.levels import check_days
from within_pipelines.prediction.ad_score.predictor import AdScorePredictor
from within_pipelines.prediction.ad_score.winning import beside_share, sampling_noise, win_probability
from within_pipelines.prediction.calibration import calibration_slope
from within_pipelines.prediction.evaluation import Evaluation
from within_pipelines.prediction.frames import require
from within_pipelines.prediction.metrics import auroc, debiased_ece, log_loss, reliability_table
from within_pipelines.prediction.objective import ObjectiveFor
from within_pipelines.stats import Estimate, cluster_bootstrap, cluster_mean

Floats = NDArray[np.float64]
TEST_SHARE = 0.3
# Two-sided 5 % for the difference of two siblings' log-odds.
_SIGNIFICANT = 1.959964


def split_ad_score(training_set: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(ads to fit on, ads to test on): the newest 30 % of ads by their first day test, beside siblings that are new as well.

    A newer ad whose headline an older one had (case and blanks aside) is left out: its result would be known. Results of older ads run to
    the newest export, so those that are fitted on are riper than they would have been on the day of the cut.

    Raises `SampleError` when fewer than ten ads are left on a side, `SchemaError` where `first_day` holds no dates."""
    require(training_set, ["first_day", "headline", "group_id"], why="the newest ads are held back by their first day.")
    check_days(training_set)
    days = training_set["first_day"].sort()
    cut: date = days[int(len(days) * (1 - TEST_SHARE))] if len(days) else date.min
    older, newer = training_set.filter(pl.col("first_day") < cut), training_set.filter(pl.col("first_day") >= cut)
    plain = pl.col("headline").str.strip_chars().str.to_lowercase()
    newer = newer.join(older.select(plain.alias("_plain")).unique(), left_on=plain, right_on="_plain", how="anti", maintain_order="left")
    newer = newer.filter(pl.len().over("group_id") > 1)
    if older.height < 10 or newer.height < 10:
        raise SampleError(f"{older.height} older and {newer.height} newer ads are too few to hold some back; give a longer history.")
    return older, newer


def train_ad_score(
    training_set: pl.DataFrame, *, seed: int, threads: int = 1, kind: str = "stack", objective: ObjectiveFor | None = None
) -> AdScorePredictor:
    """Fit on the older ads; the newest stay unseen for `evaluate_ad_score`. `objective` as in `AdScorePredictor.fit`."""
    older, _ = split_ad_score(training_set)
    rates = older["clicks"] / older["impressions"]
    return AdScorePredictor(kind=kind).fit(older, rates, seed=seed, threads=threads, objective=objective)


@dataclass(frozen=True, slots=True)
class Answers:
    """What one model says of each test ad: contrasts in log-odds, the spread of the truth around them, the conformal quantile, and the
    slope that calibrates win probabilities."""

    contrasts: Floats
    residual: Floats
    quantile: Floats
    sharpness: Floats

    @classmethod
    def of(cls, predictor: AdScorePredictor, test: pl.DataFrame) -> Answers:
        """Answers of a fitted predictor."""
        one = np.ones(test.height)
        return cls(predictor.contrasts(test), predictor.residual_sd * one, predictor.interval_quantile * one, predictor.sharpness * one)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of siblings with different results: rows of the first and second ad, in an order that chance decided, and what happened."""

    seen: Observed
    rate: Floats
    first: NDArray[np.intp]
    second: NDArray[np.intp]
    won: Floats
    significant: NDArray[np.bool_]
    clusters: NDArray[np.object_]

    @classmethod
    def of(
        cls,
        test: pl.DataFrame,
        *,
        rng: np.random.Generator,
        clusters: NDArray[np.object_] | None = None,
        differ_in: str | None = None,
    ) -> Pairs:
        """All pairs of siblings of `test`; only those whose column `differ_in` differs, where it is given.

        `clusters` names the independent unit of each row (default: the account, the group where there are few accounts).

        Raises `SampleError` when there is no pair, or none that differs by more than chance."""
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
        if differ_in is not None:
            values = test[differ_in].cast(pl.String).fill_null("").to_numpy()
            decided &= values[first] != values[second]
        first, second, gap, noise = first[decided], second[decided], gap[decided], noise[decided]
        significant = np.abs(gap) > _SIGNIFICANT * np.sqrt(noise)
        if not significant.any():
            raise SampleError(f"No pair of the {first.size} test pairs differs by more than chance; give ads with more impressions.")
        return cls(seen, rate, first, second, (gap > 0).astype(float), significant, _clusters(test) if clusters is None else clusters)

    def right(self, scores: Floats) -> Floats:
        """Per pair 1 when the better ad has the higher score, 0.5 for equal scores."""
        a, b = scores[self.first], scores[self.second]
        return np.where(a == b, 0.5, ((a > b) == (self.won > 0.5))).astype(float)

    def chance(self, answers: Answers) -> Floats:
        """P(the first of a pair shows the higher rate), from the model's residual and the sampling noise at the group's rate."""
        noise = sampling_noise(self.seen) + answers.residual**2
        sharp = answers.sharpness[self.first]
        difference = sharp * (answers.contrasts[self.first] - answers.contrasts[self.second])
        return win_probability(difference, residual=0.0, noise=noise[self.first] + noise[self.second])

    def metrics(self, answers: Answers, *, rng: np.random.Generator, n_resamples: int) -> dict[str, Estimate]:
        """All measures with intervals from resampling whole clusters; see `evaluate_ad_score`."""
        p, hit, clusters = self.chance(answers), self.right(answers.contrasts), self.clusters[self.first]
        clear = np.flatnonzero(self.significant)

        def over_pairs(statistic: Callable[[NDArray[np.intp]], float]) -> Estimate:
            return cluster_bootstrap(statistic, clusters, rng=rng, n_resamples=n_resamples)

        covered = _covered(answers, self.seen)
        return {
            "pairwise_accuracy_all": cluster_mean(hit, clusters, rng=rng, n_resamples=n_resamples),
            "pairwise_accuracy_significant": cluster_mean(hit[clear], clusters[clear], rng=rng, n_resamples=n_resamples),
            "auc": over_pairs(lambda i: auroc(self.won[i], p[i])),
            "log_loss": over_pairs(lambda i: log_loss(self.won[i], p[i])),
            "calibration_slope": over_pairs(lambda i: calibration_slope(self.won[i], p[i])),
            "debiased_ece": over_pairs(lambda i: debiased_ece(self.won[i], p[i])),
            **_chosen(answers.contrasts, self.rate, self.seen, self.clusters, rng, n_resamples),
            "coverage_90": cluster_mean(covered, self.clusters, rng=rng, n_resamples=n_resamples),
        }


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
    both. `lift` is the mean click-through rate of the chosen ad over the mean of its group, less 1; `ndcg_at_1` its rate over the best
    rate of the group. Ads that share the highest score count by their mean, and groups without a click say nothing. The table `components`
    holds each component score against the results (`component_validation`).

    Raises `SampleError` when the test ads hold no pair, or none that differs by more than chance."""
    pairs = Pairs.of(test, rng=rng)
    candidate, rival = Answers.of(predictor, test), Answers.of(baseline, test)
    difference = cluster_mean(
        pairs.right(candidate.contrasts) - pairs.right(rival.contrasts), pairs.clusters[pairs.first], rng=rng, n_resamples=n_resamples
    )
    days = test["first_day"].sort()
    return Evaluation(
        model=predictor.model,
        model_kind=predictor.kind,
        main_metric="pairwise_accuracy_all",
        higher_is_better=True,
        metrics=pairs.metrics(candidate, rng=rng, n_resamples=n_resamples),
        baseline=baseline.kind,
        baseline_metrics=pairs.metrics(rival, rng=rng, n_resamples=n_resamples),
        difference=difference,
        n={
            "ads": test.height,
            "groups": pairs.seen.n_groups,
            "pairs": int(pairs.first.size),
            "significant_pairs": int(pairs.significant.sum()),
        },
        first_day=days[0],
        last_day=days[-1],
        tables={
            "reliability": reliability_table(pairs.won, pairs.chance(candidate)),
            "importance": _importance(predictor, test),
            "components": component_validation(
                predictor.predict(test), pairs.seen, pairs.first, pairs.second, pairs.won, pairs.clusters, rng=rng
            ),
        },
    )


def _clusters(test: pl.DataFrame) -> NDArray[np.object_]:
    if "account_id" in test.columns and test["account_id"].n_unique() >= 12:
        return (test["platform"] + "/" + test["account_id"]).to_numpy()
    groups: NDArray[np.object_] = test["group_id"].cast(pl.String).to_numpy()
    return groups


def _chosen(
    scores: Floats, rate: Floats, seen: Observed, row_clusters: NDArray[np.object_], rng: np.random.Generator, n_resamples: int
) -> dict[str, Estimate]:
    """What the ad with the highest score brings: over its group's mean rate, and as a share of the best rate."""
    order = np.lexsort((-scores, seen.group))
    starts = np.flatnonzero(np.r_[True, np.diff(seen.group[order]) > 0])
    tied = (scores == scores[order[starts]][seen.group]).astype(float)
    chosen = group_mean(rate, tied, seen.group, seen.n_groups)
    average = group_mean(rate, np.ones_like(rate), seen.group, seen.n_groups)
    best = np.zeros(seen.n_groups)
    np.maximum.at(best, seen.group, rate)
    clicked = average > 0
    clusters = row_clusters[order[starts]][clicked]
    return {
        "lift": cluster_mean(chosen[clicked] / average[clicked] - 1, clusters, rng=rng, n_resamples=n_resamples),
        "ndcg_at_1": cluster_mean(chosen[clicked] / best[clicked], clusters, rng=rng, n_resamples=n_resamples),
    }


def _covered(answers: Answers, seen: Observed) -> Floats:
    weight = 1 / (seen.variance + answers.residual**2)
    error = within_group(seen.log_odds - answers.contrasts, weight, seen.group, seen.n_groups)
    limit = answers.quantile * np.sqrt(beside_share(seen.group) * (answers.residual**2 + seen.variance))
    inside: Floats = (np.abs(error) <= limit).astype(float)
    return inside


def _importance(predictor: AdScorePredictor, test: pl.DataFrame) -> pl.DataFrame:
    """Mean absolute contribution per feature in log-odds, the strongest 40."""
    parts = predictor.explain(test).drop("intercept", "log_odds_contrast")
    values = np.abs(parts.to_numpy()).mean(axis=0)
    table = pl.DataFrame({"feature": parts.columns, "importance": values})
    return table.sort("importance", "feature", descending=[True, False]).head(40)
