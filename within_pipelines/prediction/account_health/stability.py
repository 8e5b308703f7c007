"""Which groups of features say the same when the model is fitted again on other accounts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from within_pipelines.prediction.account_health.groups import group_of

Floats = NDArray[np.float64]

# A group is published when at least this share of what it says keeps its sign in refits.
STABLE = 0.8


def grouped(contributions: Floats, features: Sequence[str]) -> tuple[list[str], Floats]:
    """Names of the groups, and contributions added up by group (rows x groups); the last column (intercept) is left out."""
    names = sorted({group_of(name) for name in features})
    sums = np.zeros((len(contributions), len(names)))
    for index, name in enumerate(features):
        sums[:, names.index(group_of(name))] += contributions[:, index]
    return names, sums


def refit_samples(clusters: NDArray[np.generic], *, refits: int, rng: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    """Row numbers of `refits` samples of whole clusters (accounts), drawn with replacement."""
    _, code = np.unique(clusters, return_inverse=True)
    rows_of = [np.flatnonzero(code == c) for c in range(code.max() + 1)]
    for _ in range(refits):
        yield np.sort(np.concatenate([rows_of[c] for c in rng.integers(len(rows_of), size=len(rows_of))]))


def group_stability(own: Floats, refits: Sequence[Floats], features: Sequence[str]) -> Mapping[str, float]:
    """Per group the share of |contribution| that has the same sign in the refits; 1 is perfect, 0.5 is what chance gives.

    `own` and each of `refits` are contributions of the same rows (columns `features`, then the intercept). A group that says nothing has
    stability 0: there is nothing to publish.

    >>> own = np.array([[1.0, -2.0, 0.0], [1.0, 2.0, 0.0]])
    >>> again = np.array([[0.5, 2.0, 0.0], [0.7, 2.0, 0.0]])
    >>> dict(group_stability(own, [again], ["log_ctr_7", "silence"]))
    {'tracking': 0.5, 'traffic': 1.0}
    """
    names, sums = grouped(own, features)
    agreed = np.zeros(len(names))
    for other in refits:
        agreed += np.sum(np.abs(sums) * (np.sign(sums) == np.sign(grouped(other, features)[1])), axis=0)
    said = len(refits) * np.abs(sums).sum(axis=0)
    return {name: float(agreed[i] / said[i]) if said[i] > 0 else 0.0 for i, name in enumerate(names)}


def leading_overlap(first: Floats, second: Floats, features: Sequence[str], *, published: Sequence[Sequence[str]], top: int = 3) -> float:
    """Mean overlap of the leading groups that two fits publish for the same rows: common groups over the larger number of groups.

    A group leads when it raises the risk and is among the `top` that do; `published` names what each fit may publish. Rows for which
    neither publishes anything agree."""
    names, a = grouped(first, features)
    _, b = grouped(second, features)
    chosen = []
    for sums, allowed in zip((a, b), published, strict=True):
        masked = np.where(np.isin(names, list(allowed))[None], sums, 0.0)
        floor = np.sort(masked, axis=1)[:, -min(top, masked.shape[1])][:, None]
        chosen.append((masked > 0) & (masked >= floor))
    both, larger = (chosen[0] & chosen[1]).sum(axis=1), np.maximum(chosen[0].sum(axis=1), chosen[1].sum(axis=1))
    return float(np.mean(np.where(larger > 0, both / np.maximum(larger, 1), 1.0)))
