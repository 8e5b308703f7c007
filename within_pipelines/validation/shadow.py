"""Two versions asked the same: how far apart are their answers, how fast and how often wrong is each?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from within_pipelines.exceptions import SampleError
from within_pipelines.stats import Estimate


@dataclass(frozen=True, slots=True)
class ShadowComparison:
    """One version in the shadow of another, over the requests that both were asked.

    - `pairs`: answered by both; `shadow_errors`: where the shadow failed and the champion did not; `missing`: never answered by the shadow
      (dropped, or still on the way),
    - `mean_absolute_difference`, `largest_difference`: of the values, in their own units,
    - `rank_correlation`: Spearman's, with its interval by Fisher's transformation (None below 10 pairs, or when one never varies),
    - `champion_ms`, `shadow_ms`: median and 99th percentile of the time to compute an answer,
    - `with_outcome`: pairs with an outcome; `brier_gain`: champion's squared error less the shadow's, above 0 when the shadow is better,
      with a 95 % interval over units (None below 30 units or when values are no probabilities); `outcome_correlation`: Spearman's
      correlation of (champion, shadow) with the outcome; `champion_calibration`, `shadow_calibration`: mean prediction less mean outcome.
    """

    pairs: int
    shadow_errors: int
    missing: int
    mean_absolute_difference: float
    largest_difference: float
    rank_correlation: Estimate | None
    champion_ms: tuple[float, float]
    shadow_ms: tuple[float, float]
    with_outcome: int
    brier_gain: Estimate | None
    outcome_correlation: tuple[float, float] | None
    champion_calibration: float | None
    shadow_calibration: float | None


_LEAST_PAIRS = 10
_LEAST_UNITS = 30


def compare_shadow(
    predictions: pl.DataFrame, *, champion_sha256: str, shadow_sha256: str, scale: float | None = 1.0
) -> ShadowComparison | None:
    """Compare the shadow's answers with those that the champion gave under the same `prediction_id`; None when there is no pair, no error.

    `predictions` has `prediction_id`, `role`, `model_sha256`, `unit`, `value`, `latency_ms`, `error`, `outcome` (as
    `PredictionRepository.predictions` gives them). `scale` is the value that means certainty: values over it are probabilities of the
    outcome. Calibration is the mean prediction less the mean outcome: 0 for an honest model on average.

    Raises `SampleError` when both are one artifact."""
    if champion_sha256 == shadow_sha256:
        raise SampleError("Champion and shadow are the same artifact; a version has nothing to say beside itself.")
    heard = predictions.filter((pl.col("role") != "shadow") & (pl.col("model_sha256") == champion_sha256) & pl.col("error").is_null())
    beside = predictions.filter((pl.col("role") == "shadow") & (pl.col("model_sha256") == shadow_sha256))
    joined = heard.join(beside.select("prediction_id", "value", "latency_ms", "error"), on="prediction_id", how="left", suffix="_shadow")
    since = beside["answered_at"].min() if beside.height else None
    # Before the shadow was there it was not asked.
    asked = joined.filter(pl.col("answered_at") >= since) if since is not None else joined.clear()
    both = joined.filter(pl.col("value").is_not_null() & pl.col("value_shadow").is_not_null())
    errors = int(joined["error_shadow"].is_not_null().sum())
    if both.is_empty() and errors == 0:
        return None
    answered = set(beside["prediction_id"])
    missing = int((~asked["prediction_id"].is_in(list(answered))).sum())
    a, b = both["value"].to_numpy(), both["value_shadow"].to_numpy()
    apart = np.abs(a - b)
    known = both.filter(pl.col("outcome").is_not_null())
    gain: Estimate | None = None
    calibration: tuple[float | None, float | None] = (None, None)
    if scale is not None and known.height:
        error_a, error_b = known["value"] / scale - known["outcome"], known["value_shadow"] / scale - known["outcome"]
        calibration = (float(error_a.mean()), float(error_b.mean()))  # type: ignore[arg-type]
        gain = _mean_over_units(known["unit"], error_a**2 - error_b**2)
    correlation = None
    if known.height >= _LEAST_PAIRS:
        correlation = (_spearman(known["value"], known["outcome"]), _spearman(known["value_shadow"], known["outcome"]))
    return ShadowComparison(
        pairs=both.height,
        shadow_errors=errors,
        missing=missing,
        mean_absolute_difference=float(apart.mean()) if apart.size else 0.0,
        largest_difference=float(apart.max()) if apart.size else 0.0,
        rank_correlation=_rank_correlation(both["value"], both["value_shadow"]),
        champion_ms=_milliseconds(joined["latency_ms"]),
        shadow_ms=_milliseconds(joined["latency_ms_shadow"]),
        with_outcome=known.height,
        brier_gain=gain,
        outcome_correlation=correlation if correlation is not None and np.isfinite(correlation).all() else None,
        champion_calibration=calibration[0],
        shadow_calibration=calibration[1],
    )


def _spearman(a: pl.Series, b: pl.Series) -> float:
    from scipy import stats as scipy_stats

    if a.n_unique() < 2 or b.n_unique() < 2:
        return float("nan")
    return float(scipy_stats.spearmanr(a.to_numpy(), b.to_numpy()).statistic)


def _rank_correlation(a: pl.Series, b: pl.Series) -> Estimate | None:
    if len(a) < _LEAST_PAIRS:
        return None
    value = _spearman(a, b)
    if not np.isfinite(value):
        return None
    # Fisher's transformation with Bonett and Wright's (2000) variance for Spearman's coefficient.
    half = 1.959964 * np.sqrt((1 + value**2 / 2) / (len(a) - 3))
    centre = np.arctanh(np.clip(value, -1 + 1e-12, 1 - 1e-12))
    return Estimate(value, min(value, float(np.tanh(centre - half))), max(value, float(np.tanh(centre + half))), n=len(a))


def _mean_over_units(units: pl.Series, values: pl.Series) -> Estimate | None:
    """Mean of the units' means with Student's interval: a unit's answers share what is odd about it."""
    from scipy import stats as scipy_stats

    means = pl.DataFrame({"unit": units, "value": values}).group_by("unit").agg(pl.col("value").mean())["value"].to_numpy()
    n = len(means)
    if n < _LEAST_UNITS:
        return None
    middle, half = float(means.mean()), float(scipy_stats.t.ppf(0.975, n - 1) * means.std(ddof=1) / np.sqrt(n))
    return Estimate(middle, middle - half, middle + half, n=n)


def _milliseconds(values: pl.Series) -> tuple[float, float]:
    there = values.drop_nulls().to_numpy()
    return (float(np.median(there)), float(np.quantile(there, 0.99))) if there.size else (float("nan"), float("nan"))
