"""Which ads must be held back together, and in which of five folds."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.exceptions import SampleError


def clusters_of(frame: pl.DataFrame) -> list[str]:
    """The cluster of each row: as given, else groups connected by a shared headline.

    A group is never split, whatever its rows are given. Where headlines tie more than a tenth of the ads together
    they are used everywhere, new ads will share them too, and each of those groups stands for itself.

    Raises `SampleError` when given clusters leave fewer than five parts."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    groups = frame["group_id"].cast(pl.String).to_list()
    given = "cluster_id" in frame.columns
    shared = frame["cluster_id" if given else "headline"].cast(pl.String).fill_null("").str.strip_chars().str.to_lowercase().to_list()
    _, group = np.unique(np.array(groups), return_inverse=True)
    # What is missing ties nothing together.
    tying = np.array([text != "" for text in shared])
    _, text = np.unique(np.array(shared), return_inverse=True)
    n_groups, nodes = int(group.max()) + 1, int(group.max()) + int(text.max()) + 2
    edges = coo_array((np.ones(int(tying.sum())), (group[tying], n_groups + text[tying])), shape=(nodes, nodes))
    _, component = connected_components(edges, directed=False)
    own = component[group]
    if given and np.unique(own).size < 5:
        raise SampleError(f"cluster_id makes {np.unique(own).size} clusters of all groups; at least 5 are needed to hold some back.")
    sizes = np.bincount(own)
    tied = np.ones(own.size, dtype=bool) if given else sizes[own] <= max(0.1 * own.size, np.bincount(group).max())
    # Named after its first group, so that a hash of the name does not depend on the other clusters.
    first: dict[int, str] = {}
    for number, name in sorted(zip(own.tolist(), groups, strict=True), key=lambda pair: pair[1]):
        first.setdefault(number, name)
    return [first[number] if kept else name for number, name, kept in zip(own.tolist(), groups, tied.tolist(), strict=True)]


def folds_of(names: list[str], *, seed: int) -> NDArray[np.int64]:
    """Fold of each row, 0 to 4, by a stable hash of its cluster's name and the seed."""
    fold = np.array([_fold(name, seed) for name in names])
    # Few groups may all fall into one fold; then deal them in order.
    if min(len({n for n, f in zip(names, fold, strict=True) if f == k}) for k in range(5)) < 2:
        order = {name: i % 5 for i, name in enumerate(sorted(set(names)))}
        fold = np.array([order[name] for name in names])
    return fold


def _fold(name: str, seed: int) -> int:
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()[0] % 5
