"""Who owns a row, and which half of the accounts by volume it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

Labels = NDArray[np.str_]


def size_tiers(accounts: Sequence[str], volume: Sequence[float]) -> dict[str, str]:
    """The smaller and the larger half of accounts by volume.

    >>> size_tiers(["a", "b", "c"], [5.0, 1.0, 9.0])
    {'b': 'smaller', 'a': 'larger', 'c': 'larger'}
    """
    order = [account for _, account in sorted(zip(volume, accounts, strict=True))]
    return {account: "smaller" if i < len(order) // 2 else "larger" for i, account in enumerate(order)}


def account_of(rows: pl.DataFrame) -> Labels:
    """Platform and account of each row."""
    import polars as pl

    return rows.select(pl.col("platform").cast(pl.String) + "/" + pl.col("account_id").cast(pl.String))[:, 0].to_numpy().astype(str)


def tiers_of(account: Labels, volume: NDArray[np.float64]) -> Labels:
    """The tier of each row's account by its mean volume."""
    names, codes = np.unique(account, return_inverse=True)
    mean = np.bincount(codes, weights=volume) / np.bincount(codes)
    tier = size_tiers(names.tolist(), mean.tolist())
    return np.array([tier[a] for a in account.tolist()])
