"""An audit of scores by group that knows what chance alone would show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError
from within_pipelines.stats import Estimate, Status, Verdict, cluster_bootstrap, permutation_p_value, permute_clusters

# A gap of the detectable size is found with this probability.
POWER = 0.8


@dataclass(frozen=True, slots=True)
class GroupGap:
    """The gap between the group with the highest and that with the lowest mean score.

    `gap` has its cluster bootstrap interval; `p_value` compares it with `null_limit`, what shuffled groups stay below with probability
    1 - alpha; `detectable` is the gap that this sample would find with 80 % probability. `small` lists groups with fewer than
    `minimum_units` independent units: they are left out of the gap, and the audit cannot pass with them."""

    gap: Estimate | None
    p_value: float | None
    null_limit: float | None
    detectable: float | None
    threshold: float
    alpha: float
    means: Mapping[str, float]
    units: Mapping[str, int]
    small: tuple[str, ...]
    minimum_units: int

    @property
    def status(self) -> Status:
        """Failed only when the gap exceeds the threshold and what chance gives; passed only when a gap at the threshold would show."""
        if self.gap is None or self.p_value is None or self.detectable is None:
            return Status.INSUFFICIENT
        if self.gap.value > self.threshold:
            return Status.FAILED if self.p_value <= self.alpha else Status.INSUFFICIENT
        if self.small or self.detectable > self.threshold:
            return Status.INSUFFICIENT
        return Status.PASSED

    def verdict(self, *, attribute: str = "group") -> Verdict:
        """The gate `fairness` for this attribute."""
        evidence = {"attribute": attribute, "means": dict(self.means), "small_groups": list(self.small), "p_value": self.p_value,
                    "null_limit": self.null_limit, "detectable": self.detectable}  # fmt: skip
        return Verdict("fairness", self.status, self.gap, self.threshold, dict(self.units), self._reason(attribute), evidence=evidence)

    def _reason(self, attribute: str) -> str:
        small = f"{', '.join(self.small)} with fewer than {self.minimum_units} units" if self.small else ""
        if self.gap is None or self.p_value is None or self.detectable is None or self.null_limit is None:
            return f"No gap by {attribute} can be judged: {small or 'only one group'}."
        start = f"The gap by {attribute} is {self.gap}"
        if self.status is Status.FAILED:
            return f"{start}, above {self.threshold:g} and above the {self.null_limit:.3f} that shuffled groups give."
        if self.gap.value > self.threshold:
            return f"{start}, above {self.threshold:g}, but shuffled groups give up to {self.null_limit:.3f}; more data will tell."
        if self.detectable > self.threshold:
            return f"{start}; this sample would only find a gap above {self.detectable:.3f}, and {self.threshold:g} is asked."
        if self.small:
            return f"{start} among the larger groups; left out: {small}."
        near = f" The interval reaches {self.threshold:g}: watch it." if self.gap.high >= self.threshold else ""
        return f"{start}, at most {self.threshold:g}.{near}"


def _gap(values: NDArray[np.float64], codes: NDArray[np.int64], n_groups: int) -> float:
    counts = np.bincount(codes, minlength=n_groups)
    if np.any(counts == 0):
        return float("nan")  # a resample without one of the groups has no gap
    means = np.bincount(codes, weights=values, minlength=n_groups) / counts
    return float(means.max() - means.min())


def _exchangeable(
    clusters: NDArray[np.int64], codes: NDArray[np.int64], strata: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Blocks of rows that keep one label, and the strata inside which they may exchange it.

    A cluster with one group is a block and exchanges with the other such clusters of its stratum. A cluster with several groups (an
    account that reports by gender) is one block per group, which exchange inside it: what the cluster shares then cancels."""
    blocks = np.unique(np.column_stack([clusters, codes, strata]), axis=0, return_inverse=True)[1].reshape(-1)
    groups_of = np.zeros(int(clusters.max()) + 1, dtype=np.int64)
    np.add.at(groups_of, np.unique(np.column_stack([clusters, codes]), axis=0)[:, 0], 1)
    own = np.where(groups_of[clusters] > 1, clusters, -1)
    inside = np.unique(np.column_stack([strata, own]), axis=0, return_inverse=True)[1].reshape(-1)
    return blocks, inside


