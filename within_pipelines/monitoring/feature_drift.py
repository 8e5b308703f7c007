"""Which features of a table moved, or went missing, between two windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.exceptions import SampleError, SchemaError
from within_pipelines.monitoring.kolmogorov_smirnov import (
    FEWEST_CLUSTERS,
    cluster_influence,
    clustered_test,
    judge_distance,
    kolmogorov_smirnov,
)
from within_pipelines.monitoring.state import DriftState
from within_pipelines.stats import benjamini_hochberg, two_proportion_z

# A change of the missing share by less than this does not matter.
MISSING_EFFECT = 0.05


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """One feature: distance of the values that are there (None when a window has none), and the change of the missing share.

    p-values are adjusted over all features and both questions (Benjamini and Hochberg)."""

    feature: str
    state: DriftState
    cause: str  # "values", "missing", "values and missing", "" when it did not drift
    distance: float | None
    p_value: float | None
    detectable: float | None
    missing_reference: float
    missing_current: float
    missing_p_value: float
    n_reference: int
    n_current: int


@dataclass(frozen=True, slots=True)
class FeatureDriftReport:
    """What moved between two windows of a feature table. The false discovery rate over the features is at most `alpha`."""

    features: tuple[FeatureDrift, ...]
    alpha: float
    minimum_effect: float
    n_reference: int
    n_current: int
    n_units: int

    @property
    def drifted(self) -> tuple[str, ...]:
        """Features that drifted, largest distance first."""
        moved = [feature for feature in self.features if feature.state is DriftState.DRIFTED]
        return tuple(f.feature for f in sorted(moved, key=lambda f: (-(f.distance or 0.0), f.feature)))

    @property
    def state(self) -> DriftState:
        """Drifted when any feature is; else insufficient when most features are; else stable."""
        if self.drifted:
            return DriftState.DRIFTED
        unclear = sum(feature.state is DriftState.INSUFFICIENT for feature in self.features)
        return DriftState.INSUFFICIENT if 2 * unclear > len(self.features) else DriftState.STABLE

    def to_frame(self) -> pl.DataFrame:
        """A row per feature, in the table's order."""
        rows = [asdict(feature) | {"state": feature.state.value} for feature in self.features]
        kinds = {"feature": pl.String, "state": pl.String, "cause": pl.String, "n_reference": pl.Int64, "n_current": pl.Int64}
        return pl.DataFrame(rows, schema={name: kinds.get(name, pl.Float64) for name in FeatureDrift.__dataclass_fields__})


@dataclass(frozen=True, slots=True)
class _Question:
    distance: float | None
    p_value: float
    detectable: float


def _column(frame: pl.DataFrame, name: str) -> NDArray[np.float64]:
    values = frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return np.where(np.isfinite(values), values, np.nan)


def _missing(
    gone: NDArray[np.bool_], is_current: NDArray[np.bool_], codes: NDArray[np.int64] | None,
    *, alpha: float, rng: np.random.Generator, n_permutations: int,
) -> _Question:  # fmt: skip
    n, m = int((~is_current).sum()), int(is_current.sum())
    before, after = int(gone[~is_current].sum()), int(gone[is_current].sum())
    change = abs(after / m - before / n)
    if codes is None:
        return _Question(change, two_proportion_z(after, m, before, n).p_value, 0.0)
    influence = cluster_influence(gone.astype(np.float64), is_current, codes)
    return _Question(change, *clustered_test(influence, alpha=alpha, rng=rng, n_permutations=n_permutations))


def _numeric(reference: pl.DataFrame, current: pl.DataFrame, features: Sequence[str] | None, clusters: str | None) -> list[str]:
    wanted = (
        [name for name, kind in reference.schema.items() if kind.is_numeric() and name != clusters] if features is None else list(features)
    )
    needed = [*wanted, *([] if clusters is None else [clusters])]
    for which, frame in (("reference", reference), ("current", current)):
        if absent := [name for name in needed if name not in frame.columns]:
            raise SchemaError(f"The {which} window has no column {', '.join(absent)}; compare tables of one feature specification.")
        if text := [name for name in wanted if not frame.schema[name].is_numeric()]:
            raise SchemaError(f"Columns {', '.join(text)} of the {which} window are not numeric; name the numeric ones in `features`.")
        if frame.is_empty():
            raise SampleError(f"The {which} window has no rows; there is nothing to compare.")
    if not wanted:
        raise SchemaError(f"The tables have no numeric columns to compare; reference has {', '.join(reference.columns)}.")
    return wanted


