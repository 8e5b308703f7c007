"""The volume under the precision-recall surface against its definition, threshold by threshold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from within_pipelines.exceptions import SampleError
from within_pipelines.prediction.anomaly.vus import ranges_of, vus_pr


def by_definition(labels: np.ndarray, score: np.ndarray, window: int) -> float:
    """Every buffer, every threshold, every range in a loop."""
    n, ranges, volume = len(labels), ranges_of(labels), []
    for length in range(window + 1):
        weight = labels.astype(float)
        for first, last in ranges:
            for i in range(n):
                distance = max(first - i, i - last)
                if 0 < distance <= length // 2:
                    weight[i] = min(1.0, weight[i] + np.sqrt(1 - distance / length))
        segments = [[max(first - length // 2, 0), min(last + length // 2, n - 1)] for first, last in ranges]
        joined = [segments[0]]
        for segment in segments[1:]:
            if joined[-1][1] >= segment[0]:
                joined[-1][1] = segment[1]
            else:
                joined.append(segment)
        before, area = 0.0, 0.0
        for rank in np.linspace(0, n - 1, 250).astype(int):
            raised = score >= np.sort(score)[::-1][rank]
            true = (weight * raised).sum()
            reached = labels.sum() + (weight * raised)[~labels].sum()
            touched = np.mean([raised[a : b + 1].any() for a, b in joined])
            recall = min(true / ((labels.sum() + reached) / 2), 1.0) * touched
            area += (recall - before) * true / raised.sum()
            before = recall
        volume.append(area)
    return float(np.mean(volume))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 9), st.booleans())
def test_the_fast_form_agrees_with_the_definition(seed: int, window: int, tied: bool) -> None:
    rng = np.random.default_rng(seed)
    labels = np.zeros(120, dtype=bool)
    for first in rng.choice(110, 3, replace=False):
        labels[first : first + rng.integers(1, 9)] = True
    score = rng.integers(0, 5, 120).astype(float) if tied else rng.normal(size=120)
    assert vus_pr(labels, score, window=window) == pytest.approx(by_definition(labels, score, window))


def test_a_hand_calculation_without_a_buffer() -> None:
    # Ranks: hit, miss, hit; precisions 1, 1/2, 2/3 at recalls 1/2, 1/2, 1.
    assert vus_pr([True, False, True, False], [4.0, 3.0, 2.0, 1.0], window=0) == pytest.approx(0.5 * 0.5 * 1 + 0.75 * 2 / 3)


def test_better_order_is_worth_more_and_noise_about_the_share_of_labels() -> None:
    rng = np.random.default_rng(1)
    labels = np.zeros(2000, dtype=bool)
    labels[300:380] = labels[1200:1280] = True
    noise = rng.normal(size=2000)
    values = [vus_pr(labels, noise + shift * labels, window=24) for shift in (0.0, 1.0, 3.0, 100.0)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(labels.mean(), abs=0.04)
    assert values[-1] > 0.9
    assert vus_pr(labels, np.exp(noise + labels), window=24) == pytest.approx(values[1])


def test_a_late_severity_is_forgiven_within_the_buffer() -> None:
    labels = np.zeros(200, dtype=bool)
    labels[100:110] = True
    late = np.roll(labels, 4).astype(float) + 1e-6 * np.arange(200)
    assert vus_pr(labels, late, window=24) > vus_pr(labels, late, window=0)


def test_what_cannot_be_ranked_is_refused() -> None:
    with pytest.raises(SampleError, match="0 of 5 rows are labelled"):
        vus_pr([False] * 5, np.arange(5.0), window=0)
    with pytest.raises(SampleError, match="4 finite of 5"):
        vus_pr([True, False, True, False, True], [1.0, 2.0, np.nan, 3.0, 4.0], window=0)
