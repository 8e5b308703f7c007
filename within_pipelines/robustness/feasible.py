"""What a mistaken feed or a hostile advertiser can change: a set of inputs around each row, in units that people know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class FeasibleSet:
    """Inputs within `budget` of a row, feature by feature, that could really come from a feed.

    All arrays have one entry per feature: `budget` (largest change either way, 0: fixed), `lower` and `upper` (values that exist at all:
    spend is never negative, a share at most 1), `step` (1 for counts, 0.01 for money in cents; 0: any number; changes are whole steps).
    `pairs` (a, b) says that feature a never exceeds feature b (clicks, impressions); `blocks` are one-hot groups of columns, of which
    exactly one is 1: a column whose budget is at least 1 may be chosen. The rows themselves must keep all of this."""

    budget: Floats
    lower: Floats
    upper: Floats
    step: Floats
    pairs: tuple[tuple[int, int], ...] = ()
    blocks: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of(
        cls, budget: ArrayLike, *, lower: ArrayLike = -np.inf, upper: ArrayLike = np.inf, step: ArrayLike = 0.0,
        pairs: Sequence[tuple[int, int]] = (), blocks: Sequence[Sequence[int]] = (),
    ) -> FeasibleSet:  # fmt: skip
        """Build a set; single numbers hold for every feature.

        Raises `SampleError` for negative budgets or steps, a lower end above the upper one, or columns that do not exist.

        >>> ads = FeasibleSet.of([100, 10, 5.0], lower=0, step=[1, 1, 0.01], pairs=[(1, 0)])
        >>> ads.project(np.array([[870.2, 900.0, -3.0]]), np.array([[900.0, 890.0, 1.0]])).tolist()
        [[880.0, 880.0, 0.0]]
        """
        width = np.atleast_1d(np.asarray(budget, dtype=np.float64))
        low, high, grid = (np.broadcast_to(np.asarray(v, dtype=np.float64), width.shape).copy() for v in (lower, upper, step))
        if width.ndim != 1 or not (width >= 0).all() or not (grid >= 0).all() or not (low <= high).all():
            raise SampleError("Give one budget >= 0, step >= 0 and lower <= upper per feature.")
        columns = [*(c for pair in pairs for c in pair), *(c for block in blocks for c in block)]
        if any(not 0 <= column < width.size for column in columns):
            raise SampleError(f"pairs and blocks name columns up to {max(columns)}; there are {width.size} features.")
        return cls(width, low, high, grid, tuple((int(a), int(b)) for a, b in pairs), tuple(tuple(map(int, b)) for b in blocks))

    @property
    def scale(self) -> Floats:
        """Budgets as units of distance; 1 where nothing may change."""
        return np.where(self.budget > 0, self.budget, 1.0)

    @property
    def mutable(self) -> Bools:
        """Features that may change: their budget holds at least one step.

        >>> FeasibleSet.of([0.1, 2, 0], step=[1, 1, 0]).mutable.tolist()
        [False, True, False]
        """
        free: Bools = (self.budget > 0) & (self.step <= self.budget * (1 + _ROUNDING))
        return free

    def scaled(self, factor: float) -> FeasibleSet:
        """The same set with budgets times `factor`; one-hot blocks keep theirs."""
        inside = np.zeros(self.budget.size, dtype=np.bool_)
        for block in self.blocks:
            inside[list(block)] = True
        budget = np.where(inside, self.budget, self.budget * factor)
        return FeasibleSet(budget, self.lower, self.upper, self.step, self.pairs, self.blocks)

    def bounds(self, origin: Floats) -> tuple[Floats, Floats]:
        """Smallest and largest value of each feature alone, on its grid, for rows `origin`."""
        low = np.maximum(origin - self.budget, np.minimum(self.lower, origin))
        high = np.minimum(origin + self.budget, np.maximum(self.upper, origin))
        safe = np.where(self.step > 0, self.step, 1.0)
        on_grid = self.step > 0
        low = np.where(on_grid, origin - np.floor((origin - low) / safe + _ROUNDING) * safe, low)
        high = np.where(on_grid, origin + np.floor((high - origin) / safe + _ROUNDING) * safe, high)
        return low, high

    def project(self, x: Floats, origin: Floats) -> Floats:
        """A feasible point near each row of `x`, for the rows `origin` that they started from."""
        low, high = self.bounds(origin)
        safe = np.where(self.step > 0, self.step, 1.0)
        z = np.where(self.step > 0, origin + np.rint((x - origin) / safe) * safe, x)
        z = np.clip(np.where(np.isfinite(z), z, origin), low, high)
        # Pairs may share a feature (week within month, clicks within impressions), so what one mends another may break.
        for _ in range(2 * len(self.pairs)):
            before = z.copy()
            for a, b in self.pairs:
                self._order(z, origin, low, a, b)
            if np.array_equal(before, z):
                break
        for block in self.blocks:
            columns = np.array(block)
            allowed = (self.budget[columns] >= 1) | (origin[:, columns] > 0.5)
            value = np.where(allowed, x[:, columns] + 1e-12 * origin[:, columns], -np.inf)
            z[:, columns] = 0.0
            z[np.arange(len(z)), columns[value.argmax(axis=1)]] = 1.0
        if self.pairs:
            # What could not be mended stays as it came.
            lost = ~np.all([z[:, a] <= z[:, b] for a, b in self.pairs], axis=0)
            z[lost] = origin[lost]
        result: Floats = z
        return result

    def _order(self, z: Floats, origin: Floats, low: Floats, a: int, b: int) -> None:
        """Make feature a at most feature b: the smaller one goes down, the larger one up only where the smaller one cannot."""
        safe = np.where(self.step > 0, self.step, 1.0)
        need = low[:, a]
        up = origin[:, b] + np.ceil((need - origin[:, b]) / safe[b] - _ROUNDING) * safe[b]
        z[:, b] = np.where(need > z[:, b], up if self.step[b] > 0 else need, z[:, b])
        most = z[:, b]
        down = origin[:, a] + np.floor((most - origin[:, a]) / safe[a] + _ROUNDING) * safe[a]
        z[:, a] = np.where(z[:, a] > most, down if self.step[a] > 0 else most, z[:, a])

    def contains(self, x: Floats, origin: Floats, *, tolerance: float = 1e-6) -> Bools:
        """Which rows of `x` are feasible for the rows `origin`."""
        slack = tolerance * np.maximum(1.0, np.abs(origin))
        inside = (np.abs(x - origin) <= self.budget + slack) & (x >= np.minimum(self.lower, origin) - slack)
        inside &= x <= np.maximum(self.upper, origin) + slack
        safe = np.where(self.step > 0, self.step, 1.0)
        steps = (x - origin) / safe
        inside &= (self.step == 0) | (np.abs(steps - np.rint(steps)) <= tolerance * np.maximum(1.0, np.abs(steps)))
        for block in self.blocks:
            columns = list(block)
            chosen = x[:, columns]
            one = (np.abs(chosen.sum(axis=1) - 1) <= tolerance) & ((np.abs(chosen) <= tolerance) | (np.abs(chosen - 1) <= tolerance)).all(
                axis=1
            )
            inside[:, columns] = one[:, None] & ((self.budget[columns] >= 1) | (x[:, columns] <= np.maximum(origin[:, columns], tolerance)))
        good: Bools = inside.all(axis=1)
        for a, b in self.pairs:
            good &= x[:, a] <= x[:, b] + slack[:, b]
        return good

    def draw(self, origin: Floats, rng: np.random.Generator) -> Floats:
        """A random feasible point per row, uniform before projection; one-hot blocks are drawn among what is allowed."""
        low, high = self.bounds(origin)
        x = low + rng.random(origin.shape) * (high - low)
        for block in self.blocks:
            x[:, list(block)] = rng.random((len(x), len(block)))
        return self.project(x, origin)
