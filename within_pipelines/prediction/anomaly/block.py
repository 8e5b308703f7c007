"""Series of one sampling step side by side on one grid, with what is remembered of each from `fit`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from within_pipelines.exceptions import SchemaError
from within_pipelines.prediction.anomaly.forecast import FORECASTERS, LOGARITHMIC, Transform, context, learn_transform, warm_up
from within_pipelines.prediction.anomaly.series import KEY, MATURE, Floats, Ints, Observations, Rhythm, positions, rhythm

SeriesKey = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Memory:
    """What `fit` keeps of a series: rhythm, transform and the values of its last cycles, ending at grid position `end`."""

    rhythm: Rhythm
    transform: Transform
    aware: bool
    end: int
    values: Floats


@dataclass(frozen=True, slots=True)
class Block:
    """A matrix of series x time. `rows[i]` are the observations of series i, `columns[i]` their places in the matrix."""

    keys: list[SeriesKey]
    rhythms: list[Rhythm]
    transforms: list[Transform]
    rows: list[Ints]
    columns: list[Ints]
    start: int
    values: Floats

    @property
    def season(self) -> int:
        """Points of a seasonal cycle."""
        return self.rhythms[0].season

    def standardised(self, kind: str) -> tuple[Floats, Floats, Floats]:
        """(residual over scale, expected, scale) in working units; NaN where a value or its past is missing."""
        working = np.stack([t.forward(x) for t, x in zip(self.transforms, self.values, strict=True)])
        forecast = FORECASTERS[kind](working, self.season)
        return (working - forecast.expected) / forecast.scale, forecast.expected, forecast.scale


def blocks(observed: Observations, memories: Mapping[SeriesKey, Memory], *, kind: str) -> list[Block]:
    """Put the observations on grids, one block per sampling step, each known series behind what is remembered of it.

    Immature and missing values are NaN. Raises `SampleError` for irregular series and `SchemaError` when a series comes with a time zone
    that it did not have before, or without one that it had."""
    numbered = observed.keys.with_row_index("row").with_columns(t=pl.Series(observed.time))
    by_series = numbered.sort(*KEY, "t").group_by(KEY, maintain_order=True).agg("row", "t")
    found: dict[int, list[tuple[SeriesKey, Rhythm, Ints, Ints]]] = {}
    fallback = _commonest([memory.rhythm for memory in memories.values()])
    for record in by_series.iter_rows():
        key: SeriesKey = record[: len(KEY)]
        rows, times = np.array(record[-2], dtype=np.int64), np.array(record[-1], dtype=np.int64)
        memory = memories.get(key)
        if memory is not None and memory.aware != observed.aware:
            raise SchemaError(
                f"The series {name_of(key)} was fitted {_zone(memory.aware)} and now comes {_zone(observed.aware)}; give times the "
                "same way, best in UTC."
            )
        rate = memory.rhythm if memory is not None else rhythm(times, fallback)
        found.setdefault(rate.step, []).append((key, rate, rows, positions(times, rate, name=name_of(key))))
    return [_block(found[step], memories, observed, kind) for step in sorted(found)]


def _block(
    series: list[tuple[SeriesKey, Rhythm, Ints, Ints]], memories: Mapping[SeriesKey, Memory], observed: Observations, kind: str
) -> Block:
    past = context(series[0][1].season)
    starts = [int(at[0]) for *_, at in series]
    for i, (key, *_, at) in enumerate(series):
        memory = memories.get(key)
        if memory is not None:
            # Only what a forecast can depend on: what is remembered may be longer than that, or end long ago.
            starts[i] = min(starts[i], max(memory.end - len(memory.values), int(at[0]) - past))
    start, stop = min(starts), max(int(at[-1]) for *_, at in series) + 1
    values = np.full((len(series), stop - start), np.nan)
    judged = np.where(observed.maturity >= MATURE, observed.value, np.nan)
    transforms: list[Transform] = []
    for i, (key, _, rows, at) in enumerate(series):
        memory = memories.get(key)
        if memory is not None:
            first = memory.end - len(memory.values)
            low, high = max(first, start), min(memory.end, stop)
            if high > low:
                values[i, low - start : high - start] = memory.values[low - first : high - first]
        values[i, at - start] = judged[rows]
        if memory is not None:
            transforms.append(memory.transform)
        else:
            own = values[i, ~np.isnan(values[i])]
            first_values = own[: warm_up(series[0][1].season)]
            transforms.append(learn_transform(first_values, logarithm=kind in LOGARITHMIC))
    columns = [at - start for *_, at in series]
    return Block([s[0] for s in series], [s[1] for s in series], transforms, [s[2] for s in series], columns, start, values)


def remember(block: Block, *, aware: bool) -> dict[SeriesKey, Memory]:
    """The end of each series, as much as a later forecast can depend on."""
    length = context(block.season)
    memories = {}
    for i, key in enumerate(block.keys):
        last = int(block.columns[i][-1]) + 1
        tail = block.values[i, max(0, last - length) : last].copy()
        memories[key] = Memory(block.rhythms[i], block.transforms[i], aware, block.start + last, tail)
    return memories


def name_of(key: SeriesKey) -> str:
    """A series in words: "google_ads/123/spend"."""
    return "/".join(part for part in key if part)


def _zone(aware: bool) -> str:
    return "with a time zone" if aware else "without a time zone"


def _commonest(rhythms: list[Rhythm]) -> Rhythm | None:
    steps = sorted(r.step for r in rhythms)
    if not steps:
        return None
    step = max(set(steps), key=lambda s: (steps.count(s), s))
    return next(r for r in rhythms if r.step == step)
