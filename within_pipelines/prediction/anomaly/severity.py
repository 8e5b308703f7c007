"""How far out the last day was: deviations by what is usual at their hour, pooled over forecasters, smoothed over 24 hours."""

from __future__ import annotations

import numpy as np

from within_pipelines.prediction.anomaly.forecast import CYCLES, over_members
from within_pipelines.prediction.anomaly.series import DAY_US, Bools, Floats, Rhythm

# One deviation teaches at most as much as this many scales, and the scale over all hours counts as half of the cycles that are remembered.
_CLIP, _PRIOR = 4.0, CYCLES / 2.0
_LARGEST_LOGARITHM = 20.0
# A forecast that happens to be exact says no more than one that misses by a thousandth of its scale.
_SMALLEST = 1e-3


def severity_points(rhythm: Rhythm) -> float:
    """Points over which severity is smoothed: 24 hours, at least 3."""
    return max(3.0, DAY_US / rhythm.step)


def sizes(deviation: Floats, scale: Floats, logarithm: Bools, by_slot: Floats, *, start: int) -> tuple[Floats, Floats]:
    """How far each member was out in units of what is usual at this hour of the season (S, members, T), and the new `by_slot`.

    `deviation` (S, members, T) is value less expectation and `scale` its ordinary size, both in working units, NaN where unknown; the first
    column lies at grid position `start`. `by_slot` (S, members, season, 2) holds the mean square of deviations in units of scale, each
    at most 4, of about the last 8 cycles and their number: the width of an hour is the root of that mean, drawn to 1 as by 4 cycles more.

    A rise counts by its multiple and a fall by its logarithm where `logarithm` holds: ten times as much and a tenth are both far out.

    >>> flat, logarithm = np.zeros((1, 2, 24, 2)), np.array([True])
    >>> out, _ = sizes(np.log([[[4.0], [0.25]]]), np.ones((1, 2, 1)), logarithm, flat, start=0)
    >>> out.round(2).tolist()
    [[[3.0], [1.39]]]
    """
    season, columns = by_slot.shape[2], deviation.shape[2]
    state, far = by_slot.copy(), np.empty(deviation.shape)
    for first in range(0, columns, season):
        last = min(first + season, columns)
        # Within a season no slot comes twice, so that what is learned here is used later only.
        slots = (start + np.arange(first, last)) % season
        mean, count = state[:, :, slots, 0], state[:, :, slots, 1]
        width = np.sqrt((_PRIOR + count * mean) / (_PRIOR + count))
        apart, usual = deviation[:, :, first:last], scale[:, :, first:last]
        rises = logarithm[:, None, None] & (apart > 0)
        size = np.where(rises, np.expm1(np.minimum(apart, _LARGEST_LOGARITHM)), np.abs(apart))
        far[:, :, first:last] = size / (usual * width)
        square = np.minimum(np.square(apart / usual), _CLIP**2)
        there = np.isfinite(square)
        count = np.minimum(count + there, CYCLES)
        state[:, :, slots, 0] = np.where(there, mean + (np.where(there, square, 0.0) - mean) / np.maximum(count, 1.0), mean)
        state[:, :, slots, 1] = count
    return far, state


def geometric_mean(far: Floats) -> Floats:
    """The geometric mean (S, T) of `far` (S, members, T): a logarithmic pool, as of the p-values of an alarm; NaN where a part is.

    A forecaster that has lost the series deviates every day; the others then hold the mean down.

    >>> geometric_mean(np.array([[[4.0], [1.0]]])).tolist()
    [[2.0]]
    """
    middle: Floats = np.exp(over_members(np.log(np.maximum(far, _SMALLEST))) / far.shape[1])
    return middle


def smoothed(far: Floats, energy: Floats, rhythm: Rhythm) -> tuple[Floats, Floats]:
    """Root of the running mean square of `far` (S, T) over about a day, NaN where `far` is, and the new `energy` (S,)."""
    square, share = np.square(far), 1.0 / severity_points(rhythm)
    there = np.isfinite(square)
    running = np.full(far.shape, np.nan)
    for column in range(far.shape[1]):
        energy = np.where(there[:, column], energy + share * (np.where(there[:, column], square[:, column], 0.0) - energy), energy)
        running[:, column] = energy
    return np.sqrt(np.where(there, running, np.nan)), energy
