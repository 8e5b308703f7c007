"""How well a severity ranks the points of labelled ranges, forgiving small shifts: the volume under the precision-recall surface."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from within_pipelines.exceptions import SampleError
from within_pipelines.prediction.anomaly.series import Bools, Floats

_THRESHOLDS = 250


def ranges_of(labels: Bools) -> list[tuple[int, int]]:
    """First and last row of every run of true labels.

    >>> ranges_of(np.array([True, False, True, True]))
    [(0, 0), (2, 3)]
    """
    steps = np.diff(np.concatenate([[0], labels.astype(np.int8), [0]]))
    return [(int(first), int(last) - 1) for first, last in zip(np.nonzero(steps == 1)[0], np.nonzero(steps == -1)[0], strict=True)]


def vus_pr(labels: npt.ArrayLike, severity: npt.ArrayLike, *, window: int) -> float:
    """Mean over buffer lengths 0..`window` of the range-based average precision, in (0, 1]; about the share of labels for noise.

    A buffer of length l adds to each labelled range l // 2 points on either side with weight sqrt(1 - distance / l). At a threshold,
    with p the weights and d the points at or above it: TP = sum of p over d; precision = TP / |d|; recall = TP / mean(P, P + reached
    buffer) x share of ranges (with their buffers) touched by d. Thresholds are up to 250 ranks of the severity.

    Raises `SampleError` for values that are not finite, another length, no label at all or nothing but labels.

    Source: Paparrizos, Boniol, Palpanas, Tsay, Elmore and Franklin, "Volume Under the Surface" (VLDB 2022), the faster form.

    >>> labels = np.arange(100) // 10 == 5
    >>> round(vus_pr(labels, labels.astype(float), window=0), 3)
    1.0
    """
    marked, score = np.asarray(labels, dtype=bool), np.asarray(severity, dtype=np.float64)
    if len(marked) != len(score) or not np.isfinite(score).all():
        raise SampleError(f"{len(marked)} labels came with {np.isfinite(score).sum()} finite of {len(score)} values; give one per row.")
    if not 0 < marked.sum() < len(marked):
        raise SampleError(f"{int(marked.sum())} of {len(marked)} rows are labelled; give a series with labelled and other rows.")
    return float(np.mean([_range_precision(marked, score, buffer) for buffer in range(window + 1)]))


def _range_precision(labels: Bools, score: Floats, buffer: int) -> float:
    ranges, n = ranges_of(labels), len(labels)
    weight = labels.astype(np.float64)
    half = buffer // 2
    for first, last in ranges:
        after = np.arange(last + 1, min(last + half + 1, n))
        weight[after] += np.sqrt(1.0 - (after - last) / max(buffer, 1))
        before = np.arange(max(first - half, 0), first)
        weight[before] += np.sqrt(1.0 - (first - before) / max(buffer, 1))
    weight = np.minimum(weight, 1.0)

    order = np.argsort(-score, kind="stable")
    falling = score[order]
    at = np.linspace(0, n - 1, _THRESHOLDS).astype(np.int64)
    # Points of equal severity are above a threshold together.
    taken = np.searchsorted(-falling, -falling[at], side="right")
    hits = np.cumsum(weight[order])[taken - 1]
    total = labels.sum() + np.cumsum(np.where(labels, 0.0, weight)[order])[taken - 1]
    peaks = np.array([score[first : last + 1].max() for first, last in _widened(ranges, half, n)])
    touched = (peaks[:, None] >= falling[at][None, :]).mean(axis=0)
    recall = np.minimum(hits / ((labels.sum() + total) / 2.0), 1.0) * touched
    steps: Any = np.diff(recall, prepend=0.0)
    return float(np.sum(steps * hits / taken))


def _widened(ranges: list[tuple[int, int]], half: int, n: int) -> list[tuple[int, int]]:
    """The ranges with their buffers, those that touch joined."""
    joined: list[tuple[int, int]] = []
    for first, last in ranges:
        wide = (max(first - half, 0), min(last + half, n - 1))
        if joined and joined[-1][1] >= first - half:
            joined[-1] = (joined[-1][0], wide[1])
        else:
            joined.append(wide)
    return joined
