"""What boosted trees can say anywhere in a box: sound bounds, and the exact extreme by branch and bound."""

from __future__ import annotations

import heapq
import json
import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from within_pipelines.exceptions import SampleError

Floats = NDArray[np.float64]
_MOST_BOXES = 20_000


@dataclass(frozen=True, slots=True)
class _Tree:
    """Nodes of one tree as arrays; `left` is -1 at a leaf, whose value is in `value`. Go left when x[feature] < threshold."""

    feature: NDArray[np.int64]
    threshold: Floats
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    value: Floats


@dataclass(frozen=True, slots=True)
class Extreme:
    """The least (or largest) sum in a box: `bound` holds for every point; `value` is reached at `x`. `exact` when they agree."""

    bound: float
    value: float
    x: Floats
    boxes: int

    @property
    def exact(self) -> bool:
        """Whether branch and bound came to its end."""
        return abs(self.bound - self.value) <= 1e-9 * max(1.0, abs(self.value))


@dataclass(frozen=True, slots=True)
class TreeEnsemble:
    """A sum of trees and an intercept, in the units of the raw sum (log-odds for a classifier)."""

    trees: tuple[_Tree, ...]
    intercept: float
    n_features: int

    @classmethod
    def of_xgboost(cls, model: Any) -> Self:
        """Read an `xgboost.Booster` (or its scikit-learn wrapper) with numeric splits and one output.

        The intercept is `base_score`, as log-odds for a logistic objective; leaving it out shifts every bound by it.
        Raises `SampleError` for categorical splits, several outputs, or boosters other than gbtree."""
        booster = model.get_booster() if hasattr(model, "get_booster") else model
        document = json.loads(bytes(booster.save_raw("json")))["learner"]
        name = document["gradient_booster"].get("name")
        if name != "gbtree" or int(document["learner_model_param"].get("num_class", 0)) > 1:
            raise SampleError(
                f"The booster is {name} with num_class {document['learner_model_param'].get('num_class')}; give one gbtree output."
            )
        base = document["learner_model_param"]["base_score"]
        base = float(str(base).strip("[]").split(",")[0])
        if document["objective"]["name"] in ("binary:logistic", "reg:logistic", "binary:logitraw"):
            base = math.log(base / (1 - base)) if document["objective"]["name"] != "binary:logitraw" else base
        trees = []
        for tree in document["gradient_booster"]["model"]["trees"]:
            if any(tree.get("split_type", [])):
                raise SampleError("A tree splits by category, which has no box; encode categories as one-hot columns.")
            trees.append(
                _Tree(
                    np.array(tree["split_indices"], dtype=np.int64),
                    # xgboost compares in single precision.
                    np.array(tree["split_conditions"], dtype=np.float32).astype(np.float64),
                    np.array(tree["left_children"], dtype=np.int64),
                    np.array(tree["right_children"], dtype=np.int64),
                    np.array(tree["split_conditions"], dtype=np.float32).astype(np.float64),
                )
            )
        return cls(tuple(trees), base, int(document["learner_model_param"]["num_feature"]))

    def __call__(self, x: Floats) -> Floats:
        """The sum at each row of `x`, compared in single precision as xgboost does.

        Raises `SampleError` for missing values: xgboost sends them a way of their own, and a box holds none."""
        single = np.asarray(x, dtype=np.float32).astype(np.float64)
        if np.isnan(single).any():
            raise SampleError(
                f"{int(np.isnan(single).any(axis=1).sum())} rows have missing values, which no box holds; fill them or leave them out."
            )
        total = np.full(len(single), self.intercept)
        for tree in self.trees:
            at = np.zeros(len(single), dtype=np.int64)
            while (inner := tree.left[at] >= 0).any():
                rows = np.flatnonzero(inner)
                node = at[rows]
                goes_left = single[rows, tree.feature[node]] < tree.threshold[node]
                at[rows] = np.where(goes_left, tree.left[node], tree.right[node])
            total += tree.value[at]
        return total

    def thresholds(self) -> list[Floats]:
        """Per feature the sorted thresholds of all trees."""
        found: list[set[float]] = [set() for _ in range(self.n_features)]
        for tree in self.trees:
            for node in np.flatnonzero(tree.left >= 0):
                found[int(tree.feature[node])].add(float(tree.threshold[node]))
        return [np.array(sorted(values)) for values in found]

    def bounds(self, low: Floats, high: Floats) -> tuple[float, float]:
        """Sound bounds of the sum in the box [low, high]: each tree's extremes over the leaves that the box reaches, added up."""
        least, most = self.intercept, self.intercept
        for tree in self.trees:
            a, b = _reach(tree, low, high)
            least, most = least + a, most + b
        return least, most

    def minimum(self, low: Floats, high: Floats, *, stop_below: float = -math.inf, most_boxes: int = _MOST_BOXES) -> Extreme:
        """The least sum in the box, by best-first branch and bound (boxes are cut at thresholds; a box in which every tree has one leaf
        left is exact). Stops early once a point below `stop_below` is known, or when `most_boxes` are spent; then `bound` < `value`."""
        low = np.asarray(low, dtype=np.float32).astype(np.float64)
        high = np.asarray(high, dtype=np.float32).astype(np.float64)
        if np.isnan(low).any() or np.isnan(high).any():
            raise SampleError("An end of the box is missing; fill missing values or leave their rows out.")
        if low.shape != (self.n_features,) or not (low <= high).all():
            raise SampleError(f"A box needs {self.n_features} lower ends below as many upper ones.")
        best_x = low.copy()
        best = float(self(low[None])[0])
        queue: list[tuple[float, int, Floats, Floats]] = [(self.bounds(low, high)[0], 0, low, high)]
        count, done = 1, 0
        while queue:
            bound, _, a, b = queue[0]
            if bound >= best - 1e-12 or best < stop_below or done >= most_boxes:
                break
            heapq.heappop(queue)
            done += 1
            cut = self._widest_cut(a, b)
            if cut is None:
                value = float(self(a[None])[0])
                if value < best:
                    best, best_x = value, a
                continue
            feature, threshold = cut
            left_high, right_low = b.copy(), a.copy()
            left_high[feature] = np.nextafter(np.float32(threshold), np.float32(-np.inf))
            right_low[feature] = threshold
            for c, d in ((a, left_high), (right_low, b)):
                value = float(self(c[None])[0])
                if value < best:
                    best, best_x = value, c
                lower = self.bounds(c, d)[0]
                if lower < best - 1e-12:
                    heapq.heappush(queue, (lower, count, c, d))
                    count += 1
        bound = min(queue[0][0], best) if queue else best
        return Extreme(bound if bound < best - 1e-12 else best, best, best_x, done)

    def maximum(self, low: Floats, high: Floats, *, most_boxes: int = _MOST_BOXES) -> Extreme:
        """The largest sum in the box: the least of the negated trees."""
        turned = TreeEnsemble(
            tuple(_Tree(t.feature, t.threshold, t.left, t.right, np.where(t.left < 0, -t.value, t.value)) for t in self.trees),
            -self.intercept,
            self.n_features,
        )
        found = turned.minimum(low, high, most_boxes=most_boxes)
        return Extreme(-found.bound, -found.value, found.x, found.boxes)

    def certified(self, x: Floats, labels: NDArray[Any], budget: Floats, *, most_boxes: int = 2000) -> NDArray[np.bool_]:
        """Rows whose sign no change within `budget` per feature can turn; what branch and bound cannot decide counts as not certified."""
        result = np.zeros(len(x), dtype=np.bool_)
        for i, row in enumerate(x):
            low, high = row - budget, row + budget
            if labels[i] > 0:
                result[i] = self.minimum(low, high, stop_below=0.0, most_boxes=most_boxes).bound > 0
            else:
                result[i] = self.maximum(low, high, most_boxes=most_boxes).bound < 0
        return result

    def _widest_cut(self, low: Floats, high: Floats) -> tuple[int, float] | None:
        """The split nearest to a root that the box still straddles, of the tree whose leaves differ most; None when there is none."""
        best, chosen = -1.0, None
        for tree in self.trees:
            node = 0
            while tree.left[node] >= 0:
                feature, threshold = int(tree.feature[node]), float(tree.threshold[node])
                if high[feature] < threshold:
                    node = int(tree.left[node])
                elif low[feature] >= threshold:
                    node = int(tree.right[node])
                else:
                    a, b = _reach(tree, low, high)
                    if b - a > best:
                        best, chosen = b - a, (feature, threshold)
                    break
        return chosen


def _reach(tree: _Tree, low: Floats, high: Floats) -> tuple[float, float]:
    """Least and largest leaf that the box reaches."""
    least, most = math.inf, -math.inf
    stack = [0]
    while stack:
        node = stack.pop()
        if tree.left[node] < 0:
            value = float(tree.value[node])
            least, most = min(least, value), max(most, value)
            continue
        feature, threshold = tree.feature[node], tree.threshold[node]
        if low[feature] < threshold:
            stack.append(int(tree.left[node]))
        if high[feature] >= threshold:
            stack.append(int(tree.right[node]))
    return least, most
