"""Which improbable points are alarms: the limit that a budget of false ones sets, and the silence after each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from within_pipelines.prediction.anomaly.bank import Layer
from within_pipelines.prediction.anomaly.series import Bools, Floats, Ints, Rhythm
from within_pipelines.prediction.anomaly.stream import NEVER
from within_pipelines.prediction.anomaly.tail import Calibration

# Where clustering of exceedances is measured: rare enough to be a tail, common enough to be counted.
_CLUSTER_P = 0.02


def p_limit(rhythm: Rhythm, *, per_month: float, extremal_index: float) -> float:
    """The p-value from which a point of a series of this rhythm is an alarm, so that `per_month` false ones come in 30 days.

    A series that is not silent raises an alarm per point with probability p x extremal index, and is then silent for the refractory
    period; the budget of alarms per point, solved for p."""
    rate = min(per_month / rhythm.points_per_month, 0.5 / rhythm.refractory)
    while_awake = rate / (1.0 - rate * (rhythm.refractory - 1))
    return min(0.5, while_awake / extremal_index)


def raise_alarms(exceeds: Bools, start: int, last: Ints, quiet: int) -> tuple[Bools, Ints]:
    """Per series (rows), the exceedances at least `quiet` points after the alarm before them, and the position of the last alarm."""
    raised, last = np.zeros_like(exceeds), last.copy()
    for row in np.nonzero(exceeds.any(axis=1))[0]:
        before = int(last[row])
        for column in np.nonzero(exceeds[row])[0]:
            if before == NEVER or start + column - before >= quiet:
                raised[row, column], before = True, start + int(column)
        last[row] = before
    return raised, last


def silenced(exceeds: Bools, at: Ints, quiet: int) -> Bools:
    """The exceedances of one series that come at least `quiet` points after the alarm before them."""
    result = np.zeros(len(exceeds), dtype=bool)
    last = None
    for i in np.nonzero(exceeds)[0]:
        if last is None or at[i] - last >= quiet:
            result[i], last = True, at[i]
    return result


def extremal_index(judged: Sequence[tuple[Layer, Floats]], calibration: Calibration) -> float:
    """Alarms per exceedance while not silent, in the data of `fit`: 1 when exceedances come alone, less when they come in runs."""
    points = exceedances = alarms = silent = 0
    for layer, size in judged:
        rare = size >= calibration.limit(_CLUSTER_P)
        quiet = layer.rhythm.refractory
        raised = int(raise_alarms(rare, layer.start, np.full(len(rare), NEVER), quiet)[0].sum())
        points += int(np.isfinite(size).sum())
        exceedances += int(rare.sum())
        alarms += raised
        silent += raised * (quiet - 1)
    # One more of each keeps the ratio sensible where hardly any were seen.
    share_awake = (max(points - silent, 0) + 1) / (points + 1)
    return min(1.0, (alarms + 1) / ((exceedances + 1) * share_awake))
