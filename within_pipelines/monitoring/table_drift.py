"""What moved between two windows of a table, whatever arrives: numbers, categories, missing values, columns that changed or went."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.exceptions import SampleError, SchemaError
from within_pipelines.monitoring.categories import compare_counts, jensen_shannon_distance
from within_pipelines.monitoring.clustered import ROWS, SIGN_FLIPS, Groups, Question, adjusted_p_values, group_rows, joint_null, question
from within_pipelines.monitoring.kolmogorov_smirnov import judge_distance
from within_pipelines.monitoring.state import DriftState
from within_pipelines.monitoring.two_sample import in_order, ks_detectable, ks_of_ordered, ks_p_value
from within_pipelines.stats import benjamini_hochberg, two_proportion_z

MISSING_EFFECT = 0.05
# Points of a number's distribution at which clusters are compared; the distance itself is exact.
_GRID = 32
_BINS = 20
# Up to so many rows the Wasserstein distance is exact; above, it is taken at so many quantiles.
_EXACT_ROWS, _QUANTILES = 200_000, 4096
_MOST_CATEGORIES = 50
OTHER = "(all others)"


@dataclass(frozen=True, slots=True)
class FeatureShift:
    """One feature. `effect` is the Kolmogorov-Smirnov distance of a number and the total variation of a category (both 0 to 1, over rows
    that
    have a value), `detectable` the smallest effect that would be significant alone, p-values are adjusted over the table.

    `cause` says what moved: "values", "missing", "values and missing", "type", "dropped", "renamed to ..."; empty when nothing did.
    `wasserstein_sd` is in standard deviations of the reference, `jensen_shannon` 0 to 1, `stability_index` in nats; None where
    undefined."""

    feature: str
    kind: str  # number | category
    state: DriftState
    cause: str
    effect: float | None
    p_value: float | None
    detectable: float | None
    threshold: float
    wasserstein_sd: float | None
    jensen_shannon: float | None
    stability_index: float | None
    missing_reference: float
    missing_current: float
    missing_p_value: float | None
    appeared: tuple[str, ...]
    vanished: tuple[str, ...]
    n_reference: int
    n_current: int


@dataclass(frozen=True, slots=True)
class TableDrift:
    """What moved between two windows of a table. `null` names what chance was: independent rows or sign flips of accounts.

    `p_value` is the smallest adjusted one: the chance that any feature of the table moves as far when nothing happened. `reason` is given
    where the whole table could not be judged. `added` are columns that only the current window has."""

    features: tuple[FeatureShift, ...]
    alpha: float
    null: str
    n_reference: int
    n_current: int
    n_clusters: int | None
    n_permutations: int
    repeated_rows: int = 0
    added: tuple[str, ...] = ()
    reason: str = ""

    @property
    def drifted(self) -> tuple[str, ...]:
        """Features that drifted, largest effect first; broken columns come before all."""
        moved = [feature for feature in self.features if feature.state is DriftState.DRIFTED]
        return tuple(f.feature for f in sorted(moved, key=lambda f: (-_strength(f), f.feature)))

    @property
    def p_value(self) -> float | None:
        """The smallest adjusted p-value; None when nothing was tested."""
        found = [p for feature in self.features for p in (feature.p_value, feature.missing_p_value) if p is not None]
        return min(found, default=None)

    @property
    def effect(self) -> float | None:
        """The largest effect of a feature's values."""
        return max((feature.effect for feature in self.features if feature.effect is not None), default=None)

    @property
    def state(self) -> DriftState:
        """Drifted when any feature is; else insufficient when the table could not be judged or most features could not; else stable."""
        if self.drifted:
            return DriftState.DRIFTED
        unclear = sum(feature.state is DriftState.INSUFFICIENT for feature in self.features)
        return DriftState.INSUFFICIENT if self.reason or 2 * unclear > len(self.features) else DriftState.STABLE

    def to_frame(self) -> pl.DataFrame:
        """A row per feature: those that drifted first, then by effect."""
        rows = [
            asdict(f) | {"state": f.state.value, "appeared": ", ".join(f.appeared), "vanished": ", ".join(f.vanished)}
            for f in self.features
        ]
        text = ("feature", "kind", "state", "cause", "appeared", "vanished")
        schema: dict[str, type[pl.DataType]] = {
            name: pl.String if name in text else pl.Int64 if name.startswith("n_") else pl.Float64
            for name in FeatureShift.__dataclass_fields__
        }
        order = [pl.col("state") != DriftState.DRIFTED.value, -pl.col("effect").fill_null(0.0), pl.col("feature")]
        return pl.DataFrame(rows, schema=schema).sort(order)


