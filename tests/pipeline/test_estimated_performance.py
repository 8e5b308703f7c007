"""Estimated beside realised in one table, for probabilities and for forecasts, in units and in money; each bad input has a state."""

from __future__ import annotations

from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from within_pipelines.lake import MaturityCurve
from within_pipelines.monitoring import DriftState, MeasurementCalendar
from within_pipelines.pipeline.drift_reference import DriftReference
from within_pipelines.pipeline.estimated_performance import estimated_performance
from within_pipelines.pipeline.monitor_case import MonitorCase
from within_pipelines.pipeline.monitored_rows import Monitored, _with_due_days

DAY = date(2026, 6, 30)
ACCOUNTS = 24


def judged(rng: np.random.Generator, last: date, days: int, *, noise: float = 1.0, late: int = 0) -> pl.DataFrame:
    """Rows of accounts over days: a probability that holds, and a forecast whose error grows with a feature and with `noise`."""
    labels = np.tile(np.arange(ACCOUNTS), days)
    day = np.repeat([last - timedelta(days=days - 1 - k) for k in range(days)], ACCOUNTS)
    feature = rng.normal(size=len(labels)) + 0.3 * rng.normal(size=ACCOUNTS)[labels]
    p = 1 / (1 + np.exp(-feature))
    came = (rng.random(len(labels)) < p).astype(float)
    error = noise * np.abs(rng.normal(size=len(labels))) * (0.1 + 0.1 * (feature > 0))
    frame = pl.DataFrame(
        {
            "cluster": [f"meta_ads/{a}" for a in labels], "platform": ["meta_ads"] * len(labels), "day": day.tolist(), "feature": feature,
            "prediction": p, "outcome": came, "estimated": p * (1 - p), "realised": (came - p) ** 2, "forecast": 0.1 * feature,
            "forecast_error": error,
        }
    )  # fmt: skip
    known = pl.col("day") <= last - timedelta(days=late)
    return frame.with_columns(pl.when(known).then(pl.col(name)).alias(name) for name in ("outcome", "realised", "forecast_error"))


def case(old: pl.DataFrame, new: pl.DataFrame, *, rng: np.random.Generator, loss: str = "brier") -> MonitorCase:
    empty = pl.DataFrame()
    rows = pl.DataFrame({"day": [DAY - timedelta(days=60)]})
    reference = DriftReference(Monitored(rows, empty, old, loss), "v1", {}, "ab")
    version: Any = SimpleNamespace(version=3)
    spend = {"EUR": 1000.0, "USD": 100.0}
    return MonitorCase("account_health", version, reference, Monitored(rows, empty, new, loss), DAY, spend, MeasurementCalendar(()), rng)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(8)


def test_both_losses_stand_beside_each_other_in_one_table_with_money_in_each_currency(rng: np.random.Generator) -> None:
    old, new = judged(rng, DAY - timedelta(days=40), 30), judged(rng, DAY, 28, late=7)
    found = estimated_performance(case(old, new, rng=rng), 0.01)
    assert found.state is not DriftState.DRIFTED
    assert not found.money_at_risk
    table = found.evidence["table"]
    assert len(table) == 28
    both = {f"{name}{end}" for name in ("estimated", "realised", "error_estimated", "error_realised") for end in ("", "_low", "_high")}
    assert both | {"misjudged_EUR", "misplanned_EUR", "misjudged_USD", "misplanned_USD"} <= set(table[0])
    assert table[0]["error_realised"] is not None
    assert table[-1]["error_realised"] is None  # late, but estimated
    assert table[-1]["error_estimated"] == pytest.approx(old["forecast_error"].mean(), rel=0.4)
    last = table[-1]
    assert last["misplanned_EUR"] == pytest.approx(1000 * (1 - np.exp(-last["error_estimated"])))
    direct = found.evidence["direct_loss"]
    assert direct["expected"] == pytest.approx(direct["before"], rel=0.2)
    assert "CBPE" in found.evidence["method"]
    assert "DLE" in found.evidence["method"]


def test_a_forecast_that_no_longer_holds_is_found_while_its_probabilities_do(rng: np.random.Generator) -> None:
    old, new = judged(rng, DAY - timedelta(days=40), 30), judged(rng, DAY, 28, noise=2.0, late=7)
    found = estimated_performance(case(old, new, rng=rng), 0.01)
    assert found.state is DriftState.DRIFTED
    direct = found.evidence["direct_loss"]
    assert direct["state"] == "drifted"
    assert direct["realised"] > 1.6 * direct["realised_before"]
    assert found.money_at_risk["EUR"] == pytest.approx(1000 * (np.exp(-direct["realised_before"]) - np.exp(-direct["realised"])), abs=0.01)
    assert found.money_at_risk["USD"] < found.money_at_risk["EUR"]
    # The level is shared: what is reported is twice the smaller of the two p-values.
    assert found.p_value == pytest.approx(2 * direct["p_value"])


