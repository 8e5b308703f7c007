"""Has what the model learned stopped being true? Loss, calibration, and the relation of features to what the model leaves unexplained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError
from within_pipelines.monitoring.mean_shift import MeanShift, mean_shift
from within_pipelines.monitoring.state import DriftState

Floats = NDArray[np.float64]
RELATIVE_LOSS = 0.1
CALIBRATION_EFFECT = 0.05
RELATION_EFFECT = 0.1


@dataclass(frozen=True, slots=True)
class LossChange:
    """Mean loss on mature labels against the loss when the model was judged, in the loss's own units.

    `p_value` is one-sided (worse). `threshold` is the smallest rise that matters."""

    state: DriftState
    change: float
    low: float
    high: float
    p_value: float
    threshold: float
    reference_loss: float
    current_loss: float
    n_reference: int
    n_current: int
    n_clusters: int


def _worse(found: MeanShift, k: int, p_value: float, threshold: float, alpha: float) -> DriftState:
    """Drifted when a rise is significant and matters; stable when a rise that matters lies outside the interval; else insufficient."""
    if not found.enough:
        return DriftState.INSUFFICIENT
    if p_value <= alpha and found.change[k] >= threshold:
        return DriftState.DRIFTED
    return DriftState.STABLE if found.high[k] < threshold else DriftState.INSUFFICIENT


def loss_change(
    reference: ArrayLike,
    current: ArrayLike,
    *,
    rng: np.random.Generator,
    reference_clusters: ArrayLike | None = None,
    current_clusters: ArrayLike | None = None,
    alpha: float = 0.05,
    minimum_rise: float | None = None,
    n_permutations: int = 1999,
) -> LossChange:
    """Has the mean loss per row risen? `minimum_rise` defaults to a tenth of the reference's mean loss.

    Losses are of rows that the model was not fitted on, in both windows, with mature labels only. A fall of the loss is never drift.

    Raises `SampleError` like `mean_shift`.

    >>> rng = np.random.default_rng(7)
    >>> old, new = rng.exponential(0.2, size=(2, 600))
    >>> loss_change(old, new + 0.1, rng=rng).state.value
    'drifted'
    """
    found = mean_shift(
        reference, current, rng=rng, reference_clusters=reference_clusters, current_clusters=current_clusters, n_permutations=n_permutations
    )
    threshold = RELATIVE_LOSS * abs(float(found.reference[0])) if minimum_rise is None else minimum_rise
    p_value = float(found.p_worse[0])
    return LossChange(
        _worse(found, 0, p_value, threshold, alpha), float(found.change[0]), float(found.low[0]), float(found.high[0]), p_value, threshold,
        float(found.reference[0]), float(found.current[0]), found.n_reference, found.n_current, found.n_clusters,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class CalibrationDrift:
    """How calibration moved. `bias` is the change of mean (outcome - probability), `tilt` of mean (outcome - probability) times the
    standardised log-odds (below 0: the model has become overconfident); both in probability units, `effect` the larger of the two in size.
    `p_value` is two-sided over both."""

    state: DriftState
    effect: float
    bias: float
    tilt: float
    p_value: float
    threshold: float
    n_reference: int
    n_current: int
    n_clusters: int


def calibration_drift(
    reference_outcome: ArrayLike,
    reference_probability: ArrayLike,
    current_outcome: ArrayLike,
    current_probability: ArrayLike,
    *,
    rng: np.random.Generator,
    reference_clusters: ArrayLike | None = None,
    current_clusters: ArrayLike | None = None,
    alpha: float = 0.05,
    minimum_effect: float = CALIBRATION_EFFECT,
    n_permutations: int = 1999,
) -> CalibrationDrift:
    """Do probabilities still mean what they meant? The score tests of intercept and slope of a logistic recalibration (Cox, 1958), as a
    change between two windows.

    Raises `SampleError` for probabilities outside [0, 1] and like `mean_shift`.

    >>> rng = np.random.default_rng(7)
    >>> p = rng.uniform(0.1, 0.9, size=4000)
    >>> y = rng.random(4000) < p
    >>> calibration_drift(y, p, rng.random(4000) < p**2, p, rng=rng).state.value
    'drifted'
    """
    both = [np.asarray(p, dtype=np.float64) for p in (reference_probability, current_probability)]
    for p in both:
        if p.size and not (p.min() >= 0 and p.max() <= 1):
            raise SampleError(f"Probabilities lie between {p.min():g} and {p.max():g}; give numbers between 0 and 1.")
    odds = [np.log(np.clip(p, 1e-6, 1 - 1e-6)) - np.log1p(-np.clip(p, 1e-6, 1 - 1e-6)) for p in both]
    centre, spread = (float(odds[0].mean()), float(odds[0].std()) or 1.0) if odds[0].size else (0.0, 1.0)
    rows = []
    for outcome, p, logit in zip((reference_outcome, current_outcome), both, odds, strict=True):
        error = np.asarray(outcome, dtype=np.float64) - p
        rows.append(np.column_stack([error, error * (logit - centre) / spread]))
    found = mean_shift(
        rows[0], rows[1], rng=rng, reference_clusters=reference_clusters, current_clusters=current_clusters, n_permutations=n_permutations
    )
    p_value, size = float(found.adjusted.min()), float(np.abs(found.change).max())
    reach = float(np.maximum(np.abs(found.low), np.abs(found.high)).max())
    if not found.enough:
        state = DriftState.INSUFFICIENT
    elif p_value <= alpha and size >= minimum_effect:
        state = DriftState.DRIFTED
    else:
        state = DriftState.STABLE if reach < minimum_effect else DriftState.INSUFFICIENT
    bias, tilt = (float(x) for x in found.change)
    return CalibrationDrift(state, size, bias, tilt, p_value, minimum_effect, found.n_reference, found.n_current, found.n_clusters)


@dataclass(frozen=True, slots=True)
class RelationChange:
    """Which features have another relation to the target than the model learned.

    `effect` is the largest change of the correlation between a feature's rank and the model's residual, `features` those with an adjusted
    p-value at most alpha and an effect that matters, strongest first."""

    state: DriftState
    effect: float
    p_value: float
    threshold: float
    features: tuple[str, ...]
    n_reference: int
    n_current: int
    n_clusters: int


def relation_change(
    reference_features: Floats,
    reference_residual: ArrayLike,
    current_features: Floats,
    current_residual: ArrayLike,
    names: Sequence[str],
    *,
    rng: np.random.Generator,
    reference_clusters: ArrayLike | None = None,
    current_clusters: ArrayLike | None = None,
    alpha: float = 0.05,
    minimum_effect: float = RELATION_EFFECT,
    n_permutations: int = 1999,
) -> RelationChange:
    """Does some feature explain what the model leaves over (outcome - prediction), otherwise than when it was judged?

    Per feature the mean of (standardised rank) times (residual over its spread) is a correlation; its change between the windows is tested
    over all features at once. Missing values count as the middle rank. It sees a relation that turned even where the mean loss stays.

    Raises `SampleError` like `mean_shift` and when names and columns differ in number."""
    ref, cur = np.asarray(reference_features, dtype=np.float64), np.asarray(current_features, dtype=np.float64)
    if ref.ndim != 2 or ref.shape[1] != len(names) or cur.shape[1:] != ref.shape[1:]:
        raise SampleError(f"{len(names)} names came with features of shapes {ref.shape} and {cur.shape}.")
    pooled = np.concatenate([ref, cur])
    scores = np.column_stack([_rank_scores(pooled[:, k]) for k in range(len(names))]) if len(names) else np.zeros((len(pooled), 0))
    residual = [np.asarray(r, dtype=np.float64) for r in (reference_residual, current_residual)]
    if scores.shape[1] == 0:
        raise SampleError("There is no feature to relate to the residual.")
    spread = float(np.sqrt(np.mean(residual[0] ** 2))) or 1.0
    rows = [scores[: len(ref)] * residual[0][:, None] / spread, scores[len(ref) :] * residual[1][:, None] / spread]
    found = mean_shift(
        rows[0], rows[1], rng=rng, reference_clusters=reference_clusters, current_clusters=current_clusters, n_permutations=n_permutations
    )
    size = np.abs(found.change)
    chosen = [k for k in np.argsort(-size) if found.adjusted[k] <= alpha and size[k] >= minimum_effect]
    reach = float(np.maximum(np.abs(found.low), np.abs(found.high)).max())
    state = DriftState.STABLE if reach < minimum_effect else DriftState.INSUFFICIENT
    if not found.enough:
        state = DriftState.INSUFFICIENT
    elif chosen:
        state = DriftState.DRIFTED
    return RelationChange(
        state, float(size.max()), float(found.adjusted.min()), minimum_effect, tuple(names[k] for k in chosen), found.n_reference,
        found.n_current, found.n_clusters,
    )  # fmt: skip


def _rank_scores(values: Floats) -> Floats:
    """Mid-ranks with mean 0 and standard deviation 1; missing values at 0, a constant all 0."""
    known = np.isfinite(values)
    scores = np.zeros(len(values))
    if known.any():
        _, inverse, counts = np.unique(values[known], return_inverse=True, return_counts=True)
        ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
        spread = ranks.std()
        scores[known] = (ranks - ranks.mean()) / spread if spread > 0 else 0.0
    return scores
