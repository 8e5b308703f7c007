"""What efficiency is measured by for a row, and why; what to do where that is not known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# silence = d / (d + 7), d the days since the last delivery: a half and more is a week without any.
_PAUSED = 0.5 - 1e-9


def target_reason(row: Mapping[str, Any]) -> str:
    """Why a feature row's efficiency is measured by its target, in words.

    Conversions per cost need 20 conversions in 28 days, clicks per cost need spend; what a table lacks moves the target, so it is told.

    >>> target_reason({"target": "clicks_per_cost", "conversions_28": 0.0, "spend_28": 300.0})
    'no conversions were reported in 28 days, so clicks stand for them'
    >>> target_reason({"target": "ctr", "conversions_28": 80.0, "spend_28": 0.0})
    'no spend was reported in 28 days, so there is nothing per cost'
    """
    from within_pipelines.features.targets import ENOUGH_CONVERSIONS

    target, spend, conversions = row["target"], row["spend_28"] or 0.0, row["conversions_28"] or 0.0
    if target is None:
        return "nothing was shown in 28 days"
    if target == "conversions_per_cost":
        return f"{conversions:.0f} conversions in 28 days"
    if target == "clicks_per_cost" and conversions < ENOUGH_CONVERSIONS:
        few = f"{conversions:.0f} conversions in 28 days are fewer than {ENOUGH_CONVERSIONS:.0f}"
        return f"{few if conversions else 'no conversions were reported in 28 days'}, so clicks stand for them"
    if target == "ctr" and not spend > 0:
        return "no spend was reported in 28 days, so there is nothing per cost"
    return "as asked, or as the days with all that it needs allow"


def unseen_reason(row: Mapping[str, Any], targets: Mapping[str, int], *, least: int) -> str:
    """Why a model that learned from rows of `targets` does not answer this one.

    >>> row = {"target": "ctr", "conversions_28": 0.0, "spend_28": 0.0}
    >>> told = unseen_reason(row, {"conversions_per_cost": 900, "ctr": 3}, least=20)
    >>> told[:43], told[100:149]
    ('its efficiency is measured by ctr (no spend', 'which 3 training rows had and 20 are needed; give')
    """
    seen = [name for name, rows in targets.items() if rows >= least]
    if row["target"] is None:
        return "what its efficiency is measured by is not known, because nothing was shown in 28 days"
    had = targets.get(row["target"], 0)
    rows = f"which {had or 'no'} training row{'s' * (had > 1)} had" + (f" and {least} are needed" if had else "")
    return (
        f"its efficiency is measured by {row['target']} ({target_reason(row)}), {rows}; "
        f"give the columns that {' or '.join(seen) or 'another target'} needs, or train on accounts like this one"
    )


def recent_reason(row: Mapping[str, Any]) -> str:
    """Why the efficiency of the last seven days is not known, and what to do.

    A unit that delivered nothing for a week (paused) has none: its denominator is really 0. What the model would say then is the rate of
    all others, so there is no score either, with a reason of its own.

    >>> recent_reason({"silence": 0.6, "target": "conversions_per_cost"})[:55]
    'nothing was delivered in the last 7 days: a paused unit'
    """
    if row["silence"] is not None and row["silence"] >= _PAUSED:
        return (
            "nothing was delivered in the last 7 days: a paused unit has no efficiency to judge; ask again when it has run for a few days"
        )
    needed = {
        "conversions_per_cost": "spend and conversions", "revenue_per_cost": "spend and revenue", "clicks_per_cost": "spend and clicks",
        "ctr": "impressions and clicks", "clicks": "clicks",
    }.get(row["target"] or "", "all amounts")  # fmt: skip
    return (
        f"the efficiency of the last 7 days is not known: {needed} were not reported together on any of them, or were 0; "
        "complete those days, or ask for the last day that is complete"
    )