def _strength(feature: FeatureShift) -> float:
    return math.inf if feature.effect is None else max(feature.effect, abs(feature.missing_current - feature.missing_reference))


@dataclass(slots=True)
class _Column:
    """One feature while it is measured: the effects, and the questions that chance is asked."""

    name: str
    kind: str
    shift: FeatureShift
    values: Question | None
    missing: Question | None
    # How many categories are judged: the most frequent ones, and the others together.
    categories: int = 0
    raw: float | None = None
    raw_missing: float | None = None


def table_drift(
    reference: pl.DataFrame,
    current: pl.DataFrame,
    *,
    rng: np.random.Generator,
    clusters: str | None = None,
    features: Sequence[str] | None = None,
    identity: Sequence[str] = (),
    alpha: float = 0.05,
    minimum_effect: float = 0.1,
    missing_effect: float = MISSING_EFFECT,
    n_permutations: int = 1999,
    reference_version: str = "",
    current_version: str = "",
) -> TableDrift:
    """Compare every feature of two windows. Nothing that can arrive in a feature raises: a window without rows, a column that is gone,
    renamed or of another type, values that are all missing, a reference of another schema version each have a state and a cause.

    Numbers are compared by Kolmogorov and Smirnov's distance, text and booleans by total variation of their categories (the 50 most
    frequent,
    the others together), missing shares by their difference. A feature drifted when an adjusted p-value is at most `alpha` **and** the
    effect at least `minimum_effect` (`missing_effect`); it is stable when an effect of that size would have been seen; else insufficient.

    `clusters` names the column of what is not independent (the account): each account's contribution gets a random sign, the same for all
    features, which keeps the chance that *any* feature is called drifted without cause at `alpha`. Without clusters rows are
    independent, and false discoveries over the features are controlled (Benjamini and Hochberg).
    `identity` names the columns that make a row: a day that was delivered twice counts once.

    Raises `SchemaError` for what the caller names wrongly: features that the reference lacks, or no cluster column; `SampleError` where the
    cluster of a row is null.

    >>> rng = np.random.default_rng(7)
    >>> before = pl.DataFrame({"ctr": rng.normal(size=500), "format": rng.choice(["video", "image"], 500)})
    >>> after = before.with_columns(pl.col("ctr") + 1, format=pl.lit("image"))
    >>> table_drift(before, after, rng=rng).drifted
    ('format', 'ctr')
    """
    names = [name for name in reference.columns if name != clusters and name not in identity] if features is None else list(features)
    if unknown := [name for name in names if name not in reference.columns]:
        raise SchemaError(f"The reference has no column {', '.join(unknown)}; it has {', '.join(reference.columns)}.")
    repeated = 0
    if identity and set(identity) <= set(current.columns):
        distinct = current.unique(list(identity), keep="last", maintain_order=True)
        repeated, current = current.height - distinct.height, distinct
    n, m = reference.height, current.height
    blank = TableDrift((), alpha, ROWS if clusters is None else "", n, m, None, 0, repeated)
    if reference_version != current_version:
        return replace(
            blank,
            reason=f"The reference has schema version {reference_version or 'none'} and the window {current_version or 'none'}; "
            "train on the new version first.",
        )
    for which, frame in (("reference", reference), ("current window", current)):
        if frame.height < 2:
            return replace(blank, reason=f"The {which} has {frame.height} rows; two are the least.")
    groups: Groups | None = None
    if clusters is not None:
        for which, frame in (("reference", reference), ("current window", current)):
            if clusters not in frame.columns:
                raise SchemaError(f"The {which} has no cluster column {clusters!r}; it has {', '.join(frame.columns)}.")
            if unnamed := frame[clusters].null_count():
                raise SampleError(f"The cluster column {clusters!r} is null in {unnamed} rows of the {which}; every row needs its cluster.")
        groups = group_rows(reference[clusters].cast(pl.String).to_numpy(), current[clusters].cast(pl.String).to_numpy(), rng=rng)
    added = tuple(name for name in current.columns if name not in reference.columns and name not in identity and name != clusters)
    limits = (minimum_effect, missing_effect)
    columns = [_measure(reference, current, name, added, groups, limits) for name in names]
    if groups is None:
        done = _judge_rows([c for c in columns if c.shift.cause == ""], alpha, limits)
        permutations = 0
    else:
        permutations = n_permutations
        done = _judge_clusters([c for c in columns if c.shift.cause == ""], groups, alpha, limits, rng, n_permutations)
    judged = {shift.feature: shift for shift in [*(c.shift for c in columns if c.shift.cause), *done]}
    reason = ""
    if groups is not None and not groups.enough:
        reason = f"Only {groups.n_clusters} accounts are in the windows; eight are the least that can tell drift from chance."
    return replace(
        blank, features=tuple(judged[name] for name in names), null=ROWS if groups is None else SIGN_FLIPS, added=added, reason=reason,
        n_clusters=None if groups is None else groups.n_clusters, n_permutations=permutations,
    )  # fmt: skip


