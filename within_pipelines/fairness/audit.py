"""An audit over several attributes and measures that knows what chance alone would show, and how many times it looked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError
from within_pipelines.fairness.audit_result import FairnessAudit, GapRow
from within_pipelines.fairness.group_gap import POWER, _exchangeable
from within_pipelines.fairness.measures import Measure, Role
from within_pipelines.stats import Estimate, holm, permutation_p_value

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
# Shuffled labels of so many (permutation, block) pairs are held at once.
_BLOCK = 2_000_000
# Rows with this label do not say which group they belong to; they count for no group of that attribute.
UNDECLARED = ""
# Of the error that an audit may make, so much is for the rows that must pass; the rest for those that only stop what is shown.
REQUIRED_SHARE = 0.8
_MOST_UNDEFINED = 0.05


def intersection(*attributes: ArrayLike) -> list[str]:
    """Labels of the joint groups of several attributes.

    >>> intersection(["f", "m"], ["18-44", "45+"])
    ['f x 18-44', 'm x 45+']
    """
    columns = [np.asarray(a).astype(str) for a in attributes]
    if not columns or len({c.shape for c in columns}) != 1:
        raise SampleError(f"The attributes have shapes {[c.shape for c in columns]}; give at least one, all of one length.")
    return [" x ".join(parts) for parts in zip(*(c.tolist() for c in columns), strict=True)]


def pooled(groups: ArrayLike, clusters: ArrayLike, *, minimum_units: int) -> NDArray[np.str_]:
    """`groups` with those of fewer than `minimum_units` clusters joined as "other"; unchanged where only one is so small.

    >>> pooled(["a", "a", "b", "c"], [1, 2, 3, 4], minimum_units=2).tolist()
    ['a', 'a', 'other', 'other']
    """
    labels, unit = np.asarray(groups).astype(str), np.asarray(clusters)
    small = [g for g in np.unique(labels) if len(np.unique(unit[labels == g])) < minimum_units]
    return labels if len(small) < 2 else np.where(np.isin(labels, small), "other", labels)


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


def _spread(values: Floats) -> Floats:
    """Largest less smallest over the groups (axis 1); NaN where a group is missing."""
    result: Floats = values.max(axis=1) - values.min(axis=1)
    return result


def _interval(value: float, draws: Floats, n: int, level: float) -> Estimate | None:
    """Percentiles widened for few clusters (Hesterberg, 2015), as in `stats.cluster_bootstrap`."""
    from scipy.special import stdtrit

    defined = draws[np.isfinite(draws)]
    if len(defined) < (1 - _MOST_UNDEFINED) * len(draws):
        return None
    tail = NormalDist().cdf(-sqrt(n / (n - 1)) * float(stdtrit(n - 1, (1 + level) / 2)))
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Estimate(value, min(float(low), value), max(float(high), value), n=n, level=level)


def _resampled(sums: Floats, rng: np.random.Generator, n_resamples: int) -> Floats:
    """Sums over whole clusters drawn with replacement: (resample, ...) from (cluster, ...)."""
    n = len(sums)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=n_resamples).astype(np.float64)
    return (counts @ sums.reshape(n, -1)).reshape(n_resamples, *sums.shape[1:])


def _shuffled_sums(
    codes: Integers, inside: Integers, sums: Floats, n_groups: int, *, rng: np.random.Generator, n_permutations: int
) -> Floats:
    """Group sums after blocks exchanged their labels inside their stratum: (permutation, group, column)."""
    order = np.argsort(inside, kind="stable")
    codes, sums, stratum = codes[order], sums[order], np.unique(inside[order], return_inverse=True)[1]
    n = len(codes)
    result = np.empty((n_permutations, n_groups, sums.shape[1]))
    step = max(1, _BLOCK // n)
    for start in range(0, n_permutations, step):
        size = min(step, n_permutations - start)
        # Random keys above the stratum's number shuffle every stratum at once and leave it in its place.
        shuffled = codes[np.argsort(stratum + rng.random((size, n)), axis=1)]
        for group in range(n_groups):
            result[start : start + size, group] = (shuffled == group).astype(np.float64) @ sums
    return result


def _row(
    attribute: str,
    labels: NDArray[np.str_],
    measure: Measure,
    *,
    unit: Integers,
    carrier: Integers,
    stratum: Integers,
    rng: np.random.Generator,
    minimum_units: int,
    alpha: float,
    looks: int,
    n_permutations: int,
    n_resamples: int,
    level: float,
) -> GapRow:
    """One measure over the groups of one attribute, its p-value not yet adjusted."""
    counts = measure.denominator != 0
    names = [g for g in np.unique(labels).tolist() if g != UNDECLARED]
    units = {g: len(np.unique(unit[counts & (labels == g)])) for g in names}
    small = tuple(g for g in names if units[g] < minimum_units or int(np.sum(counts & (labels == g))) < measure.minimum_rows)
    large = [g for g in names if g not in small]
    empty = GapRow(attribute, measure.name, measure.role, measure.threshold, {}, units, small, None, None, None, None, None, None, alpha)
    if len(large) < 2:
        return empty
    keep = np.isin(labels, large) & counts
    codes = np.searchsorted(large, labels[keep]).astype(np.int64)
    own = np.unique(unit[keep], return_inverse=True)[1]
    both = np.column_stack([measure.numerator[keep], measure.denominator[keep]])
    n_groups, n_units = len(large), int(own.max()) + 1
    table = np.zeros((n_units, n_groups, 2))
    np.add.at(table, (own, codes), both)
    values = _ratio(table[..., 0].sum(axis=0), table[..., 1].sum(axis=0))
    if not np.all(np.isfinite(values)):
        return empty
    drawn = _resampled(table, rng, n_resamples)
    ratios = _ratio(drawn[..., 0], drawn[..., 1])
    per_group = {g: _interval(float(values[i]), ratios[:, i], max(units[g], 2), level) for i, g in enumerate(large)}
    gap = _interval(float(values.max() - values.min()), _spread(ratios), n_units, level)
    null = _null(codes, own, carrier[keep], stratum[keep], both, n_groups, rng=rng, n_permutations=n_permutations)
    if gap is None or len(null) < (1 - _MOST_UNDEFINED) * n_permutations:
        return empty
    limit = float(np.quantile(null, 1 - alpha))
    # What would be found after the adjustment for several looks, at its strictest; watched rows are not adjusted for here.
    strict = limit if measure.role is Role.WATCHED else float(np.quantile(null, 1 - alpha / looks))
    detectable = strict + NormalDist().inv_cdf(POWER) * float(np.nanstd(_signed(ratios, values)))
    ratio = float(values.min() / values.max()) if values.max() > 0 and values.min() >= 0 else None
    shown = {g: interval for g, interval in per_group.items() if interval is not None}
    return replace(
        empty, values=shown, gap=gap, ratio=ratio, p_value=permutation_p_value(gap.value, null), null_limit=limit, detectable=detectable
    )


def _null(
    codes: Integers,
    unit: Integers,
    carrier: Integers,
    stratum: Integers,
    both: Floats,
    n_groups: int,
    *,
    rng: np.random.Generator,
    n_permutations: int,
) -> Floats:
    """Gaps after groups were shuffled; undefined ones left out."""
    blocks, inside = _exchangeable(unit, codes, stratum)
    if len(np.unique(blocks)) > len(np.unique(unit)):
        # Clusters with several groups: the smallest part that carries one label exchanges inside its cluster.
        blocks = np.unique(np.column_stack([blocks, carrier]), axis=0, return_inverse=True)[1].reshape(-1)
    _, first, block = np.unique(blocks, return_index=True, return_inverse=True)
    # Only a block's sums matter, so a permutation costs as much as there are blocks, not rows.
    sums = np.column_stack([np.bincount(block, weights=both[:, i]) for i in (0, 1)]).astype(np.float64)
    shuffled = _shuffled_sums(codes[first], inside[first], sums, n_groups, rng=rng, n_permutations=n_permutations)
    gaps = _spread(_ratio(shuffled[..., 0], shuffled[..., 1]))
    defined: Floats = gaps[np.isfinite(gaps)]
    return defined


def _signed(ratios: Floats, values: Floats) -> Floats:
    """The difference between the two groups that are furthest apart, over resamples: its spread does not depend on which is larger."""
    result: Floats = ratios[:, int(values.argmax())] - ratios[:, int(values.argmin())]
    return result


def audit_fairness(
    measures: Sequence[Measure],
    attributes: Mapping[str, ArrayLike],
    *,
    clusters: ArrayLike,
    rng: np.random.Generator,
    carriers: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    roles: Mapping[str, Role] | None = None,
    minimum_units: int = 5,
    alpha: float = 0.05,
    n_permutations: int = 1999,
    n_resamples: int = 1000,
    level: float = 0.95,
) -> FairnessAudit:
    """Compare every measure between the groups of every attribute.

    `clusters` names the independent unit of each row (account). Groups are shuffled in whole clusters; where a cluster holds several
    groups, its parts exchange inside it (`carriers`: the smallest part that carries one label, an ad group). `strata` stay fixed.
    Rows with an empty label belong to no group. `roles` weakens the measures' role for an attribute (size required, market watched).
    p-values are adjusted by Holm (1979) among the required rows at 0.8 `alpha` and among the refutable ones at 0.2 `alpha`, so that a fair
    model fails with probability at most `alpha`, however many attributes and measures there are.

    Raises `SampleError` for lengths that differ, fewer than two clusters, or no attribute.

    >>> rng = np.random.default_rng(7)
    >>> account = np.arange(400)
    >>> group = np.where(account % 2, "a", "b")
    >>> from within_pipelines.fairness.measures import mean_measure
    >>> score = rng.normal(size=400) + 2.0 * (group == "a")
    >>> audit_fairness([mean_measure("score", score, threshold=1.0)], {"group": group}, clusters=account, rng=rng).status.value
    'failed'
    """
    unit = np.unique(np.asarray(clusters).astype(str), return_inverse=True)[1]
    n = len(unit)
    part = np.zeros(n, dtype=np.int64) if carriers is None else np.unique(np.asarray(carriers).astype(str), return_inverse=True)[1]
    stratum = np.zeros(n, dtype=np.int64) if strata is None else np.unique(np.asarray(strata).astype(str), return_inverse=True)[1]
    labels = {name: np.asarray(values).astype(str) for name, values in attributes.items()}
    lengths = {len(part), len(stratum), *(len(a) for a in labels.values()), *(len(m.numerator) for m in measures)}
    if lengths != {n} or not labels or not measures:
        raise SampleError(f"Measures, attributes and clusters have {sorted({*lengths, n})} rows; give at least one of each, of one length.")
    if len(np.unique(unit)) < 2:
        raise SampleError("clusters holds one label only; an audit needs at least two independent clusters.")
    planned = [(attribute, _weakened(m, (roles or {}).get(attribute, Role.REQUIRED))) for attribute in labels for m in measures]
    looks = {role: sum(m.role is role for _, m in planned) for role in Role}
    share = {Role.REQUIRED: REQUIRED_SHARE if looks[Role.REFUTABLE] else 1.0, Role.WATCHED: 1.0}
    share[Role.REFUTABLE] = 1 - REQUIRED_SHARE if looks[Role.REQUIRED] else 1.0
    rows: list[GapRow] = []
    for attribute, measure in planned:
        rows.append(
            _row(
                attribute,
                labels[attribute],
                measure,
                unit=unit,
                carrier=part,
                stratum=stratum,
                rng=rng,
                minimum_units=minimum_units,
                alpha=alpha * share[measure.role],
                looks=looks[measure.role],
                n_permutations=n_permutations,
                n_resamples=n_resamples,
                level=level,
            )
        )
    return FairnessAudit(tuple(sorted(_adjusted(rows), key=lambda row: list(Role).index(row.role))))


def _weakened(measure: Measure, role: Role) -> Measure:
    order = list(Role)
    return replace(measure, role=max(measure.role, role, key=order.index))


def _adjusted(rows: list[GapRow]) -> list[GapRow]:
    """Holm among the rows of one role."""
    result = list(rows)
    for role in Role:
        places = [i for i, row in enumerate(rows) if row.role is role and row.p_value is not None]
        for i, adjusted in zip(places, holm(np.array([rows[i].p_value for i in places], dtype=np.float64)), strict=True):
            result[i] = replace(rows[i], adjusted=float(adjusted))
    return result
