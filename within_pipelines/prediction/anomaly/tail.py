"""How rare a residual is: empirical body, generalised Pareto tail, pooled over series and shrunk where little was seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from within_pipelines.prediction.anomaly.series import Floats

_TAIL_SHARE = 0.05
_FEWEST_EXCESSES = 30
_FEWEST = 100  # residuals; fewer say nothing about a tail
_SHAPES = (-0.2, 0.8)  # outside, the fit has been led astray by a few values
_KNOTS = 256


def default_survival(z: Floats) -> Floats:
    """P(Z >= z) for Student's t with 4 degrees of freedom: what is believed of residuals before any were seen.

    >>> round(float(default_survival(np.array([2.132]))[0]), 4)
    0.05
    """
    scaled = z / np.sqrt(1.0 + z * z / 4.0)
    survival: Floats = 0.5 - 0.375 * scaled * (1.0 - scaled * scaled / 12.0)
    return np.maximum(survival, 1e-12)


@dataclass(frozen=True, slots=True)
class Tail:
    """Survival function of standardised residuals on one side.

    Below `threshold` it interpolates the empirical `survival` at `knots`; above it is `survival[-1]` x (1 + shape (z - threshold) /
    scale) ** (-1 / shape), the generalised Pareto law (Pickands 1975) fitted by probability-weighted moments (Hosking and Wallis 1987).
    `n` residuals stood behind it; with fewer than 100 it says nothing."""

    n: int
    knots: Floats
    survival: Floats
    shape: float
    scale: float

    @classmethod
    def of(cls, residuals: Floats) -> Tail:
        """Learn the upper tail; give negated residuals for the lower one.

        >>> exponential = Tail.of(np.random.default_rng(1).exponential(size=20_000))
        >>> bool(abs(exponential.shape) < .1 and abs(exponential.scale - 1) < .1)
        True
        """
        z = np.sort(residuals[np.isfinite(residuals)])
        if len(z) < _FEWEST:
            return cls(len(z), np.array([0.0]), np.array([1.0]), 0.0, 1.0)
        excesses = min(max(_FEWEST_EXCESSES, round(_TAIL_SHARE * len(z))), len(z) // 2)
        first = len(z) - excesses
        threshold = float(z[first - 1])
        shape, scale = _pareto(z[first:] - threshold)
        at = np.unique(np.linspace(0, first - 1, min(_KNOTS, first)).astype(np.int64))
        knots, last = np.unique(z[at], return_index=True)
        survival = 1.0 - (at[last] + 1.0) / (len(z) + 1.0)
        survival[-1] = excesses / (len(z) + 1.0)
        return cls(len(z), knots, survival, shape, scale)

    def __call__(self, z: Floats) -> Floats:
        """P(Z >= z), in (0, 1]."""
        threshold = self.knots[-1]
        body = np.interp(z, self.knots, self.survival, left=1.0)
        beyond = np.maximum(z - threshold, 0.0) / self.scale
        if abs(self.shape) < 1e-6:
            law = np.exp(-np.minimum(beyond, 700.0))
        else:
            law = np.maximum(1.0 + self.shape * beyond, 0.0) ** (-1.0 / self.shape)
        return np.where(z > threshold, np.maximum(self.survival[-1] * law, 1e-12), body)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        return {
            "n": self.n,
            "knots": self.knots.tolist(),
            "survival": self.survival.tolist(),
            "shape": self.shape,
            "scale": self.scale,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The tail that `to_dict` wrote."""
        return cls(values["n"], np.array(values["knots"]), np.array(values["survival"]), values["shape"], values["scale"])


def _pareto(excesses: Floats) -> tuple[float, float]:
    """Shape and scale of rising excesses by probability-weighted moments; the shape is kept within bounds."""
    n = len(excesses)
    mean = float(excesses.mean())
    if mean <= 0:
        return 0.0, 1e-6
    weighted = float(np.mean(excesses * (1.0 - (np.arange(1, n + 1) - 0.35) / n)))
    spread = mean - 2.0 * weighted
    shape = 2.0 - mean / spread if spread > 0 else _SHAPES[1]
    shape = min(max(shape, _SHAPES[0]), _SHAPES[1])
    return shape, mean * (1.0 - shape)


