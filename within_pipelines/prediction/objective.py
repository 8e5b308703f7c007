"""How a network's training may be hardened from outside, without this room knowing how."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


class TrainingObjective(Protocol):
    """Turns the loss of a step into the loss that is descended.

    `x` are standardised inputs of the step, `loss(x)` its loss with dropout and `steady(x)` without (who climbs the loss must not climb
    noise), `score(x)` the network's scores without dropout. Adversarial training and noise augmentation are such objectives
    (`within_pipelines.robustness.defences`)."""

    def __call__(
        self,
        x: torch.Tensor,
        loss: Callable[[torch.Tensor], torch.Tensor],
        steady: Callable[[torch.Tensor], torch.Tensor],
        score: Callable[[torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        """A scalar to descend, differentiable by the network's parameters."""


@runtime_checkable
class RowObjective(Protocol):
    """An objective that must know which rows of the training sample a step holds, as one that compares groups of them does
    (`within_pipelines.fairness.FairRanking`)."""

    def of_rows(self, rows: NDArray[np.intp]) -> TrainingObjective:
        """The objective of a step on these rows, in the order of its inputs."""
