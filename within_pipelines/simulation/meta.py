"""Write a Meta Ads Manager export: byte-order mark, currency in the header, a nameless total row on top, ids beyond 2**53."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from within_pipelines.simulation.account import Account
from within_pipelines.simulation.csv_text import Export, day_texts, quoted, span
from within_pipelines.simulation.draws import Array
from within_pipelines.simulation.figures import Known
from within_pipelines.simulation.planted import UNFAIR
from within_pipelines.simulation.roster import Ad, ad_group_name, campaign_name

AGES: tuple[str, ...] = ("18-24", "25-34", "35-44", "45-54", "55-64", "65+")
GENDERS: tuple[str, ...] = ("female", "male")
CELLS: tuple[tuple[str, str], ...] = tuple((age, gender) for age in AGES for gender in GENDERS)
ATTRIBUTION = "7-day click or 1-day view"
PURCHASE, LINK_CLICK = "actions:offsite_conversion.fb_pixel_purchase", "actions:link_click"


def _header(account: Account, breakdown: Sequence[str] = ()) -> str:
    money = account.market.currency
    return ",".join(
        (
            "Reporting starts", "Reporting ends", "Day", "Account ID", "Account name", "Campaign name", "Campaign ID",
            "Ad set name", "Ad set ID", "Ad name", "Ad ID", *breakdown, "Attribution setting", "Impressions", "Reach",
            "Frequency", "Link clicks", "Clicks (all)", "CTR (link click-through rate)", f"Amount spent ({money})", "Purchases",
            "Purchases conversion value",
            "Results", "Result indicator",
        )
    )  # fmt: skip


def _keys(account: Account, ad: Ad) -> str:
    return ",".join(
        (
            account.account_id, quoted(account.name), quoted(campaign_name(account, ad.group.campaign)), ad.campaign_id,
            quoted(ad_group_name(ad.group)), ad.ad_group_id, quoted(ad.ad_name), ad.ad_id,
        )
    )  # fmt: skip


def _numbers(decimals: int, impressions: int, reach: int, clicks: int, spend: float, purchases: int, value: float) -> str:
    # Every ninth click or so goes to the profile or a like: "Clicks (all)" is not what an advertiser pays a visit for.
    every_click = clicks + clicks // 9
    ctr = 100.0 * clicks / impressions
    return (
        f"{impressions},{reach},{impressions / max(reach, 1):.6f},{clicks},{every_click},{ctr:.6f},{spend:.{decimals}f},"
        f"{purchases},{value:.{decimals}f}"
    )


def performance(account: Account, ads: Sequence[Ad], known: Known, start: date) -> Export:
    """The daily export by ad; the total row has no day, no names and no ids."""
    first, last = span(known.day, start)
    lines = [_header(account)]
    if len(known.day):
        spend, value = known.spend.sum() / 10**account.market.decimals, known.revenue.sum() / 10**account.market.decimals
        purchases = int(known.conversions.sum())
        sums = int(known.impressions.sum()), int(known.reach.sum()), int(known.clicks.sum())
        lines.append(f"{first},{last}{',' * 11}{_numbers(account.market.decimals, *sums, spend, purchases, value)},,")
    lines.extend(_rows(account, ads, known, start, None))
    return Export(lines, len(known.day))


def _rows(account: Account, ads: Sequence[Ad], known: Known, start: date, cells: Sequence[str] | None) -> Iterable[str]:
    decimals = account.market.decimals
    unit = 10**decimals
    keys = [_keys(account, ad) for ad in ads]
    for position, (day, ad, impressions, reach, clicks, spend, conversions, revenue) in enumerate(
        zip(
            day_texts(known.day, start), known.ad.tolist(), known.impressions.tolist(), known.reach.tolist(),
            known.clicks.tolist(),
            known.spend.tolist(), known.conversions.tolist(), known.revenue.tolist(), strict=True,
        )
    ):  # fmt: skip
        purchases = int(conversions)
        # The second campaign optimises for visits: its "Results" are link clicks and must not be read as purchases.
        result = f"{clicks},{LINK_CLICK}" if ads[ad].group.campaign == 2 else f"{purchases},{PURCHASE}"
        cell = "" if cells is None else f"{cells[position]},"
        numbers = _numbers(decimals, impressions, reach, clicks, spend / unit, purchases, revenue / unit)
        yield f"{day},{day},{day},{keys[ad]},{cell}{ATTRIBUTION},{numbers},{result}"


def creatives(account: Account, ads: Iterable[Ad]) -> Export:
    """The ads' texts: no metric columns."""
    lines = [
        "Account ID,Account name,Campaign name,Campaign ID,Ad set name,Ad set ID,Ad name,Ad ID,Headline,Body,Call to action,Ad "
        "format,Audience segment"
    ]
    for ad in ads:
        texts = (ad.copy.headline, ad.copy.description, ad.copy.call_to_action, ad.copy.format, ad.group.segment)
        lines.append(f"{_keys(account, ad)},{','.join(quoted(text) for text in texts)}")
    return Export(lines, len(lines) - 1)


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Figures by age and gender, flat, with the cell's position in `CELLS`."""

    known: Known
    cell: Array