def test_probabilities_alone_are_judged_where_there_is_no_forecast(rng: np.random.Generator) -> None:
    old, new = judged(rng, DAY - timedelta(days=40), 30), judged(rng, DAY, 28, noise=2.0, late=7)
    for lacking, why in [
        (lambda f: f.drop("forecast", "forecast_error"), "keeps no forecast of a number"),
        (lambda f: f.with_columns(pl.lit(None, dtype=pl.Float64).alias(n) for n in ("forecast", "forecast_error")), "only a probability"),
        (lambda f: f.with_columns(pl.when(pl.col("cluster") == "meta_ads/1").then("forecast_error").alias("forecast_error")), "1 accounts"),
    ]:
        found = estimated_performance(case(lacking(old), lacking(new), rng=rng), 0.01)
        assert found.state is not DriftState.DRIFTED
        assert why in found.evidence["direct_loss"]
        assert "error_estimated" not in found.evidence["table"][0]
    flipped = new.with_columns(outcome=1 - pl.col("outcome")).with_columns(realised=(pl.col("outcome") - pl.col("prediction")) ** 2)
    assert estimated_performance(case(old, flipped.drop("forecast", "forecast_error"), rng=rng), 0.01).state is DriftState.DRIFTED


def test_labels_that_never_arrive_and_windows_without_rows_are_said(rng: np.random.Generator) -> None:
    old, new = judged(rng, DAY - timedelta(days=40), 30), judged(rng, DAY, 6, late=7)
    found = estimated_performance(case(old, new, rng=rng), 0.01)
    assert (found.state, found.p_value) == (DriftState.INSUFFICIENT, None)
    assert "No label is mature yet" in found.reason
    assert "none of them is known yet" in found.reason
    assert found.evidence["direct_loss"]["expected"] > 0
    assert "There are no answers for days after" in estimated_performance(case(old, new.head(0), rng=rng), 0.01).reason
    assert "Nobody labels" in estimated_performance(case(old, new, rng=rng, loss=""), 0.01).reason


def test_a_label_that_never_comes_does_not_read_like_one_that_is_late(rng: np.random.Generator) -> None:
    old, new = judged(rng, DAY - timedelta(days=40), 30), judged(rng, DAY, 28, late=28)
    due = lambda days: new.with_columns(due=pl.col("day") + pl.duration(days=days)).with_columns(pl.col("due").cast(pl.Date))
    late = estimated_performance(case(old, due(30), rng=rng), 0.01)
    assert "No label is mature yet." in late.reason
    assert late.sizes["overdue"] == 0
    never = estimated_performance(case(old, due(7), rng=rng), 0.01)
    assert never.state is DriftState.INSUFFICIENT
    # 28 days of answers, of which those of the newest seven and of the day itself are in time.
    assert never.sizes["overdue"] == 20 * ACCOUNTS
    assert "No label is mature. " in never.reason
    assert never.reason.endswith("480 labels are overdue, by up to 20 days (meta_ads 480); only the others are judged here.")
    assert never.evidence["overdue"] == {"meta_ads": 480}
    some = judged(rng, DAY, 28, late=7)
    gone = some.with_columns(
        due=pl.when(pl.col("cluster").is_in(["meta_ads/1", "meta_ads/2"])).then(pl.col("day").dt.offset_by("9d")),
        **{name: pl.when(~pl.col("cluster").is_in(["meta_ads/1", "meta_ads/2"])).then(name) for name in ("outcome", "realised")},
    )
    survivors = estimated_performance(case(old, gone, rng=rng), 0.01)
    assert survivors.p_value is not None
    assert "36 labels are overdue" in survivors.reason


def test_a_label_is_due_when_its_last_days_numbers_came_in_the_past() -> None:
    curve = MaturityCurve({("meta_ads", "1", "conversions"): (0.2, 0.5, 0.95, 1.0), ("meta_ads", "", "revenue_micros"): (0.9,)})
    rows = pl.DataFrame({"platform": ["meta_ads"] * 3, "account_id": ["1", "2", "1"], "origin": [DAY] * 3, "mature": [None, False, True]})
    assert _with_due_days(rows, curve)["due"].to_list() == [DAY + timedelta(days=9), DAY + timedelta(days=7), None]
