"""Small worlds whose truth is known: creatives with planted word effects, accounts with planted drops."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl

from within_pipelines.features import ACCOUNT_FEATURES

FIRST = date(2026, 1, 5)
EFFECTS = {"free": 0.45, "today": 0.3, "secret": 0.25, "boring": -0.4, "terms": -0.3}
FILLER = [
    "garden", "coffee", "shoes", "summer", "winter", "family", "travel", "music", "energy", "kitchen", "phone", "camera", "window",
    "paper", "river", "mountain", "health", "running", "cotton", "leather", "wooden", "bright", "quiet", "simple", "modern",
    "classic", "fresh", "local", "happy", "strong",
]  # fmt: skip


def creatives(
    n_groups: int = 100, *, seed: int = 5, size: int = 4, noise: float = 0.1, effects: dict[str, float] | None = None, first: int = 0
) -> pl.DataFrame:
    """Ads in groups; the words of `effects` move the log-odds of a click, the length of the headline does not."""
    planted = EFFECTS if effects is None else effects
    rng = np.random.default_rng(seed)
    rows = []
    for g in range(n_groups):
        level = -3.5 + 0.3 * rng.standard_normal()
        for a in range(size):
            chosen = [str(w) for w in rng.choice(FILLER, rng.integers(2, 6), replace=False)]
            chosen += [w for w in EFFECTS if rng.random() < 0.3]
            chosen = [chosen[i] for i in rng.permutation(len(chosen))]
            truth = level + sum(planted.get(w, 0.0) for w in chosen) + noise * rng.standard_normal()
            shown = int(rng.integers(8_000, 20_000))
            rows.append(
                {
                    "platform": "google_ads", "account_id": f"A{(g + first) % 15:02d}", "group_id": f"g{g + first:04d}",
                    "ad_id": f"ad{g + first:04d}-{a}", "headline": " ".join(chosen).capitalize(),
                    "description": "Order " + " ".join(str(w) for w in rng.choice(FILLER, 3)), "call_to_action": "Learn more",
                    "format": str(rng.choice(["image", "video"])), "audience_segment": str(rng.choice(["women 25-34", "broad"])),
                    "first_day": FIRST + timedelta(days=g + first), "impressions": shown,
                    "clicks": int(rng.binomial(shown, 1 / (1 + np.exp(-truth)))), "truth": truth,
                }
            )  # fmt: skip
    return pl.DataFrame(rows)


def feature_rows(n_accounts: int = 24, *, origins: int = 40, seed: int = 3, strength: float = 1.0) -> pl.DataFrame:
    """Account feature rows whose labels follow three of the features; `strength` 0 makes labels that follow nothing."""
    rng = np.random.default_rng(seed)
    n = n_accounts * origins
    columns = {name: 0.3 * rng.standard_normal(n) for name in ACCOUNT_FEATURES.columns}
    columns["history_share"] = np.ones(n)
    signal = columns["log_efficiency_7"] + columns["slope_cvr_28"] - 0.7 * columns["log_cpc_7"]
    log_ratio = -0.05 + strength * 0.5 * signal + 0.2 * rng.standard_normal(n)
    account, origin = np.divmod(np.arange(n), origins)
    frame = pl.DataFrame({"platform": ["meta_ads"] * n, "account_id": [f"A{a:02d}" for a in account], "campaign_id": [""] * n})
    return frame.with_columns(
        pl.Series("origin", [FIRST + timedelta(days=3 * int(o)) for o in origin]),
        *(pl.Series(name, values) for name, values in columns.items()),
        pl.Series("spend_28", rng.uniform(500, 5000, n)),
        pl.Series("clicks_28", rng.uniform(200, 4000, n)),
        pl.Series("conversions_28", rng.uniform(20, 300, n)),
        pl.Series("baseline_efficiency", np.full(n, 0.05)),
        pl.Series("recent_efficiency", 0.05 * np.exp(columns["log_efficiency_7"])),
        pl.lit("conversions_per_cost").alias("target"),
        pl.lit("EUR").alias("currency"),
        pl.Series("log_ratio", log_ratio),
        pl.Series("degraded", log_ratio < np.log(0.8)),
    )


def daily_rows(n_accounts: int = 16, *, days: int = 170, seed: int = 11) -> pl.DataFrame:
    """Plain daily rows; every account's conversion rate sinks by 3 % a day for three weeks now and then, and recovers at once."""
    rng = np.random.default_rng(seed)
    rows = []
    for a in range(n_accounts):
        sinking, level = 0, 0.0
        for d in range(days):
            if sinking == 0:
                level = 0.0
                sinking = 21 if rng.random() < 0.02 else 0
            if sinking:
                level -= 0.04
                sinking -= 1
            clicks = int(rng.poisson(400))
            rows.append(
                {
                    "date": FIRST + timedelta(days=d), "account_id": f"A{a:02d}", "platform": "google_ads", "currency": "EUR",
                    "impressions": clicks * 40, "clicks": clicks, "spend": 1.2 * clicks,
                    "conversions": float(rng.poisson(clicks * 0.1 * np.exp(level))),
                }
            )  # fmt: skip
    return pl.DataFrame(rows)
