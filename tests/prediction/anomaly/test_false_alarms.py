"""`sensitivity` means what it says: simulated normal data raise about as many alarms as stated."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from tests.prediction.anomaly.metrics import FIRST, daily, hourly, noise
from within_pipelines.prediction.anomaly import AnomalyDetector

SERIES, TRAIN, TEST = 150, 200, 100


@pytest.mark.parametrize("kind", ["ensemble_tail", "trailing_z"])
@pytest.mark.parametrize("law", ["normal", "heavy", "weekly"])
@pytest.mark.parametrize("sensitivity", [0.9, 0.97])
def test_false_alarms_of_daily_series_are_those_stated(kind: str, law: str, sensitivity: float) -> None:
    rng = np.random.default_rng(20)
    frame = daily(100 * np.exp(0.15 * noise(law)(rng, (SERIES, TRAIN + TEST))))
    boundary = FIRST + timedelta(days=TRAIN)
    detector = AnomalyDetector(sensitivity, kind=kind).fit(frame.filter(pl.col("timestamp") < boundary))
    realised = len(detector.detect(frame.filter(pl.col("timestamp") >= boundary))) / (SERIES * TEST / 30)
    # 45 to 162 alarms are expected: three standard deviations of their count, and 15 % for the tail's own error.
    stated = detector.expected_false_alarms_per_month
    tolerance = 0.15 + 3 / np.sqrt(stated * SERIES * TEST / 30)
    assert realised == pytest.approx(stated, rel=tolerance)


def test_false_alarms_of_runs_are_those_stated() -> None:
    rng = np.random.default_rng(21)
    shocks = rng.normal(size=(SERIES, TRAIN + TEST))
    for day in range(1, shocks.shape[1]):
        shocks[:, day] += 0.6 * shocks[:, day - 1]
    frame = daily(100 * np.exp(0.1 * shocks))
    boundary = FIRST + timedelta(days=TRAIN)
    detector = AnomalyDetector(0.97).fit(frame.filter(pl.col("timestamp") < boundary))
    realised = len(detector.detect(frame.filter(pl.col("timestamp") >= boundary))) / (SERIES * TEST / 30)
    assert realised == pytest.approx(detector.expected_false_alarms_per_month, rel=0.4)


def test_false_alarms_of_hourly_series_unseen_before_are_those_stated() -> None:
    rng = np.random.default_rng(22)
    hours = np.arange(24 * 50)
    values = (2 + np.sin(2 * np.pi * hours / 24)) * np.exp(0.2 * rng.standard_t(4, size=(40, len(hours))))
    frame = hourly(values)
    known = pl.col("series_id") < "s020"
    detector = AnomalyDetector(0.99).fit(frame.filter(known))
    scored = detector.score_series(frame.filter(~known))
    months = scored.filter(pl.col("state") == "scored").height / (24 * 30)
    # About 30 alarms are expected.
    assert scored["alarm"].sum() / months == pytest.approx(detector.expected_false_alarms_per_month, rel=0.6)


def test_p_values_of_normal_data_are_uniform() -> None:
    rng = np.random.default_rng(23)
    frame = daily(100 * np.exp(0.15 * noise("heavy")(rng, (SERIES, TRAIN + TEST))))
    boundary = FIRST + timedelta(days=TRAIN)
    detector = AnomalyDetector().fit(frame.filter(pl.col("timestamp") < boundary))
    p = detector.score_series(frame.filter(pl.col("timestamp") >= boundary))["p_value"].to_numpy()
    for level in (0.001, 0.01, 0.05, 0.2, 0.5):
        assert (p <= level).mean() == pytest.approx(level, abs=4 * np.sqrt(level / len(p)) + 0.08 * level)
