"""Which pairs of features changed their correlation between two windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.exceptions import SchemaError
from within_pipelines.monitoring.clustered import group_rows
from within_pipelines.monitoring.concept_drift import _rank_scores
from within_pipelines.monitoring.state import DriftState

Floats = NDArray[np.float64]
CORRELATION_EFFECT = 0.3
_FEWEST_COMPLETE = 20
_BLOCK = 256


@dataclass(frozen=True, slots=True)
class PairChange:
    """One pair: rank correlation before and now, and the p-value adjusted over all pairs."""

    first: str
    second: str
    before: float
    now: float
    p_value: float

    @property
    def change(self) -> float:
        """Now less before, -2 to 2."""
        return self.now - self.before


@dataclass(frozen=True, slots=True)
class CorrelationDrift:
    """How the matrix of rank correlations moved. `distance` is the root of the mean squared change over pairs, with `p_value` against
    random signs of accounts; `effect` the largest change of a pair; `pairs` those that changed, strongest first."""

    state: DriftState
    distance: float
    p_value: float
    effect: float
    threshold: float
    pairs: tuple[PairChange, ...]
    n_pairs: int
    n_reference: int
    n_current: int
    n_clusters: int
    reason: str = ""


def correlation_drift(
    reference: pl.DataFrame,
    current: pl.DataFrame,
    *,
    rng: np.random.Generator,
    features: Sequence[str] | None = None,
    clusters: str | None = None,
    alpha: float = 0.05,
    minimum_effect: float = CORRELATION_EFFECT,
    n_permutations: int = 999,
) -> CorrelationDrift:
    """Compare the rank correlations of two windows, pair by pair and as a whole.

    Ranks are taken within each window, so that a feature that merely moved changes nothing. A cluster adds its centred products to a
    pair's change and gets a random sign for all pairs at once; p-values of pairs are adjusted by the largest standardised change. The
    drift is judged by pairs: some adjusted p-value at most `alpha` with a change of `minimum_effect`; `distance` has its own p-value.

    A feature that is constant or nearly always missing in a window is left out. Raises `SchemaError` when a feature is absent.

    >>> rng = np.random.default_rng(7)
    >>> x, y = rng.normal(size=(2, 400))
    >>> before = pl.DataFrame({"a": x, "b": x + 0.5 * y})
    >>> found = correlation_drift(before, before.with_columns(-pl.col("b")), rng=rng)
    >>> found.state.value, found.pairs[0].first, found.pairs[0].second
    ('drifted', 'a', 'b')
    """
    names = [n for n, kind in reference.schema.items() if kind.is_numeric() and n != clusters] if features is None else list(features)
    if absent := [n for n in names if n not in reference.columns or n not in current.columns]:
        raise SchemaError(f"Both windows need the columns {', '.join(absent)}.")
    n, m = reference.height, current.height
    blank = CorrelationDrift(DriftState.INSUFFICIENT, 0.0, 1.0, 0.0, minimum_effect, (), 0, n, m, 0)
    if min(n, m) < _FEWEST_COMPLETE:
        return _because(blank, f"The windows have {n} and {m} rows; {_FEWEST_COMPLETE} of each are the least.")
    raw = [frame.select(pl.col(names).cast(pl.Float64).fill_null(float("nan"))).to_numpy() for frame in (reference, current)]
    kept = [
        k
        for k in range(len(names))
        if all(np.isfinite(w[:, k]).sum() >= max(_FEWEST_COMPLETE, len(w) // 2) and np.nanstd(w[:, k]) > 0 for w in raw)
    ]
    if len(kept) < 2:
        return _because(blank, f"{len(kept)} of {len(names)} features vary in both windows; a correlation needs two.")
    ranked = [np.column_stack([_rank_scores(w[:, k]) for k in kept]) for w in raw]
    known = [np.isfinite(w[:, kept]) for w in raw]
    labels = (
        [np.arange(n), np.arange(n, n + m)] if clusters is None else [f[clusters].cast(pl.String).to_numpy() for f in (reference, current)]
    )
    groups = group_rows(labels[0], labels[1], rng=rng)
    first, second = np.triu_indices(len(kept), 1)
    matrices, counts = [], []
    for scores, there in zip(ranked, known, strict=True):
        complete = there.T.astype(np.float64) @ there
        matrices.append((scores.T @ scores / np.maximum(complete, 1))[first, second])
        counts.append(complete[first, second])
    change = matrices[1] - matrices[0]
    pooled = (matrices[0] * counts[0] + matrices[1] * counts[1]) / np.maximum(counts[0] + counts[1], 1)
    influence = np.zeros((groups.n_groups, len(first)))
    for scores, there, codes, count, sign in zip(ranked, known, (groups.codes[:n], groups.codes[n:]), counts, (-1, 1), strict=True):
        for group in np.unique(codes):
            rows = codes == group
            z, t = scores[rows], there[rows].astype(np.float64)
            influence[group] += sign * ((z.T @ z)[first, second] - pooled * (t.T @ t)[first, second]) / np.maximum(count, 1)
    weight = np.bincount(groups.codes, weights=np.r_[np.full(n, 1 / n), np.full(m, 1 / m)], minlength=groups.n_groups)
    influence /= np.sqrt(1 - np.minimum(weight, 0.9))[:, None]
    error = np.sqrt((influence**2).sum(axis=0))
    error = np.maximum(error, 1e-12)
    signs = rng.integers(0, 2, size=(n_permutations, groups.n_groups)).astype(np.float64) * 2 - 1
    chance, largest = np.empty(n_permutations), np.empty(n_permutations)
    # In blocks, because thousands of pairs times thousands of signs would be hundreds of megabytes.
    for start in range(0, n_permutations, _BLOCK):
        block = slice(start, start + _BLOCK)
        null = signs[block] @ influence
        chance[block], largest[block] = np.sqrt(np.mean(null**2, axis=1)), np.abs(null / error).max(axis=1)
    distance = float(np.sqrt(np.mean(change**2)))
    p_distance = float((1 + np.sum(chance >= distance * (1 - 1e-9))) / (1 + n_permutations))
    adjusted = (1 + np.sum(largest[:, None] >= np.abs(change / error) * (1 - 1e-9), axis=0)) / (1 + n_permutations)
    moved = [int(k) for k in np.argsort(-np.abs(change)) if adjusted[k] <= alpha and abs(change[k]) >= minimum_effect]
    pairs = tuple(
        PairChange(names[kept[first[k]]], names[kept[second[k]]], float(matrices[0][k]), float(matrices[1][k]), float(adjusted[k]))
        for k in moved
    )
    # A change that matters would have been seen in most pairs when it exceeds what chance reaches there.
    seen = np.quantile(largest, 1 - alpha) * error < minimum_effect
    state = DriftState.STABLE if seen.mean() > 0.5 else DriftState.INSUFFICIENT
    if not groups.enough:
        return _because(blank, f"Only {groups.n_clusters} accounts are in the windows; eight are the least.")
    if pairs:
        state = DriftState.DRIFTED
    effect = float(np.abs(change).max())
    p_value = float(min(1.0, 2 * min(p_distance, adjusted.min())))
    return CorrelationDrift(state, distance, p_value, effect, minimum_effect, pairs, len(first), n, m, groups.n_clusters)


def _because(blank: CorrelationDrift, reason: str) -> CorrelationDrift:
    return replace(blank, reason=reason)
