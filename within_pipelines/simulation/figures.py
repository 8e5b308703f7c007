"""Draw one account's figures, and say how much of them was known on a given morning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from within_pipelines.simulation.account import Account
from within_pipelines.simulation.draws import BLOCK_DAYS, Array, Stream, blocks, generator
from within_pipelines.simulation.lag import LAGS, LONGEST_AGE, known_conversions
from within_pipelines.simulation.planted import UNFAIR, levels
from within_pipelines.simulation.roster import Ad

# Variance over mean of clicks given impressions, and of conversions given clicks.
# Poisson would be 1, real accounts show 4 to 6.5.
DISPERSION = 5.0
# Clicks that the platform takes back as invalid within two days.
INVALID_CLICKS = 0.004


@dataclass(frozen=True, slots=True)
class Figures:
    """Final figures by day and slot (arrays of the same shape); money in minor units of the account's currency."""

    ad: Array  # position in the account's list of ads
    impressions: Array
    reach: Array
    clicks: Array
    spend: Array
    conversions: Array  # whole conversions
    credit: Array  # share of each conversion that the platform credits to the ad
    revenue: Array


@dataclass(frozen=True, slots=True)
class Known:
    """Figures of chosen days as some morning's export shows them, flat: one entry a day and ad with delivery."""

    day: Array  # days since the start
    ad: Array
    impressions: Array
    reach: Array
    clicks: Array
    spend: Array
    conversions: Array
    revenue: Array


def _overdispersed(rng: np.random.Generator, mean: Array) -> Array:
    """Gamma-Poisson counts with the given mean and `DISPERSION` times the variance of a Poisson count."""
    excess = DISPERSION - 1.0
    return rng.poisson(excess * rng.standard_gamma(mean / excess))


def simulate(account: Account, ads: list[Ad], *, seed: int, days: int, first_weekday: int, drift_day: int) -> Figures:
    """Final figures of at least the first `days` days (whole blocks). `ads` must cover these blocks."""
    n = len(blocks(days)) * BLOCK_DAYS
    running = np.zeros((n, account.slots), dtype=np.int64)
    for position, ad in enumerate(ads):
        running[ad.first : ad.stop, ad.slot] = position
    before, after = np.array([ad.before for ad in ads]), np.array([ad.after for ad in ads])
    unfair = np.array([ad.group.segment == UNFAIR.segment for ad in ads])[running]
    day = np.arange(n)[:, None]
    appeal = np.where(day < drift_day, before[running], after[running]) + np.where(unfair, UNFAIR.ctr_log_odds, 0.0)
    weekday = np.array(account.weekday)[(day + first_weekday) % 7]
    level = levels(account, seed=seed, days=days)
    # People click a little more on the days on which they are also reached more.
    log_odds = account.ctr_log_odds + appeal + 0.3 * np.log(weekday) + np.log(level.ctr)[:, None]
    true_ctr = 1.0 / (1.0 + np.exp(-log_odds))
    delivery = account.impressions * weekday * level.delivery[:, None] * np.where(unfair, UNFAIR.delivery_factor, 1.0)
    parts = [
        _block(
            account,
            generator(seed, Stream.COUNTS, account.index, block),
            delivery[rows],
            true_ctr[rows],
            account.conversion_rate * level.conversion[rows, None] * level.tracked[rows, None],
            account.click_price * level.price[rows, None],
        )
        for block in blocks(days)
        for rows in (slice(block * BLOCK_DAYS, (block + 1) * BLOCK_DAYS),)
    ]
    return Figures(running, *(np.concatenate(column) for column in zip(*parts, strict=True)))


