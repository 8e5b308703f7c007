"""How a network's training may be hardened from outside, without this room knowing how."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl
    import torch


class TrainingObjective(Protocol):
    """Turns the loss of a step into the loss that is descended.

    `x` are standardised inputs of the step, `loss(x)` its loss with dropout and `steady(x)` without (who climbs the loss must not climb
    noise), `score(x)` the network's scores without dropout. `apart(p, q)` says, on the scale of the loss, how far the win probabilities
    of siblings at scores `q` are from those at scores `p`: their Kullback-Leibler divergence, pairs weighted as in the loss. Adversarial
    training, TRADES and noise augmentation are such objectives (`within_pipelines.robustness.defences`)."""

    def __call__(
        self,
        x: torch.Tensor,
        loss: Callable[[torch.Tensor], torch.Tensor],
        steady: Callable[[torch.Tensor], torch.Tensor],
        score: Callable[[torch.Tensor], torch.Tensor],
        apart: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        """A scalar to descend, differentiable by the network's parameters."""


@runtime_checkable
class RowObjective(Protocol):
    """An objective that must know which rows of the training sample a step holds, as one that compares groups of them does
    (`within_pipelines.fairness.FairRanking`)."""

    def of_rows(self, rows: NDArray[np.intp]) -> TrainingObjective:
        """The objective of a step on these rows, in the order of its inputs."""


class ObjectiveFor(Protocol):
    """Makes the objective of one fit from what is fitted on: budgets and groups depend on the ads, and each part of a cross-fit sees
    others."""

    def __call__(self, ads: pl.DataFrame, x: NDArray[np.float64]) -> TrainingObjective | RowObjective:
        """The objective for these ads; `x` is what the network sees of them, one row per ad, before it is standardised."""
