"""An audit over several attributes and measures that knows what chance alone would show, and how many times it looked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError
from within_pipelines.fairness.group_gap import POWER, _exchangeable
from within_pipelines.fairness.measures import Measure
from within_pipelines.stats import Estimate, Status, Verdict, holm, permutation_p_value

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
# Shuffled labels of so many (permutation, block) pairs are held at once.
_BLOCK = 2_000_000
_MOST_UNDEFINED = 0.05


@dataclass(frozen=True, slots=True)
class GapRow:
    """One measure over the groups of one attribute.

    `gap` is the largest less the smallest group value with its bootstrap interval over clusters; `p_value` the chance of such a gap when
    groups are shuffled, `adjusted` after Holm over all gating rows of the audit; `null_limit` what shuffled groups stay below with
    probability 1 - alpha; `detectable` the gap that this sample finds with 80 % probability. `small` lists groups that were left out."""

    attribute: str
    measure: str
    gates: bool
    threshold: float
    values: Mapping[str, Estimate]
    units: Mapping[str, int]
    small: tuple[str, ...]
    gap: Estimate | None
    ratio: float | None
    p_value: float | None
    adjusted: float | None
    null_limit: float | None
    detectable: float | None
    alpha: float

    @property
    def status(self) -> Status:
        """Failed only when the gap exceeds the threshold and what chance gives; passed only when a gap at the threshold would show."""
        if self.gap is None or self.adjusted is None or self.detectable is None:
            return Status.INSUFFICIENT
        if self.gap.value > self.threshold:
            return Status.FAILED if self.adjusted <= self.alpha else Status.INSUFFICIENT
        if self.small or self.detectable > self.threshold:
            return Status.INSUFFICIENT
        return Status.PASSED

    @property
    def warns(self) -> bool:
        """The gap is accepted, but its interval reaches the threshold; or a row that does not gate is over it."""
        if self.gap is None:
            return False
        return self.gap.high >= self.threshold if self.gates else self.status is Status.FAILED

    @property
    def reason(self) -> str:
        """One sentence that a person can act on."""
        left_out = f" Left out as too small: {', '.join(self.small)}." if self.small else ""
        what = f"{self.measure.replace('_', ' ')} by {self.attribute}"
        if self.gap is None or self.adjusted is None or self.detectable is None or self.null_limit is None:
            return f"{what}: no two groups are large enough.{left_out}"
        start = f"{what}: gap {self.gap}"
        if self.status is Status.FAILED:
            low, high = min(self.values, key=lambda g: self.values[g].value), max(self.values, key=lambda g: self.values[g].value)
            return (
                f"{start} ({high} over {low}), above {self.threshold:g} and above the {self.null_limit:.3f} that shuffled groups give "
                f"(p {self.adjusted:.3f}).{left_out}"
            )
        if self.gap.value > self.threshold:
            return f"{start}, above {self.threshold:g}, but shuffled groups give up to {self.null_limit:.3f}; more data will tell.{left_out}"
        if self.detectable > self.threshold:
            return f"{start}; this sample would only find {self.detectable:.3f}, and {self.threshold:g} is asked.{left_out}"
        near = f" The interval reaches {self.threshold:g}: watch it." if self.warns else ""
        return f"{start}, at most {self.threshold:g}.{near}{left_out}"


@dataclass(frozen=True, slots=True)
class FairnessAudit:
    """All rows of an audit; rows that gate come first."""

    rows: tuple[GapRow, ...]

    @property
    def gating(self) -> tuple[GapRow, ...]:
        """The rows that decide."""
        return tuple(row for row in self.rows if row.gates)

    @property
    def status(self) -> Status:
        """Failed when one gating row fails, passed when all pass, else insufficient; without a gating row insufficient."""
        states = {row.status for row in self.gating}
        if Status.FAILED in states:
            return Status.FAILED
        return Status.PASSED if states == {Status.PASSED} else Status.INSUFFICIENT

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on what to watch."""
        return tuple(row.reason for row in self.rows if row.warns)

    def verdict(self, *, evidence: Mapping[str, Any] | None = None) -> Verdict:
        """The gate `fairness`: the row that decides, with all others as evidence."""
        order = {Status.FAILED: 0, Status.INSUFFICIENT: 1, Status.PASSED: 2}
        if not self.gating:
            return Verdict("fairness", Status.INSUFFICIENT, None, None, {}, "No measure and attribute that decides could be compared.")
        worst = min(self.gating, key=lambda r: (order[r.status], -(0.0 if r.gap is None else r.gap.value / r.threshold)))
        found = {
            "attribute": worst.attribute,
            "measure": worst.measure,
            "rows": [_plain(row) for row in self.rows],
            "warnings": list(self.warnings),
        }
        others = [row.reason for row in self.gating if row.status is worst.status and row is not worst and worst.status is not Status.PASSED]
        reason = " ".join([worst.reason, *others])
        return Verdict(
            "fairness", self.status, worst.gap, worst.threshold, dict(worst.units), reason, evidence={**found, **(evidence or {})}
        )

    def to_frame(self) -> pl.DataFrame:
        """One row per attribute and measure."""
        import polars as pl

        return pl.DataFrame([_plain(row) for row in self.rows], infer_schema_length=None)

    def groups(self) -> pl.DataFrame:
        """One row per attribute, measure and group: value with interval, units."""
        import polars as pl

        schema: dict[str, Any] = {"attribute": pl.String, "measure": pl.String, "group": pl.String, "value": pl.Float64,
                                  "low": pl.Float64, "high": pl.Float64, "units": pl.Int64}  # fmt: skip
        found = [
            (row.attribute, row.measure, group, own.value, own.low, own.high, row.units[group])
            for row in self.rows
            for group, own in row.values.items()
        ]
        return pl.DataFrame(found, schema=schema, orient="row")


