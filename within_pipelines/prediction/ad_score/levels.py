"""How high is the click-through level that an ad starts from? Account, campaign and ad group lend each other strength."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from math import sqrt
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.exceptions import SampleError, SchemaError
from within_pipelines.prediction.ad_score.contrasts import Observed, between_ad_variance
from within_pipelines.prediction.calibration import logit, sigmoid
from within_pipelines.prediction.conformal import conformal_quantile

Floats = NDArray[np.float64]
TIERS: tuple[str, ...] = ("account", "campaign", "group")
# Recalibration looks at ads that started within this many days of the newest.
WINDOW_DAYS = 28
# Spread (log-odds) of a tier whose spread cannot be estimated, because no parent has two children.
_UNKNOWN_SPREAD = 0.5
# The posterior of a level by Newton's method: 3 to 10 steps are usual.
_NEWTON_STEPS, _LONGEST_STEP = 60, 2.0


@dataclass(frozen=True, slots=True)
class LevelModel:
    """Level of a new ad in log-odds: hierarchical shrinkage of what was known before its first day.

    `spread` says how much accounts of a platform, campaigns of an account and ad groups of a campaign differ (standard deviations),
    `platforms` the mean per platform ("" over all). `offset` is how far recent results lay from level + contrast, `residual` their spread
    around it, `quantile` the conformal quantile at the interval's level."""

    platforms: Mapping[str, float]
    spread: Mapping[str, float]
    offset: float
    residual: float
    quantile: float

    @classmethod
    def fit(cls, frame: pl.DataFrame, seen: Observed, contrasts: Floats, *, level: float) -> Self | None:
        """Learn spreads, offset and interval from past ads with their history (`<tier>_clicks_before`, `<tier>_impressions_before`).

        `contrasts` are predictions by parts that have not seen the ad. None when the table has no history."""
        if _history(frame, "account") is None:
            return None
        counted = frame.with_columns(_shown=pl.Series(seen.impressions), _clicks=pl.Series(frame["_rate"].to_numpy() * seen.impressions))
        platform = counted["platform"] if "platform" in counted.columns else pl.Series("platform", [""]).new_from_index(0, counted.height)
        counted = counted.with_columns(platform=platform.fill_null(""))
        ids = {"account": "account_id", "campaign": "campaign_id", "group": "group_id"}
        path, spread = ["platform"], {}
        for tier in TIERS:
            if ids[tier] not in counted.columns:
                continue
            spread[tier] = _spread(counted, path, ids[tier])
            path.append(ids[tier])
        rates = counted.group_by("platform").agg(pl.col("_clicks").sum(), pl.col("_shown").sum())
        platforms = {row[0]: float(logit(np.array([(row[1] + 0.5) / (row[2] + 1)]))[0]) for row in rates.iter_rows()}
        whole = (float(counted["_clicks"].to_numpy().sum()) + 0.5) / (float(counted["_shown"].to_numpy().sum()) + 1)
        draft = cls({**platforms, "": float(logit(np.array([whole]))[0])}, spread, 0.0, 0.0, 1.0)
        return draft.recalibrated(frame, seen, contrasts, level=level)

    def recalibrated(self, frame: pl.DataFrame, seen: Observed, contrasts: Floats, *, level: float) -> Self:
        """The same hierarchy with offset, residual and quantile from the newest `WINDOW_DAYS` of `frame` (all ads without `first_day`)."""
        mean, variance = self.levels(frame)
        usable = np.isfinite(mean)
        if "first_day" in frame.columns and frame["first_day"].null_count() < frame.height:
            newest: Any = frame["first_day"].max()
            recent = (frame["first_day"] > newest - timedelta(days=WINDOW_DAYS)).fill_null(False).to_numpy()
            usable &= recent if np.sum(usable & recent) >= 1 / (1 - level) + 1 else True
        if usable.sum() < 1 / (1 - level) + 1:
            return replace(self, offset=0.0, residual=0.0, quantile=float("nan"))
        error = (seen.log_odds - mean - contrasts)[usable]
        known = (seen.variance + variance)[usable]
        weight = 1 / (known + 0.05)
        offset = float(np.average(error, weights=weight))
        excess = float(np.average((error - offset) ** 2 - known, weights=weight))
        residual = sqrt(max(excess, 1e-4))
        quantile = conformal_quantile(np.abs(error - offset) / np.sqrt(known + residual**2), level=level)
        return replace(self, offset=offset, residual=residual, quantile=quantile)

    def levels(self, frame: pl.DataFrame) -> tuple[Floats, Floats]:
        """(mean, variance) of each row's level in log-odds, NaN where the row says nothing about its account.

        A tier's own clicks are weighed against what its parent says as a binomial count against a normal prior (Gelman and Hill 2007,
        12; see `_posterior`)."""
        platform = frame["platform"].fill_null("").to_list() if "platform" in frame.columns else [""] * frame.height
        mean = np.array([self.platforms.get(name, self.platforms[""]) for name in platform])
        variance = np.zeros(frame.height)
        told = np.zeros(frame.height, dtype=bool)
        for tier in TIERS:
            if tier not in self.spread:
                continue
            variance = variance + self.spread[tier] ** 2
            history = _history(frame, tier)
            if history is None:
                continue
            clicks, shown = history
            there = shown > 0
            mean, variance = _posterior(clicks, np.where(there, shown, 0.0), mean, variance)
            told |= there
        return np.where(told, mean, np.nan), variance

    @property
    def below_account(self) -> float:
        """Variance of an ad group's level around its account's."""
        return float(sum(spread**2 for tier, spread in self.spread.items() if tier != "account"))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "quantile": self.quantile if np.isfinite(self.quantile) else None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The model that `to_dict` wrote."""
        return cls(**{**values, "quantile": float("nan") if values["quantile"] is None else values["quantile"]})


def _posterior(clicks: Floats, shown: Floats, mean: Floats, variance: Floats) -> tuple[Floats, Floats]:
    """(mode, variance) in log-odds after `clicks` of `shown` impressions, where normal laws of `mean` and `variance` stood before.

    Laplace's approximation (Gelman et al. 2013, 4.1). Unlike a logarithm of observed shares it holds for no click at all: the more
    impressions bring none, the lower the level.

    >>> mode, _ = _posterior(np.array([0.0, 10.0, 0.0]), np.array([1e6, 1e6, 0.0]), np.full(3, -4.0), np.full(3, 0.25))
    >>> mode[0] < mode[1] < mode[2]
    True
    """
    precision = 1 / np.maximum(variance, 1e-12)
    mode = mean.copy()
    for _ in range(_NEWTON_STEPS):
        share = sigmoid(mode)
        slope = clicks - shown * share - (mode - mean) * precision
        # Far below the mode the curve is nearly flat: a whole step would leap over it.
        step = np.clip(slope / (shown * share * (1 - share) + precision), -_LONGEST_STEP, _LONGEST_STEP)
        mode = mode + step
        if np.abs(step).max(initial=0.0) < 1e-10:
            break
    share = sigmoid(mode)
    return mode, 1 / (shown * share * (1 - share) + precision)


def check_days(frame: pl.DataFrame) -> None:
    """Raise `SchemaError` where `first_day` holds no dates."""
    kind = frame.schema.get("first_day", pl.Date)
    if not (kind in (pl.Date, pl.Null) or isinstance(kind, pl.Datetime)):
        raise SchemaError(f"The column first_day holds {kind}; give dates (ISO text becomes one by str.to_date() or pandas.to_datetime()).")


def given_levels(frame: pl.DataFrame) -> Floats:
    """Log-odds of `account_ctr`, the account's recent click-through rate, NaN where it is not given."""
    if "account_ctr" not in frame.columns:
        return np.full(frame.height, np.nan)
    rate = frame["account_ctr"].cast(pl.Float64).to_numpy().copy()  # null as NaN
    # A rate of exactly 0 or 1 comes from too little traffic to be a level.
    rate[(rate == 0) | (rate == 1)] = np.nan
    return logit(rate)


