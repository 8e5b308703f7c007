"""Weights that make outcome and group independent in the training data."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError


def reweighing_weights(outcome: ArrayLike, groups: ArrayLike, *, strength: float = 1.0) -> NDArray[np.float64]:
    """(P(group) P(outcome) / P(group, outcome)) ** strength per row, scaled to mean 1 (Kamiran and Calders, 2012).

    With strength 1 the weighted rate of each outcome is equal in all groups; 0 leaves the data as they are.

    Raises `SampleError` when lengths differ or strength lies outside [0, 1].

    >>> reweighing_weights([1, 1, 0, 1, 0, 0], ["a", "a", "a", "b", "b", "b"]).round(2).tolist()
    [0.75, 0.75, 1.5, 1.5, 0.75, 0.75]
    """
    y, names = np.unique(np.asarray(outcome).astype(str), return_inverse=True)[1], np.asarray(groups).astype(str)
    g = np.unique(names, return_inverse=True)[1]
    if y.shape != g.shape or y.size == 0 or not 0 <= strength <= 1:
        raise SampleError(f"{y.size} outcomes, {g.size} groups, strength {strength}; give one of each per row and a strength from 0 to 1.")
    both = np.zeros((int(g.max()) + 1, int(y.max()) + 1))
    np.add.at(both, (g, y), 1.0)
    expected = both.sum(axis=1, keepdims=True) * both.sum(axis=0, keepdims=True) / y.size
    ratio = np.divide(expected, both, out=np.ones_like(both), where=both > 0)
    weights = ratio[g, y] ** strength
    result: NDArray[np.float64] = weights * (y.size / weights.sum())
    return result
