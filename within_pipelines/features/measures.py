"""What was known of each unit's trailing days: measures with their gaps, corrected for what is still to come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from within_pipelines.features.knowledge import CHANNELS, DAY_US, EPOCH, Floats, Ints
from within_pipelines.lake.knowledge import knowledge_time

if TYPE_CHECKING:
    from within_pipelines.lake import MaturityCurve

Bools = npt.NDArray[np.bool_]

MEASURES: tuple[str, ...] = ("impressions", "clicks", "spend", "conversions", "revenue")
_SOURCE = {"spend": "spend_micros", "revenue": "revenue_micros"}
_SCALE = {"spend": 1e-6, "revenue": 1e-6, "conversions": 1e-6}
_AT = {name: index for index, name in enumerate(CHANNELS)}


@dataclass(frozen=True, slots=True)
class Feed:
    """When each account's platform last reported anything with a known export time."""

    reported: dict[tuple[str, str], Ints]  # rising microseconds since 1970 in UTC

    @classmethod
    def of(cls, history: pl.DataFrame) -> Feed:
        """Read the export times from every version of the facts."""
        known = history.filter(pl.col("as_of_source") != "assumed_lag").select(
            "platform", "account_id", at=pl.col("as_of").dt.cast_time_unit("us").to_physical()
        )
        times = known.unique().sort("platform", "account_id", "at").group_by("platform", "account_id", maintain_order=True).agg("at")
        return cls({(platform, account): np.array(at, dtype=np.int64) for platform, account, at in times.iter_rows()})

    def last_export_day(self, platform: str, account_id: str, moment: datetime) -> int | None:
        """Day number of the newest export made until `moment`; None when no export time is known."""
        times = self.reported.get((platform, account_id))
        position = 0 if times is None else int(np.searchsorted(times, int(moment.timestamp() * 1e6), side="right"))
        return None if times is None or not position else int(times[position - 1]) // DAY_US

    def age_of_origin(self, platform: str, account_id: str, origins: Sequence[int]) -> Ints:
        """Age in days (export date minus event date) that the origin's own day had in the newest export known then.

        At most 1, the morning after; negative when the feed has stalled before the origin."""
        exported = [self.last_export_day(platform, account_id, knowledge_time(EPOCH + timedelta(days=o))) for o in origins]
        return np.array([1 if day is None else min(1, day - o) for day, o in zip(exported, origins, strict=True)], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Known:
    """Measures per unit, origin and trailing day (0 = the origin's day); zero where not reported, see `seen`.

    `covered` is True on days of which the unit's account reported anything, from the unit's own first day on; `account` numbers the
    account of each unit. `partial_spend` is True on days of delivery of which some row came without spend."""

    values: dict[str, Floats]
    seen: dict[str, Bools]
    active: Bools
    covered: Bools
    account: Ints
    partial_spend: Bools


def known_measures(block: Floats, units: pl.DataFrame, origins: Sequence[int], maturity: MaturityCurve | None, feed: Feed) -> Known:
    """Turn one block of `Replay.windows` into measures in plain units, late ones divided by the share known at their age."""
    accounts = units.select("platform", "account_id").unique(maintain_order=True)
    numbered = units.join(accounts.with_row_index("account"), on=["platform", "account_id"], how="left", maintain_order="left")
    account = numbered["account"].to_numpy().astype(np.int64)
    values: dict[str, Floats] = {}
    seen: dict[str, Bools] = {}
    shares = _shares(accounts, origins, block.shape[2], maturity, feed)
    for name in MEASURES:
        source = _SOURCE.get(name, name)
        if name in ("conversions", "revenue"):
            raw = block[..., _AT[f"{source}_final"]] + block[..., _AT[f"{source}_maturing"]] / shares[name][account]
        else:
            raw = block[..., _AT[source]]
        values[name] = raw * _SCALE.get(name, 1.0)
        seen[name] = block[..., _AT[f"has_{source}"]] > 0
    active = block[..., _AT["rows"]] > 0
    reported = np.zeros((accounts.height, *active.shape[1:]), dtype=np.int64)
    np.add.at(reported, account, active)
    # Once seen, a unit counts as running on every day that its account reports: platforms leave out rows without delivery.
    started = np.logical_or.accumulate(active[..., ::-1], axis=-1)[..., ::-1]
    delivered = (values["impressions"] > 0) | (values["clicks"] > 0)
    partial = delivered & (block[..., _AT["has_spend_micros"]] < block[..., _AT["rows"]])
    return Known(values, seen, active, (reported[account] > 0) & started, account, partial)


def _shares(accounts: pl.DataFrame, origins: Sequence[int], length: int, maturity: MaturityCurve | None, feed: Feed) -> dict[str, Floats]:
    """Per late measure the share known, with the axes account, origin, trailing day."""
    result = {name: np.ones((accounts.height, len(origins), length)) for name in ("conversions", "revenue")}
    if maturity is None:
        return result
    back = np.arange(length)
    for i, (platform, account_id) in enumerate(accounts.iter_rows()):
        ages = np.maximum(feed.age_of_origin(platform, account_id, origins)[:, None] + back, 0)
        for name, shares in result.items():
            metric = _SOURCE.get(name, name)
            curve = np.array([maturity.share(platform, account_id, metric, age) for age in range(length + 1)])
            shares[i] = curve[np.minimum(ages, length)]
    return result
