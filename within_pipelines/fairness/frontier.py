"""What would a smaller gap cost: accuracy against gap when the scores of a finished model are post-processed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError
from within_pipelines.fairness.penalty import FairLogistic
from within_pipelines.fairness.thresholds import GroupThresholds
from within_pipelines.stats import Estimate, cluster_bootstrap

Floats = NDArray[np.float64]
AS_IT_IS, THRESHOLDS, REGULARISED = "as it is", "group thresholds", "regularised"
GAPS: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2)
STRENGTHS: tuple[float, ...] = (0.0, 1.0, 10.0, 100.0)


@dataclass(frozen=True, slots=True)
class FrontierPoint:
    """One way to decide on rows that it was not chosen on: `accuracy` (share decided rightly) and `gap` (largest less smallest share of
    selected rows of a group), each with its interval over clusters. `knob` is the allowed gap, the strength of the penalty, or the cut-off
    of the model as it is."""

    method: str
    knob: float
    accuracy: Estimate
    gap: Estimate


def accuracy_gap_frontier(
    scores: ArrayLike, outcome: ArrayLike, groups: ArrayLike, *, clusters: ArrayLike, rng: np.random.Generator, folds: int = 5,
    gaps: Sequence[float] = GAPS, strengths: Sequence[float] = STRENGTHS, n_resamples: int = 200,
) -> tuple[FrontierPoint, ...]:  # fmt: skip
    """Accuracy against demographic parity of three ways to decide by `scores`, probabilities of rows that the model has not seen.

    - *as it is*: one cut-off at 1/2.
    - *group thresholds*: `GroupThresholds`, the best cut-offs for a stated gap.
    - *regularised*: `FairLogistic` on the score's log-odds and the group, cut at 1/2, with a penalty on unequal means.

    The last two are cross-fitted: whole clusters make `folds`, and each is decided by what the others taught. Both decide by the attribute
    itself, so `thresholds.LEGAL_CAVEAT` belongs beside any use of them. The gap of finite groups is never below 0, so its interval may lie
    above it by chance alone.

    Raises `SampleError` with fewer than two groups, or fewer clusters in a group than `folds`, which must each hold every group; and what
    the two raise.

    >>> rng = np.random.default_rng(7)
    >>> g = np.tile(["a", "b"], 200)
    >>> p = np.clip(rng.beta(2, 2, 400) + 0.2 * (g == "a"), 0, 1)
    >>> y = (rng.random(400) < p).astype(float)
    >>> found = accuracy_gap_frontier(p, y, g, clusters=range(400), rng=rng, gaps=(0.0,), strengths=())
    >>> bool(found[1].gap.value < 0.5 * found[0].gap.value)
    True
    """
    p, y = np.asarray(scores, dtype=np.float64), np.asarray(outcome, dtype=np.float64)
    labels, unit = np.asarray(groups).astype(str), np.asarray(clusters)
    if len({p.shape, y.shape, labels.shape, unit.shape}) > 1 or p.size == 0 or not np.all((p >= 0) & (p <= 1)):
        raise SampleError(
            f"{p.size} scores, {y.size} outcomes, {labels.size} groups, {unit.size} clusters; give one each, scores in [0, 1]."
        )
    fold = _folds(labels, unit, folds, rng)
    names = np.unique(labels)
    clipped = np.clip(p, 1e-6, 1 - 1e-6)
    design = np.column_stack([np.log(clipped / (1 - clipped)), *((labels == name).astype(np.float64) for name in names[1:])])

    def thresholds(gap: float) -> Callable[[NDArray[np.bool_]], Floats]:
        def decide(unseen: NDArray[np.bool_]) -> Floats:
            fitted = GroupThresholds.fit(p[~unseen], y[~unseen], labels[~unseen], gap=gap)
            return fitted.probability(p[unseen], labels[unseen])

        return decide

    def regularised(strength: float) -> Callable[[NDArray[np.bool_]], Floats]:
        def decide(unseen: NDArray[np.bool_]) -> Floats:
            fitted = FairLogistic.fit(design[~unseen], y[~unseen], labels[~unseen], strength=strength)
            return (fitted.probability(design[unseen]) >= 0.5).astype(np.float64)

        return decide

    ways = [(THRESHOLDS, gap, thresholds(gap)) for gap in gaps] + [(REGULARISED, s, regularised(s)) for s in strengths]
    points = [_point(AS_IT_IS, 0.5, (p >= 0.5).astype(np.float64), y, labels, unit, rng, n_resamples)]
    for method, knob, decide in ways:
        chosen = np.zeros(p.size)
        for k in range(folds):
            chosen[fold == k] = decide(fold == k)
        points.append(_point(method, knob, chosen, y, labels, unit, rng, n_resamples))
    return tuple(points)


def _folds(labels: NDArray[np.str_], unit: NDArray[np.generic], folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Whole clusters to folds, the clusters of each group dealt evenly."""
    names, first, code = np.unique(unit, return_index=True, return_inverse=True)
    home = labels[first]
    fold_of = np.zeros(len(names), dtype=np.int64)
    groups = np.unique(labels)
    if len(groups) < 2:
        raise SampleError(f"Only the group {', '.join(groups.tolist())} is there; a gap needs two.")
    for group in groups:
        own = rng.permutation(np.flatnonzero(home == group))
        if len(own) < folds:
            raise SampleError(f"{group} has {len(own)} clusters; {folds} folds need at least as many.")
        fold_of[own] = np.arange(len(own)) % folds
    result: NDArray[np.int64] = fold_of[code]
    return result


def _point(
    method: str, knob: float, chosen: Floats, y: Floats, labels: NDArray[np.str_], unit: NDArray[np.generic], rng: np.random.Generator,
    n_resamples: int,
) -> FrontierPoint:  # fmt: skip
    # `chosen` is the chance of being selected, so the share decided rightly is an expectation and no draw.
    right = chosen * y + (1 - chosen) * (1 - y)

    code = np.unique(labels, return_inverse=True)[1]

    def gap(at: NDArray[np.int64]) -> float:
        sizes = np.bincount(code[at])
        rates = np.bincount(code[at], weights=chosen[at])[sizes > 0] / sizes[sizes > 0]
        return float(np.ptp(rates))

    return FrontierPoint(
        method,
        knob,
        cluster_bootstrap(lambda at: float(right[at].mean()), unit, rng=rng, n_resamples=n_resamples),
        cluster_bootstrap(gap, unit, rng=rng, n_resamples=n_resamples),
    )
