"""Inputs that moved together, and texts that speak of other things: found, named, within the stated rate, and said where unknown."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from within_pipelines.features import creative_features
from within_pipelines.monitoring import DriftState, MeasurementCalendar, hashed_words
from within_pipelines.pipeline.drift_reference import DriftReference
from within_pipelines.pipeline.joint_drift import calm_separation, joint_rows, multivariate_drift, text_drift
from within_pipelines.pipeline.monitor_case import MonitorCase, permutations_for
from within_pipelines.pipeline.monitored_rows import Monitored, _creative_features

DAY = date(2026, 6, 30)
ACCOUNTS, ROWS = 30, 14
LEVEL = 0.1


def case(
    old: Any, new: Any, *, rng: np.random.Generator, part: str = "rows", model: str = "ad_score", calm: float | None = None
) -> MonitorCase:
    empty = pl.DataFrame()
    data = [Monitored(**{"rows": empty, "said": empty, "judged": empty, "loss": "brier", part: frame}) for frame in (old, new)]
    reference = DriftReference(data[0], "v1", {}, "ab", calm)
    version: Any = SimpleNamespace(version=3)
    return MonitorCase(model, version, reference, data[1], DAY, {}, MeasurementCalendar(()), rng)


def keyed(columns: dict[str, Any], accounts: np.ndarray, first: date) -> pl.DataFrame:
    days = [first + timedelta(days=i % 7) for i in range(len(accounts))]
    keys = {"cluster": [f"meta_ads/{a}" for a in accounts], "platform": ["meta_ads"] * len(accounts), "day": days}
    return pl.DataFrame({**keys, **columns})


def window(rng: np.random.Generator, *, flipped: bool = False, accounts: int = ACCOUNTS, first: date = date(2026, 6, 24)) -> pl.DataFrame:
    """Two features that go together, or against each other with the same margins, and three beside them; accounts have levels."""
    labels = np.repeat(np.arange(accounts), ROWS)
    level = 0.5 * rng.normal(size=(accounts, 5))[labels]
    x = level + rng.normal(size=(len(labels), 5))
    x[:, 1] = 0.9 * (-x[:, 0] if flipped else x[:, 0]) + 0.45 * x[:, 1]
    return keyed({f"f{k}": x[:, k] for k in range(5)} | {"kind": rng.choice(["image", "video"], len(labels))}, labels, first)


def test_a_flipped_correlation_is_found_and_its_two_features_are_named() -> None:
    rng = np.random.default_rng(1)
    old, new = window(rng, first=date(2026, 5, 1)), window(rng, flipped=True)
    found = multivariate_drift(case(old, new, rng=rng), 0.01)
    assert found.state is DriftState.DRIFTED
    assert set(found.features) == {"f0", "f1"}
    assert found.p_value is not None
    assert found.p_value <= 0.01
    assert found.effect == pytest.approx(2 * found.statistic - 1)  # type: ignore[operator]
    assert [row["feature"] for row in found.evidence["attribution"][:2]] in (["f0", "f1"], ["f1", "f0"])
    # The margins did not move: feature by feature there is nothing to see.
    from within_pipelines.monitoring import table_drift

    assert table_drift(old.drop("platform", "day"), new.drop("platform", "day"), rng=rng, clusters="cluster").drifted == ()


@pytest.mark.slow
def test_calm_windows_keep_the_stated_rate_of_the_classifier() -> None:
    rng = np.random.default_rng(2)
    runs, raised = 60, 0
    for _ in range(runs):
        found = multivariate_drift(case(window(rng, accounts=20), window(rng, accounts=20), rng=rng), LEVEL)
        raised += found.p_value is not None and found.p_value <= LEVEL
    # 60 runs at .1 have a standard error of .039.
    assert raised / runs <= LEVEL + 2 * 0.039


def test_what_calm_weeks_differ_by_is_no_move() -> None:
    rng = np.random.default_rng(3)
    old, new = window(rng), window(rng, flipped=True)
    strict = multivariate_drift(case(old, new, rng=rng, calm=0.93), 0.01)
    assert strict.state is not DriftState.DRIFTED
    assert strict.threshold == pytest.approx(2 * 0.98 - 1)
    assert "weeks of the training period reach 0.93" in strict.reason
    never = multivariate_drift(case(old, new, rng=rng, calm=0.97), 0.01)
    assert never.state is DriftState.INSUFFICIENT
    assert "no move could stand out" in never.reason
    months = pl.concat([window(rng, first=DAY - timedelta(days=6 + 7 * week), flipped=week == 1) for week in range(4)])
    told = calm_separation(months, days=7, rng=rng)
    assert told is not None
    assert told > 0.7
    assert calm_separation(months.head(0), days=7, rng=rng) is None
    assert calm_separation(months.filter(pl.col("cluster") == "meta_ads/0"), days=7, rng=rng) is None


def test_features_that_come_go_and_stand_still_leave_the_others_comparable() -> None:
    old = keyed({"a": [1.0, 2.0, None], "b": ["x", "x", "y"], "c": [1.0, 1.0, 1.0], "d": [1, 2, 3]}, np.arange(3), DAY)
    new = keyed(
        {"a": [2.0, 3.0, 1.0], "b": ["y", None, "new"], "c": [1.0, 1.0, 1.0], "e": [1, 2, 3], "d": ["1", "2", "3"]}, np.arange(3), DAY
    )
    names, x, y = joint_rows(old, new)
    assert names == ["a", "b"]
    assert np.isfinite(x).all()
    assert y[1:, 1].tolist() == [y[1, 1]] * 2 > [y[0, 1]] * 2  # a missing and a new category are the same, and not the known one
    assert joint_rows(old.select("cluster", "c"), new)[0] == []


def headlines(rng: np.random.Generator, *, sale: float, accounts: int = 24, ads: int = 10) -> pl.DataFrame:
    labels = np.repeat(np.arange(accounts), ads)
    things = ["coats", "shoes", "hats", "bags", "lamps"]
    own = rng.integers(0, len(things), accounts)[labels]  # an account sells one thing
    texts = [
        f"{rng.choice(['warm', 'fine', 'new', 'soft'])} {things[k]} for {rng.choice(['winter', 'summer', 'you', 'home'])}"
        + (" half price" if rng.random() < sale else "")
        for k in own
    ]
    vectors = hashed_words(texts).astype(np.float32)
    frame = keyed({"text": texts}, labels, DAY - timedelta(days=6))
    return frame.with_columns(vector=pl.Series(vectors.tolist(), dtype=pl.List(pl.Float32)), basis=pl.lit("hashed words"))


def test_texts_that_speak_of_something_else_are_found_and_their_words_named() -> None:
    rng = np.random.default_rng(4)
    found = text_drift(case(headlines(rng, sale=0.1), headlines(rng, sale=0.7), rng=rng, part="texts"), 0.01)
    assert found.state is DriftState.DRIFTED
    assert set(found.features[:2]) == {"word:half", "word:price"}
    assert "half" in found.reason
    assert found.evidence["words"][0]["now"] > 0.5 > found.evidence["words"][0]["before"]


def test_calm_texts_keep_the_stated_rate() -> None:
    rng = np.random.default_rng(5)
    runs = 60
    found = [
        text_drift(case(headlines(rng, sale=0.3, accounts=16), headlines(rng, sale=0.3, accounts=16), rng=rng, part="texts"), LEVEL)
        for _ in range(runs)
    ]
    raised = sum(f.p_value is not None and f.p_value <= LEVEL for f in found)
    # 60 runs at .1 have a standard error of .039.
    assert raised / runs <= LEVEL + 2 * 0.039
    assert sum(f.drifted for f in found) <= raised


def test_every_bad_input_has_a_state_and_a_reason() -> None:
    rng = np.random.default_rng(6)
    few, many, none = window(rng, accounts=3), window(rng), window(rng).head(0)
    for old, new, why in [
        (many, many.head(2), "at least four rows"),
        (many, none, "at least four rows"),
        (few, few, "3 clusters cannot be halved"),
        (window(rng, accounts=6), window(rng, accounts=6), "Only 6 accounts are in the windows"),
        (window(rng, accounts=12), window(rng, accounts=12, flipped=True), "12 accounts, halved, cannot tell drift from chance"),
        (many.select("cluster", "platform", "day"), many, "no feature in common"),
        (many.with_columns(pl.lit(None, dtype=pl.Float64).alias(f"f{k}") for k in range(5)).drop("kind"), many, "no feature in common"),
    ]:
        found = multivariate_drift(case(old, new, rng=rng), 0.01)
        assert found.state is DriftState.INSUFFICIENT
        assert why in found.reason
    texts = headlines(rng, sale=0.1)
    other = texts.with_columns(basis=pl.lit("all-MiniLM-L6-v2 0123"))
    for old, new, why in [
        (pl.DataFrame(), texts, "No texts were kept when ad_score v3 was trained; train it again."),
        (texts, pl.DataFrame(), "No ad of the window has a text."),
        (texts, other, "were read by hashed words, those of the window by all-MiniLM-L6-v2 0123"),
        (texts, texts.head(3), "at least four rows"),
        (texts.head(30), texts.head(30), "Only 3 accounts"),
    ]:
        found = text_drift(case(old, new, rng=rng, part="texts"), 0.01)
        assert found.state is DriftState.INSUFFICIENT
        assert why in found.reason
    assert text_drift(case(texts, texts, rng=rng, part="texts", model="anomaly"), 0.01).reason == "anomaly reads no texts."


def test_the_window_moves_the_day_and_a_stricter_level_draws_more_signs() -> None:
    rng = np.random.default_rng(7)
    told = case(window(rng), window(rng), rng=rng)
    assert told.window_start == date(2026, 6, 24)
    assert replace(told, window=replace(told.window, rows=pl.DataFrame())).window_start == DAY
    assert permutations_for(0.0012) == 3334
    assert (permutations_for(0.5), permutations_for(1e-9)) == (999, 9999)


def test_what_grows_with_an_accounts_age_is_not_watched() -> None:
    rows = pl.DataFrame({"headline": ["Warm coats"], "platform": ["meta_ads"], "account_id": ["1"], "first_day": [date(2026, 6, 1)]})
    features = creative_features(rows)
    watched = _creative_features(rows.hstack(features)).columns
    assert {"sibling_count", "sibling_reliability"} <= set(features.columns)
    assert not {"sibling_count", "sibling_reliability"} & set(watched)
    assert {"headline_words", "sibling_log_ctr_ratio"} <= set(watched)
