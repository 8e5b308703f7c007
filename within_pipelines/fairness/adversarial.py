"""Adversarial debiasing whose adversary is always at its best, so that results do not hang on a seed."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import NotFittedError, SampleError
from within_pipelines.fairness.penalty import Criterion, FairLogistic

Floats = NDArray[np.float64]


class AdversarialClassifier:
    """A small network that predicts the outcome while an adversary tries to tell the group from its answer.

    Zhang, Lemoine and Mitchell (2018) train both by turns, which swings and depends on the seed. Here the adversary is a ridge on the
    answer's log-odds, its square and its probability (with equalised odds: within each outcome), solved exactly at every step, and the
    network pays `strength` times the share of the group's variance that it explains. Training is full-batch, with a fixed step count."""

    def __init__(self, *, strength: float = 1.0, equalized_odds: bool = False, hidden: int = 16, steps: int = 300, seed: int = 7) -> None:
        self.strength, self.equalized_odds, self.hidden, self.steps, self.seed = strength, equalized_odds, hidden, steps, seed
        self._network: Any = None
        self._centre: Floats = np.zeros(0)
        self._scale: Floats = np.ones(0)

    def fit(self, features: ArrayLike, outcome: ArrayLike, groups: ArrayLike) -> Self:
        """Fit on (rows, columns), outcomes 0 and 1, and a group per row.

        Raises `SampleError` for shapes that differ."""
        import torch

        x, y, labels = np.asarray(features, dtype=np.float64), np.asarray(outcome, dtype=np.float64), np.asarray(groups).astype(str)
        if x.ndim != 2 or len(x) != len(y) or len(y) != len(labels) or not np.all(np.isin(y, (0.0, 1.0))):
            raise SampleError(f"features {x.shape}, outcomes {y.shape}, groups {labels.shape}; give one of each per row, outcomes 0 and 1.")
        spread = x.std(axis=0)
        self._centre, self._scale = x.mean(axis=0), np.where(spread > 1e-12, spread, np.inf)
        codes = np.unique(labels, return_inverse=True)[1]
        criterion: Criterion = "equalized_odds" if self.equalized_odds else "demographic_parity"
        start = FairLogistic.fit(x, y, labels, strength=10 * self.strength, criterion=criterion)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            first, last = torch.nn.Linear(x.shape[1], self.hidden).double(), torch.nn.Linear(self.hidden, 1, bias=False).double()
        line = torch.nn.Linear(x.shape[1], 1).double()
        with torch.no_grad():
            # From a fair line and no bend: a random start under a strong adversary collapses to a constant now and then.
            line.weight[0], line.bias[0] = torch.from_numpy(start.coefficients[1:]), float(start.coefficients[0])
            last.weight.zero_()
        network = _Bent(line, first, last)
        inputs, target = torch.from_numpy((x - self._centre) / self._scale), torch.from_numpy(y)
        group = torch.from_numpy(np.eye(int(codes.max()) + 1)[codes])
        strata = [target == 0, target == 1] if self.equalized_odds else [torch.ones(len(y), dtype=torch.bool)]
        optimiser = torch.optim.Adam(network.parameters(), lr=0.01, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
        for _ in range(self.steps):
            optimiser.zero_grad()
            margin = network(inputs)
            told = sum(_explained(margin[s], group[s]) for s in strata) / len(strata)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(margin, target) + self.strength * told
            loss.backward()
            optimiser.step()
            schedule.step()
        self._network = network
        return self

    def probability(self, features: ArrayLike) -> Floats:
        """P(outcome = 1) of each row. Raises `NotFittedError` before `fit`."""
        import torch

        if self._network is None:
            raise NotFittedError("This classifier is not fitted; call fit first.")
        x = (np.asarray(features, dtype=np.float64) - self._centre) / self._scale
        with torch.no_grad():
            result: Floats = torch.sigmoid(self._network(torch.from_numpy(x))).numpy()
        return result


class _Bent:
    """A line plus a bend: margin = line(x) + last(tanh(first(x)))."""

    def __init__(self, line: Any, first: Any, last: Any) -> None:
        self.line, self.first, self.last = line, first, last

    def parameters(self) -> list[Any]:
        """All weights."""
        return [p for layer in (self.line, self.first, self.last) for p in layer.parameters()]

    def __call__(self, x: Any) -> Any:
        """Log-odds per row."""
        return (self.line(x) + self.last(self.first(x).tanh()))[:, 0]


def _explained(margin: Any, group: Any) -> Any:
    """Share of the group indicators' variance that a ridge on the answer explains, 0 to 1."""
    import torch

    shown = torch.stack([margin, margin**2, torch.sigmoid(margin)], dim=1)
    shown = shown - shown.mean(dim=0)
    # Standardised without its gradient: the adversary cannot be beaten by making answers small.
    shown = shown / (shown.detach().std(dim=0) + 1e-6)
    target = group - group.mean(dim=0)
    gram = shown.T @ shown + 1e-3 * len(target) * torch.eye(3, dtype=shown.dtype)
    coefficients = torch.linalg.solve(gram, shown.T @ target)
    left = target - shown @ coefficients
    return 1 - (left**2).sum() / (target**2).sum().clamp_min(1e-9)
