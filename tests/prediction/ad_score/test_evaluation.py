"""The evaluation of the ad score knows who is better, and by how much chance could explain it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from tests.prediction.worlds import creatives
from within_pipelines.exceptions import SampleError, SchemaError
from within_pipelines.prediction import AdScorePredictor, evaluate_ad_score, split_ad_score, train_ad_score
from within_pipelines.prediction.evaluation import Evaluation


@pytest.fixture(scope="module")
def evaluation(ad_predictor: AdScorePredictor, longer_headline: AdScorePredictor, new_ads: pl.DataFrame) -> Evaluation:
    return evaluate_ad_score(ad_predictor, longer_headline, new_ads, rng=np.random.default_rng(1), n_resamples=200)


def test_the_split_is_by_time_and_test_ads_have_siblings(ads: pl.DataFrame) -> None:
    older, newer = split_ad_score(ads)
    assert older["first_day"].max() < newer["first_day"].min()  # type: ignore[operator]
    assert newer.height == pytest.approx(0.3 * ads.height, rel=0.05)
    late = pl.concat([ads, ads[0].with_columns(first_day=ads["first_day"].max())])
    assert "g0000" not in split_ad_score(late)[1]["group_id"].to_list()


def test_a_newer_ad_with_the_headline_of_an_older_one_is_no_test(ads: pl.DataFrame) -> None:
    older, newer = split_ad_score(ads)
    told, told_group = newer["headline"][0], newer["group_id"][0]
    known = older.with_columns(headline=pl.when(pl.int_range(pl.len()) == 0).then(pl.lit(f" {told.upper()}")).otherwise("headline"))
    _, kept = split_ad_score(pl.concat([known, newer]))
    assert told not in kept.filter(pl.col("group_id") == told_group)["headline"].to_list()
    assert kept.columns == newer.columns
    assert newer.height - kept.height >= 1


@pytest.mark.parametrize("rows", [0, 12])
def test_too_few_ads_to_hold_some_back_are_refused(ads: pl.DataFrame, rows: int) -> None:
    with pytest.raises(SampleError, match=r"\d older and \d newer ads are too few to hold some back; give a longer history"):
        split_ad_score(ads.head(rows))


def test_a_first_day_as_text_is_refused(ads: pl.DataFrame) -> None:
    with pytest.raises(SchemaError, match="The column first_day holds String; give dates"):
        split_ad_score(ads.with_columns(pl.col("first_day").cast(pl.String)))
    with pytest.raises(SchemaError, match="The table lacks first_day; the newest ads are held back by their first day"):
        split_ad_score(ads.drop("first_day"))


def test_training_sees_the_older_ads_alone(ads: pl.DataFrame) -> None:
    older, newer = split_ad_score(ads)
    trained = train_ad_score(ads, seed=7, kind="longer_headline")
    direct = AdScorePredictor(kind="longer_headline").fit(older, seed=7)
    np.testing.assert_array_equal(trained.contrasts(newer), direct.contrasts(newer))


def test_the_better_model_is_found_better_beyond_chance(evaluation: Evaluation) -> None:
    assert evaluation.metrics["pairwise_accuracy_all"].value > 0.75
    assert evaluation.metrics["pairwise_accuracy_significant"].value > 0.85
    assert evaluation.difference.low > 0.1
    assert evaluation.metrics["lift"].low > 0.05
    assert evaluation.metrics["log_loss"].high < evaluation.baseline_metrics["log_loss"].low
    assert evaluation.baseline == "longer_headline"
    assert evaluation.n["ads"] == 240
    assert evaluation.n["groups"] == 60
    assert evaluation.n["pairs"] <= 360


def test_its_probabilities_are_calibrated(evaluation: Evaluation) -> None:
    assert 0.7 < evaluation.metrics["calibration_slope"].value < 1.4
    assert evaluation.metrics["debiased_ece"].value < 0.08
    assert 0.84 < evaluation.metrics["coverage_90"].value <= 1
    assert evaluation.metrics["auc"].value == pytest.approx(evaluation.metrics["pairwise_accuracy_all"].value, abs=0.12)


def test_the_difference_is_that_of_the_two_accuracies_and_planted_words_lead(evaluation: Evaluation) -> None:
    gap = evaluation.metrics["pairwise_accuracy_all"].value - evaluation.baseline_metrics["pairwise_accuracy_all"].value
    assert evaluation.difference.value == pytest.approx(gap)
    assert {"word:free", "word:boring"} <= set(evaluation.tables["importance"]["feature"].head(6))
    assert evaluation.tables["reliability"]["n"].sum() == evaluation.n["pairs"]


def test_a_model_is_no_better_than_itself(longer_headline: AdScorePredictor, new_ads: pl.DataFrame) -> None:
    found = evaluate_ad_score(longer_headline, longer_headline, new_ads, rng=np.random.default_rng(1), n_resamples=100)
    assert (found.difference.value, found.difference.low, found.difference.high) == (0, 0, 0)


def test_the_order_of_rows_changes_no_accuracy(
    ad_predictor: AdScorePredictor, longer_headline: AdScorePredictor, new_ads: pl.DataFrame, evaluation: Evaluation
) -> None:
    again = evaluate_ad_score(ad_predictor, longer_headline, new_ads[::-1], rng=np.random.default_rng(1), n_resamples=100)
    for name in ("pairwise_accuracy_all", "pairwise_accuracy_significant", "lift", "coverage_90"):
        assert again.metrics[name].value == pytest.approx(evaluation.metrics[name].value)


class Told:
    """Scores read from a column."""

    model, kind, residual_sd, interval_quantile, sharpness = "ad_score", "told", 0.3, 1.6, 1.0

    def contrasts(self, rows: pl.DataFrame) -> np.ndarray:
        return rows["told"].to_numpy()

    def predict(self, rows: pl.DataFrame) -> list[SimpleNamespace]:
        return [SimpleNamespace(engagement=t, sentiment=50.0, complexity=1.0, audience_match=50.0, topic=None) for t in rows["told"]]

    def explain(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows.select(told="told", intercept=0.0, log_odds_contrast="told")


def told_rows(told: list[float], clicks: list[int]) -> pl.DataFrame:
    groups = [f"g{i // 2}" for i in range(len(told))]
    days = creatives(1)["first_day"][0]
    return pl.DataFrame({"told": told, "clicks": clicks, "impressions": 1000, "group_id": groups, "first_day": days})


def judged(rows: pl.DataFrame) -> Evaluation:
    return evaluate_ad_score(Told(), Told(), rows, rng=np.random.default_rng(1), n_resamples=100)  # type: ignore[arg-type]


def test_lift_by_hand_shares_ties_and_leaves_out_groups_without_a_click() -> None:
    # Chosen over mean: 30/20, (10+30)/2/20 for the tie, 10/20; the group without a click says nothing.
    rows = told_rows([1, 0, 0, 0, 0, 1, 0, 1] * 10, [30, 10, 10, 30, 30, 10, 0, 0] * 10)
    assert judged(rows).metrics["lift"].value == pytest.approx((1.5 + 1.0 + 0.5) / 3 - 1)


def test_accuracy_by_hand_counts_a_tied_score_half() -> None:
    found = judged(told_rows([1, 0, 0, 0, 0, 1] * 10, [80, 10, 10, 80, 80, 10] * 10))
    assert found.metrics["pairwise_accuracy_all"].value == pytest.approx(0.5)
    assert found.n["significant_pairs"] == 30


def test_the_truth_as_score_is_always_right() -> None:
    rng = np.random.default_rng(2)
    clicks = rng.integers(5, 100, 60).tolist()
    found = judged(told_rows([float(c) for c in clicks], clicks))
    assert found.metrics["pairwise_accuracy_all"].value == 1
    assert found.metrics["auc"].value == 1


def test_ads_without_siblings_cannot_be_evaluated(new_ads: pl.DataFrame, ad_predictor: AdScorePredictor) -> None:
    lonely = new_ads.with_columns(group_id="ad_id")
    with pytest.raises(SampleError, match="240 test ads hold no two siblings; nothing can be compared"):
        evaluate_ad_score(ad_predictor, ad_predictor, lonely, rng=np.random.default_rng(1))


def test_test_ads_that_differ_by_chance_alone_are_told() -> None:
    with pytest.raises(SampleError, match="No pair of the 2 test pairs differs by more than chance"):
        judged(told_rows([1, 0, 1, 0], [10, 11, 11, 10]))


def test_many_accounts_are_the_independent_units(evaluation: Evaluation) -> None:
    assert evaluation.difference.n == 15