def _kind(dtype: pl.DataType) -> str:
    return "number" if dtype.is_numeric() else "category"


def _numbers(series: pl.Series) -> NDArray[np.floating[Any]]:
    """The values with NaN where they are missing or infinite."""
    wide = series if series.dtype in (pl.Float32, pl.Float64) else series.cast(pl.Float64)
    values: NDArray[np.floating[Any]] = (wide.fill_null(float("nan")) if wide.null_count() else wide).to_numpy()
    # A sum is finite only when every value is, and costs a tenth of asking each.
    with np.errstate(over="ignore", invalid="ignore"):
        whole = np.isfinite(values.sum())
    return values if whole else np.where(np.isfinite(values), values, np.nan)


def _measure(
    reference: pl.DataFrame, current: pl.DataFrame, name: str, added: Sequence[str], groups: Groups | None, limits: tuple[float, float]
) -> _Column:
    kind = _kind(reference.schema[name])
    n, m = reference.height, current.height
    gone_before = float(_missing(reference[name]).mean())
    empty = FeatureShift(
        name, kind, DriftState.DRIFTED, "dropped", None, None, None, limits[0], None, None, None, gone_before, 1.0, None, (), (),
        n - round(gone_before * n), 0,
    )  # fmt: skip
    if name not in current.columns:
        twin = _twin(reference[name], current, added, limits[0])
        return _Column(name, kind, replace(empty, cause=f"renamed to {twin}" if twin else "dropped"), None, None)
    if _kind(current.schema[name]) != kind and current[name].null_count() < m:
        left = m - current[name].null_count()
        return _Column(name, kind, replace(empty, cause="type", missing_current=1 - left / m, n_current=left), None, None)
    gone = np.concatenate([_missing(reference[name]), _missing(current[name])])
    is_current = np.arange(n + m) >= n
    shift = replace(
        empty, state=DriftState.INSUFFICIENT, cause="", missing_current=float(gone[n:].mean()), n_reference=int((~gone[:n]).sum()),
        n_current=int((~gone[n:]).sum()),
    )  # fmt: skip
    missing = None
    if groups is not None and gone.any():
        missing = question(gone.astype(np.int64), groups.codes, is_current, n_groups=groups.n_groups, n_points=2, cumulative=False)
    if shift.n_reference < 2 or shift.n_current < 2:
        if gone.all():
            # Missing everywhere, before and now: nothing has changed.
            shift = replace(shift, state=DriftState.STABLE)
        return _Column(name, kind, shift, None, missing)
    measure = _measure_number if kind == "number" else _measure_category
    shift, cells, n_points = measure(reference[name], current[name], gone, shift, groups is not None)
    values = None
    if groups is not None:
        there = ~gone
        values = question(
            cells, groups.codes[there], is_current[there], n_groups=groups.n_groups, n_points=n_points, cumulative=kind == "number"
        )
    return _Column(name, kind, shift, values, missing, n_points)


def _missing(series: pl.Series) -> NDArray[np.bool_]:
    if series.dtype.is_numeric():
        values = _numbers(series)
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(values.sum()):
                return np.zeros(len(series), dtype=bool)
        missing: NDArray[np.bool_] = np.isnan(values)
        return missing
    return series.is_null().to_numpy()