def _block(account: Account, rng: np.random.Generator, delivery: Array, ctr: Array, rate: Array, price: Array) -> tuple[Array, ...]:
    shape = delivery.shape
    shocks = np.exp(rng.normal(0.0, 0.06, (shape[0], 1)) + rng.normal(0.0, 0.15, shape))
    impressions = _overdispersed(rng, delivery * shocks)
    reach = np.rint(impressions * rng.uniform(0.72, 0.92, shape)).astype(np.int64)
    clicks = np.minimum(_overdispersed(rng, impressions * ctr), impressions)
    cost = clicks * price * np.exp(rng.normal(0.0, 0.05, shape))
    # Platforms that bill by the view charge a little also on days without a click.
    viewed = 0.0 if account.platform == "google_ads" else 0.02 * price * impressions * ctr
    spend = np.rint(cost + viewed).astype(np.int64)
    conversions = np.minimum(_overdispersed(rng, clicks * rate), clicks)
    credit = rng.uniform(0.85, 1.0, shape) if account.platform == "google_ads" else np.ones(shape)
    basket = account.order_value * np.exp(rng.normal(-0.02, 0.2, shape))
    revenue = np.rint(conversions * credit * basket).astype(np.int64)
    return impressions, reach, clicks, spend, conversions, credit, revenue


@dataclass(frozen=True, slots=True)
class Ledger:
    """What was known when: final figures plus, from `first_daily` on, the conversions known at each age."""

    account: Account
    figures: Figures
    first_daily: int
    restatement_days: int
    offset: int  # day of the first row of `growth` and `invalid`
    growth: Array  # day, slot, age
    invalid: Array  # day, slot: clicks that were shown at first and taken back

    def known(self, first: int, last: int, morning: int, *, hidden: range = range(0)) -> Known:
        """Figures of the days `first`..`last` as exported on the morning after day `morning`; `hidden` days are left out.

        A day is restated for `restatement_days` mornings and then stays as it was; days before `first_daily` are final."""
        days = np.array([day for day in range(first, last + 1) if day not in hidden], dtype=np.int64)
        f = self.figures
        impressions, clicks, spend, revenue = (a[days] for a in (f.impressions, f.clicks, f.spend, f.revenue))
        conversions = f.conversions[days]
        recent = days >= self.first_daily
        if recent.any():
            rows = days[recent] - self.offset
            age = np.minimum(morning - days[recent], self.restatement_days - 1)
            seen = np.take_along_axis(
                self.growth[rows], np.minimum(age, LONGEST_AGE)[:, None, None], axis=2
            )[:, :, 0]  # fmt: skip
            final = conversions[recent]
            conversions[recent] = seen
            revenue[recent] = np.rint(revenue[recent] * (seen / np.maximum(final, 1))).astype(np.int64)
            taken_back = self.invalid[rows] // (1 << np.minimum(age, 20))[:, None] * (age < 2)[:, None]
            shown = np.minimum(clicks[recent] + taken_back, impressions[recent])
            spend[recent] = spend[recent] * shown // np.maximum(clicks[recent], 1)
            clicks[recent] = shown
        keep = impressions > 0
        return Known(
            day=np.broadcast_to(days[:, None], keep.shape)[keep],
            ad=f.ad[days][keep],
            impressions=impressions[keep],
            reach=f.reach[days][keep],
            clicks=clicks[keep],
            spend=spend[keep],
            conversions=(conversions * f.credit[days])[keep],
            revenue=revenue[keep],
        )


def open_ledger(account: Account, figures: Figures, *, seed: int, first_daily: int, restatement_days: int) -> Ledger:
    """Draw when the conversions of the days from `first_daily` on become known."""
    first_block = first_daily // BLOCK_DAYS
    last_block = len(figures.ad) // BLOCK_DAYS
    growth, invalid = [], []
    for block in range(first_block, last_block):
        rows = slice(block * BLOCK_DAYS, (block + 1) * BLOCK_DAYS)
        rng = generator(seed, Stream.LAG, account.index, block)
        growth.append(known_conversions(figures.conversions[rows], LAGS[account.platform], rng))
        invalid.append(rng.binomial(figures.clicks[rows], INVALID_CLICKS))
    slots = account.slots
    return Ledger(
        account,
        figures,
        first_daily,
        restatement_days,
        first_block * BLOCK_DAYS,
        np.concatenate(growth) if growth else np.empty((0, slots, LONGEST_AGE + 1), dtype=np.int64),
        np.concatenate(invalid) if invalid else np.empty((0, slots), dtype=np.int64),
    )
