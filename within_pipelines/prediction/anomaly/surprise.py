"""How surprising a standardised residual is to its own series, pooled with what all series say: tables on a common grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from within_pipelines.prediction.anomaly.forecast import FORGETTING
from within_pipelines.prediction.anomaly.series import Floats, Ints
from within_pipelines.prediction.anomaly.tail import Tails

# |z| is counted between these knots; beyond the last one rarity no longer grows.
KNOTS: Floats = np.concatenate([[0.0], 0.25 * 1.12 ** np.arange(63)])
BINS = len(KNOTS)
_MISSING = np.uint8(255)
_MIDDLE = np.concatenate([np.sqrt(np.maximum(KNOTS[:-1], 0.05) * KNOTS[1:]), KNOTS[-1:]])
_TAIL_SHARE, _FEWEST_EXCESSES = 0.05, 30.0
_FEWEST = 100.0  # residuals; fewer say nothing about a tail
_SHAPES = (-0.2, 0.8)
# n residuals say nothing about what happens less often than once in so many times n.
_REACH = 100.0
# A series' own tail weighs as much as the pooled one when it rests on this many residuals, as long as nothing is known of how much the
# tails of series differ; that belief counts as much as so many series; and the share of residuals that series are compared by.
_HALF, _BELIEF, _SHARE = 50.0, 8.0, 0.1
_LARGEST_HALF = 100_000.0
_STEPS = 34
# Limits of so many points are sought at a time: their tables take 80 MB.
_POINTS = 20_000


@dataclass(frozen=True, slots=True)
class Memory:
    """What S series remember of their surprises. Never changed in place.

    `counts` (S, members, knots) residuals per interval of |z|, older ones fading; `pending` those of the unfinished cycle; `table` (S, 2,
    members, knots) -log10 of the two-sided p-value at each knot, below and above what was expected."""

    counts: Floats
    pending: Floats
    table: Floats

    @classmethod
    def empty(cls, pooled: Floats) -> Memory:
        """Nothing seen yet: the pooled tables (S, 2, members, knots) are all there is."""
        n, _, members, _ = pooled.shape
        nothing = np.zeros((n, members, BINS))
        return cls(nothing, nothing, pooled)

    def believing(self, pooled: Floats, half: float | None) -> Memory:
        """The same past under other laws over all series."""
        return Memory(self.counts, self.pending, pooled if half is None else blend(self.counts, pooled, half))


def pooled_tables(laws: Sequence[Tails], metrics: Sequence[str]) -> Floats:
    """-log10 of the two-sided p-value at each knot for each metric, by the members' laws over all series (metrics, 2, members, knots)."""
    found: dict[str, Floats] = {}
    for metric in set(metrics):
        sides = [[law.side(metric, KNOTS if upper else -KNOTS, upper=upper) for law in laws] for upper in (False, True)]
        h = -np.log10(np.minimum(2.0 * np.array(sides), 1.0))
        h[..., 0] = 0.0
        # As for a series' own tail: no law reaches further than a hundred times what it rests on.
        reach = np.array([[[math.log10(_REACH * (law.pooled[side].n + 1.0))] for law in laws] for side in (0, 1)])
        found[metric] = np.minimum(np.maximum.accumulate(h, axis=-1), reach)
    return np.stack([found[metric] for metric in metrics]) if metrics else np.empty((0, 2, len(laws), BINS))


def own_tables(counts: Floats) -> Floats:
    """-log10 P(|Z| >= knot) from counts per interval (..., knots): empirical up to a threshold, generalised Pareto beyond.

    The threshold is the highest knot with 5 % of the residuals, at least 30, beyond it; shape and scale come from probability-weighted
    moments (Hosking and Wallis 1987) with every residual at the geometric middle of its interval.

    >>> exponential = np.histogram(np.random.default_rng(1).exponential(size=20_000), [*KNOTS, np.inf])[0].astype(float)
    >>> at = np.searchsorted(KNOTS, 12.0)
    >>> bool(abs(own_tables(exponential)[at] / (KNOTS[at] * np.log10(np.e)) - 1) < 0.1)
    True
    """
    total = counts.sum(axis=-1, keepdims=True)
    beyond = np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]  # at or above each knot
    empirical = (beyond + 1.0) / (total + 1.0)
    wanted = np.minimum(np.maximum(_FEWEST_EXCESSES, _TAIL_SHARE * total), total / 2.0)
    first = np.sum(beyond >= wanted, axis=-1, keepdims=True) - 1
    first = np.maximum(first, 0)
    threshold = KNOTS[first]
    among = np.where(np.arange(BINS) >= first, counts, 0.0)
    excess = np.maximum(_MIDDLE - threshold, 0.0)
    n = np.maximum(among.sum(axis=-1, keepdims=True), 1e-9)
    before = np.cumsum(among, axis=-1) - among
    mean = (among * excess).sum(axis=-1, keepdims=True) / n
    # Sum over the ranks r that fall into an interval of 1 - (r - 0.35) / n.
    weights = among - (among * before + 0.5 * among * (among + 1.0) - 0.35 * among) / n
    weighted = (weights * excess).sum(axis=-1, keepdims=True) / n
    spread = mean - 2.0 * weighted
    shape = np.where(spread > 0, 2.0 - mean / np.where(spread > 0, spread, 1.0), _SHAPES[1])
    shape = np.clip(shape, *_SHAPES)
    shape = np.where(np.abs(shape) < 1e-6, 1e-6, shape)
    scale = np.maximum(mean * (1.0 - shape), 1e-6)
    over = np.maximum(KNOTS - threshold, 0.0) / scale
    law = np.take_along_axis(empirical, first, axis=-1) * np.maximum(1.0 + shape * over, 1e-300) ** (-1.0 / shape)
    survival = np.where(np.arange(BINS) > first, law, empirical)
    h = -np.log10(np.maximum(survival, 1.0 / (_REACH * (total + 1.0))))
    result: Floats = np.maximum.accumulate(h, axis=-1)
    return result


