"""A split that loses units is found, a sound one is left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import chisquare

from within_pipelines.exceptions import SampleError
from within_pipelines.validation import sample_ratio


def test_it_is_the_chi_square_test() -> None:
    ours = sample_ratio({"a": 512, "b": 470, "c": 1050}, {"a": 1, "b": 1, "c": 2})
    theirs = chisquare([512, 470, 1050], [508, 508, 1016])
    assert (ours.statistic, ours.p_value) == pytest.approx((theirs.statistic, theirs.pvalue), abs=1e-9)
    assert ours.expected == {"a": 508, "b": 508, "c": 1016}


def test_sound_splits_are_left_alone_and_two_percent_lost_are_found() -> None:
    rng = np.random.default_rng(1)
    halves = {"a": 0.5, "b": 0.5}
    sound = [sample_ratio({"a": int(k), "b": 100_000 - int(k)}, halves, alpha=0.05).mismatch for k in rng.binomial(100_000, 0.5, 2000)]
    assert np.mean(sound) == pytest.approx(0.05, abs=0.015)
    lossy = [sample_ratio({"a": int(k), "b": 100_000 - int(k)}, halves).mismatch for k in rng.binomial(100_000, 0.49, 200)]
    assert np.mean(lossy) > 0.99


def test_the_archive_fails_where_its_authors_say_it_does(public_data: Path) -> None:
    packages = pl.read_parquet(public_data / "upworthy_packages.parquet")
    tests = packages.group_by("clickability_test_id").agg(pl.col("impressions"), week=pl.col("test_week").first())
    failed: dict[bool, list[bool]] = {True: [], False: []}
    for impressions, week in tests.select("impressions", "week").iter_rows():
        if len(impressions) > 1:
            counts = {str(arm): n for arm, n in enumerate(impressions)}
            failed[201326 <= week <= 201402].append(sample_ratio(counts, dict.fromkeys(counts, 1.0)).mismatch)
    assert np.mean(failed[True]) == pytest.approx(0.67, abs=0.03)
    assert np.mean(failed[False]) == pytest.approx(0.012, abs=0.005)


@pytest.mark.parametrize(
    ("counts", "shares", "text"),
    [
        ({"a": 1}, {"a": 1}, "same two or more arms"),
        ({"a": 1, "b": 2}, {"a": 1, "c": 1}, "same two or more arms"),
        ({"a": -1, "b": 2}, {"a": 1, "b": 1}, "counts >= 0"),
        ({"a": 1, "b": 2}, {"a": 1, "b": 0}, "shares above 0"),
        ({"a": 0, "b": 0}, {"a": 1, "b": 1}, "No unit"),
    ],
)
def test_unfit_counts_are_refused(counts: dict[str, int], shares: dict[str, float], text: str) -> None:
    with pytest.raises(SampleError, match=text):
        sample_ratio(counts, shares)
