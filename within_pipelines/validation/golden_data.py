"""Make the golden samples: invented creatives, accounts and metric series that stay the same for good.

`python -m within_pipelines.validation.golden_data data/golden` writes them; equal code gives equal bytes. Ids start with `golden`, so no
row of a real or simulated account can be one of them, and training leaves every such group out."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from within_pipelines.files import write_bytes, write_text
from within_pipelines.lake import ASSUMED_LAG
from within_pipelines.validation.golden_sample import FORMAT, INDEX

# Raise it when a sample changes on purpose; the old files stay, because recorded predictions name their version.
VERSION = 1
SEED = 20260601
FIRST_DAY = date(2026, 3, 1)
MILLION = 1_000_000

_CREATIVE_COLUMNS = {
    "platform": "string", "account_id": "string", "campaign_id": "string", "ad_group_id": "string", "ad_id": "string",
    "group_id": "string", "headline": "string", "description": "string", "call_to_action": "string", "format": "string",
    "audience_segment": "string", "impressions": "integer",
}  # fmt: skip

# (platform, account, campaign, ad group, format, segment) and its rival texts: (headline, description, call to action).
_GROUPS: tuple[tuple[tuple[str, str, str, str, str, str], tuple[tuple[str | None, str | None, str | None], ...]], ...] = (
    (
        ("google_ads", "golden-1", "c1", "g1", "responsive search ad", "broad"),
        (
            ("Running shoes for every foot", "Free shipping from 50 euros. Returns within 30 days.", "Shop now"),
            ("7 running shoes that podiatrists recommend", "Free shipping from 50 euros. Returns within 30 days.", "Shop now"),
            ("Why are your knees sore? Your shoes.", "Find the pair that fits your stride in two minutes.", "Learn more"),
            ("BUY RUNNING SHOES NOW!!!", "BEST PRICES. HURRY.", "Shop now"),
        ),
    ),
    (
        ("google_ads", "golden-1", "c1", "g2", "responsive search ad", "women 18-44"),
        (
            ("Waterproof jackets, 20 % off until Sunday", "Tested for three years in Norwegian rain.", "Get offer"),
            ("Jackets", "Jackets and more jackets.", "Shop now"),
            ("The jacket your family will fight over", "Tested for three years in Norwegian rain.", "Shop now"),
            ("Outerwear engineered with proprietary triple-membrane technology", "Hydrostatic head 20,000 mm.", "Learn more"),
        ),
    ),
    (
        ("google_ads", "golden-2", "c1", "g1", "responsive search ad", "broad"),
        (
            ("Accounting software for small firms", "Try it free for 30 days. No card needed.", "Sign up"),
            ("This is what your accountant will not tell you", "Close your books in 12 minutes a month.", "Learn more"),
            ("Save 3 hours every week", "Close your books in 12 minutes a month.", "Sign up"),
            ("Next-generation omnichannel financial enablement", "Leverage synergies across your back office.", "Contact us"),
        ),
    ),
    (
        ("google_ads", "golden-2", "c2", "g1", "image ad", "men 45+"),
        (
            ("Invoices that chase themselves", "Get paid nine days earlier on average.", "Sign up"),
            ("Are you still writing invoices by hand?", "There is a better way.", "Learn more"),
            ("Get paid 9 days earlier", None, "Sign up"),
            ("Invoices that chase themselves.", "Get paid nine days earlier on average.", "Sign up"),
        ),
    ),
    (
        ("meta_ads", "golden-3", "c1", "g1", "image", "women 18-44"),
        (
            ("What nobody tells you about sleep after 30", "Our weighted blanket, made in small batches.", "Shop now"),
            ("Mothers love this blanket", "8 kilograms of calm. 100 nights to try it.", "Shop now"),
            ("8 kilograms of calm", "100 nights to try it.", "Get offer"),
            ("Weighted blanket 😴💤", "100 nights to try it ❤️", "Shop now"),
        ),
    ),
    (
        ("meta_ads", "golden-3", "c1", "g2", "carousel", "women 45+"),
        (
            ("Linen that gets softer with every wash", "In four colours. Delivered straight to the door.", "Shop now"),
            ("Half price this weekend: linen bedding", "In four colours. Delivered straight to the door.", "Get offer"),
            ("Feinste Leinenbettwäsche, in Österreich gewebt", "In vier Farben, frei Haus.", "Shop now"),
            ("Linen, linen, linen, linen, linen, linen, linen, linen, linen, linen, linen", "Linen.", "Shop now"),
        ),
    ),
    (
        ("meta_ads", "golden-4", "c1", "g1", "video", "men 18-44"),
        (
            ("Stop wasting money on razors", "One handle for life. Blades for 20 cents.", "Shop now"),
            ("How one barber ended the razor subscription", "One handle for life. Blades for 20 cents.", "Learn more"),
            ("The last razor you will buy", "Steel, made in Solingen.", "Shop now"),
            ("Razor &amp; blades <b>sale</b>", "See https://example.com/sale?utm_source=meta", "Shop now"),
        ),
    ),
    (
        ("meta_ads", "golden-4", "c2", "g1", "video", "broad"),
        (
            ("A gift that men keep for 40 years", "Engraved in Solingen, delivered before the holidays.", "Shop now"),
            ("Free engraving today", "Order before midnight.", "Get offer"),
            ("", "Order before midnight.", "Get offer"),
            ("Frее engraving today", "Order before midnight.", "Get offer"),  # the two e of Free are Cyrillic
        ),
    ),
    (
        ("tiktok_ads", "golden-5", "c1", "g1", "video", "women 18-44"),
        (
            ("POV: your skin after 21 days", "Fragrance-free serum. 21 euros.", "Shop now"),
            ("Dermatologists hate this one trick", "You will not believe what happens next.", "Learn more"),
            ("Skin that forgives you", "Fragrance-free serum. 21 euros.", "Shop now"),
            (None, "Fragrance-free serum. 21 euros.", "Shop now"),
        ),
    ),
    (
        ("tiktok_ads", "golden-5", "c1", "g2", "spark ad", "broad"),
        (
            ("3 ingredients. That is all.", "Vegan, and made in Leipzig.", "Shop now"),
            ("保湿セラム、21日間お試し", "香料不使用。", "Shop now"),
            ("our serum has only three ingredients and vegans love it", "vegan, and made in Leipzig", None),
            ("3 ingredients.\nThat is all.", "Vegan, and made in Leipzig.", "Shop now"),
        ),
    ),
)


def golden_creatives() -> pl.DataFrame:
    """40 creatives in 10 ad groups: plain rivals beside emoji, homoglyphs, other scripts, markup, empty and missing texts."""
    rows: list[tuple[Any, ...]] = []
    for (platform, account, campaign, group, form, segment), texts in _GROUPS:
        group_id = "/".join((platform, account, campaign, group))
        for number, (headline, description, action) in enumerate(texts, start=1):
            ad = f"{campaign}-{group}-a{number}"
            impressions = 500 * number**3 + 250 * len(rows)
            rows.append((platform, account, campaign, group, ad, group_id, headline, description, action, form, segment, impressions))
    return pl.DataFrame(rows, schema=list(_CREATIVE_COLUMNS), orient="row")


_FACT_KINDS = {
    "platform": "string", "account_id": "string", "campaign_id": "string", "ad_group_id": "string", "ad_id": "string",
    "breakdown": "string", "attribution": "string", "grain": "string", "event_date": "date", "currency": "string",
    "timezone": "string", "impressions": "integer", "clicks": "integer", "reach": "integer", "spend_micros": "integer",
    "conversions": "number", "revenue_micros": "integer", "as_of": "utc_time", "as_of_source": "string", "file_sha256": "string",
    "ingested_at": "utc_time", "commit_seq": "integer",
}  # fmt: skip
_FACT_CONSTANTS = {
    "ad_group_id": "g1", "breakdown": "", "attribution": "", "grain": "ad", "timezone": "Europe/Berlin",
    "as_of_source": "assumed_lag", "file_sha256": "0" * 64, "ingested_at": "2026-06-01T12:00:00Z", "commit_seq": "1",
}  # fmt: skip

# (platform, account, currency, impressions a day, click rate, conversion rate, efficiency on each of the last 14 days, days left out)
_ACCOUNTS: tuple[tuple[str, str, str, int, float, float, float, frozenset[int]], ...] = (
    ("google_ads", "golden-steady", "EUR", 40_000, 0.030, 0.040, 1.0, frozenset()),
    ("google_ads", "golden-declining", "USD", 30_000, 0.025, 0.050, 0.5, frozenset()),
    ("meta_ads", "golden-improving", "EUR", 80_000, 0.012, 0.030, 1.6, frozenset()),
    ("meta_ads", "golden-gaps", "GBP", 20_000, 0.015, 0.030, 1.0, frozenset((*range(20, 27), 41, 55))),
    ("tiktok_ads", "golden-no-sales", "EUR", 60_000, 0.010, 0.0, 0.7, frozenset()),
    ("tiktok_ads", "golden-tiny", "EUR", 60, 0.010, 0.020, 1.0, frozenset(range(0, 45))),
)


def golden_facts(rng: np.random.Generator) -> pl.DataFrame:
    """60 days of six accounts, two campaigns each: steady, declining, improving, with gaps, without sales, with almost no volume."""
    rows: list[tuple[Any, ...]] = []
    for platform, account, currency, volume, click_rate, conversion_rate, late, left_out in _ACCOUNTS:
        for day in range(60):
            if day in left_out:
                continue
            event_date = FIRST_DAY + timedelta(days=day)
            efficiency = late if day >= 46 else 1.0
            weekday = 1 + 0.15 * np.sin(2 * np.pi * event_date.weekday() / 7)
            as_of = datetime(event_date.year, event_date.month, event_date.day, tzinfo=UTC) + ASSUMED_LAG
            for campaign, share in (("c1", 0.7), ("c2", 0.3)):
                impressions = int(rng.poisson(volume * share * weekday))
                clicks = int(rng.binomial(impressions, click_rate * efficiency))
                conversions = float(rng.binomial(clicks, conversion_rate))
                spend = int(round(impressions * 0.006 * (1 + 0.1 * rng.random()), 2) * 100) * (MILLION // 100)
                revenue = int(conversions * (45 + 10 * rng.random())) * MILLION
                reach = impressions * 4 // 5
                rows.append(
                    (platform, account, campaign, f"{campaign}-a1", event_date.isoformat(), currency, impressions, clicks, reach, spend,
                     conversions, revenue, as_of.strftime("%Y-%m-%dT%H:%M:%SZ"))
                )  # fmt: skip
    return pl.DataFrame(rows, schema=[name for name in _FACT_KINDS if name not in _FACT_CONSTANTS], orient="row")


_SERIES_COLUMNS = {
    "platform": "string", "account_id": "string", "metric": "string", "timestamp": "date", "value": "number", "maturity": "number",
    "currency": "string",
}  # fmt: skip


def golden_series(rng: np.random.Generator) -> pl.DataFrame:
    """90 days of four metrics of two accounts with weekly rhythm, a drop to a tenth, a spike to threefold and a missing day."""
    rows: list[tuple[Any, ...]] = []
    for platform, account, currency, level in (("google_ads", "golden-a", "EUR", 400.0), ("meta_ads", "golden-b", "USD", 90.0)):
        for metric, scale in (("spend", 1.0), ("clicks", 3.0), ("conversions", 0.05), ("ctr", 0.02 / level)):
            for day in range(90):
                timestamp = FIRST_DAY + timedelta(days=day)
                value = level * scale * (1 + 0.2 * np.sin(2 * np.pi * timestamp.weekday() / 7)) * np.exp(0.08 * rng.standard_normal())
                if day in (70, 71) and account == "golden-a":
                    value *= 0.1
                if day == 80 and metric == "spend":
                    value *= 3
                if day != 33 or account != "golden-b":
                    shown = float(f"{value:.6g}")
                    rows.append((platform, account, metric, timestamp.isoformat(), shown, 1.0, currency))
    return pl.DataFrame(rows, schema=list(_SERIES_COLUMNS), orient="row")


def golden_samples(
    seed: int = SEED,
) -> Mapping[str, tuple[pl.DataFrame, Mapping[str, str], Mapping[str, str], bool]]:
    """Per model: rows, kind of each column, columns with one value (kept in the index), and whether a model answers once per row."""
    facts, series = (np.random.default_rng([seed, stream]) for stream in (1, 2))
    return {
        "ad_score": (golden_creatives(), _CREATIVE_COLUMNS, {}, True),
        "account_health": (golden_facts(facts), _FACT_KINDS, _FACT_CONSTANTS, False),
        "anomaly": (golden_series(series), _SERIES_COLUMNS, {}, False),
    }


def write_golden(folder: Path, *, seed: int = SEED, version: int = VERSION) -> None:
    """Write the golden samples and their index to `folder`, each sample under the SHA-256 of its bytes. Older files stay."""
    samples = {}
    for model, (rows, kinds, constants, per_row) in golden_samples(seed).items():
        content = rows.write_csv(quote_style="non_numeric", null_value="").encode()
        digest = hashlib.sha256(content).hexdigest()
        write_bytes(folder / f"{model}-{digest}.csv", content)
        samples[model] = {
            "sha256": digest, "rows": len(rows), "columns": dict(kinds), "constants": dict(constants), "per_row": per_row,
        }  # fmt: skip
    write_text(folder / INDEX, json.dumps({"format": FORMAT, "version": version, "samples": samples}, indent=2) + "\n")


def main(arguments: Sequence[str]) -> None:
    """Write the golden samples to the one folder given."""
    if len(arguments) != 1:
        raise SystemExit("usage: python -m within_pipelines.validation.golden_data FOLDER")
    write_golden(Path(arguments[0]))


if __name__ == "__main__":
    main(sys.argv[1:])
