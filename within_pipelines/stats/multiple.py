"""Many tests at once: which p-values still count."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError


def _p_values(p_values: ArrayLike) -> NDArray[np.float64]:
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1:
        raise SampleError(f"p_values has shape {p.shape}; give a flat list.")
    outside = ~((p >= 0) & (p <= 1))
    if outside.any():
        raise SampleError(f"{int(outside.sum())} of {len(p)} p-values are not in [0, 1]; drop the tests that could not be computed first.")
    return p


def benjamini_hochberg(p_values: ArrayLike) -> NDArray[np.float64]:
    """p-values adjusted so that rejecting those <= q keeps the false discovery rate <= q (Benjamini and Hochberg, 1995).

    Valid for independent and for positively dependent tests. Order is kept; an empty list gives an empty array.

    >>> benjamini_hochberg([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.04, 0.04]
    """
    p = _p_values(p_values)
    order = np.argsort(p, kind="stable")
    # The factor first: p * n / n can round below p.
    ranked = p[order] * (len(p) / np.arange(1, len(p) + 1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.minimum.accumulate(ranked[::-1])[::-1], 1.0)
    return adjusted


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """p-values adjusted so that rejecting those <= a keeps the chance of any false rejection <= a, whatever the dependence (Holm, 1979).

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    p = _p_values(p_values)
    order = np.argsort(p, kind="stable")
    ranked = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(ranked), 1.0)
    return adjusted
