"""What is compared between groups: each measure is a ratio of two sums over rows, so one audit serves them all."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError

Floats = NDArray[np.float64]


class Role(StrEnum):
    """What a gap does: `REQUIRED` must be shown to be small, `REFUTABLE` stops a model only when shown to be large, `WATCHED` warns."""

    REQUIRED = "required"
    REFUTABLE = "refutable"
    WATCHED = "watched"


@dataclass(frozen=True, slots=True)
class Measure:
    """One number per group: sum of `numerator` over sum of `denominator` (0 where a row does not count).

    `threshold` is the largest gap between groups that is accepted, in units of the ratio. A group with fewer than `minimum_rows` counting
    rows (positives, for true positive rates) is too small to judge."""

    name: str
    numerator: Floats
    denominator: Floats
    threshold: float
    role: Role = Role.REQUIRED
    minimum_rows: int = 20

    def __post_init__(self) -> None:
        above, below = np.asarray(self.numerator, dtype=np.float64), np.asarray(self.denominator, dtype=np.float64)
        if above.ndim != 1 or above.shape != below.shape or above.size == 0:
            raise SampleError(f"{self.name}: shapes {above.shape} and {below.shape}; give one number of each per row, at least one row.")
        if bad := int(np.sum(~np.isfinite(above)) + np.sum(~np.isfinite(below))):
            raise SampleError(f"{self.name}: {bad} values are not finite; a model that gives no score to a group is no fairer for it.")
        if not self.threshold > 0:
            raise SampleError(f"{self.name}: threshold is {self.threshold}; give the largest gap that is accepted, above 0.")
        object.__setattr__(self, "numerator", above)
        object.__setattr__(self, "denominator", below)


def mean_measure(name: str, values: ArrayLike, *, threshold: float, role: Role = Role.REQUIRED, minimum_rows: int = 20) -> Measure:
    """The mean of `values` per group: score gap, calibration gap (predicted - actual), pairwise accuracy (0, 0.5, 1), exposure.

    >>> mean_measure("score", [1.0, 3.0], threshold=1).numerator.tolist()
    [1.0, 3.0]
    """
    y = np.asarray(values, dtype=np.float64)
    return Measure(name, y, np.ones_like(y), threshold, role, minimum_rows)


def classification_measures(
    outcome: ArrayLike,
    selected: ArrayLike,
    *,
    thresholds: dict[str, float] | float = 0.1,
    required: tuple[str, ...] = ("true_positive_rate", "false_positive_rate"),
    minimum_rows: int = 20,
) -> list[Measure]:
    """Selection rate (demographic parity), true and false positive rate (equal opportunity; both: equalised odds), precision (predictive
    parity) of 0/1 decisions against 0/1 outcomes. `required` names those that stop a model; the others are watched.

    Not all can be equal when base rates differ (Kleinberg et al., 2017; Chouldechova, 2017), so the caller says which one decides.

    Raises `SampleError` for values other than 0 and 1.

    >>> [m.name for m in classification_measures([0, 1], [1, 1])]
    ['selection_rate', 'true_positive_rate', 'false_positive_rate', 'precision']
    """
    y, d = np.asarray(outcome, dtype=np.float64), np.asarray(selected, dtype=np.float64)
    for what, values in (("outcomes", y), ("selections", d)):
        if other := int(np.sum(~np.isin(values, (0.0, 1.0)))):
            raise SampleError(f"{other} of {values.size} {what} are neither 0 nor 1; apply the decision's cut-off first.")
    if y.shape != d.shape:
        raise SampleError(f"outcomes and selections have shapes {y.shape} and {d.shape}; give one of each per row.")
    parts = {
        "selection_rate": (d, np.ones_like(d)),
        "true_positive_rate": (d * y, y),
        "false_positive_rate": (d * (1 - y), 1 - y),
        "precision": (d * y, d),
    }
    limit = {name: thresholds if isinstance(thresholds, float | int) else thresholds.get(name, 0.1) for name in parts}
    return [
        Measure(name, above, below, limit[name], Role.REQUIRED if name in required else Role.WATCHED, minimum_rows)
        for name, (above, below) in parts.items()
    ]
