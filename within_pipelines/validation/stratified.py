"""The difference of two arms whose shares change from day to day, with units that come back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from within_pipelines.exceptions import SampleError


@dataclass(frozen=True, slots=True)
class StratifiedDifference:
    """Mean of the first arm minus that of the second within strata; `variance` is that of the estimate, from independent units."""

    difference: float
    variance: float
    units_first: int
    units_second: int
    strata: int


def stratified_difference(values: ArrayLike, first: ArrayLike, strata: ArrayLike, units: ArrayLike) -> StratifiedDifference | None:
    """Sum over strata of w (mean of the first arm - mean of the second) / sum of w, with w = n1 n2 / (n1 + n2) rows of the stratum.

    Within a day both arms saw the same world, so a share that grows from day to day does not mix a trend into the difference; a stratum
    with one arm says nothing and is left out. The variance adds up each unit's whole contribution before squaring it (cluster-robust,
    with the factor G / (G - 1)), so a unit that comes back every day counts as one; it is never below what independent rows with the
    spread of both arms would give. The difference is that of least squares on the arm with an intercept per stratum.

    Returns None while no stratum holds both arms or fewer than two units of either remain. Raises `SampleError` for values that are not
    finite or lengths that differ.

    >>> found = stratified_difference([1.0, 3.0, 2.0, 6.0], [True, False, True, False], [0, 0, 1, 1], ["a", "b", "c", "d"])
    >>> found.difference
    -3.0
    """
    y, arm = np.asarray(values, dtype=np.float64), np.asarray(first, dtype=np.bool_)
    day, unit = np.asarray(strata), np.asarray(units)
    if not (y.shape == arm.shape == day.shape == unit.shape and y.ndim == 1):
        raise SampleError(f"values, first, strata, units have shapes {y.shape}, {arm.shape}, {day.shape}, {unit.shape}; give one per row.")
    if bad := int(np.sum(~np.isfinite(y))):
        raise SampleError(f"{bad} of {len(y)} values are not finite; decide what they count first.")
    if len(y) == 0:
        return None
    _, code = np.unique(day, return_inverse=True)
    n1 = np.bincount(code, weights=arm)
    n2 = np.bincount(code, weights=~arm)
    both = (n1 > 0) & (n2 > 0)
    keep = both[code]
    y, arm, code, unit = y[keep], arm[keep], code[keep], unit[keep]
    if len(y) == 0:
        return None
    size = len(n1)
    n1, n2 = np.where(both, n1, 1.0), np.where(both, n2, 1.0)
    mean1 = np.bincount(code, weights=y * arm, minlength=size) / n1
    mean2 = np.bincount(code, weights=y * ~arm, minlength=size) / n2
    weight = np.where(both, n1 * n2 / (n1 + n2), 0.0)
    total = float(weight.sum())
    difference = float(np.sum(weight[both] * (mean1 - mean2)[both])) / total
    _, of_unit = np.unique(unit, return_inverse=True)
    # Residuals of the regression: the stratum's level is what both arms say once the difference is taken out.
    level = (n1 * (mean1 - difference) + n2 * mean2)[code] / (n1 + n2)[code]
    residual = y - level - np.where(arm, difference, 0.0)
    influence = np.where(arm, weight[code] / n1[code], -weight[code] / n2[code]) * residual / total
    contributions = np.bincount(of_unit, weights=influence)
    clusters = len(contributions)
    units1, units2 = len(np.unique(of_unit[arm])), len(np.unique(of_unit[~arm]))
    if min(units1, units2) < 2:
        return None
    robust = clusters / (clusters - 1) * float(np.sum(contributions**2))
    # A small arm in which, by luck, nobody converted has no spread of its own; rows of both arms together tell what it must be.
    pooled = float(np.sum(residual**2)) / max(1, len(y) - int(both.sum()) - 1) * float(np.sum((weight**2 * (1 / n1 + 1 / n2))[both]))
    variance = max(robust, pooled / total**2)
    return StratifiedDifference(difference, variance, units1, units2, int(both.sum())) if math.isfinite(variance) else None