def half_weight(shares: Floats) -> float:
    """How many residuals of its own a series needs for its tail to weigh as much as the pooled one.

    `shares` (series, 2) is the share of each series' residuals beyond the pooled 10 % limit, in the first and in the second half of its
    days. What the halves have in common is the spread between series, tau^2, whatever the noise within; beta-binomially the pooled law is
    then worth q (1 - q) / tau^2 - 1 residuals. A belief of 50 counts as much as 8 series, so that two series prove little.

    >>> rng = np.random.default_rng(1)
    >>> own = rng.beta(2, 18, size=(400, 1))
    >>> alike, apart = rng.binomial(80, 0.1, size=(400, 2)) / 80, rng.binomial(80, own, size=(400, 2)) / 80
    >>> half_weight(alike) > 400, 10 < half_weight(apart) < 40
    (True, True)
    """
    between = _SHARE * (1.0 - _SHARE)
    spread, n = _BELIEF * between / (_HALF + 1.0), len(shares)
    if n > 1:
        centred = shares - shares.mean(axis=0)
        spread += n * max(float((centred[:, 0] * centred[:, 1]).sum()) / (n - 1), 0.0)
    return min(between * (_BELIEF + n) / spread - 1.0, _LARGEST_HALF)


def blend(counts: Floats, pooled: Floats, half: float) -> Floats:
    """The series' own tables and the pooled ones as a logarithmic opinion pool (Genest and Zidek 1986), weighted n : `half`.

    `counts` (S, members, knots), `pooled` (S, 2, members, knots). With fewer than 100 residuals a series has no opinion of its own."""
    n = counts.sum(axis=-1)[:, None, :, None]
    own = own_tables(counts)[:, None]
    return np.where(n >= _FEWEST, (n * own + half * pooled) / (n + half), pooled)


def intervals_of(z: Floats) -> tuple[npt.NDArray[np.uint8], Floats]:
    """The interval of every |z| and the place within it, in [0, 1]; 255 and NaN for missing values."""
    size = np.abs(z)
    at = np.minimum(np.searchsorted(KNOTS, np.minimum(size, KNOTS[-1]), side="right") - 1, BINS - 2)
    place = np.minimum((size - KNOTS[at]) / (KNOTS[at + 1] - KNOTS[at]), 1.0)
    missing = np.isnan(size)
    counted = np.where(size >= KNOTS[-1], BINS - 1, at)
    return np.where(missing, _MISSING, counted).astype(np.uint8), place


@dataclass(frozen=True, slots=True)
class Surprise:
    """Mean over members of -log10 p of a deviation below and above the expected value (S, T each, NaN where a member has no forecast).

    `low` and `high` (S, T) are the values in working units at which it reaches the limit, infinite where it never does, NaN where they
    were not asked for. `by_member` (2, S, members, T) are the parts of the two means, below and above, where asked for."""

    below: Floats
    above: Floats
    low: Floats
    high: Floats
    memory: Memory
    by_member: Floats | None = None

    @property
    def size(self) -> Floats:
        """The larger side."""
        return np.maximum(self.below, self.above)


