"""How the shares of categories moved between two samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError

# Below this expected count in a cell of a two-by-two table chi-square is not to be trusted, and Fisher's exact test takes its place.
_FEWEST_EXPECTED = 5.0


@dataclass(frozen=True, slots=True)
class CategoryShift:
    """How category shares differ; `test` names what the p-value (rows as independent) is from: "chi-square" or "fisher".

    `total_variation` is half the sum of absolute differences of shares (0 to 1): the share of rows that would have to change category.
    `cramers_v` is 0 to 1. `jensen_shannon` is a distance, the root of the divergence in bits (0 to 1). `stability_index` is the population
    stability index in nats. `appeared` and `vanished` are the categories that only one sample has."""

    test: str
    statistic: float
    p_value: float
    total_variation: float
    cramers_v: float
    jensen_shannon: float
    stability_index: float
    appeared: tuple[str, ...]
    vanished: tuple[str, ...]
    n_reference: int
    n_current: int


def jensen_shannon_distance(p: ArrayLike, q: ArrayLike) -> float:
    """Root of the Jensen-Shannon divergence of two share vectors, base 2: 0 when equal, 1 when they do not overlap (Lin, 1991).

    Raises `SampleError` when the vectors differ in length, hold a negative number or sum to 0.

    >>> jensen_shannon_distance([1, 0], [0, 1])
    1.0
    """
    first, second = np.asarray(p, dtype=np.float64), np.asarray(q, dtype=np.float64)
    if (
        first.shape != second.shape
        or first.ndim != 1
        or min(first.min(initial=0), second.min(initial=0)) < 0
        or not first.sum() * second.sum()
    ):
        raise SampleError(
            f"Shares have shapes {first.shape} and {second.shape}; give two non-negative vectors of one length with a sum above 0."
        )
    first, second = first / first.sum(), second / second.sum()
    middle = (first + second) / 2

    def divergence(shares: NDArray[np.float64]) -> float:
        there = shares > 0
        return float(np.sum(shares[there] * np.log2(shares[there] / middle[there])))

    return math.sqrt(max(0.0, (divergence(first) + divergence(second)) / 2))


def fisher_exact_p_value(a: int, b: int, c: int, d: int) -> float:
    """Two-sided p-value of the table [[a, b], [c, d]]: the tables with the same margins that are no likelier than this one (Fisher, 1934).

    >>> round(fisher_exact_p_value(8, 2, 1, 5), 4)
    0.035
    """
    if min(a, b, c, d) < 0:
        raise SampleError(f"The table [[{a}, {b}], [{c}, {d}]] holds a negative count.")
    from scipy.stats import hypergeom

    total, row, column = a + b + c + d, a + b, a + c
    possible = np.arange(max(0, row + column - total), min(row, column) + 1)
    log_chance = hypergeom.logpmf(possible, total, row, column)
    # Equal chances differ by rounding; without the slack half of a symmetric table would be lost.
    as_extreme = log_chance <= hypergeom.logpmf(a, total, row, column) + 1e-7
    return float(min(1.0, np.exp(log_chance[as_extreme]).sum()))


def compare_counts(reference: Mapping[str, int], current: Mapping[str, int]) -> CategoryShift:
    """Compare counts per category. Chi-square without correction for three or more categories, with Yates' for two (as scipy), Fisher's
    exact
    test for two with an expected count below 5.

    Raises `SampleError` when a sample holds no row.

    >>> shift = compare_counts({"a": 50, "b": 50}, {"a": 80, "b": 20})
    >>> round(shift.total_variation, 2), shift.p_value < 0.001
    (0.3, True)
    """
    names = sorted({*reference, *current})
    table = np.array([[reference.get(name, 0) for name in names], [current.get(name, 0) for name in names]], dtype=np.float64)
    n, m = (int(total) for total in table.sum(axis=1))
    if n == 0 or m == 0:
        raise SampleError(f"The reference has {n} and the current window {m} rows with a category; both need rows.")
    shares = table / table.sum(axis=1, keepdims=True)
    keep = table.sum(axis=0) > 0
    test, statistic, p_value = _independence(table[:, keep])
    v = math.sqrt(_pearson(table[:, keep]) / (n + m)) if keep.sum() > 1 else 0.0
    # Half a row per category keeps the logarithm finite when one is empty (Jeffreys prior).
    smooth = (table + 0.5) / (table + 0.5).sum(axis=1, keepdims=True)
    index = 0.0 if np.array_equal(table[0] * m, table[1] * n) else float(np.sum((smooth[1] - smooth[0]) * np.log(smooth[1] / smooth[0])))
    return CategoryShift(
        test, statistic, p_value, float(np.abs(shares[1] - shares[0]).sum() / 2), min(1.0, v), jensen_shannon_distance(*shares), index,
        tuple(name for name, (old, new) in zip(names, table.T, strict=True) if old == 0 < new),
        tuple(name for name, (old, new) in zip(names, table.T, strict=True) if new == 0 < old),
        n, m,
    )  # fmt: skip


def _pearson(table: NDArray[np.float64]) -> float:
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
    return float(np.sum((table - expected) ** 2 / expected))


def _independence(table: NDArray[np.float64]) -> tuple[str, float, float]:
    from scipy.stats import chi2

    if table.shape[1] < 2:
        return "chi-square", 0.0, 1.0
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
    if table.shape[1] == 2:
        if expected.min() < _FEWEST_EXPECTED:
            (a, b), (c, d) = table.astype(int).tolist()
            odds = math.inf if b * c == 0 else a * d / (b * c)
            return "fisher", odds, fisher_exact_p_value(a, b, c, d)
        difference = table - expected
        table = expected + np.sign(difference) * np.maximum(0.0, np.abs(difference) - np.minimum(0.5, np.abs(difference)))
    statistic = float(np.sum((table - expected) ** 2 / expected))
    return "chi-square", statistic, float(chi2.sf(statistic, table.shape[1] - 1))


def counts_of(values: Sequence[str | None]) -> dict[str, int]:
    """Rows per category, missing ones left out, in the order of the names."""
    found: dict[str, int] = {}
    for value in values:
        if value is not None:
            found[value] = found.get(value, 0) + 1
    return dict(sorted(found.items()))
