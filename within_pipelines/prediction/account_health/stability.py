"""Which groups of features say the same when the model is fitted again on other accounts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.prediction.account_health.groups import group_of
from within_pipelines.prediction.account_health.labels import MINIMUM_ROWS

Floats = NDArray[np.float64]
# From feature rows to what each feature adds, the last column the intercept.
Contributions = Callable[[Floats], Floats]

# A group is published when fits on other accounts give at least this share of what it says the same sign.
STABLE = 0.9
# Pairs of fits on halves of the accounts, compared on this many rows at most.
_SPLITS = 5
_COMPARED = 1500
# Fewer accounts than this make no halves; their campaigns do.
_LEAST_ACCOUNTS = 8


def grouped(contributions: Floats, features: Sequence[str]) -> tuple[list[str], Floats]:
    """Names of the groups, and contributions added up by group (rows x groups); the last column (intercept) is left out."""
    names = sorted({group_of(name) for name in features})
    sums = np.zeros((len(contributions), len(names)))
    for index, name in enumerate(features):
        sums[:, names.index(group_of(name))] += contributions[:, index]
    return names, sums


def split_halves(
    clusters: NDArray[np.generic], *, splits: int, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Row numbers of `splits` pairs of halves that share no cluster (account). Halves that shared some, as bootstrap samples do, would
    agree on what chance did to those they share."""
    _, code = np.unique(clusters, return_inverse=True)
    n = int(code.max()) + 1
    for _ in range(splits):
        first = np.zeros(n, dtype=bool)
        first[rng.permutation(n)[: n // 2]] = True
        yield np.flatnonzero(first[code]), np.flatnonzero(~first[code])


def group_stability(own: Floats, pairs: Sequence[tuple[Floats, Floats]], features: Sequence[str]) -> Mapping[str, float]:
    """Per group the share of its |contribution| on which two fits that share no account give the same sign: 1 is perfect, 0.5 is what
    chance gives.

    `own` and both of each pair are contributions to the same rows (columns `features`, then the intercept); `own` says how much each row
    counts. Halves know less than the whole, so the share is on the low side. A group that says nothing has stability 0: there is nothing
    to publish.

    >>> own = np.array([[1.0, -2.0, 0.0], [1.0, 2.0, 0.0]])
    >>> one, two = np.array([[0.5, 2.0, 0.0], [0.7, 2.0, 0.0]]), np.array([[0.9, -1.0, 0.0], [0.1, 3.0, 0.0]])
    >>> dict(group_stability(own, [(one, two)], ["log_ctr_7", "silence"]))
    {'tracking': 0.5, 'traffic': 1.0}
    """
    names, sums = grouped(own, features)
    agreed = np.zeros(len(names))
    for first, second in pairs:
        same = np.sign(grouped(first, features)[1]) * np.sign(grouped(second, features)[1]) > 0
        agreed += np.sum(np.abs(sums) * same, axis=0)
    said = len(pairs) * np.abs(sums).sum(axis=0)
    return {name: float(agreed[i] / said[i]) if said[i] > 0 else 0.0 for i, name in enumerate(names)}


def accounts_of(rows: pl.DataFrame) -> NDArray[Any]:
    """The account of each row; its campaign where there are fewer than 8 accounts."""
    accounts = (rows["platform"] + "/" + rows["account_id"]).to_numpy()
    if len(np.unique(accounts)) < _LEAST_ACCOUNTS:
        accounts = (rows["account_id"] + "/" + rows.get_column("campaign_id", default=pl.Series([""])).fill_null("")).to_numpy()
    return accounts


def refit_stability(
    own: Contributions,
    refitted: Callable[[NDArray[np.intp]], Contributions],
    x: Floats,
    outcome: Floats,
    clusters: NDArray[Any],
    features: Sequence[str],
    *,
    rng: np.random.Generator,
) -> Mapping[str, float]:
    """`group_stability` of a model with the contributions `own`, by fits on five pairs of halves of the `clusters`, compared on at most
    1,500 rows of `x`. Halves that are too small or hold one outcome only are left out; empty when none is left.

    `refitted` fits the model on some rows and gives its contributions."""
    compared = x[np.unique(np.linspace(0, len(x) - 1, min(len(x), _COMPARED)).astype(np.int64))]
    halves = [
        [refitted(half)(compared) for half in pair]
        for pair in split_halves(clusters, splits=_SPLITS, rng=rng)
        if all(half.size >= MINIMUM_ROWS / 2 and np.ptp(outcome[half]) > 0 for half in pair)
    ]
    pairs = [(first, second) for first, second in halves]
    return group_stability(own(compared), pairs, features) if pairs else {}


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
