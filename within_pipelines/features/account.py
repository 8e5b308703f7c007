"""How an account (or campaign, or segment) does compared with itself, as known on an origin day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from within_pipelines.exceptions import SchemaError
from within_pipelines.features.knowledge import Floats, Replay, as_origins, coarser, currencies, known_changes, one_grain
from within_pipelines.features.measures import Feed, Known, known_measures
from within_pipelines.features.spec import FeatureSpec
from within_pipelines.features.targets import (
    BASELINE_PRIOR,
    ENOUGH_CONVERSIONS,
    LONG,
    USUAL,
    WINDOWS,
    Baseline,
    Ratio,
    baseline,
    check_entity,
    check_target,
    check_usual_days,
    chosen_target,
    divide,
    pooled,
    ratio,
    window_sums,
)

if TYPE_CHECKING:
    from within_pipelines.lake import MaturityCurve

_RATIOS = ("efficiency", "ctr", "cvr", "cpc", "cpm")
_LEVELS = ("spend", "impressions")
_VOLATILE = ("efficiency", "ctr", "spend")
_SLOPES = ("efficiency", "ctr", "cvr", "cpc", "spend")
# Pseudo-events that pull a window's ratio to the usual level: a day's few conversions should not read as a collapse.
WINDOW_PRIOR = 5.0
# A level may fall to a twentieth before its logarithm stops falling, so that one day without spend is not minus infinity.
LEVEL_FLOOR = 0.05
_MINIMUM_DAYS = 5
_CONVERSIONS_HALF, _CLICKS_HALF, _SILENCE_HALF = 30.0, 300.0, 7.0
# Weeks before the newest one (week 1), each compared with the usual level: the path that led here.
EARLIER_WEEKS: tuple[int, ...] = (2, 3, 4)
# A past week fell when it lay this far below the four weeks before it; its share starts at a quarter, worth two weeks.
PAST_DROP, _PRIOR_DROPS, _PRIOR_WEEKS = 0.2, 0.5, 2.0
INFORMATION: tuple[str, ...] = (
    "spend_28", "clicks_28", "conversions_28", "baseline_efficiency", "recent_efficiency", "spend_unknown_28",
)  # fmt: skip


def _columns() -> tuple[str, ...]:
    names = [f"log_{m}_{w}" for m in (*_RATIOS, *_LEVELS) for w in WINDOWS]
    names += [f"volatility_{m}_28" for m in _VOLATILE] + [f"slope_{m}_28" for m in _SLOPES]
    names += ["share_of_account_28", "log_share_of_account_7", "concentration_28", "log_siblings_efficiency_7"]
    names += ["reliability_conversions_28", "reliability_clicks_28", "active_share_28", "history_share"]
    names += ["silence", "gap_share_7", "gap_share_28", "weekday_sin", "weekday_cos"]
    names += [f"log_efficiency_week_{week}" for week in EARLIER_WEEKS]
    return (*names, "volatility_weekly_112", "reversal_weekly_112", "drop_share_112", "volume_events_28")


ACCOUNT_FEATURES = FeatureSpec(
    name="account_features",
    version=2,
    entity=("platform", "account_id"),
    windows=WINDOWS,
    measures=(*_RATIOS, *_LEVELS),
    columns=_columns(),
    parameters=(
        ("window_prior", WINDOW_PRIOR),
        ("baseline_prior", BASELINE_PRIOR),
        ("enough_conversions", ENOUGH_CONVERSIONS),
        ("level_floor", LEVEL_FLOOR),
        ("long_days", float(LONG)),
        ("minimum_days", float(_MINIMUM_DAYS)),
        ("conversions_half", _CONVERSIONS_HALF),
        ("clicks_half", _CLICKS_HALF),
        ("silence_half", _SILENCE_HALF),
        ("past_drop", PAST_DROP),
        ("prior_drops", _PRIOR_DROPS),
        ("prior_weeks", _PRIOR_WEEKS),
    ),
)


def account_features(
    history: pl.DataFrame,
    *,
    origins: Sequence[date],
    entity: tuple[str, ...] = ("platform", "account_id"),
    maturity: MaturityCurve | None = None,
    spec: FeatureSpec = ACCOUNT_FEATURES,
    target: str = "auto",
    usual_days: int = USUAL,
) -> pl.DataFrame:
    """One row per (entity, origin) of which anything was known on that origin, sorted.

    `history` holds every version of the facts of whole accounts at one grain (`Lake.history`). On origin o only facts with
    `event_date <= o` and `as_of <= knowledge_time(o)` count, the newest version of each. Late conversions and revenue are divided by
    the share that `maturity` expects to be known by then. `entity` starts with platform and account_id and may go on with
    campaign_id, ad_group_id, ad_id or breakdown.

    Columns: the entity, `origin`, `spec.columns` (Float64, all free of scale: multiplying every amount of money by a constant changes
    none; null where nothing can be said), then for information `spend_28` (currency units), `clicks_28`, `conversions_28`,
    `baseline_efficiency` and `recent_efficiency` (last 7 days) of `target`, `spend_unknown_28` (days of delivery of the last 28 of which
    not every row came with its spend), `target`, `currency`. Ratios `log_x_w` are natural
    logarithms of the last w days over the unit's own shrunken level of the last `usual_days` (for w = 28: over its 112-day level);
    `slope_x_28` is per week, `volatility_x_28` a standard deviation of daily logarithms; shares and reliabilities lie in [0, 1].
    `log_efficiency_week_k` is the k-th newest week alone. Of up to 12 past weeks, each against the four before it,
    `volatility_weekly_112` is the spread of the log ratios, `reversal_weekly_112` the mean of each one's product with the next (below 0:
    what falls comes back) and `drop_share_112` the shrunken share that fell by a fifth. `volume_events_28` = log(1 + events of the
    target in 28 days).

    Raises `SchemaError` (missing columns, mixed grains, unknown entity or target) and `MixedCurrencyError`."""
    check_target(target)
    check_entity(entity)
    check_usual_days(usual_days)
    if spec.columns != ACCOUNT_FEATURES.columns or spec.parameters != ACCOUNT_FEATURES.parameters:
        raise SchemaError(f"The spec {spec.name} version {spec.version} differs from what this code computes; use ACCOUNT_FEATURES.")
    one_grain(history)
    days = as_origins(origins)
    ads = known_changes(history, tuple(dict.fromkeys([*entity, "campaign_id", "ad_group_id", "ad_id"])))
    money = currencies(history, entity)
    replay = Replay.of(coarser(ads, entity), entity)
    feed = Feed.of(history)
    concentration = _concentration(ads, replay.units, entity, days)
    frames = [_empty(replay.units)]
    for chosen, block in replay.windows(days, LONG):
        origin_days = np.array(days[chosen])
        known = known_measures(block, replay.units, days[chosen], maturity, feed)
        columns, names = _features(known, origin_days, target, usual_days)
        columns["concentration_28"] = concentration[:, chosen]
        columns["history_share"] = np.clip(origin_days[None] - replay.first_day_of[:, None] + 1, 0, LONG) / LONG
        frames.append(_table(columns, names, replay, origin_days))
    table = pl.concat(frames).join(money, on=list(entity), how="left", maintain_order="left")
    return table.sort(*entity, "origin")


def _table(columns: dict[str, Floats], names: npt.NDArray[np.object_], replay: Replay, origins: npt.NDArray[np.int64]) -> pl.DataFrame:
    unit, origin = np.nonzero(replay.first_known[:, None] <= origins[None])
    frame = replay.units[unit.tolist()].with_columns(origin=pl.Series(origins[origin].astype(np.int32)).cast(pl.Date))
    ordered = (*ACCOUNT_FEATURES.columns, *INFORMATION)
    measured = {c: pl.Series(columns[c][unit, origin], dtype=pl.Float64).fill_nan(None) for c in ordered}
    table: pl.DataFrame = frame.with_columns(**measured, target=pl.Series(names[unit, origin].tolist(), dtype=pl.String))
    return table


def _empty(units: pl.DataFrame) -> pl.DataFrame:
    floats = dict.fromkeys((*ACCOUNT_FEATURES.columns, *INFORMATION), pl.Float64)
    return pl.DataFrame(schema={**units.schema, "origin": pl.Date, **floats, "target": pl.String})


def _features(
    known: Known, origins: npt.NDArray[np.int64], target: str, usual_days: int
) -> tuple[dict[str, Floats], npt.NDArray[np.object_]]:
    parts, names = chosen_target(known, target)
    ratios: dict[str, Ratio] = {"efficiency": parts, **{name: ratio(known, name) for name in _RATIOS[1:]}}
    usual = {name: baseline(r, known.account, usual_days=usual_days) for name, r in ratios.items()}
    columns: dict[str, Floats] = {}
    daily: dict[str, Floats] = {}
    for name, base in usual.items():
        for window in WINDOWS:
            level = base.long if window == WINDOWS[-1] else base.level
            columns[f"log_{name}_{window}"] = _log_ratio(base.numerator[window], base.denominator[window], level, base.event_rate)
        r = ratios[name]
        daily[name] = _log_ratio(r.numerator[..., :28], r.denominator[..., :28], base.level[..., None], base.event_rate[..., None])
    running = window_sums(known.covered.astype(np.float64))
    for name in _LEVELS:
        amount = known.values[name] * known.covered
        mean = {w: divide(total, running[w]) for w, total in window_sums(amount).items()}
        for window in WINDOWS:
            columns[f"log_{name}_{window}"] = _log_level(mean[window], mean[LONG if window == 28 else 28])
        if name in (*_VOLATILE, *_SLOPES):
            each = np.where(known.covered, amount, np.nan)[..., :28]
            daily[name] = _log_level(each, mean[28][..., None])
    for name in _VOLATILE:
        columns[f"volatility_{name}_28"] = _deviation(daily[name])
    for name in _SLOPES:
        columns[f"slope_{name}_28"] = _weekly_slope(daily[name])
    columns.update(_path(ratios["efficiency"], usual["efficiency"]))
    columns.update(_place_in_account(known, usual["efficiency"]))
    columns.update(_volume(known, running))
    weekday = 2 * np.pi * ((origins + 3) % 7) / 7  # 1970-01-01 was a Thursday; Monday is 0
    shape = known.active.shape[:2]
    columns["weekday_sin"] = np.broadcast_to(np.sin(weekday), shape)
    columns["weekday_cos"] = np.broadcast_to(np.cos(weekday), shape)
    base = usual["efficiency"]
    columns["baseline_efficiency"] = base.level
    columns["recent_efficiency"] = divide(base.numerator[7], base.denominator[7])
    columns["spend_unknown_28"] = known.partial_spend[..., :28].sum(axis=-1).astype(np.float64)
    return columns, names


def _log_ratio(numerator: Floats, denominator: Floats, level: Floats, event_rate: Floats) -> Floats:
    """log of (events seen + k) over (events expected at `level` + k), which is 0 when there is no information; NaN without a
    denominator or level."""
    usable = (denominator > 0) & (level > 0)
    expected = denominator * event_rate
    with np.errstate(divide="ignore", invalid="ignore"):
        seen = expected * numerator / (denominator * level)
        result: Floats = np.where(usable, np.log((seen + WINDOW_PRIOR) / (expected + WINDOW_PRIOR)), np.nan)
    return result


def _log_level(mean: Floats, usual: Floats) -> Floats:
    """log of `mean` over `usual`, floored softly; NaN where the usual level is not positive."""
    usable = usual > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Floats = np.where(usable, np.log((mean / usual + LEVEL_FLOOR) / (1.0 + LEVEL_FLOOR)), np.nan)
    return result


def _deviation(daily: Floats) -> Floats:
    n, centred = _centred(daily)
    spread = np.sqrt(np.sum(centred**2, axis=-1) / np.maximum(n - 1, 1))
    result: Floats = np.where(n >= _MINIMUM_DAYS, spread, np.nan)
    return result


def _weekly_slope(daily: Floats) -> Floats:
    n, centred = _centred(daily)
    time = np.where(np.isnan(daily), np.nan, -np.arange(daily.shape[-1]) / 7.0)
    _, moved = _centred(time)
    spread = np.sum(moved**2, axis=-1)
    return np.where(n >= _MINIMUM_DAYS, divide(np.sum(centred * moved, axis=-1), spread), np.nan)


def _centred(daily: Floats) -> tuple[Floats, Floats]:
    """Number of values and their distance from their mean (0 where missing)."""
    there = ~np.isnan(daily)
    n = there.sum(axis=-1).astype(np.float64)
    filled = np.where(there, daily, 0.0)
    mean = filled.sum(axis=-1) / np.maximum(n, 1)
    return n, np.where(there, filled - mean[..., None], 0.0)


def _path(efficiency: Ratio, base: Baseline) -> dict[str, Floats]:
    """How the unit's weeks followed one another, and how often a week fell below the four before it: its own rate of drops."""
    weeks = efficiency.numerator.shape[-1] // 7
    numerator, denominator = (daily[..., : 7 * weeks].reshape(*daily.shape[:2], weeks, 7).sum(axis=-1) for daily in (
        efficiency.numerator, efficiency.denominator))  # fmt: skip
    columns = {
        f"log_efficiency_week_{week}": _log_ratio(numerator[..., week - 1], denominator[..., week - 1], base.level, base.event_rate)
        for week in EARLIER_WEEKS
    }
    before = [np.lib.stride_tricks.sliding_window_view(sums, 4, axis=-1).sum(axis=-1)[..., 1:] for sums in (numerator, denominator)]
    steps = before[0].shape[-1]
    rate = base.event_rate[..., None]
    change = _log_ratio(numerator[..., :steps], denominator[..., :steps], divide(*before), rate)
    there = np.isfinite(change)
    n = there.sum(axis=-1)
    _, centred = _centred(change)
    both = there[..., 1:] & there[..., :-1]
    product = np.where(both, centred[..., 1:] * centred[..., :-1], 0.0).sum(axis=-1)
    fell = (np.where(there, change, 0.0) < np.log1p(-PAST_DROP)).sum(axis=-1)
    enough = n >= 3
    columns["volatility_weekly_112"] = np.where(enough, np.sqrt(np.sum(centred**2, axis=-1) / np.maximum(n - 1, 1)), np.nan)
    columns["reversal_weekly_112"] = np.where(enough, product / np.maximum(both.sum(axis=-1), 1), np.nan)
    columns["drop_share_112"] = (fell + _PRIOR_DROPS) / (n + _PRIOR_WEEKS)
    columns["volume_events_28"] = np.log1p(base.events[28])
    return columns


