"""How an ad did beside its siblings: observed log-odds of a click within its group, and how far to trust them."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
# One-sided 5 % of a normal.
HIDDEN = 1.644854
# Of a larger group so many ads are compared with each other: 200 make 19,900 pairs.
MOST_COMPARED = 200


@dataclass(frozen=True, slots=True)
class Observed:
    """Per ad: smoothed log-odds of a click, their sampling variance, impressions, and the index of its group."""

    log_odds: Floats
    variance: Floats
    impressions: Floats
    group: Indices

    @property
    def n_groups(self) -> int:
        """How many groups there are."""
        return int(self.group.max()) + 1 if self.group.size else 0


def observe(rate: Floats, impressions: Floats, group: Any) -> Observed:
    """Log-odds with half a click added on each side (Haldane 1956, Anscombe 1956), variance 1/clicks + 1/non-clicks.

    >>> seen = observe(np.array([.1, .2]), np.array([99., 99.]), ["g", "g"])
    >>> [round(float(x), 2) for x in seen.log_odds]
    [-2.15, -1.37]
    """
    clicks = rate * impressions
    missed = impressions - clicks
    _, index = np.unique(np.asarray(group), return_inverse=True)
    return Observed(np.log((clicks + 0.5) / (missed + 0.5)), 1 / (clicks + 0.5) + 1 / (missed + 0.5), impressions, index)


def group_mean(values: Floats, weights: Floats, group: Indices, n_groups: int) -> Floats:
    """Weighted mean per group, one row per group; works on vectors and on matrices."""
    total = np.maximum(np.bincount(group, weights, n_groups), 1e-300)
    if values.ndim == 1:
        result: Floats = np.bincount(group, weights * values, n_groups) / total
        return result
    sums = np.zeros((n_groups, values.shape[1]))
    np.add.at(sums, group, weights[:, None] * values)
    means: Floats = sums / total[:, None]
    return means


def within_group(values: Floats, weights: Floats, group: Indices, n_groups: int) -> Floats:
    """`values` less the weighted mean of their group."""
    result: Floats = values - group_mean(values, weights, group, n_groups)[group]
    return result


def between_ad_variance(observed: Observed) -> float:
    """Variance of true log-odds between siblings: what is left of the spread after sampling noise (DerSimonian and Laird 1986).

    Never less than what noise alone hides in one case of twenty (its standard error without any true spread, times 1.645): "not seen" must
    not become "known to be nothing"."""
    weights = 1 / observed.variance
    centred = within_group(observed.log_odds, weights, observed.group, observed.n_groups)
    q = float(np.sum(weights * centred**2))
    sums = np.bincount(observed.group, weights, observed.n_groups)
    squares = np.bincount(observed.group, weights**2, observed.n_groups)
    free = weights.size - observed.n_groups
    denominator = float(np.sum(sums - squares / sums))
    return max((q - free) / denominator, HIDDEN * sqrt(2 * free) / denominator, 1e-4) if denominator > 0 else 1e-4


def pairs_within(group: Indices, *, most: int | None = None) -> tuple[Indices, Indices]:
    """Every unordered pair of rows of one group, as two index arrays; of a group with more than `most` rows, evenly chosen `most`.

    >>> [x.tolist() for x in pairs_within(np.array([0, 1, 0, 0]))]
    [[0, 0, 2], [2, 3, 3]]
    """
    order = np.argsort(group, kind="stable")
    bounds = np.flatnonzero(np.diff(group[order])) + 1
    first, second = [], []
    for members in np.split(order, bounds):
        if most is not None and members.size > most:
            members = members[np.linspace(0, members.size - 1, most).astype(np.intp)]
        i, j = np.triu_indices(members.size, 1)
        first.append(members[i])
        second.append(members[j])
    return (np.concatenate(first), np.concatenate(second)) if first else (np.array([], np.intp), np.array([], np.intp))
