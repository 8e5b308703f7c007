"""How well a model does while its labels are late: estimated from calibrated probabilities or from a regression of its loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import NotFittedError, SampleError
from within_pipelines.monitoring.mean_shift import mean_shift
from within_pipelines.monitoring.state import DriftState
from within_pipelines.stats import Estimate, cluster_bootstrap, cluster_mean

if TYPE_CHECKING:
    from datetime import date

Floats = NDArray[np.float64]


def expected_brier(probability: Floats) -> float:
    """Mean p (1 - p): the Brier score of calibrated probabilities."""
    return float(np.mean(probability * (1 - probability)))


def expected_log_loss(probability: Floats) -> float:
    """Mean entropy in nats."""
    p = np.clip(probability, 1e-12, 1 - 1e-12)
    return float(-np.mean(p * np.log(p) + (1 - p) * np.log1p(-p)))


def expected_accuracy(probability: Floats) -> float:
    """Mean max(p, 1 - p): how often the likelier outcome comes."""
    return float(np.mean(np.maximum(probability, 1 - probability)))


def expected_auroc(probability: Floats) -> float:
    """Expected pairs ranked right over expected pairs of a positive and a negative, ties counted half; NaN when one class is impossible.

    >>> round(expected_auroc(np.array([0.0, 0.0, 1.0, 1.0])), 3)
    1.0
    """
    p = np.sort(probability)
    starts = np.flatnonzero(np.r_[True, np.diff(p) > 0])
    positive = np.add.reduceat(p, starts)
    negative = np.add.reduceat(1 - p, starts)
    # A row is no pair with itself.
    own = np.add.reduceat(p * (1 - p), starts)
    below = np.cumsum(negative) - negative
    pairs = float(p.sum() * (1 - p).sum() - (p * (1 - p)).sum())
    return float((np.sum(positive * below) + np.sum(positive * negative - own) / 2) / pairs) if pairs > 0 else float("nan")


EXPECTED: Mapping[str, Callable[[Floats], float]] = {
    "brier": expected_brier,
    "log_loss": expected_log_loss,
    "accuracy": expected_accuracy,
    "auroc": expected_auroc,
}


def estimate_from_probabilities(
    probability: ArrayLike, metric: str, *, rng: np.random.Generator, clusters: ArrayLike | None = None, n_resamples: int = 200
) -> Estimate:
    """Confidence-based performance estimation: the metric that calibrated probabilities promise, with an interval over accounts.

    It follows a change of the inputs and is blind to a change of what they mean (concept drift): compare it with realised performance
    as labels mature. Source: Garg et al. (2022); NannyML's CBPE. `metric` is one of brier, log_loss, accuracy, auroc.

    Raises `SampleError` for an unknown metric, no rows, or probabilities outside [0, 1].

    >>> p = np.array([0.1, 0.9] * 50)
    >>> round(estimate_from_probabilities(p, "brier", rng=np.random.default_rng(7)).value, 3)
    0.09
    """
    p = np.asarray(probability, dtype=np.float64)
    if metric not in EXPECTED:
        raise SampleError(f"{metric!r} cannot be estimated from probabilities; give one of {', '.join(EXPECTED)}.")
    if p.ndim != 1 or not p.size or not (p.min() >= 0 and p.max() <= 1):
        raise SampleError(f"Probabilities have shape {p.shape}; give a flat array of numbers between 0 and 1.")
    units = np.arange(len(p)) if clusters is None else np.asarray(clusters)
    return cluster_bootstrap(lambda rows: EXPECTED[metric](p[rows]), units, rng=rng, n_resamples=n_resamples)


class LossRegression:
    """Direct loss estimation: a boosted regression of the loss on features and prediction, fitted on mature rows that the model was not
    fitted on. Its mean over new rows estimates their mean loss under a change of the inputs (NannyML's DLE)."""

    def __init__(self, *, seed: int) -> None:
        self.seed = seed
        self._fitted: Any = None

    def fit(self, features: Floats, prediction: ArrayLike, loss: ArrayLike) -> LossRegression:
        """Learn the loss.

        Raises `SampleError` for fewer than 50 rows or values of the loss that are not finite."""
        from sklearn.ensemble import HistGradientBoostingRegressor

        y = np.asarray(loss, dtype=np.float64)
        if len(y) < 50 or not np.all(np.isfinite(y)):
            raise SampleError(f"{len(y)} mature rows, {int(np.sum(~np.isfinite(y)))} without a finite loss; 50 finite ones are the least.")
        # Shallow and slow: the loss of one row is mostly noise.
        self._fitted = HistGradientBoostingRegressor(
            max_iter=80, learning_rate=0.06, max_leaf_nodes=8, min_samples_leaf=max(20, len(y) // 50), random_state=self.seed
        ).fit(_inputs(features, prediction), y)
        return self

    def rows(self, features: Floats, prediction: ArrayLike) -> Floats:
        """The estimated loss of each row.

        Raises `NotFittedError` before `fit`."""
        if self._fitted is None:
            raise NotFittedError("The loss regression has not been fitted; call fit with mature rows first.")
        estimated: Floats = self._fitted.predict(_inputs(features, prediction))
        return estimated

    def estimate(
        self,
        features: Floats,
        prediction: ArrayLike,
        *,
        rng: np.random.Generator,
        clusters: ArrayLike | None = None,
        n_resamples: int = 200,
    ) -> Estimate:
        """Mean loss with an interval over accounts (of the rows drawn, not of the regression)."""
        estimated = self.rows(features, prediction)
        units = np.arange(len(estimated)) if clusters is None else np.asarray(clusters)
        return cluster_mean(estimated, units, rng=rng, n_resamples=n_resamples)


def _inputs(features: Floats, prediction: ArrayLike) -> Floats:
    return np.column_stack([np.asarray(features, dtype=np.float64), np.asarray(prediction, dtype=np.float64)])


@dataclass(frozen=True, slots=True)
class Divergence:
    """Realised less estimated loss on mature rows, against the same difference when the model was judged.

    Drifted means that the estimate no longer holds: what inputs mean has changed, and estimates for days without labels are not to be
    trusted."""

    state: DriftState
    change: float
    low: float
    high: float
    p_value: float
    threshold: float
    n_reference: int
    n_current: int
    n_clusters: int


def divergence(
    reference_realised: ArrayLike,
    reference_estimated: ArrayLike,
    realised: ArrayLike,
    estimated: ArrayLike,
    *,
    rng: np.random.Generator,
    reference_clusters: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    alpha: float = 0.05,
    minimum_effect: float | None = None,
    n_permutations: int = 1999,
) -> Divergence:
    """Do estimates still say what comes? Row by row, realised less estimated loss, in two windows.

    `minimum_effect` defaults to a tenth of the reference's mean realised loss. Raises `SampleError` like `mean_shift`."""
    old = np.asarray(reference_realised, dtype=np.float64) - np.asarray(reference_estimated, dtype=np.float64)
    new = np.asarray(realised, dtype=np.float64) - np.asarray(estimated, dtype=np.float64)
    found = mean_shift(old, new, rng=rng, reference_clusters=reference_clusters, current_clusters=clusters, n_permutations=n_permutations)
    threshold = 0.1 * float(np.mean(np.asarray(reference_realised, dtype=np.float64))) if minimum_effect is None else minimum_effect
    change, low, high = (float(x[0]) for x in (found.change, found.low, found.high))
    p_value = float(found.p_value[0])
    if not found.enough:
        state = DriftState.INSUFFICIENT
    elif p_value <= alpha and abs(change) >= threshold:
        state = DriftState.DRIFTED
    else:
        state = DriftState.STABLE if max(abs(low), abs(high)) < threshold else DriftState.INSUFFICIENT
    return Divergence(state, change, low, high, p_value, threshold, found.n_reference, found.n_current, found.n_clusters)


def performance_table(
    rows: pl.DataFrame, *, rng: np.random.Generator, weekly_spend: Mapping[str, float] | None = None, n_resamples: int = 100
) -> pl.DataFrame:
    """Estimated beside realised loss, a row per day.

    `rows` has `day`, `cluster`, `estimated` (loss expected of the row) and `realised` (null until the label is mature). Columns of the
    answer: `day`, `rows`, `estimated`, `estimated_low`, `estimated_high`, `mature_rows`, `realised`, `realised_low`, `realised_high`
    (all in units of the loss; null where nothing is known). Where the rows also have `error_estimated` and `error_realised` (a forecast's
    absolute error of a log ratio; null where there is no forecast), the same six columns of it follow.
    With `weekly_spend` by currency also `misjudged_<currency>`: spend times twice the loss, which for a Brier score is the spend of units
    judged wrongly by someone who acts on the probability (E|y - p| = 2 p (1 - p)), and `misplanned_<currency>`: spend times 1 - exp(-e),
    by which a plan made from a forecast that is off by a factor exp(e) falls short. Realised loss is used where it is known, else the
    estimate. Currencies are never summed.

    Raises `SampleError` when there is no row."""
    if rows.is_empty():
        raise SampleError("There are no rows to tabulate.")
    measures = ["estimated", "realised", *(name for name in ("error_estimated", "error_realised") if name in rows.columns)]
    made: list[dict[str, Any]] = []
    for part in rows.sort("day", maintain_order=True).partition_by("day", maintain_order=True):
        day = part["day"][0]
        row: dict[str, Any] = {"day": day, "rows": part.height, "mature_rows": part.height - part["realised"].null_count()}
        for name in measures:
            known = part.filter(pl.col(name).is_not_null())
            row |= _with_interval(name, known[name], known["cluster"], rng, n_resamples)
        made.append(row)
    numbers = [f"{what}{end}" for what in measures for end in ("", "_low", "_high")]
    schema: dict[str, Any] = {"day": rows.schema["day"], "rows": pl.Int64, "mature_rows": pl.Int64, **dict.fromkeys(numbers, pl.Float64)}
    table = pl.DataFrame(made, schema=schema)
    loss = pl.coalesce("realised", "estimated")
    table = table.with_columns((2 * loss * spend).alias(f"misjudged_{money}") for money, spend in (weekly_spend or {}).items())
    if len(measures) == 2:
        return table
    short = 1 - (-pl.coalesce("error_realised", "error_estimated")).exp()
    return table.with_columns((short * spend).alias(f"misplanned_{money}") for money, spend in (weekly_spend or {}).items())


def _with_interval(
    name: str, values: pl.Series, clusters: pl.Series, rng: np.random.Generator, n_resamples: int
) -> dict[str, float | None]:
    if values.is_empty():
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    loss = values.to_numpy()
    if clusters.n_unique() < 2:
        return {name: float(loss.mean()), f"{name}_low": None, f"{name}_high": None}
    found = cluster_mean(loss, clusters.to_numpy(), rng=rng, n_resamples=n_resamples)
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def mature_until(table: pl.DataFrame) -> date | None:
    """The newest day with mature labels; None when none has come."""
    found: date | None = table.filter(pl.col("mature_rows") > 0)["day"].max()  # type: ignore[assignment]
    return found
