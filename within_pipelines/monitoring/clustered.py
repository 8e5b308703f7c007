"""What chance does when rows come in clusters: one null for all features of a table, in which the rows of an account stay together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from within_pipelines.exceptions import SampleError

# With fewer clusters no rearrangement of them can reach a small p-value.
FEWEST_CLUSTERS = 8
# More clusters than this are dealt at random into so many groups; a group of whole clusters is as good a unit, and the work stays bounded.
MOST_GROUPS = 256
SIGN_FLIPS, ROWS = "sign flips of accounts", "independent rows"
# One account that holds nearly all rows of a window leaves nothing to compare it with; its weight is raised by at most this much.
_MOST_LEVERAGE = 0.9


@dataclass(frozen=True, slots=True)
class Groups:
    """The units that chance moves: a number per row, reference first."""

    codes: NDArray[np.int64]
    n_groups: int
    n_clusters: int

    @property
    def enough(self) -> bool:
        """Whether there are enough clusters to tell drift from chance."""
        return self.n_clusters >= FEWEST_CLUSTERS


def group_rows(reference: NDArray[np.generic], current: NDArray[np.generic], *, rng: np.random.Generator) -> Groups:
    """Number the clusters of two windows; more than `MOST_GROUPS` are dealt at random into so many groups of whole clusters."""
    names, codes = np.unique(np.concatenate([reference, current]), return_inverse=True)
    if len(names) > MOST_GROUPS:
        dealt = np.empty(len(names), dtype=np.int64)
        dealt[rng.permutation(len(names))] = np.arange(len(names)) % MOST_GROUPS
        codes = dealt[codes]
    return Groups(codes.astype(np.int64), int(codes.max()) + 1, len(names))


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that may have moved, as sums per group and point: rows of the group whose value lies at or below the point (of a number) or
    in the category. `halved` asks for half the sum of absolute differences over points instead of the largest one."""

    reference: NDArray[np.float64]
    current: NDArray[np.float64]
    reference_size: NDArray[np.float64]
    current_size: NDArray[np.float64]
    halved: bool

    def size(self, difference: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """The effect of differences of shares, over the last axis."""
        absolute = np.abs(difference)
        result: NDArray[np.float64] = absolute.sum(axis=-1) / 2 if self.halved else absolute.max(axis=-1)
        return result

    @property
    def observed(self) -> float:
        """The effect as it is, on the question's points."""
        difference = self.current.sum(axis=0) / self.current_size.sum() - self.reference.sum(axis=0) / self.reference_size.sum()
        return float(self.size(difference))

    def influence(self) -> NDArray[np.float64]:
        """What each group adds to the difference of shares, centred at the pooled shares, over the root of 1 - its share of rows.

        A group pulls the shares that it is compared with towards itself; the root gives back what that hides (MacKinnon and White's HC2,
        1985). Without it accounts of unequal size raise one and a half times the false alarms that are stated."""
        n, m = self.reference_size.sum(), self.current_size.sum()
        pooled = (self.reference.sum(axis=0) + self.current.sum(axis=0)) / (n + m)
        old, new = self.reference_size / n, self.current_size / m
        found = self.current / m - self.reference / n - (new - old)[:, None] * pooled
        leverage = np.minimum(old + new, _MOST_LEVERAGE)
        result: NDArray[np.float64] = found / np.sqrt(1 - leverage)[:, None]
        return result


def question(
    cells: NDArray[np.integer[Any]],
    groups: NDArray[np.int64],
    is_current: NDArray[np.bool_],
    *,
    n_groups: int,
    n_points: int,
    cumulative: bool,
) -> Question:
    """The question of rows whose value falls into cell 0 .. n_points - 1; `cumulative` counts cells at or below (for numbers)."""

    def sums(chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        counts = np.bincount(groups[chosen] * n_points + cells[chosen], minlength=n_groups * n_points)
        table = counts.reshape(n_groups, n_points).astype(np.float64)
        return table.cumsum(axis=1) if cumulative else table

    sizes = [np.bincount(groups[chosen], minlength=n_groups).astype(np.float64) for chosen in (~is_current, is_current)]
    return Question(sums(~is_current), sums(is_current), sizes[0], sizes[1], not cumulative)


def joint_null(questions: Sequence[Question], *, rng: np.random.Generator, n_permutations: int) -> NDArray[np.float64]:
    """What chance gives for every question (columns) under the same `n_permutations` random signs of groups (rows).

    Each group's contribution to the difference keeps its size and gets a random sign: an account that says "moved up" would as likely have
    said "moved down" had nothing happened. It holds for accounts that are in both windows and for accounts that are in one, whatever
    their numbers of rows; exchanging accounts between windows does not hold when the windows differ in days."""
    if not questions:
        raise SampleError("There is no question to ask chance about.")
    null = np.empty((n_permutations, len(questions)))
    influences = [asked.influence().astype(np.float32) for asked in questions]
    n_groups = len(influences[0])
    block = max(1, 2_000_000 // max(1, n_groups))
    for start in range(0, n_permutations, block):
        size = min(block, n_permutations - start)
        signs = rng.integers(0, 2, size=(size, n_groups)).astype(np.float32) * 2 - 1
        for column, (asked, influence) in enumerate(zip(questions, influences, strict=True)):
            null[start : start + size, column] = asked.size(signs @ influence)
    return null


def adjusted_p_values(observed: NDArray[np.float64], null: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(raw, adjusted) p-values from a joint null, both with the +1 correction.

    The adjusted one is the chance that any question's effect, in units of its own null mean, is as large (Westfall and Young, 1993), so one
    feature among a hundred can reach 1 / (permutations + 1), and features that move together are not charged twice."""
    slack = 1e-6 * np.maximum(1e-9, np.abs(observed))
    raw = (1 + np.sum(null >= observed - slack, axis=0)) / (1 + len(null))
    scale = null.mean(axis=0)
    movable = scale > 0
    if not movable.any():
        return raw, np.ones_like(raw)
    largest = (null[:, movable] / scale[movable]).max(axis=1)
    standard = np.divide(observed - slack, scale, out=np.where(observed > slack, np.inf, 0.0), where=movable)
    adjusted: NDArray[np.float64] = (1 + np.sum(largest[:, None] >= standard[None], axis=0)) / (1 + len(null))
    return raw, np.maximum(raw, adjusted)
