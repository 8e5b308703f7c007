"""Plant what the models should find: dated incidents, spells of declining efficiency, an unfairly treated segment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from within_pipelines.simulation.account import Account
from within_pipelines.simulation.draws import BLOCK_DAYS, Array, Stream, blocks, generator


@dataclass(frozen=True, slots=True)
class PlannedIncident:
    """A sudden change of one metric of one account, from `first` to `last` (days since the start)."""

    metric: str  # spend, ctr, cvr, cpc, conversions (tracking outage) or feed (days arrive late)
    factor: float  # on the metric
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class PlannedSpell:
    """Efficiency that falls by `depth` (0.25 to 0.5) from `first` to `lowest`, stays until `recovery`, and is back at `last`.

    From `warning` on the click-through rate sags and clicks get dearer: weak signs that precede the decline."""

    depth: float
    warning: int
    first: int
    lowest: int
    recovery: int
    last: int


@dataclass(frozen=True, slots=True)
class UnfairSegment:
    """The audience that gets less delivery and a lower click-through rate than its ads deserve."""

    segment: str
    gender: str
    ages: tuple[str, ...]
    delivery_factor: float
    ctr_log_odds: float


UNFAIR = UnfairSegment("women 45+", "female", ("45-54", "55-64", "65+"), 0.55, -0.25)

INCIDENT_BLOCK = 36
INCIDENT_SHARE = 0.35  # of an account's blocks
QUIET_DAYS = 14  # at the start, so that there is something to compare with
_KINDS: tuple[tuple[str, float, float], ...] = (  # metric, lowest and highest factor
    ("spend", 0.15, 0.35), ("spend", 2.2, 3.2), ("ctr", 0.35, 0.50), ("ctr", 1.8, 2.4),
    ("cvr", 0.25, 0.45), ("conversions", 0.0, 0.0), ("cpc", 1.9, 2.6), ("feed", 0.0, 0.0),
)  # fmt: skip


def incidents(account: Account, *, seed: int, days: int) -> Iterator[PlannedIncident]:
    """The incidents that begin within the first `days` days; at most one a block of 36 days, none in the first two weeks."""
    # Each account's blocks begin on another day, or incidents of all accounts would gather in the same weeks.
    shift = account.index * 13 % INCIDENT_BLOCK
    for block in range(-(-(days + shift) // INCIDENT_BLOCK)):
        rng = generator(seed, Stream.INCIDENTS, account.index, block)
        happens, kind, level = rng.random() < INCIDENT_SHARE, int(rng.integers(len(_KINDS))), rng.random()
        metric, low, high = _KINDS[kind]
        first = block * INCIDENT_BLOCK - shift + int(rng.integers(INCIDENT_BLOCK - 6))
        length = int(rng.integers(1, 4)) if metric == "feed" else int(rng.integers(2, 6))
        if happens and QUIET_DAYS <= first < days:
            yield PlannedIncident(metric, round(low + (high - low) * level, 3), first, first + length - 1)


def spells(account: Account, *, seed: int, days: int) -> Iterator[PlannedSpell]:
    """The declines whose warning signs begin within the first `days` days; frail accounts have them more often."""
    rng = generator(seed, Stream.SPELLS, account.index)
    day = 0
    while True:
        gap = 12 + int(rng.exponential(70.0 / account.frailty))
        depth = round(float(rng.uniform(0.25, 0.50)), 3)
        lead, fall, low, back = (int(rng.integers(a, b)) for a, b in ((6, 11), (14, 25), (8, 22), (8, 15)))
        warning = day + gap
        if warning >= days:
            return
        first = warning + lead
        yield PlannedSpell(depth, warning, first, first + fall, first + fall + low, first + fall + low + back)
        day = first + fall + low + back


@dataclass(frozen=True, slots=True)
class Levels:
    """One account's daily factors on delivery, click-through rate, conversion rate and click price, from the first day on."""

    delivery: Array
    ctr: Array
    conversion: Array
    price: Array
    tracked: Array  # False while conversions are not recorded


def levels(account: Account, *, seed: int, days: int) -> Levels:
    """Slow swings (autoregressive), spells and incidents of one account, for whole blocks that cover `days` days."""
    n = len(blocks(days)) * BLOCK_DAYS
    innovations = np.concatenate(
        [generator(seed, Stream.LEVELS, account.index, block).standard_normal((BLOCK_DAYS, 4)) for block in blocks(days)]
    )
    delivery = _autoregression(innovations[:, 0], 0.97, 0.15)
    ctr = _autoregression(innovations[:, 1], 0.95, 0.06)
    conversion = _autoregression(innovations[:, 2], 0.965, 0.17)
    price = _autoregression(innovations[:, 3], 0.96, 0.10)
    days_axis = np.arange(n)
    for spell in spells(account, seed=seed, days=n):
        fallen = np.interp(days_axis, [spell.first, spell.lowest, spell.recovery, spell.last], [0.0, 1.0, 1.0, 0.0])
        sagging = np.interp(days_axis, [spell.warning, spell.lowest, spell.recovery, spell.last], [0.0, 1.0, 1.0, 0.0])
        loss = np.log1p(-spell.depth)
        conversion += 0.7 * loss * fallen
        price -= 0.3 * loss * sagging
        ctr += 0.55 * loss * sagging
    tracked = np.ones(n, dtype=bool)
    series = {"spend": delivery, "ctr": ctr, "cvr": conversion, "cpc": price}
    for incident in incidents(account, seed=seed, days=n):
        during = slice(incident.first, incident.last + 1)
        if incident.metric in series:
            series[incident.metric][during] += np.log(incident.factor)
        elif incident.metric == "conversions":
            tracked[during] = False
    return Levels(np.exp(delivery), np.exp(ctr), np.exp(conversion), np.exp(price), tracked)


def _autoregression(innovations: Array, persistence: float, deviation: float) -> Array:
    """x[t] = persistence x[t-1] + noise with the given stationary standard deviation, x[0] already stationary."""
    result = np.empty(len(innovations))
    scale = deviation * np.sqrt(1.0 - persistence**2)
    value = deviation * innovations[0]
    for day, innovation in enumerate(innovations):
        if day:
            value = persistence * value + scale * innovation
        result[day] = value
    return result
