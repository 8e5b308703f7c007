"""Estimates follow a change of the inputs, are blind to a change of the concept, and the table says when they no longer hold."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from within_pipelines.exceptions import NotFittedError, SampleError
from within_pipelines.monitoring import DriftState, LossRegression, divergence, estimate_from_probabilities, performance_table
from within_pipelines.monitoring.performance_estimate import EXPECTED, expected_auroc, mature_until
from within_pipelines.prediction.metrics import auroc


def world(rng: np.random.Generator, centre: float, n: int = 4000, turned: bool = False) -> tuple[np.ndarray, ...]:
    x = rng.normal(centre, 1, n)
    p = 1 / (1 + np.exp(-1.5 * x))
    return x, p, (rng.random(n) < (1 - p if turned else p)).astype(float)


def realised(name: str, y: np.ndarray, p: np.ndarray) -> float:
    if name == "auroc":
        return auroc(y, p)
    if name == "accuracy":
        return float(np.mean((p >= 0.5) == (y > 0.5)))
    if name == "brier":
        return float(np.mean((y - p) ** 2))
    return float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)))


@pytest.mark.parametrize("metric", EXPECTED)
def test_the_estimate_tracks_the_metric_under_a_change_of_inputs(metric: str) -> None:
    rng = np.random.default_rng(1)
    values = []
    for centre in (0.0, 1.0, 2.0):
        _, p, y = world(rng, centre)
        estimate = estimate_from_probabilities(p, metric, rng=rng, n_resamples=100)
        assert estimate.value == pytest.approx(realised(metric, y, p), abs=0.025)
        values.append(estimate.value)
    assert abs(values[0] - values[2]) > 0.012  # there was something to follow


def test_it_is_blind_to_a_turned_concept_and_the_divergence_says_so() -> None:
    rng = np.random.default_rng(2)
    _, p, y = world(rng, 0.0)
    _, q, calm = world(rng, 0.3)
    _, r, turned = world(rng, 0.0, turned=True)
    assert estimate_from_probabilities(r, "brier", rng=rng).value == pytest.approx(np.mean(p * (1 - p)), abs=0.01)
    told = lambda y, p: ((y - p) ** 2, p * (1 - p))
    assert divergence(*told(y, p), *told(calm, q), rng=rng).state is not DriftState.DRIFTED
    found = divergence(*told(y, p), *told(turned, r), rng=rng)
    assert found.state is DriftState.DRIFTED
    assert found.change > 0.1


def test_a_regression_of_the_loss_estimates_it_where_inputs_moved() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(3000, 1))
    loss = np.abs(rng.normal(size=3000) * (1 + np.maximum(0, x[:, 0])))
    fitted = LossRegression(seed=7).fit(x, np.zeros(3000), loss)
    moved = rng.normal(0.8, 1, size=(3000, 1))
    truth = float(np.mean(np.abs(rng.normal(size=3000) * (1 + np.maximum(0, moved[:, 0])))))
    estimate = fitted.estimate(moved, np.zeros(3000), rng=rng, n_resamples=100)
    assert estimate.value == pytest.approx(truth, rel=0.08)
    assert estimate.value > 1.15 * loss.mean()
    with pytest.raises(NotFittedError, match="call fit"):
        LossRegression(seed=7).rows(x, np.zeros(3000))
    with pytest.raises(SampleError, match="3 mature rows"):
        LossRegression(seed=7).fit(x[:3], np.zeros(3), loss[:3])


def test_the_table_puts_estimated_beside_realised_and_money_in_each_currency() -> None:
    rng = np.random.default_rng(4)
    _, p, y = world(rng, 0.0, n=400)
    # Across a number of digits and a month: days are in their order, not in that of their names.
    days = [date(2026, 6, 9), date(2026, 6, 10), date(2026, 9, 30), date(2026, 10, 1)]
    rows = pl.DataFrame(
        {
            "day": np.repeat(days, 100).tolist(),
            "cluster": (np.arange(400) % 20).tolist(),
            "estimated": p * (1 - p),
            "realised": (y - p) ** 2,
        }
    ).with_columns(realised=pl.when(pl.col("day") <= days[1]).then("realised"))
    table = performance_table(rows, rng=rng, weekly_spend={"EUR": 100.0, "USD": 50.0}, n_resamples=100)
    assert table["day"].to_list() == days
    assert table["mature_rows"].to_list() == [100, 100, 0, 0]
    assert table["realised"].to_list()[2:] == [None, None]
    assert mature_until(table) == days[1]
    assert all(low <= value <= high for low, value, high in table.select("estimated_low", "estimated", "estimated_high").iter_rows())
    last = table.row(-1, named=True)
    assert last["misjudged_EUR"] == pytest.approx(200 * last["estimated"])
    assert last["misjudged_USD"] == pytest.approx(100 * last["estimated"])
    late = performance_table(rows.with_columns(realised=pl.lit(None, dtype=pl.Float64)), rng=rng, n_resamples=100)
    assert mature_until(late) is None  # labels that never arrive
    with pytest.raises(SampleError, match="no rows to tabulate"):
        performance_table(rows.head(0), rng=rng)


def test_unfit_probabilities_and_metrics_are_refused() -> None:
    rng = np.random.default_rng(5)
    with pytest.raises(SampleError, match="'lift' cannot be estimated"):
        estimate_from_probabilities([0.5], "lift", rng=rng)
    with pytest.raises(SampleError, match="between 0 and 1"):
        estimate_from_probabilities([1.5], "brier", rng=rng)
    assert np.isnan(expected_auroc(np.ones(5)))