def group_gap(
    scores: ArrayLike,
    groups: ArrayLike,
    *,
    threshold: float,
    rng: np.random.Generator,
    clusters: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    minimum_units: int = 20,
    alpha: float = 0.05,
    n_permutations: int = 999,
    n_resamples: int = 1000,
    level: float = 0.95,
) -> GroupGap:
    """Audit `scores` (any unit, or 0 and 1 for selections) for a gap between `groups`.

    `clusters` says which rows are not independent (account, ad group); `strata` holds what may explain a gap legitimately and is kept
    fixed when groups are shuffled (platform, market). `threshold` is the largest gap that is accepted, in units of the score.
    `.verdict()` of the answer is the gate `fairness`.

    The largest of several gaps is biased upwards by chance, so the interval alone would accuse fair models with many small groups; the
    permutation null has the same bias and takes it out.

    Raises `SampleError` when shapes differ, a score is not finite, or `threshold` is not above 0.

    >>> rng = np.random.default_rng(7)
    >>> gender = np.repeat(["f", "m"], 200)
    >>> group_gap(rng.normal(size=400) + 2 * (gender == "m"), gender, threshold=0.5, rng=rng).status.value
    'failed'
    """
    y, labels = np.asarray(scores, dtype=np.float64), np.asarray(groups).astype(str)
    if y.ndim != 1 or y.shape != labels.shape or len(y) == 0:
        raise SampleError(f"scores and groups have shapes {y.shape} and {labels.shape}; give one of each per row, at least one row.")
    if bad := int(np.sum(~np.isfinite(y))):
        raise SampleError(f"{bad} of {len(y)} scores are not finite; a model that gives no score to a group is no fairer for it.")
    if not threshold > 0:
        raise SampleError(f"threshold is {threshold}; give the largest gap that is accepted, above 0 and in units of the score.")
    unit = np.arange(len(y)) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    stratum = np.zeros(len(y), dtype=np.int64) if strata is None else np.unique(np.asarray(strata), return_inverse=True)[1]
    if unit.shape != y.shape or stratum.shape != y.shape:
        raise SampleError(f"clusters and strata have shapes {unit.shape} and {stratum.shape}; give one label per row ({len(y)}).")
    names = np.unique(labels).tolist()
    units = {name: len(np.unique(unit[labels == name])) for name in names}
    means = {name: float(y[labels == name].mean()) for name in names}
    small = tuple(name for name in names if units[name] < minimum_units)
    large = [name for name in names if name not in small]
    if len(large) < 2:
        return GroupGap(None, None, None, None, threshold, alpha, means, units, small, minimum_units)
    keep = np.isin(labels, large)
    y, unit, stratum = y[keep], unit[keep], stratum[keep]
    codes = np.unique(labels[keep], return_inverse=True)[1]
    n_groups = len(large)
    gap = cluster_bootstrap(lambda rows: _gap(y[rows], codes[rows], n_groups), unit, rng=rng, n_resamples=n_resamples, level=level)
    blocks, inside = _exchangeable(unit, codes, stratum)
    # Only a block's sum and size matter, so a permutation costs as much as there are blocks, not rows.
    _, first, block = np.unique(blocks, return_index=True, return_inverse=True)
    sums, sizes = np.bincount(block, weights=y), np.bincount(block)
    null = []
    for _ in range(n_permutations):
        shuffled = permute_clusters(codes[first], np.arange(len(first)), rng=rng, strata=inside[first]).astype(np.int64)
        averages = np.bincount(shuffled, weights=sums, minlength=n_groups) / np.bincount(shuffled, weights=sizes, minlength=n_groups)
        null.append(float(averages.max() - averages.min()))
    limit = float(np.quantile(null, 1 - alpha))
    error = (gap.high - gap.low) / (2 * NormalDist().inv_cdf((1 + level) / 2))
    detectable = limit + NormalDist().inv_cdf(POWER) * error
    return GroupGap(gap, permutation_p_value(gap.value, null), limit, detectable, threshold, alpha, means, units, small, minimum_units)