@dataclass(frozen=True, slots=True)
class Tails:
    """Upper and lower tails per metric, all metrics together, and the default, each shrunk to the next."""

    pooled: tuple[Tail, Tail]
    by_metric: Mapping[str, tuple[Tail, Tail]]

    # A metric's own tail weighs as much as its parent's when it rests on this many residuals.
    _OWN_HALF = 300.0
    _POOLED_HALF = 100.0

    @classmethod
    def of(cls, residuals: Mapping[str, Floats]) -> Self:
        """Learn from the standardised residuals of each metric."""
        every = np.concatenate([np.empty(0), *(residuals[name] for name in sorted(residuals))])
        return cls((Tail.of(every), Tail.of(-every)), {name: (Tail.of(z), Tail.of(-z)) for name, z in sorted(residuals.items())})

    def side(self, metric: str, z: Floats, *, upper: bool) -> Floats:
        """P(a residual lies at least this far on this side); NaN for NaN."""
        signed, which = (z, 0) if upper else (-z, 1)
        belief = default_survival(signed)
        for tail, half in ((self.pooled, self._POOLED_HALF), (self.by_metric.get(metric), self._OWN_HALF)):
            if tail is not None and tail[which].n >= _FEWEST:
                n = float(tail[which].n)
                belief = (n * tail[which](signed) + half * belief) / (n + half)
        return belief

    def p_value(self, metric: str, z: Floats) -> Floats:
        """Two-sided: twice the smaller side, at most 1."""
        sides = np.minimum(self.side(metric, z, upper=True), self.side(metric, z, upper=False))
        result: Floats = np.minimum(2.0 * sides, 1.0)
        return result

    def limits(self, metric: str, p: float) -> tuple[float, float]:
        """The residuals (below, above) at which the two-sided p-value falls to `p`."""
        bounds = []
        for upper in (False, True):
            near, far = (0.0, 1e6) if upper else (0.0, -1e6)
            for _ in range(60):
                middle = 0.5 * (near + far)
                rare = float(self.side(metric, np.array([middle]), upper=upper)[0]) <= p / 2.0
                near, far = (near, middle) if rare else (middle, far)
            bounds.append(far)
        return bounds[0], bounds[1]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        metrics = {name: [side.to_dict() for side in pair] for name, pair in self.by_metric.items()}
        return {"pooled": [side.to_dict() for side in self.pooled], "by_metric": metrics}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The tails that `to_dict` wrote."""

        def pair(found: Any) -> tuple[Tail, Tail]:
            return Tail.from_dict(found[0]), Tail.from_dict(found[1])

        return cls(pair(values["pooled"]), {name: pair(found) for name, found in values["by_metric"].items()})


@dataclass(frozen=True, slots=True)
class Calibration:
    """Survival function of the ensemble's surprise: from "mean of -log10 p" to a p-value.

    The members agree to a degree that only the data know, so their mean is calibrated again, over all metrics, because each metric's own
    tails are in the members' p-values already. Where little was seen, 10 ** -surprise is believed, which is right for members that always
    agree."""

    tail: Tail

    # The learned tail weighs as much as the belief when it rests on this many surprises.
    _HALF = 100.0

    @classmethod
    def of(cls, surprise: Floats) -> Self:
        """Learn from surprises that were mostly normal."""
        return cls(Tail.of(surprise))

    def __call__(self, surprise: Floats) -> Floats:
        """P(a surprise is at least this large), in (0, 1]; NaN for NaN."""
        belief: Floats = np.minimum(10.0**-surprise, 1.0)
        n = float(self.tail.n)
        return belief if n < _FEWEST else (n * self.tail(surprise) + self._HALF * belief) / (n + self._HALF)

    def limit(self, p: float) -> float:
        """The surprise from which the p-value is at most `p`.

        >>> round(Calibration.of(np.empty(0)).limit(0.001), 6)
        3.0
        """
        near, far = 0.0, 50.0
        for _ in range(60):
            middle = 0.5 * (near + far)
            near, far = (near, middle) if float(self(np.array([middle]))[0]) <= p else (middle, far)
        return far

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        return self.tail.to_dict()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The calibration that `to_dict` wrote."""
        return cls(Tail.from_dict(values))