def _place_in_account(known: Known, efficiency: Baseline) -> dict[str, Floats]:
    """The unit's part of its account's spend (impressions where there is no money), and how the account's other units do."""
    columns: dict[str, Floats] = {}
    spend, shown = window_sums(known.values["spend"]), window_sums(known.values["impressions"])
    no_money = pooled(spend[28], known.account) <= 0
    amount = {w: np.where(no_money, shown[w], spend[w]) for w in (7, 28)}
    share = {w: divide(amount[w], pooled(amount[w], known.account)) for w in (7, 28)}
    columns["share_of_account_28"] = share[28]
    columns["log_share_of_account_7"] = _log_level(share[7], share[28])
    base = efficiency

    def others(per_unit: Floats) -> Floats:
        rest: Floats = np.maximum(pooled(per_unit, known.account) - per_unit, 0.0)
        return rest

    # Pooled sums minus own ones leave rounding dust, which must not count as a denominator.
    rest = others(base.denominator[28])
    has_others = rest > 1e-9 * base.denominator[28]
    level, rate = divide(others(base.numerator[28]), rest), divide(others(base.events[28]), rest)
    siblings = _log_ratio(others(base.numerator[7]), others(base.denominator[7]), level, rate)
    columns["log_siblings_efficiency_7"] = np.where(has_others, siblings, np.nan)
    return columns