def _measure_number(
    reference: pl.Series, current: pl.Series, gone: NDArray[np.bool_], shift: FeatureShift, clustered: bool
) -> tuple[FeatureShift, NDArray[np.int64], int]:
    n = len(reference)
    old, new = _numbers(reference), _numbers(current)
    if gone.any():
        old, new = old[~gone[:n]], new[~gone[n:]]
    ref, cur = in_order(old), in_order(new)
    edges = np.unique(ref[(np.arange(1, _BINS) * len(ref)) // _BINS])
    shares = [np.diff(np.r_[0, np.searchsorted(s, edges, side="right"), len(s)]) for s in (ref, cur)]
    smooth = [(counts + 0.5) / (counts + 0.5).sum() for counts in shares]
    index = float(np.sum((smooth[1] - smooth[0]) * np.log(smooth[1] / smooth[0])))
    spread = float(np.std(ref, dtype=np.float64))
    measured = replace(
        shift, effect=ks_of_ordered(ref, cur), wasserstein_sd=_area(ref, cur) / spread if spread > 0 else None,
        jensen_shannon=jensen_shannon_distance(shares[0], shares[1]), stability_index=index,
    )  # fmt: skip
    if not clustered:
        return measured, np.empty(0, dtype=np.int64), 0
    pooled = np.concatenate([old, new])
    points = np.unique(np.quantile(pooled, np.linspace(0, 1, _GRID + 1)[1:], method="inverted_cdf"))
    return measured, np.searchsorted(points, pooled, side="left"), len(points)


def _area(ref: NDArray[np.floating[Any]], cur: NDArray[np.floating[Any]]) -> float:
    """Wasserstein distance of two sorted samples: exact up to 200,000 rows, else at 4,096 quantiles."""
    n, m = len(ref), len(cur)
    if n + m > _EXACT_ROWS:
        at = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
        return float(np.abs(ref[(at * n).astype(int)].astype(np.float64) - cur[(at * m).astype(int)]).mean())
    pooled = np.sort(np.concatenate([ref, cur]), kind="stable")
    gap = np.searchsorted(ref, pooled[:-1], side="right") / n - np.searchsorted(cur, pooled[:-1], side="right") / m
    return float(np.sum(np.abs(gap) * np.diff(pooled.astype(np.float64))))


def _measure_category(
    reference: pl.Series, current: pl.Series, gone: NDArray[np.bool_], shift: FeatureShift, clustered: bool
) -> tuple[FeatureShift, NDArray[np.int64], int]:
    old, new = reference.drop_nulls().cast(pl.String), current.drop_nulls().cast(pl.String)
    counts = [dict(zip(*found.to_dict(as_series=False).values(), strict=True)) for found in (old.value_counts(), new.value_counts())]
    whole = compare_counts(counts[0], counts[1])
    total = {name: counts[0].get(name, 0) + counts[1].get(name, 0) for name in {*counts[0], *counts[1]}}
    kept = sorted(total, key=lambda name: (-total[name], name))[:_MOST_CATEGORIES]
    if len(total) > len(kept):
        lumped = [{name: c.get(name, 0) for name in kept} | {OTHER: sum(v for k, v in c.items() if k not in set(kept))} for c in counts]
    else:
        lumped = counts
    judged = compare_counts(lumped[0], lumped[1])
    measured = replace(
        shift, effect=judged.total_variation, jensen_shannon=judged.jensen_shannon, stability_index=judged.stability_index,
        appeared=whole.appeared[:20], vanished=whole.vanished[:20], p_value=judged.p_value,
    )  # fmt: skip
    if not clustered:
        return measured, np.empty(0, dtype=np.int64), len({*lumped[0], *lumped[1]})
    place = {name: i for i, name in enumerate(kept)}
    cells = pl.concat([old, new]).replace_strict(place, default=len(kept), return_dtype=pl.Int64).to_numpy()
    return measured, cells, len(kept) + 1


def _judge_rows(columns: Sequence[_Column], alpha: float, limits: tuple[float, float]) -> list[FeatureShift]:
    """p-values of independent rows, adjusted over all features and both questions."""
    raw: list[float] = []
    for column in columns:
        shift = column.shift
        if shift.effect is not None:
            column.raw = shift.p_value if column.kind == "category" else ks_p_value(shift.effect, shift.n_reference, shift.n_current)
            raw.append(float(column.raw or 0.0))
        n, m = (_total(shift.n_reference, shift.missing_reference), _total(shift.n_current, shift.missing_current))
        # Nothing missing before or now is no question, and must not cost the others their level.
        if shift.missing_reference or shift.missing_current:
            column.raw_missing = two_proportion_z(m - shift.n_current, m, n - shift.n_reference, n).p_value
            raw.append(column.raw_missing)
    adjusted = iter(benjamini_hochberg(raw).tolist() if raw else [])
    found = []
    for column in columns:
        shift = column.shift
        value_p = next(adjusted) if shift.effect is not None else None
        missing_p = 1.0 if column.raw_missing is None else next(adjusted)
        found.append(_judge(column, value_p, missing_p, _detectable_rows(column, alpha), 0.0, alpha, limits))
    return found


def _total(there: int, missing: float) -> int:
    return round(there / (1 - missing)) if missing < 1 else 1


def _detectable_rows(column: _Column, alpha: float) -> float:
    shift = column.shift
    if shift.effect is None:
        return math.inf
    effective = max(1, round(shift.n_reference * shift.n_current / (shift.n_reference + shift.n_current)))
    if column.kind == "number":
        return ks_detectable(alpha, shift.n_reference, shift.n_current)
    # Total variation of k categories under chance lies near sqrt((k - 1) / (2 pi n)) and needs about its double to be seen.
    return float(2 * math.sqrt(max(1, column.categories - 1) / (2 * math.pi * effective)))


def _judge_clusters(
    columns: Sequence[_Column], groups: Groups, alpha: float, limits: tuple[float, float], rng: np.random.Generator, n_permutations: int
) -> list[FeatureShift]:
    asked = [
        (column, which, q) for column in columns for which, q in (("values", column.values), ("missing", column.missing)) if q is not None
    ]
    if not asked or not groups.enough:
        return [c.shift if c.shift.state is DriftState.STABLE else replace(c.shift, p_value=None) for c in columns]
    questions = [q for _, _, q in asked]
    null = joint_null(questions, rng=rng, n_permutations=n_permutations)
    _, adjusted = adjusted_p_values(np.array([q.observed for q in questions]), null)
    reach = np.quantile(null, 1 - alpha, axis=0)
    answers = {(column.name, which): (float(adjusted[i]), float(reach[i])) for i, (column, which, _) in enumerate(asked)}
    found = []
    for column in columns:
        value_p, value_reach = answers.get((column.name, "values"), (None, math.inf))
        # Nothing missing before or now is no question.
        missing_p, missing_reach = answers.get((column.name, "missing"), (1.0, 0.0))
        found.append(_judge(column, value_p, missing_p, value_reach, missing_reach, alpha, limits))
    return found


def _judge(
    column: _Column, value_p: float | None, missing_p: float | None, value_reach: float, missing_reach: float, alpha: float,
    limits: tuple[float, float],
) -> FeatureShift:  # fmt: skip
    shift = column.shift
    change = abs(shift.missing_current - shift.missing_reference)
    missing_state = judge_distance(change, 1.0 if missing_p is None else missing_p, missing_reach, alpha, limits[1])
    value_state = shift.state
    if shift.effect is not None and value_p is not None:
        value_state = judge_distance(shift.effect, value_p, value_reach, alpha, limits[0])
    causes = [cause for cause, state in (("values", value_state), ("missing", missing_state)) if state is DriftState.DRIFTED]
    state = DriftState.STABLE
    if causes:
        state = DriftState.DRIFTED
    elif DriftState.INSUFFICIENT in (value_state, missing_state):
        state = DriftState.INSUFFICIENT
    return replace(
        shift, state=state, cause=" and ".join(causes), p_value=value_p, missing_p_value=missing_p,
        detectable=value_reach if math.isfinite(value_reach) else None,
    )  # fmt: skip


def _twin(lost: pl.Series, current: pl.DataFrame, added: Sequence[str], minimum_effect: float) -> str:
    """The new column that holds what the lost one held, if exactly one does."""
    found = []
    for name in added:
        if _kind(current.schema[name]) != _kind(lost.dtype):
            continue
        if lost.dtype.is_numeric():
            old, new = (v[np.isfinite(v)] for v in (_numbers(lost), _numbers(current[name])))
            if len(old) > 1 and len(new) > 1 and ks_of_ordered(np.sort(old), np.sort(new)) < minimum_effect:
                found.append(name)
        else:
            counts = [
                dict(zip(*s.drop_nulls().cast(pl.String).value_counts().to_dict(as_series=False).values(), strict=True))
                for s in (lost, current[name])
            ]
            if counts[0] and counts[1] and compare_counts(counts[0], counts[1]).total_variation < minimum_effect:
                found.append(name)
    return found[0] if len(found) == 1 else ""