def feature_drift(
    reference: pl.DataFrame,
    current: pl.DataFrame,
    *,
    rng: np.random.Generator,
    clusters: str | None = None,
    features: Sequence[str] | None = None,
    alpha: float = 0.05,
    minimum_effect: float = 0.1,
    missing_effect: float = MISSING_EFFECT,
    n_permutations: int | None = None,
) -> FeatureDriftReport:
    """Compare each numeric feature of two tables: its values (Kolmogorov-Smirnov) and its missing share (null, NaN, infinite).

    `clusters` names the column of what is not independent (the account), see `kolmogorov_smirnov`. A feature drifted when an adjusted
    p-value is at most `alpha` and the effect at least `minimum_effect` (distance) or `missing_effect` (change of the missing share).
    `n_permutations` of the clustered null defaults to what the adjustment over all features needs, at least 999.

    Raises `SchemaError` when a column is absent or not numeric, `SampleError` when a window is empty.

    >>> rng = np.random.default_rng(7)
    >>> before = pl.DataFrame({"ctr": rng.normal(size=400), "cpc": rng.normal(size=400)})
    >>> after = pl.DataFrame({"ctr": rng.normal(size=400), "cpc": rng.normal(2, 1, size=400)})
    >>> feature_drift(before, after, rng=rng).drifted
    ('cpc',)
    """
    names = _numeric(reference, current, features, clusters)
    is_current = np.arange(len(reference) + len(current)) >= len(reference)
    codes: NDArray[np.int64] | None = None
    if clusters is not None:
        labels = pl.concat([reference[clusters].cast(pl.String), current[clusters].cast(pl.String)])
        if labels.null_count():
            raise SampleError(f"The cluster column {clusters!r} is null in {labels.null_count()} rows; every row needs its cluster.")
        codes = np.unique(labels.to_numpy(), return_inverse=True)[1]
    # One drifted feature among many must be able to survive the adjustment: 1 / (permutations + 1) times the number of tests.
    permutations = max(999, math.ceil(4 * len(names) / alpha)) if n_permutations is None else n_permutations
    values: list[_Question | None] = []
    missing: list[_Question] = []
    shares: list[tuple[float, float, int, int]] = []
    for name in names:
        pooled = np.concatenate([_column(reference, name), _column(current, name)])
        gone = np.isnan(pooled)
        shares.append(
            (
                float(gone[~is_current].mean()),
                float(gone[is_current].mean()),
                int((~gone & ~is_current).sum()),
                int((~gone & is_current).sum()),
            )
        )
        missing.append(_missing(gone, is_current, codes, alpha=alpha, rng=rng, n_permutations=permutations))
        old, new = ~gone & ~is_current, ~gone & is_current
        if not old.any() or not new.any():
            values.append(None)
            continue
        tested = kolmogorov_smirnov(
            pooled[old], pooled[new], rng=rng, alpha=alpha, minimum_effect=minimum_effect, n_permutations=permutations,
            reference_clusters=None if codes is None else codes[old], current_clusters=None if codes is None else codes[new],
        )  # fmt: skip
        values.append(_Question(tested.distance, tested.p_value, tested.detectable))
    raw = [question.p_value for question in values if question is not None] + [question.p_value for question in missing]
    adjusted = iter(benjamini_hochberg(raw).tolist())
    value_p = [None if question is None else next(adjusted) for question in values]
    missing_p = list(adjusted)
    n_units = len(is_current) if codes is None else int(codes.max()) + 1
    found = tuple(
        _judge(
            name,
            values[i],
            value_p[i],
            missing[i],
            missing_p[i],
            shares[i],
            alpha,
            minimum_effect,
            missing_effect,
            n_units if codes is not None else None,
        )
        for i, name in enumerate(names)
    )
    return FeatureDriftReport(found, alpha, minimum_effect, len(reference), len(current), n_units)


def _judge(
    name: str, value: _Question | None, value_p: float | None, gone: _Question, gone_p: float, share: tuple[float, float, int, int],
    alpha: float, minimum_effect: float, missing_effect: float, n_clusters: int | None,
) -> FeatureDrift:  # fmt: skip
    enough = n_clusters is None or n_clusters >= FEWEST_CLUSTERS
    missing_state = (
        judge_distance(gone.distance or 0.0, gone_p, gone.detectable, alpha, missing_effect) if enough else DriftState.INSUFFICIENT
    )
    value_state = DriftState.INSUFFICIENT
    if value is not None and value_p is not None and value.distance is not None:
        value_state = judge_distance(value.distance, value_p, value.detectable, alpha, minimum_effect)
    elif share[0] == share[1] == 1.0:
        # Missing everywhere, before and now: nothing has changed.
        value_state = DriftState.STABLE
    causes = [cause for cause, state in (("values", value_state), ("missing", missing_state)) if state is DriftState.DRIFTED]
    if causes:
        state = DriftState.DRIFTED
    elif DriftState.INSUFFICIENT in (value_state, missing_state):
        state = DriftState.INSUFFICIENT
    else:
        state = DriftState.STABLE
    return FeatureDrift(
        name, state, " and ".join(causes), None if value is None else value.distance, value_p, None if value is None else value.detectable,
        share[0], share[1], gone_p, share[2], share[3],
    )  # fmt: skip