def _volume(known: Known, running: dict[int, Floats]) -> dict[str, Floats]:
    sums = {name: window_sums(known.values[name])[28] for name in ("spend", "clicks", "conversions")}
    account_reported = pooled(known.active.astype(np.float64), known.account) > 0
    begun = np.logical_or.accumulate(account_reported[..., ::-1], axis=-1)[..., ::-1]
    gaps = window_sums((begun & ~account_reported).astype(np.float64), (7, 28))
    delivered = (known.values["spend"] > 0) | (known.values["impressions"] > 0)
    silent = np.where(delivered.any(axis=-1), delivered.argmax(axis=-1), delivered.shape[-1])
    active = window_sums(known.active.astype(np.float64), (28,))[28]
    return {
        "spend_28": sums["spend"],
        "clicks_28": sums["clicks"],
        "conversions_28": sums["conversions"],
        "reliability_conversions_28": sums["conversions"] / (sums["conversions"] + _CONVERSIONS_HALF),
        "reliability_clicks_28": sums["clicks"] / (sums["clicks"] + _CLICKS_HALF),
        "active_share_28": active / 28.0,
        "silence": silent / (silent + _SILENCE_HALF),
        "gap_share_7": gaps[7] / 7.0,
        "gap_share_28": gaps[28] / 28.0,
    }


def _concentration(ads: pl.DataFrame, units: pl.DataFrame, entity: tuple[str, ...], days: Sequence[int]) -> Floats:
    """Herfindahl index of 28 days' spend (impressions where there is no money) over the unit's ads: 1 when one ad takes all."""
    unit = tuple(dict.fromkeys([*entity, "campaign_id", "ad_group_id", "ad_id"]))
    replay = Replay.of(ads, unit, channels=("spend_micros", "impressions"))
    parents = replay.units.join(units.with_row_index("parent"), on=list(entity), how="left", maintain_order="left")
    parent = parents["parent"].to_numpy().astype(np.int64)
    result = np.full((units.height, len(days)), np.nan)
    for chosen, block in replay.windows(days, 28):
        sums = block.sum(axis=2)
        total, squares = (np.zeros((units.height, *sums.shape[1:])) for _ in range(2))
        np.add.at(total, parent, sums)
        np.add.at(squares, parent, sums**2)
        index = divide(squares, total**2)
        result[:, chosen] = np.where(total[..., 0] > 0, index[..., 0], index[..., 1])
    return result
