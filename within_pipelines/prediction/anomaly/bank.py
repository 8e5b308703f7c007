"""Every series that a detector knows, its state beside the others', and how new observations are laid over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from within_pipelines.exceptions import SchemaError
from within_pipelines.prediction.anomaly.forecast import Transform, Windows, learn_transform
from within_pipelines.prediction.anomaly.series import (
    KEY,
    MATURE,
    Bools,
    Floats,
    Ints,
    Observations,
    Rhythm,
    name_of,
    positions,
    refuse_hole,
    rhythm,
    zone_in_words,
)
from within_pipelines.prediction.anomaly.stream import State, joined
from within_pipelines.prediction.anomaly.surprise import BINS, pooled_tables
from within_pipelines.prediction.anomaly.tail import Tails

SeriesKey = tuple[str, ...]
# Numbers in the largest working array, so that memory stays near 100 MB whatever the number of series.
_CELLS = 4_000_000


@dataclass(slots=True)
class Bank:
    """The series of one sampling step; row i of every array is series `keys[i]`.

    `end` is the grid position behind the last column, `seen` how many values have come; while they are fewer than the warm-up, `known`
    is false and `state.past.y` holds values in metric units. `offset` and `logarithm` are the transforms."""

    step: int
    keys: list[SeriesKey]
    phase: Ints
    aware: Bools
    known: Bools
    logarithm: Bools
    offset: Floats
    seen: Ints
    end: Ints
    state: State
    index: dict[SeriesKey, int] = field(init=False)

    def __post_init__(self) -> None:
        self.index = {key: row for row, key in enumerate(self.keys)}

    @property
    def rhythm(self) -> Rhythm:
        """The rhythm with the phase of the first series."""
        return Rhythm(self.step, int(self.phase[0]) if len(self.phase) else 0)

    def written(self, layer: Layer, state: State) -> Bank:
        """With the series of `layer` in `state`; new series come last. The arrays of the old bank are taken over, so drop it."""
        rows = np.array([self.index.get(key, -1) for key in layer.keys])
        old = rows >= 0
        mine, theirs = self._parts(), {**layer.parts(), **{f"state.{name}": part for name, part in state.arrays().items()}}
        for name, part in mine.items():
            part[rows[old]] = theirs[name][old]
        if not old.all():
            fresh = np.nonzero(~old)[0]
            mine = {name: np.concatenate([part, theirs[name][fresh]]) for name, part in mine.items()}
        keys = [*self.keys, *(key for key, known in zip(layer.keys, old, strict=True) if not known)]
        return bank_of(self.step, keys, mine)

    def _parts(self) -> dict[str, Floats]:
        own = {name: getattr(self, name) for name in ("phase", "aware", "known", "logarithm", "offset", "seen", "end")}
        return own | {f"state.{name}": part for name, part in self.state.arrays().items()}

    def arrays(self) -> dict[str, Floats]:
        """Every array by name, for storage."""
        return self._parts()


def bank_of(step: int, keys: list[SeriesKey], arrays: dict[str, Floats]) -> Bank:
    """The bank whose parts `arrays` lists."""
    state = State.of({name.removeprefix("state."): part for name, part in arrays.items() if name.startswith("state.")})
    return Bank(step, keys, **{name: part for name, part in arrays.items() if not name.startswith("state.")}, state=state)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Layer:
    """Some series of one step on one grid from position `start` on: values in metric units (S, T), NaN where missing or immature.

    `state` is where they stand before `start`. `rows` are rows of the observations, `series` and `columns` their places in the matrix.
    `judged_from` (S,) is the first column that may be judged: the transform was learned before it."""

    step: int
    keys: list[SeriesKey]
    phase: Ints
    aware: Bools
    known: Bools
    logarithm: Bools
    offset: Floats
    seen: Ints
    start: int
    values: Floats
    state: State
    rows: Ints
    series: Ints
    columns: Ints
    judged_from: Ints

    @property
    def rhythm(self) -> Rhythm:
        """The rhythm; the phases of the series differ by less than a step."""
        return Rhythm(self.step, int(self.phase[0]))

    @property
    def metrics(self) -> list[str]:
        """The metric of each series."""
        return [key[-1] for key in self.keys]

    def working(self) -> Floats:
        """The values in working units."""
        offset, logarithm = self.offset[:, None], self.logarithm[:, None]
        shifted = np.log(np.where(logarithm, np.maximum(self.values, 0.0) + offset, 1.0))
        return np.where(logarithm, shifted, self.values / offset)

    def back(self, y: Floats) -> Floats:
        """Working units (S, T) in metric units; infinite stays infinite."""
        offset, logarithm = self.offset[:, None], self.logarithm[:, None]
        grown = np.maximum(np.exp(np.where(logarithm, np.minimum(y, 700.0), 0.0)) - offset, 0.0)
        return np.where(np.isinf(y), y, np.where(logarithm, grown, y * offset))

    def judgeable(self, values: Floats) -> Floats:
        """`values` (S, T), NaN before each series' first column that may be judged."""
        return np.where(np.arange(values.shape[1]) >= self.judged_from[:, None], values, np.nan)

    def parts(self) -> dict[str, Floats]:
        """What the bank keeps beside the state."""
        end = np.full(len(self.keys), self.start + self.values.shape[1])
        own = {name: getattr(self, name) for name in ("phase", "aware", "known", "logarithm", "offset", "seen")}
        return own | {"end": end}

    def waiting(self, state: State) -> State:
        """`state` with the values in metric units for series whose transform is not known yet."""
        if self.known.all():
            return state
        parts = state.arrays()
        length = parts["past.y"].shape[1]
        tail = np.concatenate([np.full((len(self.keys), length), np.nan), self.values], axis=1)[:, -length:]
        blank = self.state.arrays()
        lost = ~self.known
        for name, part in parts.items():
            parts[name] = np.where(lost.reshape(-1, *[1] * (part.ndim - 1)), tail if name == "past.y" else blank[name], part)
        return State.of(parts)


