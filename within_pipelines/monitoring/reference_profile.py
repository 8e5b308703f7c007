"""A reference in a few kilobytes: bins, categories, missing shares, correlations; and comparisons with it whose error is stated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.exceptions import SampleError, SchemaError
from within_pipelines.monitoring.categories import compare_counts, jensen_shannon_distance
from within_pipelines.monitoring.state import DriftState
from within_pipelines.monitoring.two_sample import ks_detectable, ks_p_value

Numbers = NDArray[np.floating[Any]]
FORMAT = 1
# Bins of equal width, or cut by the leading bits of a float, are counted ten times as fast as bins at any edges; they serve where none
# holds
# more than this share.
_MOST_IN_BIN = 0.025
EVEN, BITS, EDGES = "even", "bits", "edges"
_PREFIXES = 1 << 16
_MOST_CORRELATED = 64


@dataclass(frozen=True, slots=True)
class FeatureProfile:
    """One feature of the reference: `edges` between bins (of numbers), `counts` per bin or per category.

    `binning` says how rows are counted: "even" edges, edges at leading `bits` of single-precision floats (even on a logarithmic scale), or
    any "edges"."""

    feature: str
    kind: str  # number | category
    n: int
    missing: float
    binning: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    categories: tuple[str, ...]

    @property
    def largest_bin(self) -> float:
        """Largest share that one bin holds: no binned distance is off by more."""
        return max(self.counts, default=0) / max(1, self.n)


@dataclass(frozen=True, slots=True)
class ReferenceProfile:
    """What a model was trained on, compactly. `correlations` are rank correlations of the numeric features named in `correlated`."""

    features: tuple[FeatureProfile, ...]
    n_rows: int
    correlated: tuple[str, ...]
    correlations: tuple[tuple[float, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        listed = [
            {
                "feature": f.feature, "kind": f.kind, "n": f.n, "missing": f.missing, "binning": f.binning, "edges": list(f.edges),
                "counts": list(f.counts), "categories": list(f.categories),
            }
            for f in self.features
        ]  # fmt: skip
        matrix = [list(row) for row in self.correlations]
        return {"format": FORMAT, "n_rows": self.n_rows, "features": listed, "correlated": list(self.correlated), "correlations": matrix}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ReferenceProfile:
        """The profile that `to_dict` wrote.

        Raises `SchemaError` for another format."""
        if values.get("format") != FORMAT:
            raise SchemaError(
                f"The profile has format {values.get('format')}; this code reads format {FORMAT}, so profile the reference again."
            )
        listed = tuple(
            FeatureProfile(**{**f, "edges": tuple(f["edges"]), "counts": tuple(f["counts"]), "categories": tuple(f["categories"])})
            for f in values["features"]
        )
        return cls(listed, int(values["n_rows"]), tuple(values["correlated"]), tuple(tuple(row) for row in values["correlations"]))


def reference_profile(reference: pl.DataFrame, *, n_bins: int = 64, most_categories: int = 200) -> ReferenceProfile:
    """Profile a reference: for numbers `n_bins` bins: even ones where none holds more than 2.5 % of the rows,
    else bins of about equal mass cut at leading bits of floats, else of equal mass.

    Raises `SampleError` without rows or with fewer than two bins.

    >>> profile = reference_profile(pl.DataFrame({"x": np.arange(1000.0)}), n_bins=100)
    >>> profile.features[0].largest_bin
    0.01
    """
    if reference.is_empty() or n_bins < 2:
        raise SampleError(f"The reference has {reference.height} rows and {n_bins} bins were asked for; give rows and two bins or more.")
    found = tuple(_profile(reference[name], n_bins, most_categories) for name in reference.columns)
    numeric = [f.feature for f in found if f.kind == "number" and f.n > 1][:_MOST_CORRELATED]
    return ReferenceProfile(found, reference.height, tuple(numeric), _correlations(reference, numeric))


def _profile(series: pl.Series, n_bins: int, most_categories: int) -> FeatureProfile:
    if not series.dtype.is_numeric():
        known = series.drop_nulls().cast(pl.String)
        counted = known.value_counts(sort=True).head(most_categories)
        names, tallies = counted[counted.columns[0]].to_list(), counted[counted.columns[1]].to_list()
        missing = series.null_count() / len(series)
        return FeatureProfile(series.name, "category", len(known), missing, "", (), tuple(tallies), tuple(names))
    values = _finite(series)
    missing = 1 - len(values) / len(series)
    if not len(values):
        return FeatureProfile(series.name, "number", 0, missing, EDGES, (), (), ())
    for binning in (EVEN, BITS, EDGES):
        edges = _edges(values, n_bins, binning)
        counts = _count(values, edges, binning)
        if counts.max() <= _MOST_IN_BIN * len(values):
            break
    return FeatureProfile(series.name, "number", len(values), missing, binning, tuple(edges.tolist()), tuple(counts.tolist()), ())


def _edges(values: Numbers, n_bins: int, binning: str) -> NDArray[np.float64]:
    if binning == EVEN:
        even: NDArray[np.float64] = np.linspace(float(values.min()), float(values.max()), n_bins + 1)[1:-1]
        return even
    if binning == BITS:
        counts = np.bincount(_prefixes(values), minlength=_PREFIXES)
        wanted = np.arange(1, n_bins) / n_bins * len(values)
        return np.unique(np.searchsorted(np.cumsum(counts), wanted)).astype(np.float64)
    return np.unique(np.quantile(values, np.linspace(0, 1, n_bins + 1)[1:-1], method="inverted_cdf").astype(np.float64))


def _prefixes(values: Numbers) -> NDArray[np.int32]:
    """The leading 16 bits of single-precision floats, in the order of the numbers."""
    bits = values.astype(np.float32, copy=False).view(np.int32) >> 16
    # Negative floats order backwards by their bits.
    return np.where(bits < 0, -1 - (bits & 0x7FFF), bits) + (_PREFIXES >> 1)


def _finite(series: pl.Series) -> Numbers:
    wide = series if series.dtype in (pl.Float32, pl.Float64) else series.cast(pl.Float64)
    values: Numbers = (wide.fill_null(float("nan")) if wide.null_count() else wide).to_numpy()
    # A sum is finite only when every value is, and costs a tenth of asking each.
    return values if np.isfinite(values.sum(dtype=np.float64)) else values[np.isfinite(values)]


def _count(values: Numbers, edges: NDArray[np.float64], binning: str) -> NDArray[np.int64]:
    """Rows per bin; a value on an edge belongs to the bin below (of even bins: to within rounding). Edges of `bits` are prefixes."""
    if binning == BITS:
        counts = np.bincount(_prefixes(values), minlength=_PREFIXES)
        return np.diff(np.r_[0, np.cumsum(counts)[edges.astype(np.int64)], len(values)])
    if binning == EDGES or len(edges) < 2 or edges[-1] <= edges[0]:
        return np.bincount(np.searchsorted(edges.astype(values.dtype), values, side="left"), minlength=len(edges) + 1)
    width = (edges[-1] - edges[0]) / (len(edges) - 1)
    place = values * values.dtype.type(1 / width)
    place -= values.dtype.type(edges[0] / width - 1)
    np.clip(place, 0, len(edges), out=place)
    return np.bincount(place.astype(np.int32), minlength=len(edges) + 1)


def _correlations(reference: pl.DataFrame, names: list[str]) -> tuple[tuple[float, ...], ...]:
    if len(names) < 2:
        return ()
    ranks = reference.select((pl.col(n).rank() - pl.col(n).rank().mean()).fill_null(0.0).fill_nan(0.0) for n in names).to_numpy()
    spread = np.sqrt((ranks**2).sum(axis=0))
    scaled = np.divide(ranks, spread, out=np.zeros_like(ranks), where=spread > 0)
    return tuple(tuple(round(float(x), 6) for x in row) for row in scaled.T @ scaled)


@dataclass(frozen=True, slots=True)
class BinnedShift:
    """One feature against its profile. The true Kolmogorov-Smirnov distance lies in [distance, distance + error]; `p_value` takes rows as
    independent and belongs to `distance`, so it is never too small. For a category `distance` is the total variation and exact."""

    feature: str
    state: DriftState
    distance: float | None
    error: float
    p_value: float | None
    jensen_shannon: float | None
    missing_reference: float
    missing_current: float
    n_reference: int
    n_current: int


def binned_drift(
    profile: ReferenceProfile, current: pl.DataFrame, *, alpha: float = 0.05, minimum_effect: float = 0.1
) -> tuple[BinnedShift, ...]:
    """Compare a window with a profile, in one pass over each column and without the reference's rows.

    Within a bin the distance can exceed that at its edges by no more than the bin's share: the stated error is the most that it can be
    off. p-values are Bonferroni-adjusted over the features. A feature that is absent, empty or of another kind is insufficient.

    Raises `SampleError` without rows.

    >>> x = np.arange(1000.0)
    >>> profile = reference_profile(pl.DataFrame({"x": x}), n_bins=100)
    >>> [(s.state.value, round(s.distance, 2)) for s in binned_drift(profile, pl.DataFrame({"x": x + 500}))]
    [('drifted', 0.5)]
    """
    if current.is_empty():
        raise SampleError("The current window has no rows; there is nothing to compare.")
    return tuple(_compare(feature, current, alpha / max(1, len(profile.features)), minimum_effect) for feature in profile.features)


def _compare(feature: FeatureProfile, current: pl.DataFrame, alpha: float, minimum_effect: float) -> BinnedShift:
    blank = BinnedShift(feature.feature, DriftState.INSUFFICIENT, None, 0.0, None, None, feature.missing, 1.0, feature.n, 0)
    if feature.feature not in current.columns or not feature.n:
        return blank
    series = current[feature.feature]
    if series.dtype.is_numeric() != (feature.kind == "number"):
        return blank
    if feature.kind == "category":
        return _compare_categories(feature, series, blank, alpha, minimum_effect)
    values = _finite(series)
    missing = 1 - len(values) / len(series)
    if not len(values):
        return BinnedShift(feature.feature, DriftState.INSUFFICIENT, None, 0.0, None, None, feature.missing, 1.0, feature.n, 0)
    edges = np.asarray(feature.edges)
    counts = _count(values, edges, feature.binning)
    p, q = np.asarray(feature.counts) / feature.n, counts / len(values)
    gap = np.r_[0.0, np.cumsum(p - q)]
    distance = float(np.abs(gap).max())
    # F - G in a bin is at most its value at the left edge plus p, and at most its value at the right edge plus q; so for G - F.
    upper = max(float(np.minimum(gap[:-1] + p, gap[1:] + q).max()), float(np.minimum(-gap[:-1] + q, -gap[1:] + p).max()))
    error = max(0.0, upper - distance)
    p_value = ks_p_value(distance, feature.n, len(values))
    state = _state(p_value, distance, error, feature.n, len(values), alpha, minimum_effect)
    return BinnedShift(
        feature.feature, state, distance, error, p_value, jensen_shannon_distance(p, q), feature.missing, missing, feature.n, len(values)
    )


def _state(p_value: float, distance: float, error: float, n: int, m: int, alpha: float, minimum_effect: float) -> DriftState:
    if p_value <= alpha and distance >= minimum_effect:
        return DriftState.DRIFTED
    return DriftState.STABLE if max(ks_detectable(alpha, n, m), distance + error) <= minimum_effect else DriftState.INSUFFICIENT


def _compare_categories(feature: FeatureProfile, series: pl.Series, blank: BinnedShift, alpha: float, minimum_effect: float) -> BinnedShift:
    known = series.drop_nulls().cast(pl.String)
    if not len(known):
        return blank
    counted = known.value_counts()
    counts: dict[str, int] = dict(zip(counted[counted.columns[0]].to_list(), counted[counted.columns[1]].to_list(), strict=True))
    reference = dict(zip(feature.categories, feature.counts, strict=True))
    if sum(feature.counts) < feature.n:
        # The profile kept the most frequent categories; all others are one.
        reference["(all others)"] = feature.n - sum(feature.counts)
        rest = sum(n for name, n in counts.items() if name not in reference)
        counts = {name: n for name, n in counts.items() if name in reference} | {"(all others)": rest}
    shift = compare_counts(reference, counts)
    moved = shift.p_value <= alpha and shift.total_variation >= minimum_effect
    state = DriftState.DRIFTED if moved else DriftState.STABLE if shift.total_variation < minimum_effect else DriftState.INSUFFICIENT
    missing = series.null_count() / len(series)
    return BinnedShift(
        feature.feature,
        state,
        shift.total_variation,
        0.0,
        shift.p_value,
        shift.jensen_shannon,
        feature.missing,
        missing,
        feature.n,
        len(known),
    )
