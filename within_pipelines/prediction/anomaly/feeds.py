"""Data that stopped coming: said before anything is said about the values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from within_pipelines.prediction.anomaly.cause import PARTS
from within_pipelines.prediction.anomaly.series import KEY, Bools, Observations, Rhythm, rhythm

if TYPE_CHECKING:
    from within_pipelines.prediction.anomaly.feed_memory import FeedMemory

# So many equal values in a row are suspicious, if the series hardly ever repeated one before.
STUCK = 4
RARELY = 0.02
FEWEST = 20


@dataclass(frozen=True, slots=True)
class FeedProblem:
    """One series whose data stopped: `kind` is "missing" (no value although others of the account go on) or "stalled" (the same value).

    `row` is the row of the table with the last trustworthy value, `points` how many points are missing or repeated since."""

    kind: str
    row: int
    points: int


def feed_problems(
    observed: Observations, quiet: int | None = None, *, now: int | None = None, known: FeedMemory | None = None
) -> tuple[list[FeedProblem], Bools]:
    """Series of the table that stopped in it, in its order, and which rows are no measurement (the repeats).

    *missing*: the newest `quiet` points or more (default: 36 hours, at least 3 points) have no value, while another series of the same
    account, or without accounts any series, has one, or while `now` (microseconds) is so much later. *stalled*: the last 4 or more values
    are equal and not zero, and of at least 20 steps before hardly any (2 %) repeated a value. A ratio whose totals the account's table
    holds is never missing by itself: a cost per conversion has no value on days without a conversion.

    A single value is a feed where `known` had one of that series before. Series without a value in the table are not told here, but by
    `FeedMemory.unheard`."""
    repeats = np.zeros(len(observed.value), dtype=bool)
    if not len(repeats):
        return [], repeats
    numbered = observed.keys.with_row_index("row").with_columns(t=pl.Series(observed.time), value=pl.Series(observed.value))
    account = ["platform", "account_id"]
    latest = numbered.filter(pl.col("value").is_not_nan()).group_by(account).agg(newest=pl.col("t").max())
    held = numbered.group_by(account).agg(held=pl.col("metric").unique())
    series = numbered.sort(*KEY, "t").group_by(KEY, maintain_order=True).agg("row", "t", "value")
    series = series.join(latest, on=account, how="left", maintain_order="left").join(held, on=account, how="left", maintain_order="left")
    problems = []
    for *key, rows, times, values, newest, metrics in series.select(*KEY, "row", "t", "value", "newest", "held").iter_rows():
        value, time = np.array(values), np.array(times, dtype=np.int64)
        there = np.nonzero(np.isfinite(value))[0]
        if not len(there) or newest is None:
            continue
        last = int(there[-1])
        step = known.step_of(tuple(key)) if known is not None else None
        rate = rhythm(time, None if step is None else Rhythm(step, 0))
        absent = round((max(newest, now or newest) - int(time[last])) / rate.step)
        if (len(there) > 1 or step is not None) and absent >= (quiet or rate.refractory):
            parts = PARTS.get(key[-1], ())
            if known is not None and len(parts) > 1:
                metrics = {*metrics, *known.metrics_of(tuple(key[:2]), newest)}
            if len(parts) < 2 or not set(parts) <= set(metrics):
                problems.append(FeedProblem("missing", rows[last], absent))
        measured = value[there]
        same = np.concatenate([[False], measured[1:] == measured[:-1]])
        run = len(same) - 1 - int(np.nonzero(~same)[0][-1])
        before = same[1 : len(same) - run]
        if run + 1 >= STUCK and measured[-1] != 0 and len(before) >= FEWEST and before.mean() <= RARELY:
            problems.append(FeedProblem("stalled", rows[int(there[len(there) - 1 - run])], run))
            repeats[[rows[int(i)] for i in there[len(there) - run :]]] = True
    return sorted(problems, key=lambda problem: problem.row), repeats
