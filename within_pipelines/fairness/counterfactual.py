"""What would have to change for another decision: the nearest counterfactual that a person could bring about, and how good it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError, SchemaError

Floats = NDArray[np.float64]
Decide = Callable[[pl.DataFrame], ArrayLike]
# Known rows to start from, and halvings of the way back: the decision is asked at most starts x (1 + features x (1 + halvings)) times.
STARTS, HALVINGS = 12, 12


@dataclass(frozen=True, slots=True)
class Numeric:
    """A number that may change from `low` to `high` in multiples of `step` (0.01 for most currencies, 1 for counts and yen).

    `direction` 1 may only rise, -1 only fall, 0 both; immutable when `fixed`."""

    low: float = float("-inf")
    high: float = float("inf")
    step: float = 0.0
    direction: int = 0
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class Categorical:
    """One of `values`; immutable when `fixed`."""

    values: tuple[str, ...]
    fixed: bool = False


Feature = Numeric | Categorical


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """One answer. `changes` maps a feature to (before, after); `distance` is the mean over features of the change in units of the feature's
    spread (categories count 1); `plausibility` the distance to the nearest known row over the usual one between known rows (1 is usual,
    large is unlike anything seen). `found` is False when no feasible change was found; then nothing else means anything."""

    found: bool
    changes: Mapping[str, tuple[Any, Any]]
    distance: float
    plausibility: float
    seconds: float


@dataclass(frozen=True, slots=True)
class CounterfactualQuality:
    """Over several cases: share with a counterfactual, mean distance, mean number of changes, mean plausibility, CPU seconds per case."""

    validity: float
    proximity: float
    sparsity: float
    plausibility: float
    seconds_per_case: float
    cases: int


class CounterfactualSearch:
    """Searches among rows that are known (`background`) and feasible changes (`space`), for any decision of a table's rows.

    From the nearest known rows with the wanted decision, made feasible, every feature is set back one by one where the decision allows it,
    and numbers are moved back by halves on their step. So answers are feasible, sparse and near known rows; they are local optima, not
    proven to be the nearest. Deterministic."""

    def __init__(
        self, decide: Decide, background: pl.DataFrame, space: Mapping[str, Feature], *, starts: int = STARTS, halvings: int = HALVINGS
    ) -> None:
        missing = set(space) - set(background.columns)
        if missing or background.height < 2:
            raise SchemaError(f"The background has {background.height} rows and lacks {sorted(missing)}; give two rows with every feature.")
        self._decide = decide
        self._starts, self._halvings = starts, halvings
        self._background = background
        self._space = dict(space)
        self._names = list(space)
        self._scale = {n: _spread(background[n]) for n, f in space.items() if isinstance(f, Numeric)}
        self._decisions = np.asarray(decide(background), dtype=np.float64) > 0.5
        self._rows = background.select(self._names).to_dicts()
        sample = self._rows[:200]
        near = [min(self._distance(a, b) for j, b in enumerate(sample) if i != j) for i, a in enumerate(sample)]
        self._usual = max(float(np.median(near)), 1e-9)

    def find(self, row: Mapping[str, Any]) -> Counterfactual:
        """The counterfactual of one row (all columns that `decide` reads).

        Raises `SampleError` when a value of the row is itself not legal."""
        started = time.process_time()
        for name, feature in self._space.items():
            if isinstance(feature, Categorical) and row[name] not in feature.values:
                raise SampleError(f"{name} is {row[name]!r}, which is none of {', '.join(feature.values)}.")
        wanted = not self._decision([row])[0]
        starts = sorted(
            (i for i in range(len(self._rows)) if self._decisions[i] == wanted), key=lambda i: self._distance(row, self._rows[i])
        )
        best: dict[str, Any] | None = None
        for start in starts[: self._starts]:
            candidate = {**row, **{n: self._feasible(n, row[n], self._rows[start][n]) for n in self._names}}
            if self._decision([candidate])[0] != wanted:
                continue
            candidate = self._nearer(row, candidate, wanted)
            if best is None or self._distance(row, candidate) < self._distance(row, best):
                best = candidate
        seconds = time.process_time() - started
        if best is None:
            return Counterfactual(False, {}, float("nan"), float("nan"), seconds)
        changes = {n: (row[n], best[n]) for n in self._names if best[n] != row[n]}
        near = min(self._distance(best, other) for other in self._rows)
        return Counterfactual(True, changes, self._distance(row, best), near / self._usual, seconds)

    def quality(self, rows: Sequence[Mapping[str, Any]]) -> CounterfactualQuality:
        """Measures over the counterfactuals of several rows.

        Raises `SampleError` without a row."""
        if not rows:
            raise SampleError("No row was given; quality is measured over cases.")
        found = [self.find(row) for row in rows]
        good = [c for c in found if c.found]
        measured = np.array([(c.distance, float(len(c.changes)), c.plausibility) for c in good] or [(float("nan"),) * 3], dtype=np.float64)
        proximity, sparsity, plausibility = (float(value) for value in measured.mean(axis=0))
        seconds = float(np.mean([c.seconds for c in found]))
        return CounterfactualQuality(len(good) / len(found), proximity, sparsity, plausibility, seconds, len(found))

    def _decision(self, rows: Sequence[Mapping[str, Any]]) -> NDArray[np.bool_]:
        table = pl.DataFrame([dict(row) for row in rows], schema=self._background.schema)
        result: NDArray[np.bool_] = np.asarray(self._decide(table), dtype=np.float64) > 0.5
        return result

    def _distance(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
        total = 0.0
        for name, feature in self._space.items():
            if isinstance(feature, Numeric):
                total += abs(float(one[name]) - float(other[name])) / self._scale[name]
            else:
                total += float(one[name] != other[name])
        return total / len(self._names)

    def _feasible(self, name: str, before: Any, wanted: Any) -> Any:
        """The legal value nearest to `wanted` that a row with `before` can reach."""
        feature = self._space[name]
        if feature.fixed:
            return before
        if isinstance(feature, Categorical):
            return wanted if wanted in feature.values else before
        low = max(feature.low, float(before)) if feature.direction > 0 else feature.low
        high = min(feature.high, float(before)) if feature.direction < 0 else feature.high
        if low > high:  # already beyond the end that it may only move towards
            return before
        value = min(max(float(wanted), low), high)
        if feature.step > 0:
            # On the step inside the bounds; rounding to nearest might leave them.
            count = round(value / feature.step)
            count += int(count * feature.step < low - 1e-9) - int(count * feature.step > high + 1e-9)
            value = round(count * feature.step, 9)
            if not low - 1e-9 <= value <= high + 1e-9:
                return before
        return type(before)(value)

    def _nearer(self, row: Mapping[str, Any], candidate: dict[str, Any], wanted: bool) -> dict[str, Any]:
        order = sorted(self._names, key=lambda n: self._distance(row, {**row, n: candidate[n]}))
        for name in order:
            back = {**candidate, name: row[name]}
            if candidate[name] != row[name] and self._decision([back])[0] == wanted:
                candidate = back
        for name in reversed(order):
            if not isinstance(self._space[name], Numeric) or candidate[name] == row[name]:
                continue
            far, close = float(candidate[name]), float(row[name])
            for _ in range(self._halvings):
                tried = {**candidate, name: self._feasible(name, row[name], (far + close) / 2)}
                if self._decision([tried])[0] == wanted:
                    candidate, far = tried, float(tried[name])
                else:
                    close = float(tried[name])
        return candidate


def _spread(column: pl.Series) -> float:
    """Median absolute deviation, else standard deviation, else 1."""
    values = column.cast(pl.Float64).drop_nulls().to_numpy()
    deviation = float(np.median(np.abs(values - np.median(values)))) if values.size else 0.0
    return deviation or (float(values.std()) if values.size else 0.0) or 1.0
