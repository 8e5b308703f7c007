"""Is this creative like the ones that the model learned from?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.prediction.ad_score.inputs import Inputs

Floats = NDArray[np.float64]
# One training ad in two hundred lies beyond each limit.
TAIL = 0.005
_AXES = 32
_SAMPLE = 1500
CATEGORIES: tuple[str, ...] = ("platform", "format", "call_to_action", "audience_segment")
_CHECKED = ("headline_characters", "headline_words")


@dataclass(frozen=True, slots=True)
class Support:
    """Limits of what the training ads were like.

    - `seen`: the values of platform, format, call to action and audience segment that occurred, lower case,
    - `ranges`: lowest and highest of some features (headline length) over the training ads,
    - `known_share`: share of known words that all but one in two hundred training ads reach,
    - `centre`, `axes`, `scale`, `farthest`: the encoder's space along its 32 widest directions, and the squared distance from the centre
      (in units of each direction's variance) that all but one in two hundred keep (Mahalanobis 1936). Empty without an encoder."""

    seen: Mapping[str, frozenset[str]]
    ranges: Mapping[str, tuple[float, float]]
    known_share: float
    centre: Floats
    axes: Floats
    scale: Floats
    farthest: float

    @classmethod
    def learn(cls, inputs: Inputs, frame: pl.DataFrame, x: Floats, *, seed: int) -> Self:
        """Learn the limits from the training ads and their input matrix."""
        ranges = {name: _range(x[:, inputs.features.index(name)]) for name in _CHECKED if name in inputs.features}
        seen = {name: frozenset(_values(frame, name)) - {""} for name in CATEGORIES if name in frame.columns}
        shares = np.array(inputs.known_share(frame)) if inputs.vocabulary else np.ones(1)
        nothing = np.zeros(0)
        if not inputs.meanings:
            return cls(seen, ranges, float(np.quantile(shares, TAIL)), nothing, np.zeros((0, 0)), nothing, 0.0)
        meaning = x[:, inputs.meaning_slices()[0]]
        chosen = np.sort(np.random.default_rng([seed, 3]).permutation(len(meaning))[:_SAMPLE])
        centre = meaning[chosen].mean(axis=0)
        _, values, axes = np.linalg.svd(meaning[chosen] - centre, full_matrices=False)
        kept = min(_AXES, int(np.sum(values > 1e-9)))
        # The sign of a direction is arbitrary; fix it, so that two runs agree.
        axes = axes[:kept] * np.sign(axes[np.arange(kept), np.abs(axes[:kept]).argmax(axis=1)])[:, None]
        scale = values[:kept] / np.sqrt(max(len(chosen) - 1, 1))
        draft = cls(seen, ranges, float(np.quantile(shares, TAIL)), centre, axes.T, scale, np.inf)
        farthest = float(np.quantile(draft.distance(meaning), 1 - TAIL)) if kept else np.inf
        return cls(seen, draft.ranges, draft.known_share, centre, axes.T, scale, farthest)

    def distance(self, meaning: Floats) -> Floats:
        """Squared Mahalanobis distance of encoded headlines from the training ads' centre."""
        result: Floats = (((meaning - self.centre) @ self.axes / self.scale) ** 2).sum(axis=1)
        return result

    def reasons(self, inputs: Inputs, frame: pl.DataFrame, x: Floats) -> list[tuple[str, ...]]:
        """Per creative, why it lies outside of what the training ads support; empty when it does not."""
        found: list[list[str]] = [[] for _ in range(frame.height)]
        for name, known in self.seen.items():
            for row, value in enumerate(_values(frame, name)):
                if value and value not in known:
                    found[row].append(f"no training ad had this {name.replace('_', ' ')}")
        for name, (low, high) in self.ranges.items():
            values = x[:, inputs.features.index(name)]
            for row in np.flatnonzero(~((values >= low) & (values <= high))):
                found[row].append(f"{name.replace('_', ' ')} beyond those of the training ads")
        if inputs.vocabulary:
            for row, share in enumerate(inputs.known_share(frame)):
                if share < self.known_share or share == 0:
                    found[row].append(f"{share:.0%} of its words are known")
        if inputs.meanings and np.isfinite(self.farthest):
            for row in np.flatnonzero(self.distance(x[:, inputs.meaning_slices()[0]]) > self.farthest):
                found[row].append("its headline means something unlike the training ads")
        return [tuple(reasons) for reasons in found]

    def arrays(self) -> dict[str, Floats]:
        """The numeric part, by name."""
        return {"support.centre": self.centre, "support.axes": self.axes, "support.scale": self.scale}

    def to_dict(self) -> dict[str, Any]:
        """The rest, as plain values for JSON."""
        far = self.farthest if np.isfinite(self.farthest) else None
        return {
            "seen": {name: sorted(values) for name, values in self.seen.items()},
            "ranges": {name: list(ends) for name, ends in self.ranges.items()},
            "known_share": self.known_share,
            "farthest": far,
        }

    @classmethod
    def restored(cls, values: Mapping[str, Any], arrays: Mapping[str, Floats]) -> Self:
        """The support that `to_dict` and `arrays` came from."""
        ranges = {name: (ends[0], ends[1]) for name, ends in values["ranges"].items()}
        far = float("inf") if values["farthest"] is None else values["farthest"]
        centre, axes, scale = (arrays[f"support.{name}"] for name in ("centre", "axes", "scale"))
        seen = {name: frozenset(known) for name, known in values["seen"].items()}
        return cls(seen, ranges, values["known_share"], centre, axes, scale, far)


def _values(frame: pl.DataFrame, name: str) -> list[str]:
    if name not in frame.columns:
        return [""] * frame.height
    return [(value or "").strip().lower() for value in frame[name].cast(pl.String).to_list()]


def _range(values: Floats) -> tuple[float, float]:
    there = values[np.isfinite(values)]
    if there.size == 0:
        return (-np.inf, np.inf)
    return float(there.min()), float(there.max())
