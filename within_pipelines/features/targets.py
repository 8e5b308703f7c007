"""What efficiency means for a unit, and the unit's own usual level, shrunk where little is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from within_pipelines.exceptions import SchemaError
from within_pipelines.features.knowledge import Floats, Ints
from within_pipelines.features.measures import Known

WINDOWS: tuple[int, ...] = (1, 3, 7, 28)
# The days that make a unit's usual level; two weeks serve where less than a quarter of a year is known.
USUAL = 28
LONG = 112  # days of the unit's own longer history
TARGETS: tuple[str, ...] = ("conversions_per_cost", "revenue_per_cost", "clicks_per_cost", "ctr", "clicks")
_AUTOMATIC = ("conversions_per_cost", "clicks_per_cost", "ctr")
# Below this many (maturity-corrected) conversions in 28 days, clicks say more about efficiency than conversions do.
ENOUGH_CONVERSIONS = 20.0
# Counts of ads are 4 to 6.5 times more dispersed than Poisson, so ten pseudo-events weigh like two independent ones.
BASELINE_PRIOR = 10.0
# Impressions are plentiful and dispersed: a hundred of them inform about as much as one click.
_IMPRESSIONS_PER_EVENT = 100.0

_ENTITY_START = ("platform", "account_id")
_ENTITY_MORE = ("campaign_id", "ad_group_id", "ad_id", "breakdown", "currency", "attribution")


def check_target(target: str) -> None:
    """Raise `SchemaError` unless `target` is "auto" or one of `TARGETS`."""
    if target not in ("auto", *TARGETS):
        raise SchemaError(f"The target {target!r} is unknown; give 'auto' or one of {list(TARGETS)}.")


def check_entity(entity: Sequence[str]) -> None:
    """Raise `SchemaError` unless `entity` is platform, account_id and possibly further key columns."""
    if tuple(entity[:2]) != _ENTITY_START or not set(entity[2:]) <= set(_ENTITY_MORE):
        raise SchemaError(f"The entity {tuple(entity)} cannot be used; give {_ENTITY_START} and any of {_ENTITY_MORE} after it.")


def window_sums(daily: Floats, windows: Sequence[int] = (*WINDOWS, LONG)) -> dict[int, Floats]:
    """Sums over the trailing `windows` (rising) of an array whose last axis counts days back.

    >>> {w: float(s) for w, s in window_sums(np.arange(1.0, 8.0), (1, 3, 7)).items()}
    {1: 1.0, 3: 6.0, 7: 28.0}
    """
    starts = [0, *windows[:-1]]
    parts = np.cumsum(np.add.reduceat(daily[..., : windows[-1]], starts, axis=-1), axis=-1)
    return {window: parts[..., i] for i, window in enumerate(windows)}


def pooled(per_unit: Floats, account: Ints) -> Floats:
    """The sum over all units of the same account, for each unit."""
    if len(account) == len(np.unique(account)):
        return per_unit
    total = np.zeros((int(account.max()) + 1, *per_unit.shape[1:]))
    np.add.at(total, account, per_unit)
    result: Floats = total[account]
    return result


def divide(a: Floats, b: Floats) -> Floats:
    """a / b, NaN where b is not positive."""
    result: Floats = np.divide(a, b, out=np.full(np.broadcast_shapes(a.shape, b.shape), np.nan), where=b > 0)
    return result


@dataclass(frozen=True, slots=True)
class Ratio:
    """A numerator over a denominator, and how many events inform it, per unit, origin and trailing day."""

    numerator: Floats
    denominator: Floats
    events: Floats

    def where(self, chosen: npt.NDArray[np.bool_], other: Ratio) -> Ratio:
        """`other` on the units and origins where `chosen` holds, else this ratio."""
        at = chosen[..., None]
        return Ratio(
            np.where(at, other.numerator, self.numerator),
            np.where(at, other.denominator, self.denominator),
            np.where(at, other.events, self.events),
        )


def ratio(known: Known, name: str) -> Ratio:
    """The named ratio; days on which either part is not reported count in neither sum."""
    v = known.values
    if name == "clicks":
        days = known.covered & (known.seen["clicks"] | ~known.active)
        return Ratio(v["clicks"] * days, days.astype(np.float64), v["clicks"] * days)
    above, below = {
        "conversions_per_cost": ("conversions", "spend"),
        "revenue_per_cost": ("revenue", "spend"),
        "clicks_per_cost": ("clicks", "spend"),
        "ctr": ("clicks", "impressions"),
        "cvr": ("conversions", "clicks"),
        "cpc": ("spend", "clicks"),
        "cpm": ("spend", "impressions"),
    }[name]
    both = (known.seen[above] & known.seen[below]).astype(np.float64)
    if name == "revenue_per_cost":
        # Revenue comes in orders; where conversions are not reported, each day with revenue counts as one.
        orders = np.where(known.seen["conversions"], v["conversions"], (v["revenue"] > 0).astype(np.float64))
        events = orders * both
    elif name == "cpm":
        events = v["impressions"] * both / _IMPRESSIONS_PER_EVENT
    else:
        events = v[below if name == "cpc" else above] * both
    return Ratio(v[above] * both, v[below] * both, events)


@dataclass(frozen=True, slots=True)
class Baseline:
    """A ratio's sums per window, the unit's long level and its shrunken level of the usual days (all with the axes unit, origin).

    `level` = q r + (1 - q) `long`, r the ratio of the usual days (28), q = E / (E + k), E the events that the long level expects of
    their denominator: the posterior mean of a Gamma prior worth k events.
    `long` is the 112-day ratio shrunk the same way to the ratio of the whole account.
    `event_rate` is events per denominator at the long level."""

    numerator: dict[int, Floats]
    denominator: dict[int, Floats]
    events: dict[int, Floats]
    long: Floats
    level: Floats
    event_rate: Floats


def check_usual_days(usual_days: int) -> None:
    """Raise `SchemaError` unless `usual_days` lies between a week and `LONG`."""
    if not 7 <= usual_days <= LONG:
        raise SchemaError(f"usual_days={usual_days} is no length of the usual level; give 7 to {LONG} days.")


def baseline(parts: Ratio, account: Ints, *, usual_days: int = USUAL) -> Baseline:
    """The usual level of a ratio over the trailing `usual_days`, as known on each origin; NaN where not even the account has one."""
    windows = sorted({*WINDOWS, usual_days, LONG})
    n, d, e = (window_sums(part, windows) for part in (parts.numerator, parts.denominator, parts.events))
    pool_d = pooled(d[LONG], account)
    pool, pool_events = divide(pooled(n[LONG], account), pool_d), divide(pooled(e[LONG], account), pool_d)
    trust = shrinkage(d[LONG] * pool_events)
    long = np.where(d[LONG] > 0, trust * divide(n[LONG], d[LONG]) + (1 - trust) * pool, pool)
    event_rate = np.where(d[LONG] > 0, trust * divide(e[LONG], d[LONG]) + (1 - trust) * pool_events, pool_events)
    recent = shrinkage(d[usual_days] * event_rate)
    level = np.where(d[usual_days] > 0, recent * divide(n[usual_days], d[usual_days]) + (1 - recent) * long, long)
    return Baseline(n, d, e, long, level, event_rate)


def shrinkage(events: Floats) -> Floats:
    """Weight in [0, 1) of what was observed against a prior worth `BASELINE_PRIOR` events."""
    result: Floats = events / (events + BASELINE_PRIOR)
    return result


def chosen_target(known: Known, target: str) -> tuple[Ratio, npt.NDArray[np.object_]]:
    """The efficiency ratio and its name (None where there is none) per unit and origin.

    "auto" takes conversions per cost where the last 28 days hold enough conversions, else clicks per cost, else (no money) the
    click-through rate."""
    shape = known.active.shape[:2]
    if target != "auto":
        return ratio(known, target), np.full(shape, target, dtype=object)
    by = {name: ratio(known, name) for name in _AUTOMATIC}
    enough = {
        "conversions_per_cost": window_sums(by["conversions_per_cost"].events)[28] >= ENOUGH_CONVERSIONS,
        "clicks_per_cost": window_sums(by["clicks_per_cost"].events)[28] > 0,
    }
    parts, names = by["ctr"], np.full(shape, "ctr", dtype=object)
    names[window_sums(known.values["impressions"])[28] <= 0] = None
    for name in ("clicks_per_cost", "conversions_per_cost"):
        usable = enough[name] & (window_sums(by[name].denominator)[28] > 0)
        parts = parts.where(usable, by[name])
        names[usable] = name
    return parts, names
