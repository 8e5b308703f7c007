"""Intervals for rows that share a unit in one direction and a moment in the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError
from within_pipelines.stats.bootstrap import MOST_UNDEFINED, _check, _interval
from within_pipelines.stats.verdict import Estimate


def two_way_rows(units: ArrayLike, moments: ArrayLike, *, rng: np.random.Generator, n_resamples: int = 1000) -> Iterator[NDArray[np.int64]]:
    """Row numbers of `n_resamples` samples in which units and moments are both drawn with replacement.

    A row is repeated as often as its unit was drawn times as often as its moment was drawn: the pigeonhole bootstrap (Owen 2007). Samples
    that come out empty are drawn again.

    >>> rows = next(two_way_rows(["a", "a", "b", "b"], [1, 2, 1, 2], rng=np.random.default_rng(1)))
    >>> len(rows)
    4
    """
    unit, moment = (np.unique(np.asarray(labels), return_inverse=True)[1] for labels in (units, moments))
    if unit.shape != moment.shape or unit.ndim != 1 or unit.size == 0:
        raise SampleError(f"units and moments have shapes {unit.shape} and {moment.shape}; give one of each per row, at least one row.")
    n_units, n_moments = int(unit.max()) + 1, int(moment.max()) + 1
    if n_units < 2 or n_moments < 2:
        raise SampleError(f"{n_units} units and {n_moments} moments; a two-way interval needs at least two of both.")
    made = 0
    while made < n_resamples:
        drawn = np.bincount(rng.integers(n_units, size=n_units), minlength=n_units)
        met = np.bincount(rng.integers(n_moments, size=n_moments), minlength=n_moments)
        rows = np.repeat(np.arange(unit.size), drawn[unit] * met[moment])
        if rows.size:
            made += 1
            yield rows


def two_way_bootstrap(
    statistic: Callable[[NDArray[np.int64]], float],
    units: ArrayLike,
    moments: ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = 1000,
    level: float = 0.95,
) -> Estimate:
    """The statistic of all rows with an interval from drawing units and moments together.

    Rows of one keyword are alike, and so are rows of one week (a holiday moves all keywords): an interval that resamples units alone takes
    the weeks for granted. For a mean the two-way interval is somewhat too wide rather than too narrow (Owen 2007). `n` of the answer is
    the smaller number of units and moments, which also widens the interval as `cluster_bootstrap` does for few clusters.

    Raises `SampleError` like `cluster_bootstrap`.

    >>> y = np.arange(12.0)
    >>> found = two_way_bootstrap(lambda i: float(y[i].mean()), np.arange(12) // 3, np.arange(12) % 3, rng=np.random.default_rng(7))
    >>> found.value, found.n, found.low < 5.5 < found.high
    (5.5, 3, True)
    """
    _check(n_resamples, level)
    everything = np.arange(len(np.asarray(units)))
    draws = np.array([float(statistic(rows)) for rows in two_way_rows(units, moments, rng=rng, n_resamples=n_resamples)])
    value = float(statistic(everything))
    if not math.isfinite(value):
        raise SampleError(f"The statistic of all {len(everything)} rows is {value}; look for missing values or a class that never occurs.")
    defined = draws[np.isfinite(draws)]
    n = min(len(np.unique(np.asarray(units))), len(np.unique(np.asarray(moments))))
    if len(defined) < (1 - MOST_UNDEFINED) * n_resamples:
        raise SampleError(
            f"The statistic is undefined on {n_resamples - len(defined)} of {n_resamples} resamples; the sample is too small."
        )
    return _interval(value, defined, n, level)