def delivery_shares() -> Array:
    """Share of an ad's impressions that each age and gender gets; the unfairly treated cells get less than they would."""
    by_age = np.array([0.16, 0.26, 0.22, 0.17, 0.12, 0.07])
    shares: Array = np.array([by_age[AGES.index(age)] * 0.5 for age, _ in CELLS])
    unfair = np.array([gender == UNFAIR.gender and age in UNFAIR.ages for age, gender in CELLS])
    shares = np.where(unfair, shares * UNFAIR.delivery_factor, shares)
    result: Array = shares / shares.sum()
    return result


def break_down(known: Known, rng: np.random.Generator) -> Breakdown:
    """Split every row over age and gender so that each measure sums exactly to the row."""
    n = len(known.day)
    impressions = rng.multinomial(known.impressions, delivery_shares())
    clicks, conversions = np.empty_like(impressions), np.empty_like(impressions)
    for row in range(n):
        # Without replacement: a cell cannot have more clicks than impressions, nor more conversions than clicks.
        clicks[row] = rng.multivariate_hypergeometric(impressions[row], int(known.clicks[row]))
        conversions[row] = rng.multivariate_hypergeometric(clicks[row], int(known.conversions[row]))
    money = [
        _apportion(known.spend, np.where(known.clicks[:, None] > 0, clicks, impressions)),
        _apportion(known.revenue, conversions),
        _apportion(known.reach, impressions),
    ]
    shown = impressions > 0
    rows, cells = np.nonzero(shown)
    return Breakdown(
        Known(
            day=known.day[rows], ad=known.ad[rows], impressions=impressions[shown], reach=money[2][shown], clicks=clicks[shown],
            spend=money[0][shown], conversions=conversions[shown].astype(np.float64), revenue=money[1][shown],
        ),
        cells,
    )  # fmt: skip


def _apportion(total: Array, weights: Array) -> Array:
    """Whole parts of each total in proportion to the weights of its row, by differences of rounded running sums."""
    running = np.cumsum(weights, axis=1)
    whole = np.maximum(running[:, -1:], 1)
    bounds = total[:, None] * running // whole
    return np.diff(bounds, axis=1, prepend=0)


def breakdown(account: Account, ads: Sequence[Ad], split: Breakdown, start: date) -> Export:
    """The daily export by ad, age and gender."""
    cells = [f"{CELLS[cell][0]},{CELLS[cell][1]}" for cell in split.cell.tolist()]
    lines = [_header(account, ("Age", "Gender")), *_rows(account, ads, split.known, start, cells)]
    return Export(lines, len(cells))
