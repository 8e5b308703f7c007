"""p-values from a permuted world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError

Alternative = Literal["greater", "less", "two-sided"]


def permutation_p_value(observed: float, null: ArrayLike, *, alternative: Alternative = "greater") -> float:
    """The chance of a statistic at least as extreme as `observed` in a world without effect: (1 + #extreme) / (1 + #null).

    The data themselves are one of the permutations, so the smallest possible value is 1 / (1 + #null), never 0; without the 1 a test
    rejects too often (Phipson and Smyth, 2010). Values within a relative 1e-12 of `observed` are ties and count as extreme.
    `"two-sided"` doubles the smaller tail.

    Raises `SampleError` when the null is empty or anything is not finite.

    >>> permutation_p_value(3.0, [0.0, 1.0, 2.0, 3.0])
    0.4
    """
    draws = np.asarray(null, dtype=np.float64)
    if draws.ndim != 1 or len(draws) == 0 or not np.all(np.isfinite(draws)) or not np.isfinite(observed):
        raise SampleError(
            f"observed is {observed}, null has shape {draws.shape}; give a finite statistic and a non-empty flat finite null."
        )
    slack = 1e-12 * max(abs(observed), float(np.max(np.abs(draws))))
    greater = (1 + int(np.sum(draws >= observed - slack))) / (1 + len(draws))
    less = (1 + int(np.sum(draws <= observed + slack))) / (1 + len(draws))
    if alternative == "two-sided":
        return min(1.0, 2 * min(greater, less))
    return greater if alternative == "greater" else less


def permute_clusters(
    labels: ArrayLike, clusters: ArrayLike, *, rng: np.random.Generator, strata: ArrayLike | None = None
) -> NDArray[np.generic]:
    """`labels` with whole clusters exchanging their label, inside each stratum.

    Every cluster must carry one label (and lie in one stratum): then exchanging labels between clusters leaves everything that makes
    rows of one cluster alike in place. Raises `SampleError` when a cluster carries two labels.

    >>> permute_clusters([0, 0, 1, 1], ["a", "a", "b", "b"], rng=np.random.default_rng(0)).tolist() in ([0, 0, 1, 1], [1, 1, 0, 0])
    True
    """
    label = np.asarray(labels)
    _, first, codes = np.unique(np.asarray(clusters), return_index=True, return_inverse=True)
    of_cluster = label[first]
    if split := int(np.sum(of_cluster[codes] != label)):
        raise SampleError(f"{split} rows carry another label than the first row of their cluster; whole clusters must share a label.")
    stratum = np.zeros(len(first), dtype=np.int64)
    if strata is not None:
        _, row_stratum = np.unique(np.asarray(strata), return_inverse=True)
        stratum = row_stratum[first]
        if split := int(np.sum(stratum[codes] != row_stratum)):
            raise SampleError(f"{split} rows lie in another stratum than the first row of their cluster; whole clusters must share one.")
    # Sorting random keys inside each stratum shuffles each stratum at once.
    shuffled = np.lexsort((rng.random(len(first)), stratum))
    in_order = np.argsort(stratum, kind="stable")
    permuted = np.empty_like(of_cluster)
    permuted[in_order] = of_cluster[shuffled]
    result: NDArray[np.generic] = permuted[codes]
    return result


@dataclass(frozen=True, slots=True)
class PermutationTest:
    """A statistic beside what permuted labels give: `p_value` with the +1 correction, `null` sorted, `n_units` permuted units."""

    statistic: float
    p_value: float
    null: tuple[float, ...]
    n_units: int

    def quantile(self, probability: float) -> float:
        """The null's quantile: what chance alone reaches with this probability."""
        return float(np.quantile(np.asarray(self.null), probability))


def two_sample_permutation(
    statistic: Callable[[NDArray[np.bool_]], float],
    second: ArrayLike,
    *,
    rng: np.random.Generator,
    clusters: ArrayLike | None = None,
    n_permutations: int = 999,
    alternative: Alternative = "greater",
) -> PermutationTest:
    """Compare two samples with `statistic(mask of the second sample)` against exchanging whole clusters between them.

    `second` says for each row whether it belongs to the second sample. Without `clusters` each row is a unit of its own.

    >>> x = np.array([0.0, 0.1, 0.2, 5.0, 5.1, 5.2])
    >>> test = two_sample_permutation(lambda m: x[m].mean() - x[~m].mean(), x > 1, rng=np.random.default_rng(7))
    >>> round(test.statistic, 2), test.p_value < 0.1
    (5.0, True)
    """
    mask = np.asarray(second, dtype=np.bool_)
    units = np.arange(len(mask)) if clusters is None else np.asarray(clusters)
    if not mask.any() or mask.all():
        raise SampleError(f"{int(mask.sum())} of {len(mask)} rows are in the second sample; both samples need rows.")
    observed = float(statistic(mask))
    null = [float(statistic(permute_clusters(mask, units, rng=rng).astype(np.bool_))) for _ in range(n_permutations)]
    p_value = permutation_p_value(observed, null, alternative=alternative)
    return PermutationTest(observed, p_value, tuple(sorted(null)), len(np.unique(units)))