def check_history(frame: pl.DataFrame) -> None:
    """Refuse histories that cannot be.

    Raises `SchemaError` for columns that hold no numbers; `SampleError` with the count where clicks are negative, infinite or more than
    the impressions, and where `account_ctr` is no share."""
    names = [f"{tier}_{part}_before" for tier in TIERS for part in ("clicks", "impressions")]
    schema = frame.schema
    for name in ("account_ctr", *names):
        if name in schema and not (schema[name].is_numeric() or schema[name] == pl.Null):
            raise SchemaError(f"The column {name} holds {schema[name]}; give numbers.")
    if "account_ctr" in schema:
        bad = int((~frame["account_ctr"].cast(pl.Float64).is_between(0.0, 1.0)).sum())
        if bad:
            raise SampleError(f"account_ctr lies outside of 0 to 1 in {bad} of {frame.height} rows; give a share, not per cent.")
    for tier in TIERS:
        history = _history(frame, tier)
        if history is None:
            continue
        clicks, shown = history
        bad = int(np.sum(~(np.isfinite(clicks) & np.isfinite(shown) & (clicks >= 0) & (clicks <= shown))))
        if bad:
            raise SampleError(
                f"{tier}_clicks_before and {tier}_impressions_before cannot be in {bad} of {frame.height} rows; "
                "clicks are counts between 0 and the impressions."
            )


def _history(frame: pl.DataFrame, tier: str) -> tuple[Floats, Floats] | None:
    names = [f"{tier}_clicks_before", f"{tier}_impressions_before"]
    if not set(names) <= set(frame.columns):
        return None
    clicks, shown = (_counts(frame[name]) for name in names)
    # Clicks that are not known are not none: then the impressions tell nothing either.
    return clicks, np.where(frame[names[0]].is_null().to_numpy(), 0.0, shown)


def _counts(column: pl.Series) -> Floats:
    if column.null_count() == len(column):
        return np.zeros(len(column))
    values: Floats = column.cast(pl.Float64).fill_null(0.0).to_numpy()
    return values


def _spread(counted: pl.DataFrame, parents: list[str], child: str) -> float:
    """Standard deviation of true log-odds between the children of one parent."""
    totals = counted.group_by([*parents, child], maintain_order=True).agg(pl.col("_clicks").sum(), pl.col("_shown").sum())
    totals = totals.filter(pl.len().over(parents) > 1)
    if totals.is_empty():
        return _UNKNOWN_SPREAD
    clicks, shown = totals["_clicks"].to_numpy(), totals["_shown"].to_numpy()
    missed = np.maximum(shown - clicks, 0)
    parent = totals.select(pl.concat_str([pl.col(name).cast(pl.String).fill_null("") for name in parents], separator="/")).to_series()
    _, index = np.unique(parent.to_numpy(), return_inverse=True)
    variance = 1 / (clicks + 0.5) + 1 / (missed + 0.5)
    return sqrt(between_ad_variance(Observed(np.log((clicks + 0.5) / (missed + 0.5)), variance, shown, index)))
