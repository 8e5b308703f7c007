"""The level of a new ad: thin history borrows, thick history speaks for itself."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from within_pipelines.exceptions import SampleError, SchemaError
from within_pipelines.prediction import AdScorePredictor
from within_pipelines.prediction.ad_score.contrasts import observe
from within_pipelines.prediction.ad_score.levels import WINDOW_DAYS, LevelModel, given_levels

SPREAD = {"account": 0.6, "campaign": 0.3, "group": 0.2}


def agency(*, accounts: int = 40, seed: int = 0, drift: float = 0.0, days: int = 200) -> pl.DataFrame:
    """Ads in groups of campaigns of accounts, with planted spreads, a history before each, and a level that drops by `drift` at the end."""
    rng = np.random.default_rng(seed)
    rows = []
    for a in range(accounts):
        of_account = -4.0 + SPREAD["account"] * rng.standard_normal()
        for c in range(3):
            of_campaign = of_account + SPREAD["campaign"] * rng.standard_normal()
            for g in range(3):
                of_group = of_campaign + SPREAD["group"] * rng.standard_normal()
                start = int(rng.integers(days))
                late = drift if start > days - WINDOW_DAYS else 0.0
                for k in range(3):
                    rate = 1 / (1 + np.exp(-(of_group + late + 0.15 * rng.standard_normal())))
                    shown = int(rng.integers(2_000, 20_000))
                    history = {}
                    for tier, level, before in (
                        ("account", of_account, 40_000),
                        ("campaign", of_campaign, 10_000),
                        ("group", of_group, 3_000),
                    ):
                        seen = int(before * rng.uniform(0.2, 2))
                        history |= {
                            f"{tier}_impressions_before": seen,
                            f"{tier}_clicks_before": int(rng.binomial(seen, 1 / (1 + np.exp(-level)))),
                        }
                    rows.append(
                        {"platform": "p", "account_id": f"a{a}", "campaign_id": f"a{a}c{c}", "group_id": f"a{a}c{c}g{g}",
                         "ad_id": f"{g}{k}", "first_day": date(2026, 1, 1) + timedelta(days=start), "impressions": shown,
                         "_rate": rng.binomial(shown, rate) / shown, "level": of_group, **history}
                    )  # fmt: skip
    return pl.DataFrame(rows)


def fitted(frame: pl.DataFrame) -> LevelModel:
    seen = observe(frame["_rate"].to_numpy(), frame["impressions"].to_numpy().astype(float), frame["group_id"].to_numpy())
    found = LevelModel.fit(frame, seen, np.zeros(frame.height), level=0.9)
    assert found is not None
    return found


def test_the_planted_spreads_are_found() -> None:
    found = fitted(agency(accounts=120)).spread
    # The mean of three campaigns and of three groups adds to what differs between accounts and campaigns.
    assert found["group"] == pytest.approx(SPREAD["group"], abs=0.05)
    assert found["campaign"] == pytest.approx(np.hypot(SPREAD["campaign"], SPREAD["group"] / np.sqrt(3)), abs=0.06)
    assert found["account"] == pytest.approx(np.hypot(SPREAD["account"], SPREAD["campaign"] / np.sqrt(3)), abs=0.12)


def test_shared_strength_is_closer_to_the_truth_than_either_tier_alone() -> None:
    frame = agency(seed=4)
    mean, _ = fitted(agency()).levels(frame)
    truth = frame["level"].to_numpy()

    def own(tier: str) -> np.ndarray:
        clicks, shown = frame[f"{tier}_clicks_before"].to_numpy(), frame[f"{tier}_impressions_before"].to_numpy()
        return np.log((clicks + 0.5) / (shown - clicks + 0.5))

    error = {
        name: float(np.mean((values - truth) ** 2))
        for name, values in (("shared", mean), ("group", own("group")), ("account", own("account")))
    }
    assert error["shared"] < 0.8 * min(error["group"], error["account"])


def test_by_hand_with_one_tier() -> None:
    found = LevelModel({"": -4.0}, {"account": 1.0}, 0.0, 0.1, 1.6)
    rows = pl.DataFrame({"account_clicks_before": [0, 99, None], "account_impressions_before": [0, 1000, None]})
    mean, variance = found.levels(rows)
    assert np.isnan(mean[0])
    assert np.isnan(mean[2])
    # Where the slopes of count and prior are in balance: 99 - 1000 share = level + 4.
    share = 1 / (1 + np.exp(-mean[1]))
    assert 99 - 1000 * share == pytest.approx(mean[1] + 4)
    assert variance[1] == pytest.approx(1 / (1 + 1000 * share * (1 - share)))


def test_a_thin_history_stays_near_the_platform_and_a_thick_one_leaves_it() -> None:
    found = LevelModel({"": -4.0, "p": -3.0}, {"account": 0.5}, 0.0, 0.1, 1.6)
    rows = pl.DataFrame({"platform": ["p"] * 2, "account_clicks_before": [1, 10_000], "account_impressions_before": [100, 1_000_000]})
    mean, variance = found.levels(rows)
    assert abs(mean[0] + 3.0) < abs(mean[0] - np.log(0.01 / 0.99))
    assert mean[1] == pytest.approx(np.log(0.01 / 0.99), abs=0.01)
    assert variance[0] > 10 * variance[1]


def test_the_newest_weeks_set_the_offset() -> None:
    found = fitted(agency(accounts=80, drift=-0.4))
    assert found.offset == pytest.approx(-0.4, abs=0.12)
    assert fitted(agency(accounts=80)).offset == pytest.approx(0.0, abs=0.12)


def test_without_history_there_is_no_level_model() -> None:
    frame = agency(accounts=12).drop("account_clicks_before")
    seen = observe(frame["_rate"].to_numpy(), frame["impressions"].to_numpy().astype(float), frame["group_id"].to_numpy())
    assert LevelModel.fit(frame, seen, np.zeros(frame.height), level=0.9) is None


def test_too_few_ads_give_no_interval_and_no_offset() -> None:
    found = fitted(agency(accounts=12))
    few = agency(accounts=12).head(6)
    seen = observe(few["_rate"].to_numpy(), few["impressions"].to_numpy().astype(float), few["group_id"].to_numpy())
    thin = found.recalibrated(few, seen, np.zeros(6), level=0.9)
    assert np.isnan(thin.quantile)
    assert thin.offset == 0
    assert LevelModel.from_dict(thin.to_dict()).spread == thin.spread
    assert LevelModel.from_dict(found.to_dict()) == found


def test_an_only_child_says_nothing_about_its_siblings() -> None:
    frame = agency(accounts=12).with_columns(campaign_id=pl.col("account_id"))
    assert fitted(frame).spread["campaign"] == 0.5


def test_given_rates_outside_of_their_range_are_not_known() -> None:
    found = given_levels(pl.DataFrame({"account_ctr": [0.5, 0.0, 1.0, None, float("nan")]}))
    assert found[0] == 0
    assert np.isnan(found[1:]).all()
    assert np.isnan(given_levels(pl.DataFrame({"x": [1]}))).all()


@pytest.fixture(scope="module")
def predictor() -> AdScorePredictor:
    frame = agency(accounts=30)
    words = pl.Series([f"Headline {i % 7} with words" for i in range(frame.height)])
    return AdScorePredictor(kind="longer_headline").fit(frame.with_columns(headline=words).drop("_rate"), frame["_rate"])


def test_intervals_of_rates_cover_unseen_truth_as_often_as_they_say(predictor: AdScorePredictor) -> None:
    frame = agency(accounts=40, seed=8).with_columns(headline=pl.lit("Headline 1 with words"))
    found = predictor.predict(frame.drop("_rate")).to_frame()
    # The truth of one ad scatters by .15 around the level of its group.
    truth = frame["level"].to_numpy() + 0.15 * np.random.default_rng(1).standard_normal(frame.height)
    rate = 1 / (1 + np.exp(-truth))
    inside = np.mean((rate >= found["ctr_low"].to_numpy()) & (rate <= found["ctr_high"].to_numpy()))
    assert 0.85 < inside < 0.96
    assert (found["ctr_low"] < found["predicted_ctr"]).all()
    assert (found["predicted_ctr"] < found["ctr_high"]).all()


def test_recalibration_moves_the_level_and_nothing_else(predictor: AdScorePredictor) -> None:
    frame = agency(accounts=30, seed=3).with_columns(headline=pl.lit("Headline 1 with words"))
    dropped = frame["_rate"] * 0.6
    moved = predictor.recalibrated(frame.drop("_rate"), dropped)
    before, after = predictor.predict(frame.head(9)).to_frame(), moved.predict(frame.head(9)).to_frame()
    assert before["score"].to_list() == after["score"].to_list()
    ratio = (after["predicted_ctr"] / before["predicted_ctr"]).to_numpy()
    assert ratio == pytest.approx(0.6, abs=0.08)
    assert predictor.predict(frame.head(9)).to_frame().equals(before)


def test_a_level_that_was_never_learned_cannot_be_recalibrated(longer_headline: AdScorePredictor, ads: pl.DataFrame) -> None:
    with pytest.raises(SampleError, match="fitted on ads without account history, so it has no level to recalibrate"):
        longer_headline.recalibrated(ads)


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"account_clicks_before": 10**9}, SampleError, "account_clicks_before and account_impressions_before cannot be in 9 of 9 rows"),
        ({"group_clicks_before": -1}, SampleError, "group_clicks_before .* cannot be in 9 of 9 rows; clicks are counts between 0 and"),
        ({"campaign_impressions_before": float("inf")}, SampleError, "cannot be in 9 of 9 rows"),
        ({"account_ctr": 2.0}, SampleError, "account_ctr lies outside of 0 to 1 in 9 of 9 rows; give a share, not per cent"),
        ({"account_ctr": "2%"}, SchemaError, "The column account_ctr holds String; give numbers"),
    ],
)
def test_a_history_that_cannot_be_is_refused(
    predictor: AdScorePredictor, change: dict[str, Any], error: type[Exception], told: str
) -> None:
    frame = agency(accounts=12).head(9).with_columns(headline=pl.lit("Headline 1 with words"))
    with pytest.raises(error, match=told):
        predictor.predict(frame.with_columns(**{name: pl.lit(value) for name, value in change.items()}))


def test_an_accounts_rate_alone_leaves_campaign_and_group_open(predictor: AdScorePredictor) -> None:
    rows = pl.DataFrame({"headline": ["Headline 1 with words"], "account_ctr": [0.02]})
    found = predictor.predict(rows)[0]
    assert found.ctr_low is not None
    assert found.ctr_high is not None
    levels = predictor._state.levels
    assert levels is not None
    width = np.log(found.ctr_high / (1 - found.ctr_high)) - np.log(found.ctr_low / (1 - found.ctr_low))
    assert width == pytest.approx(2 * levels.quantile * np.sqrt(levels.below_account + levels.residual**2))
    assert levels.below_account > 0.05


def test_clicks_that_are_not_known_are_not_none(predictor: AdScorePredictor) -> None:
    before = {"account_clicks_before": [None, 0], "account_impressions_before": [900, 900]}
    rows = pl.DataFrame({"headline": ["Headline 1 with words"] * 2, **before})
    unknown, none = predictor.predict(rows)
    assert (unknown.predicted_ctr, unknown.ctr_low, unknown.ctr_high) == (None, None, None)
    assert none.predicted_ctr is not None


def test_only_the_newest_28_days_set_the_level_anew(predictor: AdScorePredictor) -> None:
    frame = agency(accounts=60, seed=3, days=120).with_columns(headline=pl.lit("Headline 1 with words"))
    last = date(2026, 5, 31)
    days = pl.Series([last - timedelta(days=int(back)) for back in np.random.default_rng(2).integers(0, 56, frame.height)])
    frame = frame.with_columns(first_day=days)
    new = (days > last - timedelta(days=28)).to_numpy()
    moved = np.where(new, 0.6, 1.4) * frame["_rate"].to_numpy()
    before = predictor.predict(frame.head(9)).to_frame()["predicted_ctr"]
    after = predictor.recalibrated(frame.drop("_rate"), moved).predict(frame.head(9)).to_frame()["predicted_ctr"]
    assert (after / before).to_numpy() == pytest.approx(0.6, abs=0.08)


def test_the_fewer_clicks_of_the_same_impressions_the_lower_the_level_and_none_is_the_lowest() -> None:
    found = LevelModel({"": -4.0}, {"account": 0.5}, 0.0, 0.0, 1.0)
    clicks = [0, 1, 10, 100, 1_000, 20_000, 400_000, 1_000_000]
    rows = pl.DataFrame({"account_clicks_before": clicks, "account_impressions_before": [1_000_000] * len(clicks)})
    mean, variance = found.levels(rows)
    assert (np.diff(mean) > 0).all()
    assert mean[0] < np.log(1e-4) < mean[4] == pytest.approx(np.log(1e-3), abs=0.05)
    assert mean[5] == pytest.approx(np.log(0.02 / 0.98), abs=1e-3)
    assert (variance > 0).all()
    assert (variance < 0.25).all()


@pytest.mark.parametrize("shown", [0, 3, 50, 2_000, 1_000_000])
def test_a_level_is_the_most_probable_one_and_its_variance_the_curvature_there(shown: int) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        before, spread = rng.uniform(-8, 1), rng.uniform(0.05, 2)
        clicks = float(rng.integers(0, shown + 1)) if rng.random() < 0.5 else 0.0
        found = LevelModel({"": before}, {"account": spread}, 0.0, 0.0, 1.0)
        mean, variance = found.levels(pl.DataFrame({"account_clicks_before": [clicks], "account_impressions_before": [shown]}))

        def surprise(t: float, clicks: float = clicks, before: float = before, spread: float = spread) -> float:
            return float(shown * np.logaddexp(0, t) - clicks * t + (t - before) ** 2 / (2 * spread**2))

        if shown == 0:
            assert np.isnan(mean[0])
            continue
        grid = mean[0] + np.array([-1e-2, 0, 1e-2])
        below, at, above = (surprise(t) for t in grid)
        assert at <= min(below, above)
        assert (below - 2 * at + above) / 1e-4 == pytest.approx(1 / variance[0], rel=1e-3)
