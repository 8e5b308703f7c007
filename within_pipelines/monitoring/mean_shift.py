"""Did the mean of something change between two windows, and by how much, when rows come in clusters?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError
from within_pipelines.monitoring.clustered import group_rows

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MeanShift:
    """Means of k quantities in two windows (arrays of length k).

    `change` = current - reference, `low` and `high` its interval, `statistic` change over standard error. `p_value` is two-sided and
    `p_worse` one-sided (current larger); `adjusted` is two-sided over all k quantities. `n_clusters` counts what is independent."""

    change: Floats
    low: Floats
    high: Floats
    statistic: Floats
    p_value: Floats
    p_worse: Floats
    adjusted: Floats
    reference: Floats
    current: Floats
    n_reference: int
    n_current: int
    n_clusters: int
    enough: bool


def mean_shift(
    reference: ArrayLike,
    current: ArrayLike,
    *,
    rng: np.random.Generator,
    reference_clusters: ArrayLike | None = None,
    current_clusters: ArrayLike | None = None,
    n_permutations: int = 1999,
    level: float = 0.95,
) -> MeanShift:
    """Compare means of rows (n,) or (n, k) with random signs of clusters as the null; without clusters each row is its own.

    A cluster adds a_c = sum of weights times (row - pooled mean), over the root of 1 - its share of rows, to the change; the null is
    |sum of +-a_c|, the standard error the root of the sum of a_c^2, and the interval takes Student's t with one degree of freedom fewer
    than clusters.

    Raises `SampleError` when a window is empty, the columns differ or a value is not finite.

    >>> rng = np.random.default_rng(7)
    >>> found = mean_shift(rng.normal(size=200), rng.normal(1.0, 1.0, size=200), rng=rng)
    >>> bool(found.low[0] < 1.0 < found.high[0]), bool(found.p_value[0] < 0.01)
    (True, True)
    """
    ref, cur = (np.asarray(values, dtype=np.float64) for values in (reference, current))
    ref, cur = (values[:, None] if values.ndim == 1 else values for values in (ref, cur))
    if ref.ndim != 2 or ref.shape[1:] != cur.shape[1:] or not len(ref) or not len(cur):
        raise SampleError(f"The windows have shapes {ref.shape} and {cur.shape}; give rows of the same columns in both.")
    rows = np.concatenate([ref, cur])
    if bad := int(np.sum(~np.isfinite(rows))):
        raise SampleError(f"{bad} of {rows.size} values are not finite; drop their rows first.")
    if (reference_clusters is None) != (current_clusters is None):
        raise SampleError("Give clusters of both windows or of neither.")
    if reference_clusters is None or current_clusters is None:
        first, second = np.arange(len(ref)), np.arange(len(ref), len(rows))
    else:
        first, second = np.asarray(reference_clusters), np.asarray(current_clusters)
    if len(first) != len(ref) or len(second) != len(cur):
        raise SampleError(f"{len(first)} and {len(second)} cluster labels came with {len(ref)} and {len(cur)} rows.")
    groups = group_rows(first, second, rng=rng)
    n, m = len(ref), len(cur)
    is_current = np.arange(n + m) >= n
    weight = np.where(is_current, 1 / m, -1 / n)
    added = _sums((rows - rows.mean(axis=0)) * weight[:, None], groups.codes, groups.n_groups)
    leverage = np.minimum(np.bincount(groups.codes, weights=np.abs(weight), minlength=groups.n_groups), 0.9)
    influence = added / np.sqrt(1 - leverage)[:, None]
    change = cur.mean(axis=0) - ref.mean(axis=0)
    error = np.sqrt(np.sum(influence**2, axis=0))
    signs = rng.integers(0, 2, size=(n_permutations, groups.n_groups)).astype(np.float64) * 2 - 1
    null = signs @ influence
    slack = 1e-9 * np.maximum(1e-12, np.abs(change))
    p_value = (1 + np.sum(np.abs(null) >= np.abs(change) - slack, axis=0)) / (1 + n_permutations)
    p_worse = (1 + np.sum(null >= change - slack, axis=0)) / (1 + n_permutations)
    statistic = np.divide(change, error, out=np.where(np.abs(change) > 1e-12, np.copysign(np.inf, change), 0.0), where=error > 0)
    largest = np.divide(np.abs(null), error, out=np.zeros_like(null), where=error > 0).max(axis=1)
    adjusted = (1 + np.sum(largest[:, None] >= np.abs(statistic) * (1 - 1e-9), axis=0)) / (1 + n_permutations)
    from scipy.stats import t

    reach = float(t.ppf((1 + level) / 2, max(1, groups.n_groups - 1))) * error
    return MeanShift(
        change, change - reach, change + reach, statistic, p_value, p_worse, np.maximum(adjusted, p_value), ref.mean(axis=0),
        cur.mean(axis=0), n, m, groups.n_clusters, groups.enough,
    )  # fmt: skip


def _sums(rows: Floats, codes: NDArray[np.int64], n_groups: int) -> Floats:
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(n_groups))
    # Every group has a row, so no segment is empty.
    found: Floats = np.add.reduceat(rows[order], starts, axis=0)
    return found
