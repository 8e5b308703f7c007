"""One point at a time, saved in between or not, is bit for bit the same as all at once."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.prediction.anomaly.metrics import FIRST, daily, hourly, steady
from within_pipelines.exceptions import SampleError, SchemaError
from within_pipelines.prediction.anomaly import AnomalyDetector

KINDS = ("ensemble_tail", "trailing_z")
NEW = FIRST + timedelta(days=100)


def gappy(seed: int, *, series: int = 3, days: int = 150) -> pl.DataFrame:
    """Series of different lengths with gaps, missing and wild values, one of them below zero."""
    rng = np.random.default_rng(seed)
    values = steady(seed, series=series, days=days, spread=0.3)
    values[rng.random(values.shape) < 0.03] *= 10
    values[rng.random(values.shape) < 0.03] = np.nan
    values[-1] -= 100
    frame = daily(values).with_columns(keep=pl.Series(rng.random(values.size) > 0.05))
    late = FIRST + timedelta(days=int(rng.integers(60, 120)))
    begins = pl.when(pl.col("account_id") == "account-001").then(pl.lit(late)).otherwise(pl.lit(FIRST))
    return frame.filter(pl.col("keep") & (pl.col("timestamp") >= begins)).drop("keep")


def standing(detector: AnomalyDetector) -> dict[str, dict[tuple[str, ...], np.ndarray]]:
    """All that the detector remembers, by array and series."""
    found: dict[str, dict[tuple[str, ...], np.ndarray]] = {}
    for step, bank in detector._require().banks.items():
        for name, part in bank.arrays().items():
            found[f"{step} {name}"] = {key: part[row] for row, key in enumerate(bank.keys)}
    feeds = detector._require().feeds
    for name, part in feeds.arrays(feeds.keys).items():
        found[f"feeds {name}"] = {key: part[row] for row, key in enumerate(feeds.keys)}
    return found


def assert_same(one: AnomalyDetector, other: AnomalyDetector) -> None:
    """Both remember the same bits."""
    mine, theirs = standing(one), standing(other)
    assert mine.keys() == theirs.keys()
    for name in mine:
        assert mine[name].keys() == theirs[name].keys()
        for key, part in mine[name].items():
            assert np.array_equal(part, theirs[name][key], equal_nan=part.dtype.kind == "f"), (name, key)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(KINDS), st.lists(st.integers(1, 49), max_size=5))
def test_any_batches_give_the_same_bits(seed: int, kind: str, cuts: list[int]) -> None:
    frame = gappy(seed)
    old, new = frame.filter(pl.col("timestamp") < NEW), frame.filter(pl.col("timestamp") >= NEW)
    whole, parts = (AnomalyDetector(0.99, kind=kind).fit(old) for _ in range(2))
    everything = whole.update(new)
    edges = [NEW + timedelta(days=days) for days in sorted({0, 50, *cuts})]
    pieces = [
        finding
        for first, last in pairwise(edges)
        for finding in parts.update(new.filter(pl.col("timestamp").is_between(first, last, closed="left")))
    ]
    assert pieces == everything
    # A series that ended early may stand at different columns; one that goes on stands at the same.
    last = new["timestamp"].max()
    final = daily(np.full((3, 1), 90.0), first=last + timedelta(days=1))
    assert parts.update(final) == whole.update(final)
    assert_same(parts, whole)


def test_point_by_point_with_a_save_in_between_gives_the_same_bits(tmp_path: Path) -> None:
    frame = gappy(3)
    old, new = frame.filter(pl.col("timestamp") < NEW), frame.filter(pl.col("timestamp") >= NEW)
    whole, stream = (AnomalyDetector(0.99).fit(old) for _ in range(2))
    expected = whole.update(new)
    found = []
    for number, (_, day) in enumerate(new.sort("timestamp").group_by("timestamp", maintain_order=True)):
        found += stream.update(day)
        if number % 7 == 3:
            stream.save(tmp_path / str(number))
            stream = AnomalyDetector.load(tmp_path / str(number))
    assert found == expected
    assert len(found) > 0
    assert_same(stream, whole)


def test_hourly_points_of_series_that_fit_did_not_see_warm_up_to_the_same_bits() -> None:
    rng = np.random.default_rng(5)
    hours = np.arange(24 * 14)
    values = (2 + np.sin(2 * np.pi * hours / 24)) * np.exp(0.2 * rng.normal(size=(2, len(hours))))
    values[1, 300] = 40.0
    frame = hourly(values)
    known = AnomalyDetector(0.99).fit(frame.filter(pl.col("series_id") == "s000"))
    strange = frame.filter(pl.col("series_id") == "s001")
    whole = AnomalyDetector(0.99)
    whole._fitted = AnomalyDetector(0.99).fit(frame.filter(pl.col("series_id") == "s000"))._fitted
    expected = whole.update(strange)
    assert 40.0 in [finding["value"] for finding in expected]
    found = []
    for start in range(0, strange.height, 5):
        found += known.update(strange[start : start + 5])
    assert found == expected
    assert_same(known, whole)


def test_detect_leaves_the_detector_as_it_was() -> None:
    frame = gappy(4)
    detector = AnomalyDetector().fit(frame.filter(pl.col("timestamp") < NEW))
    before = AnomalyDetector().fit(frame.filter(pl.col("timestamp") < NEW))
    detector.detect(frame.filter(pl.col("timestamp") >= NEW))
    assert_same(detector, before)


def test_restated_days_replace_what_was_remembered() -> None:
    frame = daily(steady(6, series=1, days=150))
    old, new = frame.filter(pl.col("timestamp") < NEW), frame.filter(pl.col("timestamp") >= NEW)
    wrong = new.with_columns(value=pl.when(pl.col("timestamp") >= NEW + timedelta(days=47)).then(1.0).otherwise("value"))
    detector, straight = AnomalyDetector().fit(old), AnomalyDetector().fit(old)
    assert detector.update(wrong)
    detector.update(new)
    straight.update(new)
    following = daily(np.full((1, 1), 20.0), first=frame["timestamp"].max() + timedelta(days=1))
    one, other = (d.score_series(following) for d in (detector, straight))
    assert one["expected"].item() == pytest.approx(other["expected"].item(), rel=0.02)
    assert one["alarm"].item()


def test_late_rows_of_the_past_do_not_forget_the_days_after_them() -> None:
    frame = daily(steady(7, series=1, days=150))
    detector = AnomalyDetector().fit(frame[:140])
    detector.update(frame[130:133])
    ends = [int(bank.end[0]) for bank in detector._require().banks.values()]
    straight = AnomalyDetector().fit(frame[:140])
    assert ends == [int(bank.end[0]) for bank in straight._require().banks.values()]
    one, other = (d.score_series(frame[140:]) for d in (detector, straight))
    assert_frame_equal(one.select("expected"), other.select("expected"), rel_tol=1e-2)


def test_many_series_are_judged_as_each_is_alone() -> None:
    detector = AnomalyDetector(0.99).fit(gappy(8))
    for (account,), alone in gappy(9).group_by("account_id"):
        together = detector.score_series(gappy(9)).filter(pl.col("account_id") == account)
        assert_frame_equal(detector.score_series(alone), together, check_exact=True)


def test_a_time_far_ahead_starts_afresh() -> None:
    frame = daily(steady(9, series=1, days=120))
    detector = AnomalyDetector().fit(frame)
    later = frame.with_columns(pl.col("timestamp") + timedelta(days=900))
    assert detector.score_series(later)["state"].to_list()[:20] == ["warming_up"] * 20


def test_what_is_refused_is_not_remembered_and_nothing_is_remembered_of_nothing() -> None:
    frame = gappy(10)
    old, new = frame.filter(pl.col("timestamp") < NEW), frame.filter(pl.col("timestamp") >= NEW)
    detector, untouched = AnomalyDetector().fit(old), AnomalyDetector().fit(old)
    assert detector.update(new.clear()) == []
    with pytest.raises(SampleError, match="infinite values"):
        detector.update(new.with_columns(value=pl.lit(float("inf"))))
    noon = new.filter(pl.col("account_id") == "account-000").with_columns(pl.col("timestamp").cast(pl.Datetime("us")) + timedelta(hours=1))
    twice = pl.concat([new.with_columns(pl.col("timestamp").cast(pl.Datetime("us"))), noon])
    with pytest.raises(SampleError, match="fall between steps"):
        detector.update(twice)
    with pytest.raises(SchemaError, match="comes with a time zone"):
        detector.update(new.with_columns(pl.col("timestamp").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")))
    assert_same(detector, untouched)


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_or_missing_column_and_three_rows_have_a_stated_state(kind: str) -> None:
    frame = daily(np.full((1, 100), 7.0))
    detector = AnomalyDetector(kind=kind).fit(frame)
    again = daily(np.full((1, 3), 7.0), first=NEW)
    assert detector.update(again) == []
    missing = detector.score_series(daily(np.full((1, 2), np.nan), first=NEW + timedelta(days=3)))
    assert missing["state"].to_list() == ["missing"] * 2
    assert missing["p_value"].null_count() == 2
    assert missing["expected"].to_list() == pytest.approx([7.0, 7.0])
    few = daily(np.array([[1.0, 2.0, 3.0]]), metric="revenue")
    assert detector.update(few) == []
    assert detector.score_series(few)["state"].to_list() == ["warming_up"] * 3
