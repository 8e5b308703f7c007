"""Training and inference that hold better: adversarial training, noise, clipping, a guarded door, smoothing, ensembles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError

if TYPE_CHECKING:
    import torch

    TensorFunction = Callable[[torch.Tensor], torch.Tensor]
    Divergence = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AdversarialTraining:
    """A `prediction.objective.TrainingObjective`: descend (1 - share) x clean loss + share x loss at the worst input that `steps` signed
    steps find within `budget` (per standardised feature; 0 keeps it fixed) (Madry et al. 2018)."""

    budget: Floats
    steps: int = 3
    share: float = 0.5

    def __call__(
        self, x: torch.Tensor, loss: TensorFunction, steady: TensorFunction, score: TensorFunction, apart: Divergence
    ) -> torch.Tensor:
        """The mixed loss."""
        worst = _climb(x, steady, self.budget, self.steps)
        return (1 - self.share) * loss(x) + self.share * loss(worst)


@dataclass(frozen=True, slots=True)
class Trades:
    """A training objective: clean loss + beta x divergence of the siblings' win probabilities at the inputs within `budget` that move them
    furthest from those at the clean inputs (TRADES, Zhang et al. 2019: Kullback-Leibler, beta 1 to 6).

    The network ranks, so its probabilities are those of pairs: what moves all siblings alike costs nothing, and pairs weigh as in the
    loss, which keeps beta a pure number."""

    budget: Floats
    beta: float = 1.0
    steps: int = 3

    def __call__(
        self, x: torch.Tensor, loss: TensorFunction, steady: TensorFunction, score: TensorFunction, apart: Divergence
    ) -> torch.Tensor:
        """Clean loss and the pull of attacked pairs to clean ones."""
        clean = score(x)
        fixed = clean.detach()
        worst = _climb(x, lambda z: apart(fixed, score(z)), self.budget, self.steps, jitter=True)
        return loss(x) + self.beta * apart(clean, score(worst))


@dataclass(frozen=True, slots=True)
class GaussianAugmentation:
    """A training objective: the loss at inputs with Gaussian noise of standard deviation `sigma` per standardised feature, as smoothing at
    inference needs it (Cohen et al. 2019)."""

    sigma: Floats

    def __call__(
        self, x: torch.Tensor, loss: TensorFunction, steady: TensorFunction, score: TensorFunction, apart: Divergence
    ) -> torch.Tensor:
        """The loss at noisy inputs."""
        import torch

        return loss(x + torch.randn_like(x) * torch.as_tensor(self.sigma, dtype=x.dtype, device=x.device))


def _climb(
    x: torch.Tensor, goal: Callable[[torch.Tensor], torch.Tensor], budget: Floats, steps: int, *, jitter: bool = False
) -> torch.Tensor:
    import torch

    reach = torch.as_tensor(budget, dtype=x.dtype, device=x.device)
    # At the row itself the change of a score is flat, so that climb starts beside it.
    delta = (torch.rand_like(x) * 2 - 1) * reach * (0.5 if jitter else 0.0)
    rate = 2.0 / steps
    for _ in range(steps):
        delta.requires_grad_(True)
        slope = torch.autograd.grad(goal(x + delta), delta)[0]
        delta = torch.clamp(delta.detach() + rate * reach * torch.sign(slope), -reach, reach)
    return (x + delta).detach()


@dataclass(frozen=True, slots=True)
class Guard:
    """Input validation at the door of a numeric model: the range of each feature in training, widened by `slack` of its width.

    `clip` moves what lies outside to the nearest end; `outside` says which values do."""

    low: Floats
    high: Floats

    @classmethod
    def learn(cls, x: Floats, *, tail: float = 0.001, slack: float = 0.1) -> Guard:
        """Limits that all but `tail` of the training rows keep on each side."""
        if not len(x):
            raise SampleError("The training table holds no rows, so there is no usual range.")
        low, high = np.nanquantile(x, tail, axis=0), np.nanquantile(x, 1 - tail, axis=0)
        width = high - low
        return cls(low - slack * width, high + slack * width)

    def clip(self, x: Floats) -> Floats:
        """Values inside the range; missing ones stay missing."""
        return np.clip(x, self.low, self.high)

    def outside(self, x: Floats) -> NDArray[np.bool_]:
        """Values that lie outside."""
        beyond: NDArray[np.bool_] = (x < self.low) | (x > self.high)
        return beyond


def smoothed(
    predict: Callable[[Floats], ArrayLike], x: Floats, *, sigma: float, rng: np.random.Generator, scale: ArrayLike = 1.0, draws: int = 100
) -> Floats:
    """The median of predict(x + noise): smoothing at inference (Chiang et al. 2020); `smoothing.median_bounds` certifies it."""
    width = np.broadcast_to(np.asarray(scale, dtype=np.float64), (x.shape[1],))
    noisy = np.repeat(x, draws, axis=0) + rng.standard_normal((len(x) * draws, x.shape[1])) * sigma * width
    result: Floats = np.median(np.asarray(predict(noisy), dtype=np.float64).reshape(len(x), draws), axis=1)
    return result


def ensemble(members: Sequence[Callable[[Floats], ArrayLike]]) -> Callable[[Floats], Floats]:
    """The median of several models' answers: one that is led astray does not carry the others.

    >>> ensemble([lambda x: x[:, 0], lambda x: x[:, 0], lambda x: 100 + x[:, 0]])(np.array([[1.0]])).tolist()
    [1.0]
    """
    if not members:
        raise SampleError("An ensemble needs at least one member.")

    def answer(x: Floats) -> Floats:
        found: Floats = np.median([np.asarray(member(x), dtype=np.float64) for member in members], axis=0)
        return found

    return answer


def monotone_constraints(names: Sequence[str], *, rising: Sequence[str] = (), falling: Sequence[str] = ()) -> tuple[int, ...]:
    """xgboost's `monotone_constraints` for columns in the order of `names`: 1 where more may never lower the answer, -1 where it may never
    raise it. An attacker who can only push a feature up then gains nothing from one that may only fall.

    >>> monotone_constraints(["clicks", "age", "cost"], rising=["clicks"], falling=["cost"])
    (1, 0, -1)
    """
    unknown = sorted({*rising, *falling} - set(names))
    both = sorted(set(rising) & set(falling))
    if unknown or both:
        raise SampleError(f"Unknown features {unknown} or both rising and falling {both}; name each once, as in {list(names)}.")
    signs: dict[str, Any] = dict.fromkeys(rising, 1) | dict.fromkeys(falling, -1)
    return tuple(int(signs.get(name, 0)) for name in names)
