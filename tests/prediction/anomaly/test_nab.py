"""The benchmark's scoring against its published definition and cases worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from within_pipelines.exceptions import SampleError
from within_pipelines.prediction.anomaly.nab import LOW_FALSE_POSITIVE, STANDARD, NabProfile, nab_score, scaled_sigmoid, sweep


def published(n: int, windows: list[tuple[int, int]], detected: np.ndarray, profile: NabProfile) -> float:
    """The rules as the paper tells them, row by row."""

    def sigmoid(x: float) -> float:
        return -1.0 if x >= 3 else 2 / (1 + math.exp(5 * x)) - 1

    learning = min(math.floor(0.15 * n), 0.15 * 5000)
    false, best = 0.0, {}
    for i in range(n):
        inside = [w for w in windows if w[0] <= i <= w[1]]
        if i < learning:
            continue
        if inside:
            first, last = inside[0]
            best.setdefault(first, -profile.false_negative)
            if detected[i]:
                worth = profile.true_positive * sigmoid(-(last - i + 1) / (last - first + 1)) / sigmoid(-1.0)
                best[first] = max(best[first], worth)
        elif detected[i]:
            past = [w for w in windows if w[1] < i]
            distance = (i - past[-1][1]) / (past[-1][1] - past[-1][0]) if past else 3.0
            false += profile.false_positive * sigmoid(distance)
    return false + sum(best.values())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([STANDARD, LOW_FALSE_POSITIVE]), st.floats(0, 0.3))
def test_the_fast_sum_agrees_with_the_rules_row_by_row(seed: int, profile: NabProfile, share: float) -> None:
    rng = np.random.default_rng(seed)
    edges = np.sort(rng.choice(np.arange(5, 195), 6, replace=False))
    windows = [(int(a), int(b)) for a, b in edges.reshape(3, 2)]
    detected = rng.random(200) < share
    assert sweep(200, windows).raw(detected, profile) == pytest.approx(published(200, windows, detected, profile))


def test_hand_calculated_cases() -> None:
    marked = sweep(100, [(40, 49), (70, 79)])
    at = np.arange(100)
    best = scaled_sigmoid(-1.0)
    # Found at once, and the other missed.
    assert marked.raw(at == 40, STANDARD) == pytest.approx(1 - 1)
    # The first of two detections counts; half-way through is worth .848 / .987 of it.
    assert marked.raw((at == 45) | (at == 48), STANDARD) == pytest.approx(scaled_sigmoid(-0.5) / best - 1)
    # False alarms: before any window full price, three widths behind full price, one step behind almost nothing.
    silence = -2.0
    assert marked.raw(at == 20, STANDARD) == pytest.approx(silence - 0.11)
    assert marked.raw(at == 20, LOW_FALSE_POSITIVE) == pytest.approx(silence - 0.22)
    assert marked.raw(at == 50, STANDARD) == pytest.approx(silence - 0.11 * (1 - 2 / (1 + math.exp(5 / 9))))
    assert marked.raw(at == 14, STANDARD) == silence  # on probation
    assert scaled_sigmoid(-0.5) == pytest.approx(0.84828, abs=1e-5)


def test_silence_scores_nothing_and_perfection_a_hundred() -> None:
    sweeps = [sweep(100, [(40, 49), (70, 79)]), sweep(60, [(30, 31)])]
    for profile in (STANDARD, LOW_FALSE_POSITIVE):
        silent = [s.raw(np.zeros(len(s.worth), dtype=bool), profile) for s in sweeps]
        perfect = [s.raw(np.isin(np.arange(len(s.worth)), first), profile) for s, first in zip(sweeps, ([40, 70], [30]), strict=True)]
        assert nab_score(silent, sweeps, profile) == 0
        assert nab_score(perfect, sweeps, profile) == pytest.approx(100)
    # One window of three missed costs a third: twice the miss's weight in six units.
    missed = [sweeps[0].raw(np.isin(np.arange(100), [40]), STANDARD), sweeps[1].raw(np.isin(np.arange(60), [30]), STANDARD)]
    assert nab_score(missed, sweeps, STANDARD) == pytest.approx(100 * 2 / 3)


def test_long_series_learn_from_750_rows_and_windows_before_that_do_not_count() -> None:
    marked = sweep(20_000, [(100, 200), (700, 800), (5000, 5100)])
    assert (marked.window[749], marked.window[750], marked.n_windows) == (-2, 1, 2)


def test_windows_that_make_no_sense_are_refused() -> None:
    for windows in ([(10, 5)], [(5, 10), (8, 12)], [(20, 25), (5, 10)], [(90, 100)], [(-1, 4)]):
        with pytest.raises(SampleError, match="give rows"):
            sweep(100, windows)
    with pytest.raises(SampleError, match="have 3 rows and the series 100"):
        sweep(100, [(40, 50)]).raw(np.zeros(3, dtype=bool), STANDARD)
    with pytest.raises(SampleError, match="No labelled window is left"):
        nab_score([0.0], [sweep(100, [])], STANDARD)
    assert sweep(100, [(50, 50)]).worth[51] == -1.0
