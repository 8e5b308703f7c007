"""Found the agency's accounts: who advertises where, in which money and clock, at which level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from within_pipelines.simulation.draws import Stream, generator
from within_pipelines.simulation.words import PRODUCTS, SEGMENTS

PLATFORM_CYCLE: tuple[str, ...] = (
    "google_ads", "meta_ads", "tiktok_ads", "google_ads", "meta_ads", "google_ads",
    "tiktok_ads", "meta_ads", "google_ads", "meta_ads", "tiktok_ads", "google_ads",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Market:
    """A currency with the units that one US dollar buys, its decimals, and a time zone with its hours behind UTC in winter."""

    currency: str
    per_dollar: float
    decimals: int
    timezone: str
    hours_behind: int


MARKETS: tuple[Market, ...] = (
    Market("USD", 1.0, 2, "America/New_York", 5),
    Market("EUR", 0.92, 2, "Europe/Paris", 0),
    Market("GBP", 0.79, 2, "Europe/London", 0),
    Market("EUR", 0.92, 2, "Europe/Berlin", 0),
    Market("JPY", 152.0, 0, "Asia/Tokyo", 0),
    Market("AUD", 1.52, 2, "Australia/Sydney", 0),
    Market("USD", 1.0, 2, "America/Los_Angeles", 8),
    Market("USD", 1.0, 2, "America/Chicago", 6),
    Market("CHF", 0.88, 2, "Europe/Zurich", 0),
    Market("SEK", 10.5, 2, "Europe/Stockholm", 0),
    Market("BRL", 5.4, 2, "America/Sao_Paulo", 3),
)
TOWNS: tuple[str, ...] = (
    "Harbour", "Nordlicht", "Atelier", "Alder", "Sakura", "Coral", "Sunset", "Lakeside", "Alpine", "Fjord", "Ipê", "Maple",
    "Juniper",
)  # fmt: skip

# The German account writes 1.234,56 and the wide one comes as tab-separated UTF-16, which is what "Excel .csv" downloads are.
GERMAN_ACCOUNT = 3
WIDE_ACCOUNT = 5


@dataclass(frozen=True, slots=True)
class AdGroup:
    """An ad group (ad set): whom it targets and how many ads run in it side by side."""

    campaign: int  # 1-based within the account
    number: int  # 1-based within the campaign
    segment: str
    slots: int


@dataclass(frozen=True, slots=True)
class Account:
    """One advertiser's account with its levels; money in minor units of its currency (cents; yen have none)."""

    index: int
    platform: str
    account_id: str
    name: str
    market: Market
    products: tuple[str, ...]
    impressions: float  # a day and ad
    ctr_log_odds: float
    conversion_rate: float
    click_price: float
    order_value: float
    weekday: tuple[float, ...]  # factor on delivery, Monday first, mean 1
    groups: tuple[AdGroup, ...]
    frailty: float  # how much more often than usual its efficiency declines
    export_minute: int  # of the UTC day after the event day

    @property
    def slots(self) -> int:
        """How many ads run side by side."""
        return sum(group.slots for group in self.groups)


def found_account(seed: int, index: int) -> Account:
    """Account number `index` of the agency with this seed; it does not depend on how many accounts there are."""
    rng = generator(seed, Stream.ACCOUNT, index)
    platform = PLATFORM_CYCLE[index % len(PLATFORM_CYCLE)]
    market = MARKETS[index % len(MARKETS)]
    trade, products = PRODUCTS[index % len(PRODUCTS)]
    minor = market.per_dollar * 10**market.decimals
    earliest = max(5 * 60, market.hours_behind * 60 + 30)  # never before the account's own midnight
    amplitude = rng.uniform(0.04, 0.16) * (1 if rng.random() < 0.6 else -1)
    weekday = 1.0 - amplitude * np.array([-0.8, -1.0, -0.8, -0.5, 0.1, 1.5, 1.5])
    return Account(
        index=index,
        platform=platform,
        account_id=_account_id(platform, index, int(rng.integers(1_000_000))),
        name=f"{TOWNS[index % len(TOWNS)]} {trade}{'' if index < len(TOWNS) else f' {index // len(TOWNS) + 1}'}",
        market=market,
        products=products,
        impressions=float(np.exp(rng.normal(8.1, 0.35))),
        ctr_log_odds=float(rng.normal(-3.9, 0.30)),
        conversion_rate=float(np.exp(rng.normal(np.log(0.05), 0.25))),
        click_price=float(np.exp(rng.normal(np.log(0.8), 0.35)) * minor),
        order_value=float(np.exp(rng.normal(np.log(65.0), 0.4)) * minor),
        weekday=tuple((weekday / weekday.mean()).tolist()),
        groups=_ad_groups(rng),
        frailty=float(rng.choice([0.5, 1.0, 2.2], p=[0.3, 0.4, 0.3])),
        export_minute=int(rng.integers(earliest, 10 * 60)),
    )


def _account_id(platform: str, index: int, salt: int) -> str:
    if platform == "google_ads":
        return str(2_000_000_000 + index * 1_000_003 + salt)
    if platform == "meta_ads":
        return str(100_000_000_000_000 + index * 1_000_000_007 + salt)
    # TikTok's ids do not fit a double: a reader that parses them as numbers loses digits.
    return str(7_100_000_000_000_000_000 + index * 1_000_000_000_039 + salt)


def _ad_groups(rng: np.random.Generator) -> tuple[AdGroup, ...]:
    groups: list[AdGroup] = []
    campaigns = int(rng.choice([2, 3, 4], p=[0.80, 0.15, 0.05]))
    first_segment = int(rng.integers(len(SEGMENTS)))
    for campaign in range(1, campaigns + 1):
        n_groups = int(rng.choice([2, 3], p=[0.90, 0.10]))
        for number in range(1, n_groups + 1):
            # Segments take turns, so that every account reaches most of them.
            segment = SEGMENTS[(first_segment + len(groups)) % len(SEGMENTS)]
            groups.append(AdGroup(campaign, number, segment, int(rng.choice([2, 3], p=[0.65, 0.35]))))
    return tuple(groups)
