"""What a network with one hidden layer of rectified linear units can say in a box: interval and CROWN bounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from within_pipelines.exceptions import SampleError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ReluNetwork:
    """x -> relu(x inner + bias) outer + intercept; `inner` is inputs x hidden, `bias` and `outer` have one entry per hidden unit."""

    inner: Floats
    bias: Floats
    outer: Floats
    intercept: float = 0.0

    def __post_init__(self) -> None:
        if self.inner.ndim != 2 or self.bias.shape != (self.inner.shape[1],) or self.outer.shape != self.bias.shape:
            raise SampleError(f"The layers have shapes {self.inner.shape}, {self.bias.shape}, {self.outer.shape}; they do not fit.")

    @classmethod
    def mean_of(cls, inner: Floats, bias: Floats, outer: Floats) -> ReluNetwork:
        """The mean of several networks (members x inputs x hidden, members x hidden, members x hidden), less its answer at 0: the ad
        score's `Network` on standardised inputs."""
        members = len(inner)
        joined = cls(np.concatenate(list(inner), axis=1), bias.reshape(-1), outer.reshape(-1) / members)
        return cls(joined.inner, joined.bias, joined.outer, -float(joined(np.zeros((1, inner.shape[1])))[0]))

    def paired(self) -> ReluNetwork:
        """The difference of two answers as one network of both inputs side by side: positive when the first wins."""
        d, h = self.inner.shape
        inner = np.zeros((2 * d, 2 * h))
        inner[:d, :h], inner[d:, h:] = self.inner, self.inner
        return ReluNetwork(inner, np.concatenate([self.bias, self.bias]), np.concatenate([self.outer, -self.outer]))

    def __call__(self, x: Floats) -> Floats:
        """Output per row."""
        result: Floats = np.maximum(x @ self.inner + self.bias, 0) @ self.outer + self.intercept
        return result

    def gradient(self, x: Floats) -> Floats:
        """Derivative of the output by the input, per row."""
        result: Floats = ((x @ self.inner + self.bias > 0) * self.outer) @ self.inner.T
        return result

    def _units(self, x: Floats, budget: Floats) -> tuple[Floats, Floats]:
        centre = x @ self.inner + self.bias
        reach = np.broadcast_to(budget, x.shape) @ np.abs(self.inner)
        return centre - reach, centre + reach

    def interval_bounds(self, x: Floats, budget: Floats) -> tuple[Floats, Floats]:
        """Interval bound propagation (Gowal et al. 2018): bounds for every input within `budget` (per feature) of each row."""
        low, high = self._units(x, budget)
        a, b = np.maximum(low, 0), np.maximum(high, 0)
        up, down = np.maximum(self.outer, 0), np.minimum(self.outer, 0)
        return a @ up + b @ down + self.intercept, b @ up + a @ down + self.intercept

    def crown_bounds(self, x: Floats, budget: Floats) -> tuple[Floats, Floats]:
        """CROWN (Zhang et al. 2018): each unit between two lines, the whole a linear function of the input, whose extremes in the box are
        known; intersected with the interval bounds. Never looser than these."""
        low, high = self._units(x, budget)
        unsure = (low < 0) & (high > 0)
        slope = np.where(high <= 0, 0.0, np.where(unsure, high / np.where(unsure, high - low, 1.0), 1.0))
        above = np.where(unsure, -slope * low, 0.0)  # the upper line is slope * z + above
        # The lower line through 0 that cuts off the smaller triangle.
        under = np.where(unsure, (high >= -low).astype(np.float64), slope)
        ends = []
        for sign in (1.0, -1.0):
            weight = sign * self.outer
            line = np.where(weight >= 0, under, slope)
            rest = np.where(weight >= 0, 0.0, above)
            towards = (weight * line) @ self.inner.T
            constant = (weight * (line * self.bias + rest)).sum(axis=1)
            least = (towards * x).sum(axis=1) - (np.abs(towards) * np.broadcast_to(budget, x.shape)).sum(axis=1) + constant
            ends.append(sign * least + self.intercept)
        by_interval = self.interval_bounds(x, budget)
        return np.maximum(ends[0], by_interval[0]), np.minimum(ends[1], by_interval[1])

    def certified_radius(self, x: Floats, scale: Floats, *, most: float = 4.0, steps: int = 16) -> Floats:
        """Largest r for which CROWN proves that the sign at each row holds within r x `scale`, up to `most`, by bisection."""
        right = self(x) > 0
        good, bad = np.zeros(len(x)), np.full(len(x), most)
        for _ in range(steps):
            middle = (good + bad) / 2
            low, high = self.crown_bounds(x, middle[:, None] * scale)
            holds = np.where(right, low > 0, high < 0)
            good, bad = np.where(holds, middle, good), np.where(holds, bad, middle)
        return good
