"""Write a TikTok Ads Manager export: header case varies by account, no account column, a total line at the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

from within_pipelines.simulation.account import Account
from within_pipelines.simulation.csv_text import Export, day_texts, quoted
from within_pipelines.simulation.figures import Known
from within_pipelines.simulation.roster import Ad, ad_group_name, campaign_name

COLUMNS = (
    "By Day", "Campaign name", "Campaign ID", "Ad group name", "Ad group ID", "Ad name", "Ad ID", "Currency", "Cost",
    "Impressions",
    "Reach", "Clicks (destination)", "CTR (destination)", "CPC (destination)", "Conversions", "Complete payment",
    "Total complete payment value",
)  # fmt: skip
CREATIVE_COLUMNS = (
    "Campaign name", "Campaign ID", "Ad group name", "Ad group ID", "Ad name", "Ad ID", "Ad format", "Headline", "Description",
    "Call to action", "Audience segment",
)  # fmt: skip


def _header(account: Account, columns: tuple[str, ...]) -> str:
    text = ",".join(columns)
    return (text, text.lower(), text.upper().replace(" ID", " Id"))[account.index % 3]


def _keys(account: Account, ad: Ad) -> str:
    names = quoted(campaign_name(account, ad.group.campaign)), quoted(ad_group_name(ad.group)), quoted(ad.ad_name)
    return f"{names[0]},{ad.campaign_id},{names[1]},{ad.ad_group_id},{names[2]},{ad.ad_id}"


def _numbers(decimals: int, impressions: int, reach: int, clicks: int, cost: float, payments: int, value: float) -> str:
    cpc = f"{cost / clicks:.{decimals}f}" if clicks else "-"
    ctr = f"{100.0 * clicks / max(impressions, 1):.2f}%"
    return f"{cost:.{decimals}f},{impressions},{reach},{clicks},{ctr},{cpc},{payments},{payments},{value:.{decimals}f}"


def performance(account: Account, ads: Sequence[Ad], known: Known, start: date) -> Export:
    """The daily export by ad."""
    decimals, currency = account.market.decimals, account.market.currency
    unit = 10**decimals
    keys = [f"{_keys(account, ad)},{currency}" for ad in ads]
    lines = [_header(account, COLUMNS)]
    for day, ad, impressions, reach, clicks, spend, payments, revenue in zip(
        day_texts(known.day, start), known.ad.tolist(), known.impressions.tolist(), known.reach.tolist(), known.clicks.tolist(),
        known.spend.tolist(), known.conversions.tolist(), known.revenue.tolist(), strict=True,
    ):  # fmt: skip
        lines.append(f"{day},{keys[ad]},{_numbers(decimals, impressions, reach, clicks, spend / unit, int(payments), revenue / unit)}")
    sums = int(known.impressions.sum()), int(known.reach.sum()), int(known.clicks.sum())
    payments, value = int(known.conversions.sum()), known.revenue.sum() / unit
    total = f"Total of {len(known.day)} results,-,-,-,-,-,-,{currency}"
    lines.append(f"{total},{_numbers(decimals, *sums, known.spend.sum() / unit, payments, value)}")
    return Export(lines, len(known.day))


def creatives(account: Account, ads: Iterable[Ad]) -> Export:
    """The ads' texts: no metric columns."""
    lines = [_header(account, CREATIVE_COLUMNS)]
    for ad in ads:
        texts = (ad.copy.format, ad.copy.headline, ad.copy.description, ad.copy.call_to_action, ad.group.segment)
        lines.append(f"{_keys(account, ad)},{','.join(quoted(text) for text in texts)}")
    return Export(lines, len(lines) - 1)
