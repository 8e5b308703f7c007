from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.prediction.anomaly.metrics import SPLIT, daily, fitted, new, old, steady
from within_pipelines.prediction.anomaly import AnomalyDetector
from within_pipelines.prediction.anomaly.alarms import raise_alarms, silenced
from within_pipelines.prediction.anomaly.stream import NEVER


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1, 9), st.integers(0, 39))
def test_a_series_is_silenced_alone_as_beside_others_and_wherever_it_is_cut(exceeds: list[bool], quiet: int, cut: int) -> None:
    rows = np.array([exceeds, exceeds[::-1]])
    never = np.full(2, NEVER)
    raised, last = raise_alarms(rows, 100, never, quiet)
    alone = [silenced(row, np.arange(100, 100 + len(row)), quiet) for row in rows]
    np.testing.assert_array_equal(raised, alone)
    first, between = raise_alarms(rows[:, :cut], 100, never, quiet)
    second, at_end = raise_alarms(rows[:, cut:], 100 + min(cut, rows.shape[1]), between, quiet)
    np.testing.assert_array_equal(np.concatenate([first, second], axis=1), raised)
    np.testing.assert_array_equal(at_end, last)


def test_silence_agrees_with_a_hand_calculation() -> None:
    exceeds = np.array([[True, True, False, True, True], [False, False, False, False, False]])
    raised, last = raise_alarms(exceeds, 10, np.array([8, NEVER]), 3)
    assert raised.tolist() == [[False, True, False, False, True], [False] * 5]
    assert last.tolist() == [14, NEVER]


def test_an_alarm_is_a_value_outside_its_limits() -> None:
    detector, frame = fitted(sensitivity=0.99)
    scored = detector.score_series(frame)
    outside = scored.filter((pl.col("value") < pl.col("low")) | (pl.col("value") > pl.col("high")))
    limit = detector.p_limit(next(iter(detector._require().banks.values())).rhythm)
    assert outside.height > 0
    assert_frame_equal(outside, scored.filter(pl.col("p_value") <= limit))
    assert set(scored.filter("alarm").rows()) <= set(outside.rows())


def test_more_sensitivity_means_more_alarms_as_stated() -> None:
    expected = [AnomalyDetector(s).expected_false_alarms_per_month for s in (0.5, 0.9, 0.95, 0.99)]
    assert expected == pytest.approx([0.01, 0.09, 0.19, 0.99])
    counts = []
    for sensitivity in (0.5, 0.95, 0.999):
        detector, frame = fitted(sensitivity=sensitivity)
        counts.append(len(detector.detect(frame)))
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]


def test_one_incident_is_one_alarm_until_the_silence_ends() -> None:
    detector, frame = fitted()
    first = SPLIT + timedelta(days=10)
    during = pl.col("timestamp").is_between(first, first + timedelta(days=3)) & (pl.col("account_id") == "account-000")
    found = detector.detect(frame.with_columns(value=pl.when(during).then(5.0).otherwise("value")))
    days = [f["timestamp"] for f in found if f["account_id"] == "account-000" and f["value"] == 5.0]
    assert days == [first, first + timedelta(days=3)]


def test_an_incident_that_fit_has_seen_begin_is_not_reported_at_once() -> None:
    frame = daily(steady(1, series=1))
    begins = SPLIT - timedelta(days=1)
    frame = frame.with_columns(
        value=pl.when(pl.col("timestamp").is_between(begins, SPLIT + timedelta(days=3))).then(5.0).otherwise("value")
    )
    found = AnomalyDetector().fit(old(frame)).detect(new(frame))
    assert [f["timestamp"] for f in found if f["value"] == 5.0] == [begins + timedelta(days=3)]
