"""What is told beside the gate, shown on planted models: it finds what was planted, and nothing where nothing is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.fairness import LEGAL_CAVEAT
from within_pipelines.pipeline.fairness_details import (
    ad_delivery,
    ad_proxy_world,
    counterfactual_quality,
    fairness_details,
    frontier,
    size_proxy_world,
)
from within_pipelines.reporting import fairness_html
from within_pipelines.stats import Status, Verdict


@dataclass
class Health:
    """An account-health model by a formula."""

    risk: Callable[[pl.DataFrame], pl.Series]
    features: tuple[str, ...] = ("log_cpc_7", "log_spend_7", "volatility_efficiency_28")
    minimum_clicks: int = 10

    def probability(self, rows: pl.DataFrame) -> np.ndarray:
        return self.risk(rows).to_numpy().astype(float)


def accounts(n: int = 30, days: int = 5) -> pl.DataFrame:
    """Small accounts are noisier; who drops follows from the cost per click."""
    rng = np.random.default_rng(3)
    account = np.repeat(np.arange(n), days)
    small = account < n // 2
    cpc = rng.normal(size=len(account))
    return pl.DataFrame(
        {
            "platform": ["google"] * len(account),
            "account_id": [f"a{i:02d}" for i in account],
            "clicks_28": np.where(small, 100, 1000) + account,
            "log_cpc_7": cpc,
            "log_spend_7": rng.normal(size=len(account)),
            "volatility_efficiency_28": rng.normal(size=len(account)) * 0.1 + small,
            "degraded": rng.random(len(account)) < 1 / (1 + np.exp(-2 * cpc)),
        }
    )


def sigmoid(x: pl.Series) -> pl.Series:
    return 1 / (1 + (-x).exp())


COST = Health(lambda rows: sigmoid(2 * rows["log_cpc_7"]))
NOISE = Health(lambda rows: sigmoid(2 * rows["log_cpc_7"] + 2 * rows["volatility_efficiency_28"]))


@dataclass
class Ads:
    """An ad score by a formula."""

    formula: Callable[[pl.DataFrame], pl.Series]

    def scores(self, rows: pl.DataFrame) -> np.ndarray:
        assert "group_id" not in rows.columns  # asked for alone
        return self.formula(rows).to_numpy().astype(float)


def ads(n: int = 240) -> pl.DataFrame:
    """Groups aimed at women have a past click rate twice as high."""
    rng = np.random.default_rng(4)
    women = np.arange(n) % 2 == 0
    return pl.DataFrame(
        {
            "platform": ["meta"] * n,
            "account_id": [f"a{i % 20}" for i in range(n)],
            "group_id": [f"g{i // 2}" for i in range(n)],
            "headline": ["Shoes"] * n,
            "audience_segment": np.where(women, "women 18-34", "men 45+"),
            "group_ctr_before": np.where(women, 0.04, 0.02) * rng.uniform(0.9, 1.1, n),
        }
    )


def test_a_model_that_reads_a_proxy_moves_only_when_the_proxy_follows() -> None:
    rng = np.random.default_rng(1)
    by_past = ad_proxy_world(Ads(lambda rows: 1000 * rows["group_ctr_before"]), ads(), rng=rng)
    change = dict(by_past.select("flip", "mean_change").iter_rows())
    assert change["gender, declared"] == change["age, declared"] == 0
    assert change["gender, with its proxies"] == pytest.approx(20, abs=1)  # .04 against .02
    assert by_past.filter(pl.col("flip") == "gender, with its proxies")["low"][0] > 18
    blind = ad_proxy_world(Ads(lambda rows: rows["headline"].str.len_chars()), ads(), rng=rng)
    assert blind["mean_change"].to_list() == [0.0] * 4
    direct = ad_proxy_world(Ads(lambda rows: 9.0 * rows["audience_segment"].str.starts_with("women").cast(pl.Float64)), ads(), rng=rng)
    assert dict(direct.select("flip", "mean_change").iter_rows())["gender, declared"] == pytest.approx(9)
    with pytest.raises(SampleError, match="none can be flipped"):
        ad_proxy_world(Ads(lambda rows: rows["group_ctr_before"]), ads().drop("audience_segment"), rng=rng)


def test_the_world_of_account_size_moves_who_reads_noise() -> None:
    rng = np.random.default_rng(1)
    (moved,) = size_proxy_world(NOISE, accounts(), rng=rng)["mean_change"]
    (still,) = size_proxy_world(COST, accounts(), rng=rng)["mean_change"]
    assert still == 0
    assert moved > 0.15
    with pytest.raises(SampleError, match="reads none of"):
        size_proxy_world(Health(COST.risk, features=("log_cpc_7",)), accounts(), rng=rng)


def test_counterfactuals_change_what_decides_and_a_constant_has_none() -> None:
    rng = np.random.default_rng(1)
    (quality,) = counterfactual_quality(COST, accounts(), rng=rng).to_dicts()
    assert quality["validity"] == 1
    assert quality["sparsity"] == 1  # only the cost per click decides
    assert 0 < quality["proximity"] < 2
    assert quality["seconds_per_case"] < 2
    assert quality["cases"] == 6
    (fixed,) = counterfactual_quality(Health(lambda rows: rows["log_cpc_7"] * 0 + 0.5), accounts(), rng=rng).to_dicts()
    assert fixed["validity"] == 0


def test_the_frontier_shows_the_planted_gap_and_what_closing_it_costs() -> None:
    points = frontier(NOISE, accounts(60), rng=np.random.default_rng(1))
    plain = points.row(0, named=True)
    closed = points.filter((pl.col("method") == "group thresholds") & (pl.col("knob") == 0)).row(0, named=True)
    assert plain["gap_low"] > 0.15
    assert closed["gap"] < 0.6 * plain["gap"]
    even = frontier(COST, accounts(60), rng=np.random.default_rng(1)).row(0, named=True)
    assert even["gap"] < 0.15
    with pytest.raises(SampleError, match="too few"):
        frontier(COST, accounts(2), rng=np.random.default_rng(1))


def test_what_cannot_be_made_is_a_note_and_the_page_carries_tables_and_caveat() -> None:
    tables, notes = fairness_details(COST, "account_health", accounts(), seed=7)
    assert set(tables) == {"proxy_world", "counterfactuals", "frontier"}
    assert notes == ()
    again, _ = fairness_details(COST, "account_health", accounts(), seed=7)
    assert again["frontier"].equals(tables["frontier"])
    none, told = fairness_details(COST, "account_health", accounts(2), seed=7)
    assert "frontier" not in none
    assert any(note.startswith("No frontier: ") for note in told)
    assert fairness_details(COST, "anomaly", accounts(), seed=7) == ({}, ())
    verdict = Verdict("fairness", Status.PASSED, None, None, {}, "fine")
    page = fairness_html("t", verdict, gaps=pl.DataFrame(), groups=pl.DataFrame(), notes=(), details=tables)
    assert LEGAL_CAVEAT in page
    assert page.count("<h2>") == 4 + 1 + 3
    assert "data:image/png" in page
    assert LEGAL_CAVEAT not in fairness_html("t", verdict, gaps=pl.DataFrame(), groups=pl.DataFrame(), notes=())


def test_delivery_of_declared_groups_is_told_with_intervals_and_currencies_do_not_add_up() -> None:
    rng = np.random.default_rng(6)
    n = 240
    women, yen = np.arange(n) % 2 == 0, np.arange(n) // 20 % 2 == 0
    rows = pl.DataFrame(
        {
            "platform": ["meta"] * n, "account_id": [f"a{i // 20}" for i in range(n)],
            "audience_segment": np.where(women, "women 25-44", "men 25-44").tolist(),
            "impressions": np.where(women, 3000, 1000) + rng.integers(0, 100, n),
            # Alike within each currency, though yen are a hundredfold.
            "spend": np.where(yen, 1000.0, 10.0), "currency": np.where(yen, "JPY", "EUR").tolist(),
        }
    )  # fmt: skip
    table = ad_delivery(None, rows, rng=np.random.default_rng(1))
    told = {(row["group"], row["of"]): row for row in table.filter(pl.col("attribute") == "gender").to_dicts()}
    assert told["women", "impressions"]["over_share_of_ads"] == pytest.approx(1.5, abs=0.03)
    assert told["women", "impressions"]["low"] > 1.2
    assert told["men", "impressions"]["high"] < 0.8
    assert told["women", "spend"]["over_share_of_ads"] == pytest.approx(1.0)
    assert told["women", "spend"]["accounts"] == 12
    with pytest.raises(SampleError, match="cannot be compared"):
        ad_delivery(None, rows.with_columns(audience_segment=pl.lit("broad")), rng=np.random.default_rng(1))
    page = fairness_html(
        "t", Verdict("fairness", Status.PASSED, None, None, {}, "r", model_sha256="a" * 64), gaps=pl.DataFrame(), groups=pl.DataFrame(),
        notes=(), details={"delivery": table},
    )  # fmt: skip
    assert "Who was reached" in page
