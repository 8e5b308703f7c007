"""A small neural network that learns which of two siblings wins, and says exactly what each input contributed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from within_pipelines.prediction.ad_score.contrasts import MOST_COMPARED, pairs_within
from within_pipelines.prediction.ad_score.model import Sample, standardiser
from within_pipelines.prediction.objective import RowObjective, TrainingObjective

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]
HIDDEN = 64
EPOCHS = 8
_GROUPS_PER_STEP = 64
_MOST_RATE, _DECAY = 2e-3, 0.05
_DROPPED_INPUTS, _DROPPED_UNITS = 0.2, 0.5
# A group of n ads has n (n - 1) / 2 pairs but n - 1 degrees of freedom; beyond this many ads pairs are drawn.
_MOST_SIBLINGS = 24


@dataclass(frozen=True, slots=True)
class Network:
    """The mean of several networks with one hidden layer of rectified linear units.

    `inner` (members x inputs x hidden), `bias` and `outer` (members x hidden); inputs are standardised, missing ones count as usual.
    `losses` (members x epochs) is the learning curve: mean loss per ad while training."""

    mean: Floats
    scale: Floats
    inner: Floats
    bias: Floats
    outer: Floats
    losses: Floats

    def _standardised(self, x: Floats) -> Floats:
        result: Floats = np.nan_to_num(np.clip((x - self.mean) / self.scale, -6, 6), nan=0.0)
        return result

    def __call__(self, x: Floats) -> Floats:
        """The prediction in log-odds, less that of a usual ad."""
        z = self._standardised(x)
        total = np.zeros(len(z))
        for inner, bias, outer in zip(self.inner, self.bias, self.outer, strict=True):
            total += (np.maximum(z @ inner + bias, 0) - np.maximum(bias, 0)) @ outer
        result: Floats = total / len(self.inner)
        return result

    def contributions(self, x: Floats) -> Floats:
        """Integrated gradients from a usual ad to this one (Sundararajan et al. 2017); they add up to the prediction.

        Along the straight line a unit's activation is linear in the distance travelled, so that the integral of its gradient is the share
        of the line on which the unit is on: no steps are needed."""
        z = self._standardised(x)
        total = np.zeros_like(z)
        for inner, bias, outer in zip(self.inner, self.bias, self.outer, strict=True):
            travelled = z @ inner
            gained = np.maximum(travelled + bias, 0) - np.maximum(bias, 0)
            share = np.divide(gained, travelled, out=np.zeros_like(gained), where=np.abs(travelled) > 1e-12)
            total += z * ((share * outer) @ inner.T)
        return total / len(self.inner)


def soft_labels(sample: Sample, spread: float) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats, Floats]:
    """(first, second, P(first is truly better | both results), weight) for all pairs of siblings.

    True contrasts of two siblings differ by a normal with variance 2 `spread`^2 a priori; what was observed shrinks towards 0 by its
    reliability. The weight is that reliability over the ad count of the group less 1, so that large groups do not drown small ones."""
    from scipy.special import ndtr

    first, second = pairs_within(sample.group, most=MOST_COMPARED)
    sizes = np.minimum(np.bincount(sample.group), MOST_COMPARED)[sample.group[first]]
    prior = 2 * spread**2
    variance = np.maximum(1 / sample.weight - spread**2, 1e-12)
    noise = variance[first] + variance[second]
    reliability = prior / (prior + noise)
    better = ndtr((sample.y[first] - sample.y[second]) * reliability / np.sqrt(reliability * noise))
    return first, second, better, reliability / (sizes - 1)


def fit_network(
    sample: Sample,
    *,
    spread: float,
    seed: int,
    members: int = 2,
    objective: TrainingObjective | RowObjective | None = None,
    epochs: int = EPOCHS,
) -> Network:
    """Networks trained with the Bradley-Terry loss (1952) on soft labels; `spread` is the spread of true contrasts between siblings.

    Cross-entropy between P(first is better | results) and sigmoid(score of the first - score of the second), groups in random order,
    dropout (Srivastava et al. 2014), AdamW with one cycle of the learning rate (Smith 2018). Each member starts from another seed. Runs on
    one thread, so that a seed gives the same numbers on any number of cores; uses a GPU when torch finds one. `objective` changes what is
    descended: hardened against attacks, or fairer (`prediction.objective`)."""
    import torch

    mean, scale = standardiser(sample.x, sample.weight)
    z = np.nan_to_num(np.clip((sample.x - mean) / scale, -6, 6), nan=0.0)
    pairs = soft_labels(sample, spread)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng():
            trained = [
                _trained(z, sample.group, pairs, np.random.default_rng([seed, member]), objective, epochs) for member in range(members)
            ]
    finally:
        torch.set_num_threads(threads)
    inner, bias, outer, losses = (np.stack(part).astype(np.float64) for part in zip(*trained, strict=True))
    return Network(mean, scale, inner, bias, outer, losses)


def _steps(group: NDArray[np.intp], rng: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    order = rng.permutation(np.unique(group))
    for start in range(0, order.size, _GROUPS_PER_STEP):
        yield order[start : start + _GROUPS_PER_STEP]


def _trained(
    z: Floats,
    group: NDArray[np.intp],
    pairs: tuple[NDArray[np.intp], NDArray[np.intp], Floats, Floats],
    rng: np.random.Generator,
    objective: TrainingObjective | RowObjective | None,
    epochs: int,
) -> tuple[NDArray[np.float32], ...]:
    import torch
    from torch.nn import functional

    first, second, better, weight = pairs
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(int(rng.integers(2**31)))
    inputs = torch.tensor(z, dtype=torch.float32, device=device)
    # Uniform within 1 / sqrt(inputs), the usual start of a linear layer.
    inner = ((torch.rand(z.shape[1], HIDDEN) * 2 - 1) / z.shape[1] ** 0.5).to(device).requires_grad_()
    bias = ((torch.rand(HIDDEN) * 2 - 1) / z.shape[1] ** 0.5).to(device).requires_grad_()
    outer = ((torch.rand(HIDDEN) * 2 - 1) / HIDDEN**0.5).to(device).requires_grad_()
    optimiser = torch.optim.AdamW([inner, bias, outer], lr=_MOST_RATE, weight_decay=_DECAY)
    n_groups = np.unique(group).size
    steps = epochs * -(-n_groups // _GROUPS_PER_STEP)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _MOST_RATE, total_steps=max(steps, 2))
    by_group = np.argsort(group[first], kind="stable")
    ends = np.cumsum(np.bincount(group[first], minlength=int(group.max()) + 1))
    losses = []

    def score_of(x: torch.Tensor) -> torch.Tensor:
        score: torch.Tensor = torch.relu(x @ inner + bias) @ outer
        return score

    for _ in range(epochs):
        total, count = 0.0, 0
        for chosen in _steps(group, rng):
            spans = [by_group[ends[g - 1] if g else 0 : ends[g]] for g in chosen]
            spans = [s if s.size <= _MOST_SIBLINGS**2 // 2 else rng.choice(s, _MOST_SIBLINGS**2 // 2, replace=False) for s in spans]
            pair = np.concatenate(spans)
            if pair.size == 0:
                continue
            rows, place = np.unique(np.concatenate([first[pair], second[pair]]), return_inverse=True)
            shown = inputs[torch.from_numpy(rows)]
            a, b = torch.from_numpy(place[: pair.size]), torch.from_numpy(place[pair.size :])
            aim = torch.tensor(better[pair], dtype=torch.float32, device=device)
            counts = torch.tensor(weight[pair], dtype=torch.float32, device=device)

            def pairs_of(
                score: torch.Tensor, a: torch.Tensor = a, b: torch.Tensor = b, aim: torch.Tensor = aim, counts: torch.Tensor = counts
            ) -> torch.Tensor:
                found = functional.binary_cross_entropy_with_logits(score[a] - score[b], aim, weight=counts, reduction="sum")
                return found / len(score)

            def loss_of(x: torch.Tensor, pairs_of: Callable[[torch.Tensor], torch.Tensor] = pairs_of) -> torch.Tensor:
                dropped = functional.dropout(x, _DROPPED_INPUTS)
                return pairs_of(functional.dropout(torch.relu(dropped @ inner + bias), _DROPPED_UNITS) @ outer)

            def steady(x: torch.Tensor, pairs_of: Callable[[torch.Tensor], torch.Tensor] = pairs_of) -> torch.Tensor:
                return pairs_of(score_of(x))

            def apart(
                p: torch.Tensor, q: torch.Tensor, a: torch.Tensor = a, b: torch.Tensor = b, counts: torch.Tensor = counts
            ) -> torch.Tensor:
                clean, moved = p[a] - p[b], q[a] - q[b]
                found = torch.sigmoid(clean) * (clean - moved) - functional.softplus(clean) + functional.softplus(moved)
                return (counts * found).sum() / len(p)

            aims = objective.of_rows(rows) if isinstance(objective, RowObjective) else objective
            loss = loss_of(shown) if aims is None else aims(shown, loss_of, steady, score_of, apart)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total, count = total + float(loss.detach()) * len(rows), count + len(rows)
        losses.append(total / max(count, 1))
    return *(part.detach().cpu().numpy() for part in (inner, bias, outer)), np.array(losses, np.float32)
