"""The worst that edits can do to the ad score, and what is certified, on a small sample of real fitting."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest

from within_pipelines.pipeline.ad_score_worst_case import (
    DRAWS,
    EDITS,
    RADII,
    SIGMA,
    attacked_inputs,
    certified_accuracy,
    held_under_attack,
    whole_steps,
    worst_edits,
)
from within_pipelines.prediction import AdScorePredictor
from within_pipelines.prediction.ad_score.evaluation import Pairs
from within_pipelines.prediction.ad_score.model import Ridge
from within_pipelines.robustness import Expectation, RobustnessReport
from within_pipelines.stats import Status

WORDS = ("shoes", "winter", "coats", "people", "love", "secret", "seven", "family", "sale", "today")


def ads(groups: int, seed: int) -> pl.DataFrame:
    """Headlines whose clicks follow from one word."""
    rng = np.random.default_rng(seed)
    rows = []
    for g in range(groups):
        for k in range(4):
            text = " ".join(rng.choice(WORDS, 5, replace=False)).capitalize()
            rate = 0.05 * (3.0 if "secret" in text.lower() else 1.0)
            shown = 3000
            rows.append((f"g{g}", f"a{g % 6}", f"{g}-{k}", text, shown, int(rng.binomial(shown, rate))))
    names = ("group_id", "account_id", "ad_id", "headline", "impressions", "clicks")
    return pl.DataFrame(rows, schema=list(names), orient="row").with_columns(platform=pl.lit("meta"))


@pytest.fixture(scope="module")
def predictor() -> AdScorePredictor:
    return AdScorePredictor(kind="stack", encoder="none").fit(ads(60, 1), seed=7)


def deaf(predictor: AdScorePredictor) -> AdScorePredictor:
    """The same artifact, whose parts answer 0 to everything."""
    state: Any = predictor._fitted
    width = state.inputs.n_explained
    other = AdScorePredictor(kind="stack", encoder="none")
    ridge = Ridge(np.zeros(width), np.ones(width), np.zeros(width))
    other._fitted = replace(state, stack=type(state.stack)({"words": 1.0}, ridge, penalties={}))
    return other


def test_the_attack_moves_a_fitted_model_and_not_a_deaf_one(predictor: AdScorePredictor) -> None:
    texts = ads(30, 2).select("headline", cluster="group_id")
    spent = pl.DataFrame({"amount": np.arange(texts.height, dtype=float), "currency": "EUR"})
    found = worst_edits(predictor, texts, tolerance=5.0, rng=np.random.default_rng(1), at_stake=spent)
    assert found.expectation is Expectation.ANSWERED
    assert found.unhandled is not None
    assert found.unhandled.n == 30  # one ad of each group
    assert found.worst_change is not None
    assert found.mean_change is not None
    assert found.worst_change >= found.mean_change.value > found.mean_change.low > 0
    assert 0 < found.money["EUR"] < texts.height
    still = worst_edits(deaf(predictor), texts, tolerance=0.0, rng=np.random.default_rng(1), at_stake=spent)
    assert (still.worst_change, still.unhandled.value, still.money) == (0.0, 0.0, {})  # type: ignore[union-attr]
    assert f"{EDITS} edits" in still.name


def test_certified_accuracy_falls_with_the_radius_and_ends_where_draws_end(predictor: AdScorePredictor) -> None:
    from statistics import NormalDist

    ((name, (radii, accuracy)),) = certified_accuracy(predictor, ads(40, 3), rng=np.random.default_rng(1)).items()
    assert name.startswith("network, ")
    assert tuple(radii) == RADII
    assert all(a >= b for a, b in pairwise(accuracy))
    assert 0.6 <= accuracy[0] <= 1
    most = SIGMA * NormalDist().inv_cdf(0.001 ** (1 / DRAWS))
    assert all(value == 0 for radius, value in zip(radii, accuracy, strict=True) if radius > most)
    # At small radii, the vote is right no more often than ads that are told apart.
    assert accuracy[5] > 0.3


def test_an_attack_on_the_inputs_turns_pairs_of_the_network_and_none_without_a_budget(
    predictor: AdScorePredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pairs of this world lie far apart, so the attacker gets a whole standard deviation.
    eps = 1.0
    monkeypatch.setattr("within_pipelines.pipeline.ad_score_worst_case.EPS", eps)
    unseen = ads(40, 3)
    found = attacked_inputs(predictor, unseen, rng=np.random.default_rng(1))
    assert found.expectation is Expectation.ANSWERED
    assert found.unhandled is not None
    assert 0 < found.unhandled.value < 1
    state: Any = predictor._fitted
    line = AdScorePredictor(kind="stack", encoder="none")
    line._fitted = replace(state, stack=type(state.stack)({"words": 1.0}, state.stack.words, penalties={}))
    # What it may turn of a line is known: each weight times the budget, in whole units where there are such.
    part, x, _ = line.smooth_part(unseen)
    pairs = Pairs.of(unseen, rng=np.random.default_rng(2))
    chosen = np.flatnonzero(pairs.significant)
    z = np.nan_to_num(np.clip((x - part.mean) / part.scale, -6, 6), nan=0.0)
    margin = (z[pairs.first] - z[pairs.second])[chosen] @ part.coefficients * np.where(pairs.won[chosen] > 0.5, 1, -1)
    step = whole_steps(x, part.scale)
    reach = np.where(step > 0, np.floor(eps / np.where(step > 0, step, 1) + 1e-9) * step, eps) * np.isfinite(part.scale)
    held = held_under_attack(part, x, pairs, chosen)
    assert 0 < held.mean() < np.mean(margin > 0)
    assert held.tolist() == (margin > 2 * np.sum(np.abs(part.coefficients) * reach)).tolist()
    monkeypatch.setattr("within_pipelines.pipeline.ad_score_worst_case.EPS", 0.0)
    still = attacked_inputs(predictor, unseen, rng=np.random.default_rng(1))
    assert still.unhandled is not None
    assert still.unhandled.value == 0.0
    none = attacked_inputs(deaf(predictor), unseen, rng=np.random.default_rng(1))
    assert none.unhandled is None
    assert "none rightly" in none.what


def test_a_deaf_model_is_certified_no_better_than_one_answer_for_all(predictor: AdScorePredictor) -> None:
    ((name, (_, accuracy)),) = certified_accuracy(deaf(predictor), ads(40, 3), rng=np.random.default_rng(1)).items()
    assert name.startswith("ridge, ")
    # It says "the second wins" always: right for about half of the pairs, whose order chance decided.
    assert 0.25 <= accuracy[0] <= 0.75
    assert certified_accuracy(predictor, ads(1, 4).head(1), rng=np.random.default_rng(1)) == {}


def test_what_is_told_changes_no_verdict_and_survives_being_kept(predictor: AdScorePredictor) -> None:
    texts = ads(30, 2).select("headline", cluster="group_id")
    worst = worst_edits(predictor, texts, tolerance=0.0, rng=np.random.default_rng(1))
    curves = certified_accuracy(predictor, ads(20, 3), rng=np.random.default_rng(1))
    report = RobustnessReport("ad_score", (worst,), 5.0, 0.1, 12, 30, certified=curves)
    assert report.statuses()[worst.name] is Status.PASSED
    assert report.verdict().status is Status.INSUFFICIENT  # nothing was asked that is judged
    assert RobustnessReport.from_dict(report.to_dict()) == report
