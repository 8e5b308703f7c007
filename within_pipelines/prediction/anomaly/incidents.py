"""Put incidents of stated shapes into series."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from within_pipelines.prediction.anomaly.series import Ints

SHAPES: tuple[str, ...] = ("drop", "spike", "zero")
# Days that an incident lasts; drop to a share of the value, spike to a multiple.
_DAYS = (2, 4)
_DROP, _SPIKE = (0.3, 0.6), (2.0, 3.0)
# A ratio whose denominator vanishes is missing, not zero.
_NEVER_ZERO = frozenset({"cpc", "cpa", "cpm"})


@dataclass(frozen=True, slots=True)
class Incident:
    """One change of one series: `factor` on the values of `rows` (rows of the table, in time order)."""

    series: int
    shape: str
    factor: float
    rows: tuple[int, ...]

    @property
    def direction(self) -> str:
        """Where the values go."""
        return "up" if self.factor > 1 else "down"


def draw_incidents(table: pl.DataFrame, series: list[Ints], *, rng: np.random.Generator) -> list[Incident]:
    """At most one incident per series: a random shape, depth, length and start among the rows that can be judged.

    `series` lists the rows of each series in time order; `table` has `metric`, `value` and `state` per row. Series with too few scored
    rows, or whose values there are all zero, get none."""
    metrics, states, values = table["metric"].to_list(), table["state"].to_list(), table["value"].fill_null(0.0).to_list()
    found = []
    for number, rows in enumerate(series):
        shape = SHAPES[int(rng.integers(len(SHAPES)))]
        level, length, place = rng.random(), int(rng.integers(_DAYS[0], _DAYS[1] + 1)), rng.random()
        if shape == "zero" and metrics[rows[0]] in _NEVER_ZERO:
            shape = "drop"
        low, high = {"drop": _DROP, "spike": _SPIKE, "zero": (0.0, 0.0)}[shape]
        starts = [
            i for i in range(len(rows) - length + 1) if all(states[row] == "scored" and values[row] != 0.0 for row in rows[i : i + length])
        ]
        if starts:
            first = starts[int(place * len(starts))]
            chosen = tuple(int(row) for row in rows[first : first + length])
            found.append(Incident(number, shape, float(low + (high - low) * level), chosen))
    return found


def inject(table: pl.DataFrame, incidents: list[Incident]) -> pl.DataFrame:
    """The table with every incident's factor on its values."""
    factors = np.ones(table.height)
    for incident in incidents:
        factors[list(incident.rows)] = incident.factor
    return table.with_columns(value=pl.col("value") * pl.Series(factors))
