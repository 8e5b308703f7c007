"""Features without what the protected attribute tells linearly about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Decorrelation:
    """A fitted correlation removal: features less `alpha` times their regression on the centred attribute."""

    mean: Floats
    coefficients: Floats
    alpha: float

    @classmethod
    def fit(cls, features: ArrayLike, attribute: ArrayLike, *, alpha: float = 1.0) -> Self:
        """Learn from (rows, columns) of features and of indicators of the attribute; `alpha` from 0 (nothing) to 1 (all).

        With 1 every column of the result is uncorrelated with every indicator on these rows; what is dependent but uncorrelated stays.

        Raises `SampleError` for shapes that do not fit or values that are not finite.

        >>> x, a = np.array([[1.0], [2.0], [3.0], [4.0]]), np.array([[0.0], [0.0], [1.0], [1.0]])
        >>> Decorrelation.fit(x, a).apply(x, a).round(2)[:, 0].tolist()
        [2.0, 3.0, 2.0, 3.0]
        """
        x, z = _matrices(features, attribute)
        if not 0 <= alpha <= 1:
            raise SampleError(f"alpha is {alpha}; give a share from 0 to 1.")
        mean = z.mean(axis=0)
        return cls(mean, np.linalg.lstsq(z - mean, x, rcond=None)[0], alpha)

    def apply(self, features: ArrayLike, attribute: ArrayLike) -> Floats:
        """The features of other rows with the same regression taken out."""
        x, z = _matrices(features, attribute)
        result: Floats = x - self.alpha * ((z - self.mean) @ self.coefficients)
        return result


def _matrices(features: ArrayLike, attribute: ArrayLike) -> tuple[Floats, Floats]:
    x, z = np.asarray(features, dtype=np.float64), np.asarray(attribute, dtype=np.float64)
    if x.ndim != 2 or z.ndim != 2 or len(x) != len(z) or not np.all(np.isfinite(x)) or not np.all(np.isfinite(z)):
        raise SampleError(f"features {x.shape} and attribute {z.shape} must be finite matrices with equally many rows.")
    return x, z
