"""Features by what a person would call them, and what to look at when a group leads the risk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PREFIXES: tuple[tuple[str, str], ...] = (
    ("log_siblings", "siblings"),
    ("log_efficiency", "trend"),
    ("slope_efficiency", "trend"),
    ("slope_cvr", "conversion"),
    ("slope_ctr", "traffic"),
    ("slope_cpc", "price"),
    ("slope_spend", "spend"),
    ("log_cvr", "conversion"),
    ("log_ctr", "traffic"),
    ("log_impressions", "traffic"),
    ("log_cpc", "price"),
    ("log_cpm", "price"),
    ("log_spend", "spend"),
    ("volatility_", "volatility"),
    ("share_", "portfolio"),
    ("log_share", "portfolio"),
    ("concentration", "portfolio"),
    ("reversal_", "volatility"),
    ("drop_share", "volatility"),
    ("reliability_", "volume"),
    ("volume_", "volume"),
    ("active_share", "volume"),
    ("history_share", "volume"),
    ("silence", "tracking"),
    ("gap_", "tracking"),
    ("weekday_", "season"),
)

ADVICE: Mapping[str, str] = {
    "trend": "Efficiency has been moving: compare what changed in ads, audiences and landing pages over the last four weeks.",
    "conversion": "Clicks convert differently than usual: check the landing page and that conversions are still counted.",
    "traffic": "Reach or click-through moved: look at creative fatigue, placements and audience size.",
    "price": "Prices per click or impression moved: look at bids, competition and budget caps.",
    "spend": "Spend moved against its usual level: check budgets and pacing.",
    "volatility": "Daily results swing more than usual: a longer window or fewer edits make them readable.",
    "portfolio": "Results rest on few campaigns or ads: see how the others could carry more.",
    "siblings": "Other campaigns of the account moved: look for a cause that they share.",
    "volume": "The volume behind the numbers carries part of the risk: see how many events there are before acting on them.",
    "tracking": "Days are missing or silent: check the feed and the tracking first.",
    "season": "The weekday carries part of the risk: compare with the same weekday of earlier weeks.",
}


def group_of(feature: str) -> str:
    """The group that a feature belongs to.

    >>> group_of("log_efficiency_7"), group_of("gap_share_7")
    ('trend', 'tracking')
    """
    return next((group for prefix, group in _PREFIXES if feature.startswith(prefix)), "other")


def recommendation(group: str, evidence: Mapping[str, Any]) -> str:
    """What to look at when `group` leads, with the numbers beside it."""
    shown = ", ".join(f"{name} {value:.3g}" for name, value in evidence.items() if isinstance(value, float))
    advice = ADVICE.get(group, "Look at what changed lately.")
    return f"{advice} ({shown})" if shown else advice
