"""The parts of a health model and the share that the richer ones have earned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from within_pipelines.prediction.account_health.location_scale import LocationScale, fit_location_scale
from within_pipelines.prediction.account_health.model import (
    LinearPart,
    fit_logistic,
    fit_trees,
    open_trees,
    tree_contributions,
    tree_log_odds,
)
from within_pipelines.prediction.account_health.support import CALENDAR, UNKNOWN_SUPPORT, Ranges, support_reasons

if TYPE_CHECKING:
    import xgboost

Floats = NDArray[np.float64]

# The lean part: how the unit has moved against itself, over which stretches, and how many events stand behind that. Few enough to learn
# from two months of one advertiser.
LEAN: tuple[str, ...] = (
    "log_efficiency_7",
    "log_efficiency_28",
    "volume_events_28",
    "log_efficiency_3",
    "log_efficiency_1",
    "log_efficiency_week_2",
    "log_efficiency_week_3",
    "slope_efficiency_28",
)
PERSISTENCE: tuple[str, ...] = ("log_efficiency_7",)
# Penalties in rows whose labels share no days; overlapping labels multiply them.
# The band's scale is a unit's own predicted scatter plus this many usual ones (Papadopoulos, Vovk and Gammerman 2011): shocks that all
# units share move large ones as far as small ones, beyond what their own noise would let one expect.
_SHARED_SCATTER = 2.0
_LEAN_RIDGE, _LEAN_LOCATION_RIDGE, _LEAN_SCALE_RIDGE = 3.0, 100.0, 100.0
_WIDE_RIDGE, _WIDE_LOCATION_RIDGE, _WIDE_SCALE_RIDGE = 100.0, 30.0, 100.0


@dataclass(frozen=True)
class HealthBlend:
    """Log-odds of a drop = (1 - share) lean + share (lean + wide + trees + spread) / 4, parts that are missing left out of the mean.

    `lean` is a logistic regression on few features, `wide` a stiff one on all, `trees` are boosted, `spread` is the location-scale part.
    `features` are the columns of `x`, in order; `lean` and `narrow` (the location-scale part on the lean features, for the band of a
    model whose share is 0) look at their own. Every answer is given for `x` moved into `ranges`, those of the rows fitted on, so that no
    part extrapolates; None (a model from before they were kept) leaves `x` as it is."""

    features: tuple[str, ...]
    lean: LinearPart
    lean_features: tuple[str, ...]
    wide: LinearPart | None = None
    trees: bytes | None = None
    spread: LocationScale | None = None
    narrow: LocationScale | None = None
    share: float = 0.0
    ranges: Ranges | None = None

    @cached_property
    def _columns(self) -> NDArray[np.intp]:
        return np.array([self.features.index(name) for name in self.lean_features], dtype=np.intp)

    @cached_property
    def _booster(self) -> xgboost.Booster:
        assert self.trees is not None
        return open_trees(self.trees)

    def with_share(self, share: float) -> HealthBlend:
        """The same parts, mixed otherwise."""
        return replace(self, share=share)

    def _within(self, x: Floats) -> Floats:
        return x if self.ranges is None else self.ranges.clip(x)

    @property
    def read(self) -> NDArray[np.bool_]:
        """Which of `features` an answer depends on: the lean ones alone while the richer parts have earned nothing."""
        found = np.full(len(self.features), self.share > 0)
        found[self._columns] = True
        return found

    def outside(self, x: Floats) -> NDArray[np.bool_] | None:
        """Whether a feature that the answer depends on lies beyond the rows fitted on, one per row; None where their ranges were not
        kept."""
        if self.ranges is None:
            return None
        judged = self.read & np.array([name not in CALENDAR for name in self.features])
        result: NDArray[np.bool_] = (self.ranges.outside(x)[:, judged] != 0).any(axis=1)
        return result

    def support_reasons(self, x: Floats) -> list[tuple[str, ...]]:
        """Per row why it is unlike the rows fitted on, as far as the features go that the answer depends on."""
        if self.ranges is None:
            return [(UNKNOWN_SUPPORT,)] * len(x)
        read = np.flatnonzero(self.read)
        return support_reasons(self.ranges.of(read), [self.features[column] for column in read], x[:, read])

    def log_odds(self, x: Floats) -> Floats:
        """Raw log-odds of a drop, one per row."""
        x = self._within(x)
        lean = self.lean(x[:, self._columns])
        if self.share == 0:
            return lean
        rich = [lean]
        if self.wide is not None:
            rich.append(self.wide(x))
        if self.trees is not None:
            rich.append(tree_log_odds(self._booster, x))
        if self.spread is not None:
            rich.append(self.spread.log_odds(x))
        result: Floats = (1 - self.share) * lean + self.share * np.mean(rich, axis=0)
        return result

    def contributions(self, x: Floats) -> Floats:
        """One column per feature and a last one for the intercept: exact for linear parts and trees, integrated gradients for the
        location-scale part. Rows add up to `log_odds` within the single precision of XGBoost."""
        x = self._within(x)
        lean = np.zeros((len(x), len(self.features) + 1))
        lean[:, self._columns] = self.lean.contributions(x[:, self._columns])
        lean[:, -1] = self.lean.intercept
        if self.share == 0:
            return lean
        rich = [lean]
        if self.wide is not None:
            rich.append(np.column_stack([self.wide.contributions(x), np.full(len(x), self.wide.intercept)]))
        if self.trees is not None:
            rich.append(tree_contributions(self._booster, x))
        if self.spread is not None:
            rich.append(self.spread.contributions(x))
        result: Floats = (1 - self.share) * lean + self.share * np.mean(rich, axis=0)
        return result

    @property
    def has_band(self) -> bool:
        """Whether it was fitted with log ratios."""
        return self.narrow is not None

    def location_and_scale(self, x: Floats) -> tuple[Floats, Floats]:
        """Predicted log ratio, and the unit of the distance at which the truth may lie."""
        x = self._within(x)
        part, seen = (self.spread, x) if self.share > 0 and self.spread is not None else (self.narrow, x[:, self._columns])
        assert part is not None
        return part.location(seen), part.scale(seen) + _SHARED_SCATTER * part.typical_scale

    def to_dict(self) -> dict[str, Any]:
        """Everything but the trees as plain values for JSON."""
        parts: Mapping[str, LinearPart | LocationScale | None] = {"wide": self.wide, "spread": self.spread, "narrow": self.narrow}
        return {
            "features": list(self.features),
            "lean_features": list(self.lean_features),
            "lean": self.lean.to_dict(),
            "share": self.share,
            "ranges": None if self.ranges is None else self.ranges.to_dict(),
            **{name: None if part is None else part.to_dict() for name, part in parts.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], trees: bytes | None) -> HealthBlend:
        """The blend that `to_dict` wrote, with its trees."""
        wide, spread, narrow = values["wide"], values["spread"], values["narrow"]
        ranges = values.get("ranges")
        return cls(
            features=tuple(values["features"]),
            lean=LinearPart.from_dict(values["lean"]),
            lean_features=tuple(values["lean_features"]),
            wide=None if wide is None else LinearPart.from_dict(wide),
            trees=trees,
            spread=None if spread is None else LocationScale.from_dict(spread),
            narrow=None if narrow is None else LocationScale.from_dict(narrow),
            share=values["share"],
            ranges=None if ranges is None else Ranges.from_dict(ranges),
        )


def fit_blend(
    x: Floats,
    outcome: Floats,
    log_ratio: Floats | None,
    *,
    features: tuple[str, ...],
    lean_features: tuple[str, ...],
    rich: bool,
    threshold: float,
    overlap: float,
    seed: int,
    threads: int,
    share: float = 0.0,
) -> HealthBlend:
    """Fit every part on `x` (columns `features`); the richer parts only when `rich`, the location-scale parts only with `log_ratio`
    (NaN where unknown).

    `overlap` (at least 1) is the number of rows whose labels share a day. They say little more than one row, so every penalty, and the
    least weight of a leaf, counts that many times: the same as giving each row the weight 1 / `overlap`."""
    columns = [features.index(name) for name in lean_features]
    ranges = Ranges.learn(x)
    x = ranges.clip(x)
    lean_x = x[:, columns]
    lean = fit_logistic(lean_x, outcome, ridge=_LEAN_RIDGE * overlap)
    blend = HealthBlend(features, lean, lean_features, share=share, ranges=ranges)
    known = np.zeros(len(x), dtype=bool) if log_ratio is None else np.isfinite(log_ratio)
    if log_ratio is not None and known.any():
        narrow = fit_location_scale(
            lean_x[known], log_ratio[known], outcome[known], threshold=threshold,
            ridge=_LEAN_LOCATION_RIDGE * overlap, scale_ridge=_LEAN_SCALE_RIDGE * overlap,
        )  # fmt: skip
        blend = replace(blend, narrow=narrow)
    if not rich:
        return blend
    blend = replace(
        blend,
        wide=fit_logistic(x, outcome, ridge=_WIDE_RIDGE * overlap),
        trees=fit_trees(x, outcome, seed=seed, threads=threads, stiffness=overlap),
    )
    if log_ratio is not None and known.any():
        spread = fit_location_scale(
            x[known], log_ratio[known], outcome[known], threshold=threshold,
            ridge=_WIDE_LOCATION_RIDGE * overlap, scale_ridge=_WIDE_SCALE_RIDGE * overlap,
        )  # fmt: skip
        blend = replace(blend, spread=spread)
    return blend
