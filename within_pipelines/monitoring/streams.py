"""Detectors that read one number after another and keep no window of rows: ADWIN, DDM, EDDM, Page and Hinkley.

Each answers after every number whether it signals, and its whole state is a plain dict, so that it can be stored and go on tomorrow."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from within_pipelines.exceptions import SampleError


def _number(value: float, name: str, low: float = -math.inf, high: float = math.inf) -> float:
    x = float(value)
    if not (math.isfinite(x) and low <= x <= high):
        raise SampleError(f"{name} got {value}; give a finite number" + (f" between {low:g} and {high:g}." if high < math.inf else "."))
    return x


@dataclass(slots=True)
class _Stream(ABC):
    """What all streams share: feeding many numbers, and a state that goes to JSON and back."""

    @abstractmethod
    def add(self, value: float) -> bool:
        """Read one number; returns whether the detector signals at it."""

    def feed(self, values: Iterable[float]) -> list[int]:
        """Read numbers; returns the positions (from 0) at which the detector signalled."""
        return [i for i, value in enumerate(values) if self.add(value)]

    def state(self) -> dict[str, Any]:
        """Everything the detector knows, as plain values."""
        return {"detector": type(self).__name__, **asdict(self)}

    @classmethod
    def resume(cls, state: Mapping[str, Any]) -> Self:
        """A detector that goes on where `state` was taken.

        Raises `SampleError` for the state of another detector."""
        if state.get("detector") != cls.__name__:
            raise SampleError(f"The state is of {state.get('detector')!r}, not of {cls.__name__!r}.")
        made = cls()
        for name, value in state.items():
            if name != "detector":
                setattr(made, name, [list(entry) for entry in value] if isinstance(value, list) else value)
        return made


@dataclass(slots=True)
class PageHinkley(_Stream):
    """Signals when the mean has risen: m_t = sum of (x_i - running mean - delta) exceeds its minimum by `threshold` (Page, 1954).

    After a signal it begins anew. `delta` is the rise that does not matter, in units of the numbers; `minimum` numbers come first.

    >>> PageHinkley(delta=0.0, threshold=2.0, minimum=1).feed([0, 0, 0, 1, 1, 1, 1])
    [6]
    """

    delta: float = 0.005
    threshold: float = 50.0
    minimum: int = 30
    n: int = 0
    mean: float = 0.0
    total: float = 0.0
    lowest: float = 0.0

    def add(self, value: float) -> bool:
        """Read one number; returns whether the mean has risen."""
        x = _number(value, "PageHinkley")
        self.n += 1
        self.mean += (x - self.mean) / self.n
        self.total += x - self.mean - self.delta
        self.lowest = min(self.lowest, self.total)
        if self.n < self.minimum or self.total - self.lowest <= self.threshold:
            return False
        self.n, self.mean, self.total, self.lowest = 0, 0.0, 0.0, 0.0
        return True


@dataclass(slots=True)
class DDM(_Stream):
    """Signals when the error rate has risen: p + s >= p_min + `drift` s_min, with s = sqrt(p (1 - p) / n) (Gama et al., 2004).

    Numbers are errors, 0 or 1. `warning` tells that p + s >= p_min + `warn` s_min. After a signal it begins anew. The rule looks at the
    lowest
    point so far, so the rate of false alarms is not alpha: measure it for your stream."""

    drift: float = 3.0
    warn: float = 2.0
    minimum: int = 30
    n: int = 0
    errors: float = 0.0
    best_rate: float = math.inf
    best_spread: float = math.inf
    warning: bool = False

    def add(self, value: float) -> bool:
        """Read one error (1) or success (0); returns whether the error rate has risen."""
        self.errors += _number(value, "DDM", 0.0, 1.0)
        self.n += 1
        rate = self.errors / self.n
        spread = math.sqrt(rate * (1 - rate) / self.n)
        if self.n < self.minimum:
            return False
        if rate + spread <= self.best_rate + self.best_spread:
            self.best_rate, self.best_spread = rate, spread
        reach = rate + spread
        # Without an error so far the least spread is 0, and any first error would signal.
        self.warning = self.best_spread > 0 and reach >= self.best_rate + self.warn * self.best_spread
        if self.best_spread <= 0 or reach < self.best_rate + self.drift * self.best_spread:
            return False
        self.n, self.errors, self.best_rate, self.best_spread, self.warning = 0, 0.0, math.inf, math.inf, False
        return True


@dataclass(slots=True)
class EDDM(_Stream):
    """Signals when errors come closer together: (mean + 2 s of the distances between errors) falls below `drift` times its maximum
    (Baena-Garcia et al., 2006). It sees slow drift before the error rate does; 30 errors come first."""

    drift: float = 0.9
    warn: float = 0.95
    minimum_errors: int = 30
    n: int = 0
    last_error: int = 0
    errors: int = 0
    mean: float = 0.0
    squares: float = 0.0
    best: float = 0.0
    warning: bool = False

    def add(self, value: float) -> bool:
        """Read one error (1) or success (0); returns whether errors have come closer."""
        error = _number(value, "EDDM", 0.0, 1.0) > 0.5
        self.n += 1
        if not error:
            return False
        distance = self.n - self.last_error
        self.last_error = self.n
        self.errors += 1
        before = self.mean
        self.mean += (distance - before) / self.errors
        self.squares += (distance - before) * (distance - self.mean)
        reach = self.mean + 2 * math.sqrt(self.squares / self.errors)
        if reach > self.best:
            self.best = reach
        if self.errors < self.minimum_errors or self.best <= 0:
            return False
        self.warning = reach / self.best < self.warn
        if reach / self.best >= self.drift:
            return False
        self.n, self.last_error, self.errors, self.mean, self.squares, self.best, self.warning = 0, 0, 0, 0.0, 0.0, 0.0, False
        return True


@dataclass(slots=True)
class ADWIN(_Stream):
    """Keeps the longest window in which no cut has two halves of different mean, and signals when it shortens (Bifet and Gavalda, 2007).

    A cut into n0 and n1 numbers counts when the means differ by more than
    e = sqrt((2 / m) v ln(2 / d)) + (2 / (3 m)) ln(2 / d), with m = 1 / (1/n0 + 1/n1), v the window's variance and d = `delta` / ln(n).
    The window is a list of buckets of 1, 2, 4, ... numbers with their sums and squared deviations, at most `most` of each size, so memory
    grows with the logarithm of its length. Numbers should lie between 0 and 1 or be scaled to that."""

    delta: float = 0.002
    most: int = 5
    every: int = 8
    minimum: int = 10
    seen: int = 0
    buckets: list[list[float]] = field(default_factory=list)  # [count, sum, squared deviations], oldest first

    @property
    def width(self) -> int:
        """Numbers in the window."""
        return int(sum(bucket[0] for bucket in self.buckets))

    @property
    def mean(self) -> float:
        """Mean of the window; 0 when it is empty."""
        width = self.width
        return sum(bucket[1] for bucket in self.buckets) / width if width else 0.0

    def add(self, value: float) -> bool:
        """Read one number; returns whether the window was cut."""
        self.buckets.append([1.0, _number(value, "ADWIN"), 0.0])
        self.seen += 1
        self._compress()
        # Cuts are looked for at every `every`-th number, as the authors suggest.
        return self.seen % self.every == 0 and self.width > self.minimum and self._cut()

    def _compress(self) -> None:
        size = 1.0
        while True:
            alike = [i for i, bucket in enumerate(self.buckets) if bucket[0] == size]
            if len(alike) <= self.most:
                return
            first, second = alike[0], alike[1]
            self.buckets[first] = _merged(self.buckets[first], self.buckets[second])
            del self.buckets[second]
            size *= 2

    def _cut(self) -> bool:
        shortened = False
        again = True
        while again and len(self.buckets) > 1:
            again = False
            whole = self.buckets[0]
            for bucket in self.buckets[1:]:
                whole = _merged(whole, bucket)
            n, total, squares = whole
            if n <= self.minimum:
                break
            variance = squares / n
            term = math.log(2 * math.log(n) / self.delta)
            n0, s0 = 0.0, 0.0
            for bucket in self.buckets[:-1]:
                n0, s0 = n0 + bucket[0], s0 + bucket[1]
                n1 = n - n0
                if min(n0, n1) < 5:
                    continue
                m = 1 / (1 / n0 + 1 / n1)
                reach = math.sqrt(2 / m * variance * term) + 2 / (3 * m) * term
                if abs(s0 / n0 - (total - s0) / n1) > reach:
                    del self.buckets[0]
                    shortened = again = True
                    break
        return shortened


def _merged(a: list[float], b: list[float]) -> list[float]:
    n = a[0] + b[0]
    gap = a[1] / a[0] - b[1] / b[0]
    return [n, a[1] + b[1], a[2] + b[2] + a[0] * b[0] / n * gap * gap]