@dataclass(frozen=True, slots=True)
class _Found:
    """One series in the observations, in time order."""

    key: SeriesKey
    rhythm: Rhythm
    rows: Ints
    at: Ints


def layers(observed: Observations, banks: dict[int, Bank], blank: Blank, *, logarithm: bool, cells: int = _CELLS) -> Iterator[Layer]:
    """Lay the observations over the states of their series, some series at a time.

    A series whose first row comes behind its last known column goes on from its state. One whose rows reach back starts again from what is
    remembered of the days before, and keeps what it has learned. Raises `SampleError` for irregular series and for holes of more than ten
    years, and `SchemaError` when a series comes with a time zone that it did not have before, or without one that it had."""
    step_of = {key: step for step, bank in banks.items() for key in bank.keys}
    fallback = _commonest(banks)
    groups: dict[tuple[int, str, int, int], list[_Found]] = {}
    numbered = observed.keys.with_row_index("row").with_columns(t=pl.Series(observed.time))
    by_series = numbered.sort(*KEY, "t").group_by(KEY, maintain_order=True).agg("row", "t")
    for record in by_series.iter_rows():
        key: SeriesKey = record[: len(KEY)]
        rows, times = np.array(record[-2], dtype=np.int64), np.array(record[-1], dtype=np.int64)
        bank = banks[step_of[key]] if key in step_of else None
        if bank is None:
            rate, kind, start = rhythm(times, fallback), "fresh", 0
        else:
            row = bank.index[key]
            if bool(bank.aware[row]) != observed.aware:
                was, comes = zone_in_words(bool(bank.aware[row])), zone_in_words(observed.aware)
                raise SchemaError(
                    f"The series {name_of(key)} was fitted {was} and now comes {comes}; give times the same way, best in UTC."
                )
            rate, kind, start = Rhythm(bank.step, int(bank.phase[row])), "goes on", int(bank.end[row])
        at = positions(times, rate, key=key)
        last = int(at[-1])
        refuse_hole(at, rate, known_to=None if bank is None else start - 1, key=key)
        if bank is not None and (not bank.known[row] or at[0] < start):
            # What is remembered of later days stays remembered.
            kind, start, last = "again", int(at[0]) - Windows.of(rate).context, max(last, start - 1)
        groups.setdefault((rate.step, kind, start, last), []).append(_Found(key, rate, rows, at))
    for (step, kind, start, last), found in sorted(groups.items(), key=lambda item: item[0]):
        windows = Windows.of(Rhythm(step, 0))
        bank = banks.get(step)
        first = min(int(one.at[0]) for one in found) if kind == "fresh" else start
        width = last + 1 - first
        at_once = max(1, cells // (width * max(windows.spread, windows.level) + 10 * windows.context))
        for low in range(0, len(found), at_once):
            yield _layer(found[low : low + at_once], bank, observed, blank, windows, kind, first, last, logarithm)


@dataclass(frozen=True, slots=True)
class Blank:
    """Makes states of series of which nothing is known, under the members' laws over all series (none before `fit` has learned them)."""

    laws: Sequence[Tails]
    members: int

    def pooled(self, metrics: Sequence[str]) -> Floats:
        """Tables by the laws over all series; zeros before there are laws."""
        return pooled_tables(self.laws, metrics) if self.laws else np.zeros((len(metrics), 2, self.members, BINS))

    def state(self, windows: Windows, metrics: Sequence[str]) -> State:
        """Empty states."""
        return State.empty(windows, self.pooled(metrics))


def _layer(
    found: list[_Found],
    bank: Bank | None,
    observed: Observations,
    blank: Blank,
    windows: Windows,
    kind: str,
    start: int,
    last: int,
    logarithm: bool,
) -> Layer:
    n, metrics = len(found), [one.key[-1] for one in found]
    values = np.full((n, last + 1 - start), np.nan)
    known, seen = np.zeros(n, dtype=bool), np.zeros(n, dtype=np.int64)
    logs, offset = np.full(n, logarithm), np.ones(n)
    state = blank.state(windows, metrics)
    row_of = np.array([-1 if bank is None else bank.index.get(one.key, -1) for one in found])
    if bank is not None and kind != "fresh":
        known, seen = bank.known[row_of].copy(), bank.seen[row_of].copy()
        logs, offset = bank.logarithm[row_of].copy(), bank.offset[row_of].copy()
        held = bank.state.take(row_of)
        if kind == "goes on":
            state = held
        else:
            rewound = held.rewound(held.past.y, blank.pooled(metrics), windows)
            parts, clean = rewound.arrays(), state.arrays()
            # Nothing has been learned before the transform is known.
            state = State.of({k: np.where(known.reshape(-1, *[1] * (v.ndim - 1)), v, clean[k]) for k, v in parts.items()})
            _remembered(values, held.past.y, bank.end[row_of], start, known, logs, offset)
            seen = np.where(known, seen, 0)
    series = np.repeat(np.arange(n), [len(one.rows) for one in found])
    rows = np.concatenate([one.rows for one in found])
    columns = np.concatenate([one.at for one in found]) - start
    values[series, columns] = np.where(observed.maturity[rows] >= MATURE, observed.value[rows], np.nan)
    judged_from = np.zeros(n, dtype=np.int64)
    for i in np.nonzero(~known)[0]:
        # Enough values within what is remembered: the same columns whether they came one by one or at once.
        counted = np.cumsum(~np.isnan(values[i]))
        held = counted - np.concatenate([np.zeros(windows.context, dtype=np.int64), counted])[: len(counted)]
        if (held >= windows.warm_up).any():
            at = int(np.argmax(held >= windows.warm_up))
            values[i, : max(0, at + 1 - windows.context)] = np.nan
            transform = learn_transform(values[i, : at + 1], logarithm=logarithm)
            known[i], logs[i], offset[i], judged_from[i] = True, transform.logarithm, transform.offset, at + 1
        else:
            judged_from[i] = values.shape[1]
    return Layer(
        step=found[0].rhythm.step,
        keys=[one.key for one in found],
        phase=np.array([one.rhythm.phase for one in found]),
        aware=np.full(n, observed.aware),
        known=known,
        logarithm=logs,
        offset=offset,
        seen=seen + (~np.isnan(values)).sum(axis=1),
        start=start,
        values=values,
        state=state,
        rows=rows,
        series=series,
        columns=columns,
        judged_from=judged_from,
    )


def _remembered(values: Floats, y: Floats, end: Ints, start: int, known: Bools, logarithm: Bools, offset: Floats) -> None:
    """Put what is remembered of each series, which ends at `end`, on the grid from `start` on."""
    for i in range(len(values)):
        first = int(end[i]) - y.shape[1]
        low, high = max(first, start), min(int(end[i]), start + values.shape[1])
        if high > low:
            part = y[i, low - first : high - first]
            values[i, low - start : high - start] = Transform(bool(logarithm[i]), float(offset[i])).back(part) if known[i] else part


def _commonest(banks: dict[int, Bank]) -> Rhythm | None:
    if not banks:
        return None
    bank = max(banks.values(), key=lambda bank: (len(bank.keys), bank.step))
    return bank.rhythm


def stacked(parts: list[tuple[Layer, State]]) -> dict[int, Bank]:
    """Banks of the series of several layers, by step."""
    banks: dict[int, Bank] = {}
    for step in sorted({layer.step for layer, _ in parts}):
        mine = [(layer, layer.waiting(state)) for layer, state in parts if layer.step == step]
        own = [layer.parts() for layer, _ in mine]
        arrays = {name: np.concatenate([part[name] for part in own]) for name in own[0]}
        state = joined([state for _, state in mine])
        arrays |= {f"state.{name}": part for name, part in state.arrays().items()}
        banks[step] = bank_of(step, [key for layer, _ in mine for key in layer.keys], arrays)
    return banks
