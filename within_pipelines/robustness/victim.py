"""A model as an attack sees it: how safely each answer holds, and, where it is known, in which direction that falls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(slots=True)
class Victim:
    """`margin(x, rows)` is positive while the answer for row number `rows[i]`, asked with the input `x[i]`, still holds; an attack succeeds
    at 0 or below. `gradient(x, rows)` is its derivative by `x`, None for a black box. `queries` counts the rows that were asked."""

    margin_of: Callable[[Floats, Indices], Floats]
    gradient_of: Callable[[Floats, Indices], Floats] | None = None
    queries: int = field(default=0)

    def margin(self, x: Floats, rows: Indices) -> Floats:
        """Margins; what is no number counts as broken."""
        self.queries += len(x)
        found = np.asarray(self.margin_of(x, rows), dtype=np.float64)
        if found.shape != (len(x),):
            raise SampleError(f"The margin has shape {found.shape}; {len(x)} numbers were wanted, one for each input.")
        return np.where(np.isfinite(found), found, -np.inf)

    def gradient(self, x: Floats, rows: Indices) -> Floats:
        """Derivatives of the margins.

        Raises `SampleError` for a black box."""
        if self.gradient_of is None:
            raise SampleError("This victim has no gradient; use an attack that needs none (square, threshold_search, hop_skip_jump).")
        self.queries += len(x)
        return np.nan_to_num(np.asarray(self.gradient_of(x, rows), dtype=np.float64))

    def black_box(self) -> Victim:
        """The same model without its gradient."""
        return Victim(self.margin_of)


def classifier_victim(logit: Callable[[Floats], Floats], labels: ArrayLike, gradient: Callable[[Floats], Floats] | None = None) -> Victim:
    """A binary classifier: margin = logit for label 1, -logit for label 0. `gradient(x)` is that of the logit.

    >>> victim = classifier_victim(lambda x: x[:, 0], [1, 0])
    >>> victim.margin(np.array([[2.0], [3.0]]), np.array([0, 1])).tolist()
    [2.0, -3.0]
    """
    sign: Floats = np.where(np.asarray(labels) > 0, 1.0, -1.0)

    def margin(x: Floats, rows: Indices) -> Floats:
        found: Floats = sign[rows] * np.asarray(logit(x), dtype=np.float64)
        return found

    def slope(x: Floats, rows: Indices) -> Floats:
        assert gradient is not None
        found: Floats = sign[rows, None] * gradient(x)
        return found

    return Victim(margin, None if gradient is None else slope)


def score_victim(
    score: Callable[[Floats], Floats], clean: ArrayLike, *, tolerance: float, gradient: Callable[[Floats], Floats] | None = None
) -> Victim:
    """A regression: the answer holds while the score stays within `tolerance` of `clean`; margin = tolerance - |change|."""
    before = np.asarray(clean, dtype=np.float64)

    def slope(x: Floats, rows: Indices) -> Floats:
        assert gradient is not None
        change = np.asarray(score(x)) - before[rows]
        # At the start there is no direction yet; up is as good as down.
        return -np.where(change >= 0, 1.0, -1.0)[:, None] * gradient(x)

    def margin(x: Floats, rows: Indices) -> Floats:
        left: Floats = tolerance - np.abs(np.asarray(score(x), dtype=np.float64) - before[rows])
        return left

    return Victim(margin, None if gradient is None else slope)
