"""Which accounts a drift of features or predictions comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from within_pipelines.monitoring.findings import MonitorFinding
from within_pipelines.monitoring.state import DriftState

if TYPE_CHECKING:
    import polars as pl

    from within_pipelines.pipeline.monitor_case import MonitorCase

MOST_ACCOUNTS = 5
# The plainest features say where a drift comes from; what moved least of many says little.
_FEATURES = 3


def accounts_behind(case: MonitorCase, found: MonitorFinding) -> dict[str, Any]:
    """Evidence that names the accounts with the largest contributions to what moved, or nothing where nothing moved or none are known.

    `accounts` is a list of at most five, largest first: `account` (platform/account_id) and `share` of all that moved."""
    if found.state not in (DriftState.DRIFTED, DriftState.MEASUREMENT_CHANGE):
        return {}
    if found.monitor == "data_drift":
        shares = moved_accounts(case.reference.data.rows, case.window.rows, found.features)
    elif found.monitor == "prediction_drift":
        shares = moved_accounts(case.reference.data.said, case.window.said, ["prediction"])
    else:
        return {}
    told = [{"account": account, "share": round(share, 4)} for account, share in shares[:MOST_ACCOUNTS]]
    return {"accounts": told} if told else {}


def moved_accounts(reference: pl.DataFrame, current: pl.DataFrame, features: Sequence[str]) -> list[tuple[str, float]]:
    """Accounts (column `cluster`) by their share of how far the first three of `features` moved, largest first; shares add up to 1.

    A number is cut where the two windows differ most (the point of Kolmogorov and Smirnov's distance), a category into the values that
    became more frequent and the rest; missing values are a value of their own where they moved most. An account counts with its share of
    the current rows times how far its own share beyond the cut has moved the way that all moved together. It is held against itself,
    else, where the reference does not know it, against all. Features that one of the windows lacks are left out.

    >>> import polars as pl
    >>> before = pl.DataFrame({"cluster": ["a"] * 4 + ["b"] * 4, "ctr": [1.0, 2, 3, 4] * 2})
    >>> moved_accounts(before, before.with_columns(ctr=pl.col("ctr") + 9 * (pl.col("cluster") == "b")), ["ctr"])
    [('b', 1.0)]
    """
    if not reference.height or not current.height:
        return []
    total: dict[str, float] = {}
    for name in [name for name in features if name in reference.columns and name in current.columns][:_FEATURES]:
        cut = _beyond(reference[name], current[name])
        if cut is None:
            continue
        for account, moved in _contributions(reference["cluster"], cut[0], current["cluster"], cut[1]).items():
            total[account] = total.get(account, 0.0) + moved
    whole = sum(total.values())
    return sorted(((account, moved / whole) for account, moved in total.items()), key=lambda entry: (-entry[1], entry[0])) if whole else []


Flags = NDArray[np.bool_]


def _beyond(old: pl.Series, new: pl.Series) -> tuple[Flags, Flags] | None:
    """Which rows of each window lie on the side of the cut that became more frequent; None when nothing moved or types differ."""
    import polars as pl

    if old.dtype.is_numeric() is not new.dtype.is_numeric():
        return None
    if not old.dtype.is_numeric():
        told = [series.cast(pl.String).fill_null("") for series in (old, new)]
        counts = [dict(series.value_counts().iter_rows()) for series in told]
        more = [v for v in counts[1] if counts[1][v] / len(new) > counts[0].get(v, 0) / len(old)]
        return (told[0].is_in(more).to_numpy(), told[1].is_in(more).to_numpy()) if more else None
    x, y = (series.cast(pl.Float64).fill_null(float("nan")).to_numpy() for series in (old, new))
    gone = ~np.isfinite(x), ~np.isfinite(y)
    missing = float(gone[1].mean() - gone[0].mean())
    points = np.unique(np.concatenate([x[~gone[0]], y[~gone[1]]]))
    distance, point = 0.0, 0.0
    if not gone[0].all() and not gone[1].all():
        below = [np.searchsorted(np.sort(v[~g]), points, side="right") / (~g).sum() for v, g in ((x, gone[0]), (y, gone[1]))]
        place = int(np.argmax(np.abs(below[1] - below[0])))
        distance, point = float(below[1][place] - below[0][place]), float(points[place])
    if abs(missing) > abs(distance):
        return gone if missing > 0 else (~gone[0], ~gone[1])
    if distance == 0.0:
        return None
    # Missing values lie on neither side.
    low = (x <= point) & ~gone[0], (y <= point) & ~gone[1]
    return low if distance > 0 else (~low[0] & ~gone[0], ~low[1] & ~gone[1])


def _contributions(old_accounts: pl.Series, old: Flags, new_accounts: pl.Series, new: Flags) -> dict[str, float]:
    import polars as pl

    before, now = (
        pl.DataFrame({"account": accounts.cast(pl.String), "beyond": flags}).group_by("account").agg(pl.col("beyond").mean(), rows=pl.len())
        for accounts, flags in ((old_accounts, old), (new_accounts, new))
    )
    own = pl.coalesce("beyond_before", pl.lit(float(old.mean())))
    joined = now.join(before.rename({"beyond": "beyond_before"}).drop("rows"), on="account", how="left")
    moved = joined.with_columns(moved=pl.col("rows") / len(new) * (pl.col("beyond") - own)).filter(pl.col("moved") > 0)
    return dict(moved.select("account", "moved").sort("account").iter_rows())
