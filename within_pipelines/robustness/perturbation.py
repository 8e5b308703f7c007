"""A change of the input, and what may follow from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import polars as pl
from numpy.typing import NDArray


class Expectation(StrEnum):
    """What a sound model owes under a perturbation."""

    UNCHANGED = "unchanged"  # not one score may move: order and repetition of rows carry no information
    STABLE = "stable"  # few scores may move by more than the tolerance
    ANSWERED = "answered"  # scores may move, but every row gets a finite one
    ANSWERED_OR_REFUSED = "answered_or_refused"  # to raise an error is as good: no wrong score gets out


@dataclass(frozen=True, slots=True)
class Perturbed:
    """Changed rows, and for each of them the number of the row that it came from."""

    rows: pl.DataFrame
    source: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Perturbation:
    """A named, seeded change: `apply(rows, rng)`; the same generator state gives the same change."""

    name: str
    expectation: Expectation
    apply: Callable[[pl.DataFrame, np.random.Generator], Perturbed]


def in_place(rows: pl.DataFrame) -> Perturbed:
    """Changed rows that are still in their order."""
    return Perturbed(rows, np.arange(len(rows)))
