"""Write a Google Ads report download: two lines of preamble, grouped numbers, ` --` for missing, totals below."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta

from within_pipelines.simulation.account import Account
from within_pipelines.simulation.csv_text import Export, day_texts, german, grouped, grouped_decimal, quoted, span
from within_pipelines.simulation.figures import Known
from within_pipelines.simulation.roster import Ad, ad_group_name, campaign_name

COLUMNS = (
    "Day", "Customer ID", "Currency code", "Campaign", "Campaign ID", "Ad group", "Ad group ID", "Ad ID",
    "Impr.", "Clicks", "CTR", "Avg. CPC", "Cost", "Conversions", "Cost / conv.", "Conv. value", "Search impr. share",
)  # fmt: skip
CREATIVE_COLUMNS = (
    "Customer ID", "Campaign", "Campaign ID", "Ad group", "Ad group ID", "Ad ID", "Ad type",
    "Headline", "Description", "Call to action", "Audience segment",
)  # fmt: skip
MISSING = " --"


def customer_id(account: Account) -> str:
    """The account's id with Google's dashes."""
    digits = account.account_id
    return f"{digits[:3]}-{digits[3:6]}-{digits[6:]}"


def _keys(account: Account, ad: Ad) -> str:
    names = quoted(campaign_name(account, ad.group.campaign)), quoted(ad_group_name(ad.group))
    return f"{names[0]},{ad.campaign_id},{names[1]},{ad.ad_group_id},{ad.ad_id}"


def _impression_share(share: float) -> str:
    # Google does not say very small and very large shares.
    if share < 0.10:
        return "< 10%"
    return "> 90%" if share > 0.90 else f"{100.0 * share:.2f}%"


def _numbers(decimals: int, impressions: int, clicks: int, spend: float, conversions: float, value: float, share: str) -> list[str]:
    return [
        grouped(impressions),
        grouped(clicks),
        f"{100.0 * clicks / impressions:.2f}%" if impressions else MISSING,
        grouped_decimal(spend / clicks, decimals) if clicks else MISSING,
        grouped_decimal(spend, decimals),
        grouped_decimal(conversions),
        grouped_decimal(spend / conversions, decimals) if conversions > 0 else MISSING,
        grouped_decimal(value, decimals),
        share,
    ]


def performance(
    account: Account, ads: Sequence[Ad], known: Known, start: date, *, decimal_comma: bool = False, bad_rows: bool = False
) -> Export:
    """The daily report by ad.

    `bad_rows` adds three rows of an ad that never ran: negative cost, more clicks than impressions, 30 February."""
    decimals = account.market.decimals
    unit = 10**decimals
    head = f"{customer_id(account)},{account.market.currency}"
    first, last = span(known.day, start)
    lines = [
        "Ad performance report",
        quoted(f"{first:%B} {first.day}, {first.year} - {last:%B} {last.day}, {last.year}"),
        ",".join(COLUMNS),
    ]

    def line(prefix: str, numbers: list[str]) -> str:
        return f"{prefix},{','.join([german(n) for n in numbers] if decimal_comma else numbers)}"

    keys = [f"{head},{_keys(account, ad)}" for ad in ads]
    columns: Iterable[tuple[str, int, int, int, int, float, int]] = zip(
        day_texts(known.day, start), known.ad.tolist(), known.impressions.tolist(), known.clicks.tolist(),
        known.spend.tolist(), known.conversions.tolist(), known.revenue.tolist(), strict=True,
    )  # fmt: skip
    for day, ad, impressions, clicks, spend, conversions, revenue in columns:
        share = _impression_share(impressions / (1.6 * account.impressions))
        lines.append(line(f"{day},{keys[ad]}", _numbers(decimals, impressions, clicks, spend / unit, conversions, revenue / unit, share)))
    bad: list[tuple[int, str]] = []
    if bad_rows:
        stray = f"{head},{_keys(account, ads[0]).rsplit(',', 1)[0]},{int(ads[0].ad_id) + 9_999}"
        ordinary = (last - timedelta(days=1)).isoformat()
        for reason, day, impressions, clicks, cost in (
            ("negative_spend", ordinary, 210, 4, -12.5),
            ("clicks_exceed_impressions", ordinary, 12, 40, 18.4),
            ("bad_date", f"{last.year}-02-30", 180, 3, 2.2),
        ):
            lines.append(line(f"{day},{stray}", _numbers(decimals, impressions, clicks, cost, 0.0, 0.0, "< 10%")))
            bad.append((len(lines), reason))
    rows = len(known.day) + len(bad)
    spend, conversions, revenue = known.spend.sum() / unit, float(known.conversions.sum()), known.revenue.sum() / unit
    totals = _numbers(decimals, int(known.impressions.sum()), int(known.clicks.sum()), spend, conversions, revenue, MISSING)
    for name in ("Total: Account", "Total: Ads"):
        lines.append(line(f"{name},{MISSING},{account.market.currency},{','.join([MISSING] * 5)}", totals))
    return Export(lines, rows, tuple(bad))


def creatives(account: Account, ads: Iterable[Ad]) -> Export:
    """The ads' texts: no metric columns."""
    lines = ["Ad texts report", "All time", ",".join(CREATIVE_COLUMNS)]
    for ad in ads:
        texts = (ad.copy.format, ad.copy.headline, ad.copy.description, ad.copy.call_to_action, ad.group.segment)
        lines.append(f"{customer_id(account)},{_keys(account, ad)},{','.join(quoted(text) for text in texts)}")
    return Export(lines, len(lines) - 3)
