"""The state of a series between two columns, and how it moves on: forecast, surprise, severity, alarm."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from within_pipelines.prediction.anomaly.forecast import Forecasts, Past, Windows, forecast, over_members
from within_pipelines.prediction.anomaly.series import DAY_US, Bools, Floats, Ints, Rhythm
from within_pipelines.prediction.anomaly.severity import geometric_mean, sizes, smoothed
from within_pipelines.prediction.anomaly.surprise import Memory, Surprise, surprise

NEVER = -(2**62)


@dataclass(frozen=True, slots=True)
class State:
    """S series of one rhythm after their last column; arrays have the series first and are never changed in place.

    `energy` is the running mean square of what severity is made of, `by_slot` (S, members, season, 2) how far values usually lie from each
    member at each hour of the season (see `severity.sizes`), `last_alarm` the grid position of the last alarm."""

    past: Past
    memory: Memory
    energy: Floats
    by_slot: Floats
    last_alarm: Ints

    @classmethod
    def empty(cls, windows: Windows, pooled: Floats) -> Self:
        """Series of which nothing is known."""
        n, _, members, _ = pooled.shape
        return cls(
            Past.empty(n, windows, members), Memory.empty(pooled), np.zeros(n), unlearned(n, members, windows.season), np.full(n, NEVER)
        )

    def arrays(self) -> dict[str, Any]:
        """The parts by name, for storage."""
        parts = {f"past.{field.name}": getattr(self.past, field.name) for field in fields(Past)}
        parts |= {f"memory.{field.name}": getattr(self.memory, field.name) for field in fields(Memory)}
        return parts | {"energy": self.energy, "by_slot": self.by_slot, "last_alarm": self.last_alarm}

    @classmethod
    def of(cls, arrays: dict[str, Any]) -> Self:
        """The state whose parts `arrays` lists."""
        past = Past(**{field.name: arrays[f"past.{field.name}"] for field in fields(Past)})
        memory = Memory(**{field.name: arrays[f"memory.{field.name}"] for field in fields(Memory)})
        return cls(past, memory, arrays["energy"], arrays["by_slot"], arrays["last_alarm"])

    def take(self, rows: Ints) -> State:
        """The series of `rows`."""
        return State.of({name: part[rows] for name, part in self.arrays().items()})

    def rewound(self, y: Floats, pooled: Floats, windows: Windows) -> State:
        """As before the remembered columns `y`: what was learned stays, what hangs on single columns is forgotten."""
        fresh = Past.empty(len(y), windows, pooled.shape[2])
        kept = {name: getattr(self.past, name) for name in ("gram", "moment", "weights", "weekday")}
        past = Past(**{field.name: kept.get(field.name, getattr(fresh, field.name)) for field in fields(Past)})
        return State(past, self.memory, np.zeros(len(y)), self.by_slot, np.full(len(y), NEVER))


def unlearned(n: int, members: int, season: int) -> Floats:
    """`State.by_slot` of `n` series of which no hour is known yet."""
    return np.zeros((n, members, season, 2))


def joined(states: list[State]) -> State:
    """All series of `states` in order."""
    parts = [state.arrays() for state in states]
    return State.of({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


@dataclass(frozen=True, slots=True)
class Columns:
    """What is said of S series at T new columns; working units, NaN where the past is too short or the value is missing.

    `expected` and `scale` combine the members by precision; `severity` is the root of the running mean square of how far the members that
    know the pattern were out (see `severity`)."""

    expected: Floats
    scale: Floats
    surprise: Surprise
    severity: Floats


def weekdays(step: int, start: int, columns: int) -> Ints:
    """Day of the week (0..6, in UTC) of grid positions from `start` on, for steps of `step` microseconds."""
    return (start + np.arange(columns, dtype=np.int64)) * step // DAY_US % 7


def predicted(state: State, y: Floats, *, kind: str, rhythm: Rhythm, start: int) -> Forecasts:
    """Forecasts of the members for the columns `y` (S, T), in working units."""
    return forecast(state.past, y, kind=kind, windows=Windows.of(rhythm), start=start, weekday=weekdays(rhythm.step, start, y.shape[1]))


def advance(
    state: State,
    forecasts: Forecasts,
    y: Floats,
    pooled: Floats,
    logarithm: Bools,
    *,
    half: float | None,
    rhythm: Rhythm,
    start: int,
    limit: float | None = None,
    everywhere: bool = False,
    by_member: bool = False,
) -> tuple[Columns, State]:
    """Judge the columns `y` (S, T) by `forecasts` and move the state behind them (`last_alarm` is left to the caller)."""
    precision = 1.0 / forecasts.scale
    weight = over_members(precision)
    expected = over_members(forecasts.expected * precision) / weight
    scale = precision.shape[1] / weight
    found = surprise(
        state.memory,
        pooled,
        y,
        forecasts.expected,
        forecasts.scale,
        season=rhythm.season,
        start=start,
        half=half,
        limit=limit,
        everywhere=everywhere,
        by_member=by_member,
    )
    far, by_slot = sizes(y[:, None] - forecasts.expected, forecasts.scale, logarithm, state.by_slot, start=start)
    severity, energy = smoothed(geometric_mean(far[:, forecasts.patterns]), state.energy, rhythm)
    return Columns(expected, scale, found, severity), State(forecasts.past, found.memory, energy, by_slot, state.last_alarm)
