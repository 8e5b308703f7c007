"""What a detector learns from mostly normal history: how far residuals stray, what is improbable, and where every series stands."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from within_pipelines.prediction.anomaly.alarms import extremal_index, p_limit, raise_alarms
from within_pipelines.prediction.anomaly.bank import Bank, Blank, Layer, SeriesKey, layers, stacked
from within_pipelines.prediction.anomaly.feed_memory import FeedMemory
from within_pipelines.prediction.anomaly.forecast import LOGARITHMIC, MEMBERS, Forecasts, Windows
from within_pipelines.prediction.anomaly.series import Floats, Observations
from within_pipelines.prediction.anomaly.stream import State, advance, predicted
from within_pipelines.prediction.anomaly.surprise import half_weight, pooled_tables
from within_pipelines.prediction.anomaly.tail import Calibration, Tails

# Half a series tells its share of large residuals from so many points on.
_HALF_POINTS = 25
_FOLDS = 5


@dataclass(slots=True)
class Fitted:
    """What `fit` learns: each member's tails over all series, how surprises become p-values, the extremal index (alarms per exceedance,
    Leadbetter 1983), after how many residuals a series' own tail weighs as much as those of all (`half`; None: it never does), and the
    state of every series by sampling step, which `update` moves on."""

    laws: tuple[Tails, ...]
    half: float | None
    calibration: Calibration
    extremal_index: float
    banks: dict[int, Bank]
    feeds: FeedMemory


def learn(observed: Observations, *, kind: str, per_month: float) -> Fitted:
    """Learn from `observed`, which holds at least one value: the members' laws over all series, the calibration of surprises by laws that
    have not seen the series, and the state of every series behind its last row.

    `per_month` false alarms per series and 30 days say which of the last points were alarms, after which a series is silent."""
    members = len(MEMBERS[kind])
    first = []
    for layer in layers(observed, {}, Blank((), members), logarithm=kind in LOGARITHMIC):
        y = layer.working()
        forecasts = predicted(layer.state, y, kind=kind, rhythm=layer.rhythm, start=layer.start)
        first.append(_Forecast(layer, y, forecasts, (y[:, None] - forecasts.expected) / forecasts.scale))
    laws = _laws(first, members)
    half = half_weight(_shares(first, laws)) if members > 1 else None

    # Surprises are calibrated by laws that have not seen the series: its own wild days would make its wild days look usual.
    fold_of = _folds([key for part in first for key in part.layer.keys])
    n_folds = max(fold_of.values()) + 1
    others = [_laws(first, members, without={key for key, its in fold_of.items() if its == fold}) for fold in range(n_folds)]
    second: list[tuple[Layer, Floats, State]] = []
    for part in first:
        layer = part.layer
        pooled = np.concatenate([pooled_tables(others[fold_of[key]], [key[-1]]) for key in layer.keys])
        judged, state = advance(
            State.empty(Windows.of(layer.rhythm), pooled),
            part.forecasts,
            part.y,
            pooled,
            layer.logarithm,
            half=half,
            rhythm=layer.rhythm,
            start=layer.start,
        )
        memory = state.memory.believing(pooled_tables(laws, layer.metrics), half)
        second.append((layer, layer.judgeable(judged.surprise.size), replace(state, memory=memory)))
    calibration = Calibration.of(np.concatenate([_ripe(row) for _, size, _ in second for row in size]))
    index = extremal_index([(layer, size) for layer, size, _ in second], calibration)

    placed = []
    for layer, size, state in second:
        limit = calibration.limit(p_limit(layer.rhythm, per_month=per_month, extremal_index=index))
        _, last = raise_alarms(size >= limit, layer.start, state.last_alarm, layer.rhythm.refractory)
        placed.append((layer, replace(state, last_alarm=last)))
    feeds = FeedMemory.of([])
    feeds.advance(feeds.places_of([layer for layer, _ in placed], len(observed.value)), observed.time, observed.value, tell=False)
    return Fitted(laws, half, calibration, index, stacked(placed), feeds)


@dataclass(frozen=True, slots=True)
class _Forecast:
    """A layer with its values in working units, its forecasts and the standardised residuals (S, members, T)."""

    layer: Layer
    y: Floats
    forecasts: Forecasts
    z: Floats


def _ripe(series: Floats) -> Floats:
    """The second half of a series' judged points: early forecasts rest on few cycles, stray further, and are not what is to come."""
    there: Floats = series[np.isfinite(series)]
    ripe: Floats = there[len(there) // 2 :]
    return ripe


def _folds(keys: Sequence[SeriesKey]) -> dict[SeriesKey, int]:
    """A fold for each series, all metrics of an account in one; with a single account the metrics are told apart."""
    units = sorted({key[:-1] for key in keys})
    if len(units) == 1:
        return {key: number % _FOLDS for number, key in enumerate(sorted(keys))}
    numbers = {unit: number % _FOLDS for number, unit in enumerate(units)}
    return {key: numbers[key[:-1]] for key in keys}


def _laws(parts: Sequence[_Forecast], members: int, *, without: Collection[SeriesKey] = ()) -> tuple[Tails, ...]:
    """Each member's tails over all series but those that are left out; over all when nothing else is left."""
    kept = [(part.z[row], key) for part in parts for row, key in enumerate(part.layer.keys)]
    kept = [(z, key) for z, key in kept if key not in without] or kept
    laws = []
    for member in range(members):
        residuals: dict[str, list[Floats]] = {}
        for z, key in kept:
            residuals.setdefault(key[-1], []).append(_ripe(z[member]))
        laws.append(Tails.of({metric: np.concatenate(rows) for metric, rows in residuals.items()}))
    return tuple(laws)


def _shares(parts: Sequence[_Forecast], laws: Sequence[Tails]) -> Floats:
    """Share of each series' residuals, over all members, beyond the pooled 10 % limits in either half of its days; see `half_weight`."""
    found = []
    metrics = {metric for part in parts for metric in part.layer.metrics}
    limits = {metric: [law.limits(metric, 0.1) for law in laws] for metric in metrics}
    for part in parts:
        for metric, series in zip(part.layer.metrics, part.z, strict=True):
            judged = series[:, np.isfinite(series).all(axis=0)]
            beyond = np.mean([(row < low) | (row > high) for row, (low, high) in zip(judged, limits[metric], strict=True)], axis=0)
            middle = len(beyond) // 2
            if middle >= _HALF_POINTS:
                found.append((beyond[:middle].mean(), beyond[middle:].mean()))
    return np.array(found).reshape(-1, 2)
