"""Is a new version less even-handed than the one that serves? A paired comparison, which needs far fewer rows than two audits."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from within_pipelines.exceptions import SampleError
from within_pipelines.fairness.audit import _interval, _ratio, _resampled, _spread
from within_pipelines.fairness.measures import Measure
from within_pipelines.stats import Estimate


def gap_change(
    new: Measure,
    old: Measure,
    groups: ArrayLike,
    *,
    clusters: ArrayLike,
    rng: np.random.Generator,
    n_resamples: int = 1000,
    level: float = 0.95,
) -> Estimate:
    """Gap of `new` less gap of `old` over the same rows and groups, with an interval from the same resampled clusters for both.

    Above 0 the new version treats groups less alike. What makes a row hard is shared and cancels, so the interval is narrower than that of
    either gap.

    Raises `SampleError` for lengths that differ, fewer than two groups or clusters, or a group that most resamples miss.

    >>> from within_pipelines.fairness.measures import mean_measure
    >>> one = mean_measure("score", [1.0, 1.0, 0.0, 0.0] * 9, threshold=1)
    >>> gap_change(one, one, ["a", "a", "b", "b"] * 9, clusters=list(range(36)), rng=np.random.default_rng(7)).high
    0.0
    """
    labels, unit = np.asarray(groups).astype(str), np.unique(np.asarray(clusters).astype(str), return_inverse=True)[1]
    names, codes = np.unique(labels, return_inverse=True)
    if len({len(labels), len(unit), len(new.numerator), len(old.numerator)}) != 1 or len(names) < 2 or len(np.unique(unit)) < 2:
        raise SampleError(
            f"{len(new.numerator)} and {len(old.numerator)} values of {len(names)} groups in {len(np.unique(unit))} clusters; "
            "give equal rows for both versions, two groups and two clusters."
        )
    table = np.zeros((int(unit.max()) + 1, len(names), 4))
    np.add.at(table, (unit, codes), np.column_stack([new.numerator, new.denominator, old.numerator, old.denominator]))

    def change(sums: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return _spread(_ratio(sums[..., 0], sums[..., 1])) - _spread(_ratio(sums[..., 2], sums[..., 3]))

    value = float(change(table.sum(axis=0)[None])[0])
    found = _interval(value, change(_resampled(table, rng, n_resamples)), len(table), level) if np.isfinite(value) else None
    if found is None:
        raise SampleError("A group is missing in too many resamples; pool small groups first.")
    return found
