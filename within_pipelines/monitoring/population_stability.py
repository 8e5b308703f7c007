"""How far the shares of bins moved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError
from within_pipelines.monitoring.state import DriftState, finite_sample


@dataclass(frozen=True, slots=True)
class PopulationStability:
    """How far one feature's bin shares moved between two samples."""

    index: float  # Jeffreys divergence in nats; 0 when the shares agree
    threshold: float
    n_bins: int
    n_reference: int
    n_current: int

    @property
    def expected_by_chance(self) -> float:
        """The index that two samples of one distribution show on average: (bins - 1) (1/n + 1/m)."""
        return (self.n_bins - 1) * (1 / self.n_reference + 1 / self.n_current)

    @property
    def drifted(self) -> bool:
        """True when the index exceeds the threshold and the samples are large enough for it to mean something."""
        return self.state is DriftState.DRIFTED

    @property
    def state(self) -> DriftState:
        """Insufficient when chance alone is expected to reach half the threshold."""
        if self.expected_by_chance > self.threshold / 2:
            return DriftState.INSUFFICIENT
        return DriftState.DRIFTED if self.index > self.threshold else DriftState.STABLE


def _bin_shares(sample: NDArray[np.float64], inner_edges: NDArray[np.float64]) -> NDArray[np.float64]:
    counts = np.bincount(np.searchsorted(inner_edges, sample, side="left"), minlength=len(inner_edges) + 1)
    # Half a row per bin keeps the logarithm finite when a bin is empty (Jeffreys prior).
    shares: NDArray[np.float64] = (counts + 0.5) / (len(sample) + 0.5 * len(counts))
    return shares


def population_stability_index(
    reference: ArrayLike, current: ArrayLike, *, n_bins: int = 10, threshold: float = 0.25
) -> PopulationStability:
    """The population stability index over quantile bins of the reference: sum over bins of (q - p) ln(q / p), in nats.

    0 when the shares agree, unbounded above; .1 and .25 are the usual marks for some and for much drift (Siddiqi, 2006). It measures
    an effect and has no p-value; for a test use `kolmogorov_smirnov`. Tied quantiles merge their bins; a value on an edge belongs to the
    bin below it; a constant reference has one edge, at its value.

    Raises `SampleError` when a sample is empty or holds values that are not finite, or when fewer than two bins are asked for.

    >>> population_stability_index([1, 2, 3, 4] * 100, [1, 2, 3, 4] * 50, n_bins=4).index
    0.0
    >>> population_stability_index([0, 1] * 100, [1] * 100, n_bins=2).drifted
    True
    """
    if n_bins < 2 or threshold <= 0:
        raise SampleError(f"n_bins is {n_bins} and threshold {threshold}; give at least 2 bins and a threshold above 0.")
    ref, cur = finite_sample(reference, "reference"), finite_sample(current, "current")
    inner_edges = np.unique(np.quantile(ref, np.linspace(0, 1, n_bins + 1)[1:-1], method="inverted_cdf"))
    p, q = _bin_shares(ref, inner_edges), _bin_shares(cur, inner_edges)
    # Equal shares from samples of different size differ by the prior alone; compare without it when the raw shares agree.
    index = 0.0 if _same_shares(ref, cur, inner_edges) else float(np.sum((q - p) * np.log(q / p)))
    return PopulationStability(index, threshold, len(inner_edges) + 1, len(ref), len(cur))


def _same_shares(ref: NDArray[np.float64], cur: NDArray[np.float64], inner_edges: NDArray[np.float64]) -> bool:
    a, b = (np.bincount(np.searchsorted(inner_edges, s, side="left"), minlength=len(inner_edges) + 1) for s in (ref, cur))
    return bool(np.array_equal(a * len(cur), b * len(ref)))
