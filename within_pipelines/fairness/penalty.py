"""In-training mitigation: one penalty on unequal mean scores, as numpy, torch loss, XGBoost objective and a logistic model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]
Criterion = Literal["demographic_parity", "equalized_odds"]


@dataclass(frozen=True, slots=True)
class GapPenalty:
    """sum over strata s and groups g of n_sg / n_s (mean score of g in s - mean score of s) ** 2, between 0 and 1/4 per stratum.

    One stratum for demographic parity, one per outcome for equalised odds. 0 when all groups of every stratum have equal mean scores."""

    cell: NDArray[np.int64]
    stratum_of_cell: NDArray[np.int64]
    cell_sizes: Floats
    stratum_sizes: Floats

    @classmethod
    def of(cls, groups: ArrayLike, outcome: ArrayLike | None = None) -> Self:
        """The penalty over these rows; `outcome` (0 and 1) is given for equalised odds.

        Raises `SampleError` for lengths that differ.

        >>> GapPenalty.of(["a", "a", "b", "b"]).value(np.array([1.0, 1.0, 0.0, 0.0]))
        0.25
        """
        labels = np.asarray(groups).astype(str)
        stratum = np.zeros(len(labels), dtype=np.int64) if outcome is None else np.unique(np.asarray(outcome), return_inverse=True)[1]
        if stratum.shape != labels.shape or labels.size == 0:
            raise SampleError(f"{labels.size} groups and {stratum.size} outcomes; give one of each per row, at least one row.")
        pairs = np.column_stack([stratum, np.unique(labels, return_inverse=True)[1]])
        cells, cell = np.unique(pairs, axis=0, return_inverse=True)
        flat = cell.reshape(-1).astype(np.int64)
        return cls(flat, cells[:, 0], np.bincount(flat).astype(np.float64), np.bincount(stratum).astype(np.float64))

    def _differences(self, scores: Floats) -> Floats:
        sums = np.bincount(self.cell, weights=scores, minlength=len(self.cell_sizes))
        whole = np.bincount(self.stratum_of_cell, weights=sums) / self.stratum_sizes
        result: Floats = sums / self.cell_sizes - whole[self.stratum_of_cell]
        return result

    def value(self, scores: Floats) -> float:
        """The penalty of these scores."""
        share = self.cell_sizes / self.stratum_sizes[self.stratum_of_cell]
        return float(np.sum(share * self._differences(scores) ** 2))

    def gradient(self, scores: Floats) -> Floats:
        """Its derivative by each score: 2 (mean of the row's cell - mean of its stratum) / n_s."""
        per_cell = 2 * self._differences(scores) / self.stratum_sizes[self.stratum_of_cell]
        result: Floats = per_cell[self.cell]
        return result

    def torch_loss(self, scores: torch.Tensor) -> torch.Tensor:
        """The same penalty of a torch vector, to be added to a loss times its strength."""
        import torch

        cell, stratum = torch.from_numpy(self.cell), torch.from_numpy(self.stratum_of_cell)
        sizes = torch.as_tensor(self.cell_sizes, dtype=scores.dtype)
        strata = torch.as_tensor(self.stratum_sizes, dtype=scores.dtype)
        sums = torch.zeros(len(sizes), dtype=scores.dtype).index_add(0, cell, scores)
        whole = torch.zeros(len(strata), dtype=scores.dtype).index_add(0, stratum, sums) / strata
        return torch.sum(sizes / strata[stratum] * (sums / sizes - whole[stratum]) ** 2)


def fair_xgboost_objective(penalty: GapPenalty, *, strength: float) -> Callable[[Floats, Any], tuple[Floats, Floats]]:
    """Objective for `xgboost.train(obj=...)`: log-loss summed over rows + strength x n x penalty of the probabilities.

    The second derivative is that of the log-loss times 1 + strength, so that a step never overshoots: steps are that much shorter, so give
    1 + strength times the rounds. Give `base_score=0.0` too: beside an objective of one's own XGBoost takes it as a margin, and from its
    default of 0.5 few rounds do not come back. Rows must be those of the penalty, in its order.

    >>> objective = fair_xgboost_objective(GapPenalty.of(["a", "b"]), strength=0.0)
    >>> class Rows:
    ...     def get_label(self): return np.array([1.0, 0.0])
    >>> objective(np.zeros(2), Rows())[0].tolist()
    [-0.5, 0.5]
    """

    def objective(margin: Floats, rows: Any) -> tuple[Floats, Floats]:
        y = np.asarray(rows.get_label(), dtype=np.float64)
        p = 1 / (1 + np.exp(-np.asarray(margin, dtype=np.float64)))
        slope = p * (1 - p)
        gradient = p - y + strength * len(p) * penalty.gradient(p) * slope
        return gradient, np.maximum(slope * (1 + strength), 1e-6)

    return objective


@dataclass(frozen=True, slots=True)
class FairLogistic:
    """Logistic regression that pays for unequal groups: mean log-loss + strength x `GapPenalty` + l2/2 |b|^2 on standardised features.

    Without a penalty of its own scale, larger `strength` trades accuracy for parity smoothly; the attribute is not needed to predict."""

    mean: Floats
    scale: Floats
    coefficients: Floats

    @classmethod
    def fit(
        cls,
        features: ArrayLike,
        outcome: ArrayLike,
        groups: ArrayLike,
        *,
        strength: float,
        criterion: Criterion = "demographic_parity",
        l2: float = 1e-3,
        weights: ArrayLike | None = None,
    ) -> Self:
        """Fit by L-BFGS from zero: deterministic.

        Raises `SampleError` for shapes that differ or an outcome other than 0 and 1.

        >>> rng = np.random.default_rng(7)
        >>> g = rng.integers(2, size=400)
        >>> x = np.column_stack([g + rng.normal(size=400), rng.normal(size=400)])
        >>> y = (x.sum(axis=1) + rng.normal(size=400) > 0.5).astype(float)
        >>> gap = lambda s: np.ptp([FairLogistic.fit(x, y, g, strength=s).probability(x)[g == k].mean() for k in (0, 1)])
        >>> bool(gap(30.0) < 0.3 * gap(0.0))
        True
        """
        from scipy.optimize import minimize

        x, y = np.asarray(features, dtype=np.float64), np.asarray(outcome, dtype=np.float64)
        if x.ndim != 2 or len(x) != len(y) or not np.all(np.isin(y, (0.0, 1.0))):
            raise SampleError(f"features {x.shape}, outcomes {y.shape}; give a row of features per outcome, outcomes 0 and 1.")
        w = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64)
        w = w / w.mean()
        mean, spread = x.mean(axis=0), x.std(axis=0)
        scale = np.where(spread > 1e-12, spread, np.inf)
        z = np.column_stack([np.ones(len(x)), (x - mean) / scale])
        penalty = GapPenalty.of(groups, y if criterion == "equalized_odds" else None)
        decay = np.r_[0.0, np.full(x.shape[1], l2)]

        def loss(b: Floats) -> tuple[float, Floats]:
            margin = z @ b
            p = 1 / (1 + np.exp(-margin))
            value = float(np.mean(w * (np.logaddexp(0, margin) - y * margin))) + strength * penalty.value(p) + float(decay @ b**2) / 2
            slope = w * (p - y) / len(y) + strength * penalty.gradient(p) * p * (1 - p)
            return value, z.T @ slope + decay * b

        found = minimize(loss, np.zeros(z.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 500})
        return cls(mean, scale, np.asarray(found.x, dtype=np.float64))

    def probability(self, features: ArrayLike) -> Floats:
        """P(outcome = 1) of each row."""
        x = np.asarray(features, dtype=np.float64)
        result: Floats = 1 / (1 + np.exp(-(self.coefficients[0] + ((x - self.mean) / self.scale) @ self.coefficients[1:])))
        return result
