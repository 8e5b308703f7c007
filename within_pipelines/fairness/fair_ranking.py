"""In-training mitigation of a ranking network: pay for groups whose mean scores differ, through the objective that training takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from within_pipelines.exceptions import SampleError
from within_pipelines.fairness.penalty import GapPenalty

if TYPE_CHECKING:
    import torch

    TensorFunction = Callable[[torch.Tensor], torch.Tensor]
    Divergence = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class FairRanking:
    """A `prediction.objective.RowObjective`: loss of a step + `strength` x `GapPenalty` of sigmoid(score) over the step's rows.

    `groups` names the group of each row that the network is fitted on. Pairs of siblings say nothing about how groups of people compare,
    so what differs between their mean scores is what proxies add; evening it costs as much ranking as these proxies carry. The attribute
    is not needed to predict."""

    groups: NDArray[np.str_]
    strength: float

    def of_rows(self, rows: NDArray[np.intp]) -> Callable[..., torch.Tensor]:
        """The objective of a step on these rows.

        Raises `SampleError` when a row has no group."""
        if rows.size and int(rows.max()) >= len(self.groups):
            raise SampleError(f"There are {len(self.groups)} groups, but row {int(rows.max())} is trained on; name the group of every row.")
        penalty = GapPenalty.of(self.groups[rows])

        def objective(
            x: torch.Tensor, loss: TensorFunction, steady: TensorFunction, score: TensorFunction, apart: Divergence
        ) -> torch.Tensor:
            import torch

            return loss(x) + self.strength * penalty.torch_loss(torch.sigmoid(score(x)))

        return objective