def surprise(
    memory: Memory,
    pooled: Floats,
    y: Floats,
    expected: Floats,
    scale: Floats,
    *,
    season: int,
    start: int,
    half: float | None,
    limit: float | None = None,
    everywhere: bool = False,
    by_member: bool = False,
) -> Surprise:
    """How surprising the columns `y` (S, T) are, whose forecasts are `expected` and `scale` (S, members, T).

    A deviation upwards is no surprise downwards. Tables are renewed at the first column of each season from what came before, where the
    series learns from its own past (`half` is not None, see `blend`). Limits are computed for the points that reach `limit`, or for
    all (`everywhere`)."""
    n, _, columns = expected.shape
    z = (y[:, None] - expected) / scale
    interval, place = intervals_of(z)
    lower = np.minimum(interval, BINS - 2).astype(np.intp)
    sides = np.empty((2, n, columns))
    bounds = np.full((2, n, columns), np.nan)
    parts = np.empty((2, *expected.shape)) if by_member else None
    asked: list[tuple[Ints, Ints, Floats]] = []
    counts, pending, table = memory.counts, memory.pending, memory.table
    boundaries = np.nonzero((start + np.arange(columns)) % season == 0)[0].tolist() if half is not None else []
    edges = [0, *boundaries, columns]
    for number, (first, last) in enumerate(pairwise(edges)):
        if number:
            counts, pending = (1.0 - FORGETTING) * counts + pending, np.zeros_like(pending)
            table = blend(counts, pooled, half or 0.0)
        if last == first:
            continue
        at, share, part = lower[..., first:last], place[..., first:last], z[..., first:last]
        for side, sign in ((0, -1.0), (1, 1.0)):
            low = np.take_along_axis(table[:, side], at, axis=-1)
            high = np.take_along_axis(table[:, side], at + 1, axis=-1)
            h = np.where(sign * part > 0, low + share * (high - low), 0.0)
            h = np.where(np.isnan(part), np.nan, h)
            sides[side, :, first:last] = _mean_of_members(h)
            if parts is not None:
                parts[side, ..., first:last] = h
        if limit is not None:
            judged = np.isfinite(sides[0, :, first:last])
            wanted = judged if everywhere else judged & (sides[:, :, first:last].max(axis=0) >= limit)
            rows, at_column = np.nonzero(wanted)
            asked.append((rows, first + at_column, table[rows]))
            if sum(len(found) for found, *_ in asked) > _POINTS or last == columns:
                rows, at_column, tables = (np.concatenate(found) for found in zip(*asked, strict=True))
                where = (rows, slice(None), at_column)
                bounds[:, rows, at_column] = limits(tables, expected[where], scale[where], limit)
                asked = []
        if half is not None:
            pending = pending + _histogram(interval[..., first:last])
    return Surprise(sides[0], sides[1], bounds[0], bounds[1], Memory(counts, pending, table), parts)


def _mean_of_members(h: Floats) -> Floats:
    total = h[:, 0]
    for member in range(1, h.shape[1]):
        total = total + h[:, member]
    result: Floats = total / h.shape[1]
    return result


def _histogram(interval: npt.NDArray[np.uint8]) -> Floats:
    """Counts per interval (S, members, knots)."""
    n, members, _ = interval.shape
    rows = np.arange(n * members).reshape(n, members, 1) * BINS
    there = interval != _MISSING
    flat = (rows + np.where(there, interval, 0))[there]
    return np.bincount(flat, minlength=n * members * BINS).reshape(n, members, BINS).astype(np.float64)


def limits(table: Floats, expected: Floats, scale: Floats, limit: float) -> Floats:
    """The values below and above (2, P) at which the mean surprise reaches `limit`; infinite where it never does.

    `table` (P, 2, members, knots), `expected` and `scale` (P, members) belong to P points. Bisection between the nearest and the farthest
    of the knots around which the members alone reach it."""
    found = np.empty((2, len(table)))
    for side, sign in ((0, -1.0), (1, 1.0)):
        own = table[:, side]
        knot = np.where(own[..., -1] >= limit, np.argmax(own >= limit, axis=-1), BINS - 1)
        near = (sign * expected + KNOTS[np.maximum(knot - 1, 0)] * scale).min(axis=-1)
        far = (sign * expected + KNOTS[knot] * scale).max(axis=-1)
        never = _side_surprise(own, sign * far[:, None] - expected, scale, sign) < limit
        for _ in range(_STEPS):
            middle = 0.5 * (near + far)
            reached = _side_surprise(own, sign * middle[:, None] - expected, scale, sign) >= limit
            near, far = np.where(reached, near, middle), np.where(reached, middle, far)
        found[side] = np.where(never, sign * np.inf, sign * far)
    return found


def _side_surprise(table: Floats, deviation: Floats, scale: Floats, sign: float) -> Floats:
    z = deviation / scale
    interval, place = intervals_of(z)
    at = np.minimum(interval, BINS - 2).astype(np.intp)[..., None]
    low, high = (np.take_along_axis(table, at + shift, axis=-1)[..., 0] for shift in (0, 1))
    return _mean_of_members(np.where(sign * z > 0, low + place * (high - low), 0.0))
