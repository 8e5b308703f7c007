"""How far apart groups are."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError


def _checked(values: ArrayLike, groups: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.generic], NDArray[np.int64]]:
    y, labels = np.asarray(values, dtype=np.float64), np.asarray(groups)
    if y.ndim != 1 or y.shape != labels.shape or len(y) == 0:
        raise SampleError(f"values and groups have shapes {y.shape} and {labels.shape}; give one of each per row, at least one row.")
    if bad := int(np.sum(~np.isfinite(y))):
        raise SampleError(f"{bad} of {len(y)} values are not finite; a model that gives no score to a group is no fairer for it.")
    names, codes = np.unique(labels.astype(str), return_inverse=True)
    return y, names, codes


def group_means(values: ArrayLike, groups: ArrayLike) -> dict[str, float]:
    """The mean of `values` in each group: the selection rate where values are 0 and 1, the mean score else.

    Raises `SampleError` when shapes differ or a value is not finite.

    >>> group_means([1, 0, 1, 1], ["a", "a", "b", "b"])
    {'a': 0.5, 'b': 1.0}
    """
    y, names, codes = _checked(values, groups)
    means = np.bincount(codes, weights=y) / np.bincount(codes)
    return {str(name): float(mean) for name, mean in zip(names, means, strict=True)}


def demographic_parity_difference(selected: ArrayLike, groups: ArrayLike) -> float:
    """Largest minus smallest selection rate over the groups, 0 to 1; 0 when all are selected alike (Agarwal et al., 2018).

    `selected` holds 0 and 1. Raises `SampleError` for anything else.

    >>> demographic_parity_difference([1, 0, 1, 1], ["a", "a", "b", "b"])
    0.5
    """
    rates = _rates(selected, groups)
    return max(rates) - min(rates)


def demographic_parity_ratio(selected: ArrayLike, groups: ArrayLike) -> float:
    """Smallest over largest selection rate, 0 to 1; 1 when all are selected alike, also when nobody is selected.

    >>> demographic_parity_ratio([1, 0, 1, 1], ["a", "a", "b", "b"])
    0.5
    """
    rates = _rates(selected, groups)
    return min(rates) / max(rates) if max(rates) > 0 else 1.0


def _rates(selected: ArrayLike, groups: ArrayLike) -> list[float]:
    chosen = np.asarray(selected, dtype=np.float64)
    if other := int(np.sum(~np.isin(chosen, (0.0, 1.0)))):
        raise SampleError(f"{other} of {chosen.size} selections are neither 0 nor 1; apply the decision's cut-off first.")
    return list(group_means(chosen, groups).values())