def _plain(row: GapRow) -> dict[str, Any]:
    gap = row.gap
    return {
        "attribute": row.attribute, "measure": row.measure, "gates": row.gates, "status": row.status.value,
        "gap": None if gap is None else gap.value, "low": None if gap is None else gap.low, "high": None if gap is None else gap.high,
        "threshold": row.threshold, "ratio": row.ratio, "p_value": row.p_value, "adjusted": row.adjusted, "null_limit": row.null_limit,
        "detectable": row.detectable, "small": ", ".join(row.small), "warns": row.warns, "reason": row.reason,
    }  # fmt: skip


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


def _rows(
    attribute: str,
    labels: NDArray[np.str_],
    measures: Sequence[Measure],
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
) -> list[GapRow]:
    """The rows of one attribute, with p-values not yet adjusted."""
    found = []
    for measure in measures:
        counts = measure.denominator > 0
        names = np.unique(labels).tolist()
        units = {g: len(np.unique(unit[counts & (labels == g)])) for g in names}
        small = tuple(g for g in names if units[g] < minimum_units or int(np.sum(counts & (labels == g))) < measure.minimum_rows)
        large = [g for g in names if g not in small]
        if len(large) < 2:
            found.append(GapRow(attribute, measure.name, measure.gates, measure.threshold, {}, units, small, None, None, None, None, None,
                                None, alpha))  # fmt: skip
            continue
        keep = np.isin(labels, large) & counts
        codes = np.searchsorted(large, labels[keep]).astype(np.int64)
        own = np.unique(unit[keep], return_inverse=True)[1]
        both = np.column_stack([measure.numerator[keep], measure.denominator[keep]])
        n_groups, n_units = len(large), int(own.max()) + 1
        table = np.zeros((n_units, n_groups, 2))
        np.add.at(table, (own, codes), both)
        values = _ratio(table[..., 0].sum(axis=0), table[..., 1].sum(axis=0))
        drawn = _resampled(table, rng, n_resamples)
        ratios = _ratio(drawn[..., 0], drawn[..., 1])
        per_group = {g: _interval(float(values[i]), ratios[:, i], max(units[g], 2), level) for i, g in enumerate(large)}
        gap = _interval(float(values.max() - values.min()), _spread(ratios), n_units, level)
        blocks, inside = _exchangeable(own, codes, stratum[keep])
        if len(np.unique(blocks)) > n_units:
            # Clusters with several groups: the smallest part that carries one label exchanges inside its cluster.
            blocks = np.unique(np.column_stack([blocks, carrier[keep]]), axis=0, return_inverse=True)[1].reshape(-1)
        _, first, block = np.unique(blocks, return_index=True, return_inverse=True)
        sums = np.column_stack([np.bincount(block, weights=both[:, i]) for i in (0, 1)])
        shuffled = _shuffled_sums(codes[first], inside[first], sums, n_groups, rng=rng, n_permutations=n_permutations)
        null = _spread(_ratio(shuffled[..., 0], shuffled[..., 1]))
        null = null[np.isfinite(null)]
        p_value = limit = detectable = None
        if gap is not None and len(null) >= (1 - _MOST_UNDEFINED) * n_permutations:
            p_value = permutation_p_value(gap.value, null)
            limit = float(np.quantile(null, 1 - alpha))
            # What would be found after the adjustment for several looks, at its strictest.
            strict = float(np.quantile(null, 1 - alpha / looks)) if measure.gates else limit
            error = float(np.nanstd(_signed(ratios, values)))
            detectable = strict + NormalDist().inv_cdf(POWER) * error
        ratio = float(values.min() / values.max()) if values.max() > 0 and values.min() >= 0 else None
        shown = {g: own_interval for g, own_interval in per_group.items() if own_interval is not None}
        found.append(GapRow(attribute, measure.name, measure.gates, measure.threshold, shown, units, small, gap, ratio, p_value, None,
                            limit, detectable, alpha))  # fmt: skip
    return found


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
    watch_only: Sequence[str] = (),
    minimum_units: int = 5,
    alpha: float = 0.05,
    n_permutations: int = 1999,
    n_resamples: int = 1000,
    level: float = 0.95,
) -> FairnessAudit:
    """Compare every measure between the groups of every attribute.

    `clusters` names the independent unit of each row (account). Groups are shuffled in whole clusters; where a cluster holds several
    groups, its parts exchange inside it (`carriers`: the smallest part that carries one label, an ad group). `strata` stay fixed.
    `watch_only` names attributes that are shown and never decide. p-values of the deciding rows are adjusted together (Holm, 1979).

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
    looks = max(1, sum(m.gates for m in measures) * sum(a not in watch_only for a in labels))
    rows: list[GapRow] = []
    for attribute, own in labels.items():
        shown = [m if attribute not in watch_only else _watched(m) for m in measures]
        rows += _rows(
            attribute, own, shown, unit=unit, carrier=part, stratum=stratum, rng=rng, minimum_units=minimum_units, alpha=alpha,
            looks=looks, n_permutations=n_permutations, n_resamples=n_resamples, level=level,
        )  # fmt: skip
    return FairnessAudit(tuple(sorted(_adjusted(rows), key=lambda row: not row.gates)))


def _watched(measure: Measure) -> Measure:
    from dataclasses import replace

    return replace(measure, gates=False)


def _adjusted(rows: list[GapRow]) -> list[GapRow]:
    """Holm over the rows that decide, and over those that do not, each among themselves."""
    from dataclasses import replace

    result = list(rows)
    for gates in (True, False):
        places = [i for i, row in enumerate(rows) if row.gates is gates and row.p_value is not None]
        for i, adjusted in zip(places, holm([rows[i].p_value for i in places]), strict=True):
            result[i] = replace(rows[i], adjusted=float(adjusted))
    return result
