"""What became of a unit's efficiency after an origin day: the label of account health."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from within_pipelines.exceptions import SampleError
from within_pipelines.features.knowledge import EPOCH, Floats, Ints, Replay, as_origins, currencies, known_changes, one_grain
from within_pipelines.features.measures import Feed, Known, known_measures
from within_pipelines.features.targets import (
    LONG,
    TARGETS,
    USUAL,
    baseline,
    check_entity,
    check_target,
    check_usual_days,
    chosen_target,
    divide,
    ratio,
)
from within_pipelines.lake.knowledge import knowledge_time

if TYPE_CHECKING:
    from within_pipelines.lake import MaturityCurve

# A future in which fewer events are expected says nothing about efficiency.
MINIMUM_EXPECTED = 5.0
# A label counts once this share of its youngest day's conversions is expected to be known.
MATURE_SHARE = 0.9
_PSEUDO_EVENTS = 0.5
# A unit that delivered nothing for this long had stopped before; it cannot stop again.
RECENT_DAYS = 7
_DELIVERED = "delivered"
_LATE_OF_TARGET = {"conversions_per_cost": "conversions", "revenue_per_cost": "revenue_micros"}
_COLUMNS = {
    "baseline_efficiency": pl.Float64,
    "future_efficiency": pl.Float64,
    "expected_events": pl.Float64,
    "log_ratio": pl.Float64,
    "degraded": pl.Boolean,
    "mature": pl.Boolean,
    "stopped": pl.Boolean,
    "target": pl.String,
}


def account_labels(
    history: pl.DataFrame,
    *,
    origins: Sequence[date],
    entity: tuple[str, ...] = ("platform", "account_id"),
    horizon: int = 7,
    target: str = "auto",
    as_of: datetime,
    maturity: MaturityCurve | None = None,
    drop: float = 0.2,
    usual_days: int = USUAL,
) -> pl.DataFrame:
    """One row per (entity, origin): efficiency over the `horizon` days after the origin against the level usual on the origin.

    The target and the shrunken baseline (of the last `usual_days`) are those of `account_features`, from knowledge at the origin; the
    future is taken as known at `as_of` and corrected by `maturity`. `log_ratio` = log((e r + 1/2) / (e + 1/2)) with r = future over
    baseline and e = `expected_events`, which keeps a week without conversions finite; `degraded` = `log_ratio < log(1 - drop)`. Both are
    null when fewer than 5 events were expected, when nothing was delivered, or when the unit had no baseline.
    `mature` says whether the whole horizon was knowable at `as_of`, the account's feed has reached its last day, and at least 90 % of that
    day's conversions are expected to be in: train only on mature rows.
    `stopped` says of a unit that delivered within the last 7 days whether it delivered nothing on all `horizon` days; null for one that
    was silent already and on rows that are not mature. A unit that stops has no `degraded`: nobody knows how it would have done, so the
    drop's probability holds for units that go on, and stopping is a risk of its own.

    Raises `SampleError` for a horizon below 1 or above 112 days or a drop outside (0, 1), and what `account_features` raises."""
    if not 1 <= horizon <= LONG or not 0 < drop < 1:
        raise SampleError(f"horizon={horizon}, drop={drop}; give a horizon of 1 to {LONG} days and a drop between 0 and 1.")
    if as_of.tzinfo is None:
        raise SampleError(f"as_of {as_of.isoformat()} has no time zone; give an aware datetime, e.g. with tzinfo=UTC.")
    check_target(target)
    check_entity(entity)
    check_usual_days(usual_days)
    one_grain(history)
    known_history = history.filter(pl.col("as_of") <= as_of)
    days = as_origins(origins)
    replay = Replay.of(known_changes(known_history, entity), entity)
    money = currencies(known_history, entity)
    feed = Feed.of(known_history)
    empty = pl.DataFrame(schema={**replay.units.schema, "origin": pl.Date, **_COLUMNS})
    if not days or replay.units.is_empty():
        return empty.join(money, on=list(entity), how="left")
    futures = _futures(replay, maturity, feed, horizon)
    reached = _reached(known_history, replay.units)
    frames = [empty]
    for chosen, block in replay.windows(days, LONG):
        origin_days = days[chosen]
        known = known_measures(block, replay.units, origin_days, maturity, feed)
        columns = _labels(known, futures, replay, origin_days, target, usual_days)
        last_days = np.array(origin_days) + horizon
        knowable = np.array([as_of >= knowledge_time(EPOCH + timedelta(days=int(day))) for day in last_days])
        complete = _complete(columns["target"], replay.units, feed, as_of, last_days, maturity)
        columns["mature"] = knowable[None] & (reached[:, None] >= last_days[None]) & complete
        columns["degraded"] = columns["log_ratio"] < math.log1p(-drop)
        unit, origin = np.nonzero(replay.first_known[:, None] <= np.array(origin_days)[None])
        frame = replay.units[unit.tolist()].with_columns(
            origin=pl.Series(np.array(origin_days)[origin].astype(np.int32)).cast(pl.Date),
            **{name: pl.Series(columns[name][unit, origin].tolist(), dtype=kind) for name, kind in _COLUMNS.items()},
            running=pl.Series(columns["running"][unit, origin]),
        )
        numbers = [name for name, kind in _COLUMNS.items() if kind == pl.Float64]
        frame = frame.with_columns(pl.col(numbers).fill_nan(None))
        frames.append(
            frame.with_columns(
                degraded=pl.when(pl.col("log_ratio").is_not_null()).then("degraded"),
                stopped=pl.when("mature", "running").then("stopped"),
            ).drop("running")
        )
    return pl.concat(frames).join(money, on=list(entity), how="left", maintain_order="left").sort(*entity, "origin")


@dataclass(frozen=True, slots=True)
class _Future:
    """Sums over the horizon that begins on each day, with the axes unit and day (0 = the replay's first day)."""

    numerator: Floats
    denominator: Floats


def _futures(replay: Replay, maturity: MaturityCurve | None, feed: Feed, horizon: int) -> dict[str, _Future]:
    """Per target what is known in the end of every stretch of `horizon` days; days past the last known one are left out."""
    newest = replay.last_known
    ((_, block),) = replay.windows([newest], newest - replay.first_day + 1)
    known = known_measures(block, replay.units, [newest], maturity, feed)

    def ahead(daily: Floats) -> Floats:
        forward = np.concatenate([daily[:, 0, ::-1], np.zeros((daily.shape[0], horizon - 1))], axis=-1)
        sums: Floats = np.lib.stride_tricks.sliding_window_view(forward, horizon, axis=-1).sum(axis=-1)
        return sums

    parts = {name: ratio(known, name) for name in TARGETS}
    futures = {name: _Future(ahead(part.numerator), ahead(part.denominator)) for name, part in parts.items()}
    delivered = ahead(_delivered(known).astype(np.float64))
    return {**futures, _DELIVERED: _Future(delivered, delivered)}


def _delivered(known: Known) -> npt.NDArray[np.bool_]:
    result: npt.NDArray[np.bool_] = (known.values["impressions"] > 0) | (known.values["spend"] > 0)
    return result


def _labels(
    known: Known, futures: dict[str, _Future], replay: Replay, origins: Sequence[int], target: str, usual_days: int
) -> dict[str, Any]:
    parts, names = chosen_target(known, target)
    base = baseline(parts, known.account, usual_days=usual_days)
    numerator, denominator = np.zeros(names.shape), np.zeros(names.shape)
    starts = np.array(origins) + 1 - replay.first_day
    for name, future in futures.items():
        inside = (starts >= 0) & (starts < future.numerator.shape[1])
        chosen = (names == name) & inside[None]
        at = np.clip(starts, 0, future.numerator.shape[1] - 1)
        numerator = np.where(chosen, future.numerator[:, at], numerator)
        denominator = np.where(chosen, future.denominator[:, at], denominator)
        if name == _DELIVERED:
            stopped = ~(inside[None] & (future.numerator[:, at] > 0))
    expected = denominator * base.event_rate
    efficiency = divide(numerator, denominator)
    with np.errstate(invalid="ignore", divide="ignore"):
        usable = (expected >= MINIMUM_EXPECTED) & (base.level > 0)
        change = np.log((expected * efficiency / base.level + _PSEUDO_EVENTS) / (expected + _PSEUDO_EVENTS))
    return {
        "baseline_efficiency": base.level,
        "future_efficiency": efficiency,
        "expected_events": expected,
        "log_ratio": np.where(usable, change, np.nan),
        "stopped": stopped,
        "running": _delivered(known)[..., :RECENT_DAYS].any(axis=-1),
        "target": names,
    }


def _reached(history: pl.DataFrame, units: pl.DataFrame) -> Ints:
    """The last day that each unit's account has reported."""
    last = history.group_by("platform", "account_id").agg(last=pl.col("event_date").max())
    found = units.join(last, on=["platform", "account_id"], how="left", maintain_order="left")["last"]
    return found.to_physical().to_numpy().astype(np.int64)


def _complete(
    names: npt.NDArray[np.object_], units: pl.DataFrame, feed: Feed, as_of: datetime, last_days: Ints, maturity: MaturityCurve | None
) -> npt.NDArray[np.bool_]:
    """Whether enough of the horizon's last day is expected to be known for the row's target."""
    result = np.ones(names.shape, dtype=bool)
    if maturity is None:
        return result
    for i, (platform, account_id) in enumerate(units.select("platform", "account_id").iter_rows()):
        exported = feed.last_export_day(platform, account_id, as_of)
        if exported is None:  # a backfill carries final values
            continue
        for target, metric in _LATE_OF_TARGET.items():
            shares = np.array([maturity.share(platform, account_id, metric, max(0, exported - int(day))) for day in last_days])
            result[i] &= (names[i] != target) | (shares >= MATURE_SHARE)
    return result
