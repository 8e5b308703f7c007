"""Later days judge earlier fits, with no label reaching over, and the richer parts get what they earn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.prediction.worlds import feature_rows
from within_pipelines.prediction import AccountHealthPredictor
from within_pipelines.prediction.account_health.rolling import calibrated, earned_share, later_blocks, learning_curves, overlap_of


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 14), st.integers(10, 80), st.integers(1, 7), st.integers(0, 99))
def test_no_label_reaches_from_the_older_part_into_the_block(horizon: int, origins: int, step: int, seed: int) -> None:
    days = np.repeat(np.arange(origins) * step, 5) + 20_000
    y = (np.random.default_rng(seed).random(days.size) < 0.4).astype(float)
    seen = np.zeros(days.size, dtype=int)
    for older, block in later_blocks(days, y, horizon=horizon):
        assert days[older].max() + horizon < days[block].min()
        seen += block
    assert seen.max(initial=0) <= 1


def test_the_newest_three_quarters_are_answered_once() -> None:
    days = np.repeat(np.arange(0, 80, 2), 10)
    y = np.tile([0.0, 1.0], 200)
    blocks = list(later_blocks(days, y, horizon=7))
    assert [int(days[block].min()) for _, block in blocks] == [20, 40, 60]
    assert sum(int(block.sum()) for _, block in blocks) == 300
    one_sided = np.where(days < 30, 0.0, y)
    assert [int(days[block].min()) for _, block in later_blocks(days, one_sided, horizon=7)] == [40, 60]


def chance(t: float, *, seed: int, weeks: int = 20) -> float:
    """The share of a rich model whose log-odds are the truth's times `t`, beside a lean one that says nothing."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 1, weeks * 60)
    y = (rng.random(truth.size) < 1 / (1 + np.exp(-truth))).astype(float)
    return earned_share(np.zeros(truth.size), t * truth, y, np.repeat(np.arange(weeks) * 7, 60))


def test_knowledge_is_rewarded_and_its_opposite_is_not() -> None:
    assert min(chance(1.0, seed=s) for s in range(5)) > 0.99
    assert max(chance(-1.0, seed=s) for s in range(5)) < 0.01


def test_noise_is_not_rewarded() -> None:
    rng = np.random.default_rng(2)
    y = (rng.random(3000) < 0.3).astype(float)
    shares = [earned_share(np.full(3000, -0.85), -0.85 + rng.normal(0, 0.8, 3000), y, np.repeat(np.arange(20) * 7, 150)) for _ in range(10)]
    assert np.mean(shares) < 0.05


def test_too_few_weeks_leave_the_lean_model_alone() -> None:
    assert chance(1.0, seed=1, weeks=5) == 0.0
    assert chance(1.0, seed=1, weeks=6) > 0.9


def test_daily_origins_of_weekly_labels_say_a_seventh_each() -> None:
    assert overlap_of(np.arange(30), horizon=7) == 7.0
    assert overlap_of(np.array([5, 5, 5]), horizon=7) == 1.0
    assert overlap_of(np.array([0, 3, 6, 40, 43]), horizon=7) == pytest.approx(7 / 3)


def test_calibration_changes_nothing_without_evidence_and_follows_much_of_it() -> None:
    rng = np.random.default_rng(6)
    raw = rng.normal(-0.5, 1, 20_000)
    y = (rng.random(raw.size) < 1 / (1 + np.exp(-(0.4 + 2 * raw)))).astype(float)
    few = calibrated(raw[:20], y[:20], overlap=7.0)
    assert (few.intercept, few.slope) == (pytest.approx(0, abs=0.1), pytest.approx(1, abs=0.1))
    much = calibrated(raw, y, overlap=1.0)
    assert (much.intercept, much.slope) == (pytest.approx(0.4, abs=0.08), pytest.approx(2, abs=0.08))
    # The level is held back more than the spread.
    some = calibrated(raw[:800], y[:800], overlap=2.0)
    assert some.slope > 1.6


def test_a_ranking_that_later_days_contradict_is_not_turned_round() -> None:
    rng = np.random.default_rng(7)
    raw = rng.normal(size=3000)
    y = (rng.random(raw.size) < 1 / (1 + np.exp(1 + 2 * raw))).astype(float)
    found = calibrated(raw, y, overlap=1.0)
    assert found.slope == 0
    assert 1 / (1 + np.exp(-found.intercept)) == pytest.approx(y.mean())


def test_more_history_is_seen_to_help_where_there_is_something_to_learn(health_rows: pl.DataFrame, tmp_path: Path) -> None:
    fitted = AccountHealthPredictor().fit(health_rows)
    assert set(fitted.curves) == {"log_loss", "brier_skill"}
    loss, skill = fitted.curves["log_loss"], fitted.curves["brier_skill"]
    # Of 40 origins three days apart, the oldest 10, 20 and 30 less the horizon's three: 24 accounts each.
    assert loss["x"] == skill["x"] == [24 * 8, 24 * 18, 24 * 28]
    assert loss["y"][0] > loss["y"][1] > loss["y"][2]
    assert skill["y"][0] < skill["y"][1] < skill["y"][2]
    assert 0.1 < skill["y"][2] < 0.7
    assert loss["y_label"] == "log loss on the newest 240 rows"
    noise = AccountHealthPredictor().fit(feature_rows(strength=0.0)).curves["brier_skill"]["y"]
    assert max(noise) < 0.05
    fitted.save(tmp_path / "a")
    assert AccountHealthPredictor.load(tmp_path / "a").curves == {}


def test_one_fit_makes_no_curve() -> None:
    assert learning_curves([(100, np.zeros(3))], np.array([0.0, 1.0, 1.0])) == {}
