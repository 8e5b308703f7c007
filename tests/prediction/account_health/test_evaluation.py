"""The evaluation of account health is on later days, beside a rival, by account."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from tests.prediction.worlds import feature_rows
from within_pipelines.exceptions import SampleError
from within_pipelines.prediction import AccountHealthPredictor, evaluate_account_health, split_account_health, train_account_health
from within_pipelines.prediction.account_health.evaluation import _lift
from within_pipelines.prediction.evaluation import Evaluation
from within_pipelines.prediction.metrics import auroc, brier_skill


@pytest.fixture(scope="module")
def trained(health_rows: pl.DataFrame) -> tuple[AccountHealthPredictor, AccountHealthPredictor]:
    return train_account_health(health_rows, seed=7), train_account_health(health_rows, seed=7, kind="persistence")


@pytest.fixture(scope="module")
def evaluation(health_rows: pl.DataFrame, trained: tuple[AccountHealthPredictor, AccountHealthPredictor]) -> Evaluation:
    _, test = split_account_health(health_rows)
    return evaluate_account_health(*trained, test, rng=np.random.default_rng(1), n_resamples=200)


@pytest.mark.parametrize("horizon", [7, 14])
def test_between_the_two_parts_lies_the_horizon(health_rows: pl.DataFrame, horizon: int) -> None:
    older, newer = split_account_health(health_rows, horizon=horizon)
    assert older["origin"].max() + timedelta(days=horizon) < newer["origin"].min()  # type: ignore[operator]
    assert newer["origin"].n_unique() == 12


def test_too_few_days_to_hold_some_back_are_refused() -> None:
    with pytest.raises(SampleError, match="7 origin days are too few to hold some back; give a longer history"):
        split_account_health(feature_rows(2, origins=7))


def test_training_never_sees_the_test_days(health_rows: pl.DataFrame, trained: tuple[AccountHealthPredictor, ...]) -> None:
    older, test = split_account_health(health_rows)
    disturbed = pl.concat([older, test.with_columns(degraded=~pl.col("degraded"), log_efficiency_7=99.0)])
    again = train_account_health(disturbed, seed=7)
    np.testing.assert_array_equal(again.probability(test), trained[0].probability(test))


def test_the_planted_signal_is_found_beyond_persistence_and_chance(evaluation: Evaluation) -> None:
    assert evaluation.metrics["auroc"].low > 0.6
    assert evaluation.metrics["brier_skill"].low > 0
    assert evaluation.difference.low > 0
    assert evaluation.metrics["lift_10"].value > 1.3
    assert 0.8 < evaluation.metrics["coverage_90"].value < 0.98
    assert evaluation.baseline == "persistence"
    assert evaluation.n == {"rows": 288, "accounts": 24, "drops": evaluation.n["drops"]}
    assert set(evaluation.tables["importance"]["feature"].head(3)) == {"log_efficiency_7", "slope_cvr_28", "log_cpc_7"}


def test_its_numbers_are_those_of_the_formulas(
    evaluation: Evaluation, health_rows: pl.DataFrame, trained: tuple[AccountHealthPredictor, ...]
) -> None:
    _, test = split_account_health(health_rows)
    y, p = test["degraded"].cast(pl.Float64).to_numpy(), trained[0].probability(test)
    assert evaluation.metrics["auroc"].value == pytest.approx(auroc(y, p))
    assert evaluation.metrics["brier_skill"].value == pytest.approx(brier_skill(y, p))
    assert evaluation.metrics["base_rate"].value == pytest.approx(y.mean())
    assert evaluation.difference.value == pytest.approx(brier_skill(y, p) - brier_skill(y, trained[1].probability(test)))
    assert evaluation.first_day == test["origin"].min()
    assert evaluation.last_day == test["origin"].max()


def test_labels_that_mean_nothing_have_no_skill() -> None:
    rows = feature_rows(strength=0.0, seed=12)
    _, test = split_account_health(rows)
    rival = train_account_health(rows, seed=7, kind="persistence")
    found = evaluate_account_health(train_account_health(rows, seed=7), rival, test, rng=np.random.default_rng(1), n_resamples=100)
    # 288 rows: a standard error of about .04.
    assert found.metrics["auroc"].value == pytest.approx(0.5, abs=0.12)
    assert found.metrics["brier_skill"].low < 0 < found.metrics["auroc"].high


def test_a_model_is_no_better_than_itself(health_rows: pl.DataFrame, trained: tuple[AccountHealthPredictor, ...]) -> None:
    _, test = split_account_health(health_rows)
    found = evaluate_account_health(trained[1], trained[1], test, rng=np.random.default_rng(1), n_resamples=100)
    assert (found.difference.value, found.difference.low, found.difference.high) == (0, 0, 0)


def test_without_a_band_there_is_no_coverage(health_rows: pl.DataFrame, trained: tuple[AccountHealthPredictor, ...]) -> None:
    older, test = split_account_health(health_rows)
    bandless = AccountHealthPredictor(kind="persistence").fit(older.drop("log_ratio"))
    found = evaluate_account_health(bandless, trained[1], test, rng=np.random.default_rng(1), n_resamples=100)
    assert "coverage_90" not in found.metrics


def test_rows_below_the_stated_volume_do_not_count(health_rows: pl.DataFrame, trained: tuple[AccountHealthPredictor, ...]) -> None:
    _, test = split_account_health(health_rows)
    thin = test.with_columns(clicks_28=pl.lit(float("nan")), log_ratio=pl.lit(None, pl.Float64))
    found = evaluate_account_health(*trained, pl.concat([test, thin]), rng=np.random.default_rng(1), n_resamples=100)
    assert found.n["rows"] == test.height


def test_lift_by_hand() -> None:
    y = np.r_[np.ones(2), np.zeros(8)]
    assert _lift(y, y, share=0.1) == 5
    assert _lift(y, -y, share=0.1) == 0
    assert np.isnan(_lift(np.zeros(5), np.zeros(5), share=0.1))


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (lambda t: t.head(10), "10 test rows with .* drops cannot be evaluated; both outcomes are needed"),
        (lambda t: t.with_columns(degraded=False), "288 test rows with 0 drops cannot be evaluated"),
        (lambda t: t.head(0), "0 test rows with 0 drops"),
    ],
)
def test_rows_that_cannot_be_judged_are_refused(
    health_rows: pl.DataFrame, trained: tuple[AccountHealthPredictor, ...], rows: object, told: str
) -> None:
    _, test = split_account_health(health_rows)
    with pytest.raises(SampleError, match=told):
        evaluate_account_health(*trained, rows(test), rng=np.random.default_rng(1))  # type: ignore[operator]
