"""Adaptive conformal inference keeps its coverage while the world drifts, and a fixed band does not."""

from __future__ import annotations

import json
from collections import deque

import numpy as np
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.prediction.adaptive_conformal import MEMORY, AdaptiveConformal
from within_pipelines.prediction.conformal import conformal_quantile


def lived_through(scales: np.ndarray, *, rate: float, delay: int, seed: int, cases: int = 40) -> np.ndarray:
    """Coverage of each day when the scores of day t are half-normal with `scales[t]` and become known `delay` days later."""
    rng = np.random.default_rng(seed)
    state = AdaptiveConformal.start(np.abs(rng.standard_normal(400)), level=0.9, rate=rate)
    waiting: deque[np.ndarray] = deque()
    covered = []
    for scale in scales:
        if len(waiting) == delay:
            state = state.learn([waiting.popleft()])
        scores = scale * np.abs(rng.standard_normal(cases))
        covered.append(float(np.mean(scores <= state.quantile())))
        waiting.append(scores)
    return np.array(covered)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_coverage_holds_while_the_scatter_doubles_and_a_week_late(seed: int) -> None:
    scales = np.exp(np.linspace(0, np.log(2), 200))
    adaptive = lived_through(scales, rate=0.1, delay=7, seed=seed)
    rng = np.random.default_rng(seed)
    fixed = conformal_quantile(np.abs(rng.standard_normal(400)), level=0.9)
    frozen = np.mean([scale * np.abs(rng.standard_normal(40)) <= fixed for scale in scales])
    # 200 days of 40 cases: a standard error of .0034 for each.
    assert adaptive.mean() == pytest.approx(0.9, abs=0.02)
    assert adaptive[-50:].mean() > 0.87
    assert frozen < 0.82


def test_without_drift_it_covers_as_often_as_it_says_and_without_a_delay_too() -> None:
    for delay in (1, 7):
        assert lived_through(np.ones(300), rate=0.1, delay=delay, seed=4).mean() == pytest.approx(0.9, abs=0.01)


def test_it_recovers_after_a_break_that_a_fixed_band_never_forgets() -> None:
    scales = np.r_[np.ones(60), np.full(140, 1.8)]
    after = lived_through(scales, rate=0.1, delay=7, seed=5)[60:]
    frozen = lived_through(scales, rate=0.0, delay=10**6, seed=5)[60:]
    assert after[:7].mean() < 0.75
    assert after[40:].mean() == pytest.approx(0.9, abs=0.04)
    assert frozen.mean() < 0.7


def test_one_day_by_hand() -> None:
    state = AdaptiveConformal.start(np.arange(1.0, 100.0), level=0.9, rate=0.1)
    assert (state.miss, state.quantile()) == (pytest.approx(0.1), 90.0)
    # 5 of 10 truths lie above 90: the miss rate moves by .1 (.1 - .5) = -.04; 109 scores, ceil(110 x .94) = 104th of them.
    worse = state.learn([np.r_[np.full(5, 200.0), np.full(5, 1.0)]])
    assert worse.miss == pytest.approx(0.06)
    assert worse.quantile() == np.sort(np.r_[np.arange(1.0, 100.0), np.full(5, 200.0), np.full(5, 1.0)])[103]
    calm = state.learn([np.zeros(10)])
    assert calm.miss == pytest.approx(0.11)
    assert worse.days == 1
    assert state.days == 0  # a value, not an object that changes under its owner


def test_an_unusable_rate_never_closes_or_opens_the_band_beyond_its_bounds() -> None:
    state = AdaptiveConformal.start(np.arange(1.0, 100.0), level=0.9, rate=5.0)
    assert state.learn([np.full(3, 1e6)]).miss == pytest.approx(0.01)
    assert state.learn([np.zeros(3)] * 9).miss == pytest.approx(0.19)
    assert state.learn([np.full(3, 1e6)]).quantile() == 1e6


def test_few_weeks_start_wider() -> None:
    scores = np.arange(1.0, 100.0)
    starts = [AdaptiveConformal.start(scores, level=0.9, blocks=blocks).miss for blocks in (1, 4, 1000)]
    assert starts == pytest.approx([0.05, 0.08, 0.0999], abs=1e-4)


def test_days_without_truths_change_nothing_and_old_scores_are_forgotten() -> None:
    state = AdaptiveConformal.start(np.arange(1.0, 100.0), level=0.9)
    assert state.learn([]) is state
    assert state.learn([np.array([])]) is state
    full = state.learn([np.full(MEMORY, 7.0)])
    assert full.scores.tolist() == [7.0] * MEMORY


def test_it_survives_json_exactly() -> None:
    state = AdaptiveConformal.start(np.random.default_rng(1).exponential(size=50), level=0.9).learn([np.array([0.1, 9.0])])
    again = AdaptiveConformal.from_dict(json.loads(json.dumps(state.to_dict())))
    assert (again.miss, again.days, again.quantile()) == (state.miss, state.days, state.quantile())
    assert again.scores.tolist() == state.scores.tolist()


def test_unusable_scores_and_settings_are_refused() -> None:
    with pytest.raises(SampleError, match="8 calibration cases cannot support 90% intervals; at least 9 are needed"):
        AdaptiveConformal.start(np.ones(8), level=0.9)
    with pytest.raises(SampleError, match="1 of 20 conformal scores are not finite; leave rows without a known truth out"):
        AdaptiveConformal.start(np.r_[np.ones(19), np.nan], level=0.9)
    with pytest.raises(SampleError, match=r"level=1\.2, rate=0\.1; give a level between 0 and 1"):
        AdaptiveConformal.start(np.ones(20), level=1.2)
    with pytest.raises(SampleError, match="2 of 2 conformal scores are not finite"):
        AdaptiveConformal.start(np.ones(20), level=0.9).learn([np.array([np.inf, np.nan])])
