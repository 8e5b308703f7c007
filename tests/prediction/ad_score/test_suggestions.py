"""Suggested edits are of editable fields, inside what past ads support, and as good as they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tests.prediction.worlds import EFFECTS, creatives
from within_pipelines.exceptions import SampleError
from within_pipelines.features import creative_features
from within_pipelines.prediction import AdScorePredictor
from within_pipelines.prediction.ad_score.contrasts import observe, within_group
from within_pipelines.prediction.ad_score.suggestions import EDITABLE, EditInterval, bag_of, edit_distance, edits, offered


def test_nothing_is_suggested_unless_asked(ad_predictor: AdScorePredictor, new_ads: pl.DataFrame) -> None:
    assert all(score.suggestions == () for score in ad_predictor.predict(new_ads.head(8)))


def test_leaving_out_a_planted_cost_is_suggested_with_its_size_inside_the_interval(ad_predictor: AdScorePredictor) -> None:
    rows = pl.DataFrame({"headline": ["Garden coffee boring shoes", "Free garden coffee today"], "format": ["image", "image"]})
    costly, fine = ad_predictor.predict(rows, suggestions=3)
    first = costly.suggestions[0]
    assert (first.field, first.before, first.after) == ("headline", "Garden coffee boring shoes", "Garden coffee shoes")
    assert first.low < np.exp(-EFFECTS["boring"]) - 1 < first.high
    assert first.uplift == pytest.approx(np.exp(-EFFECTS["boring"]) - 1, abs=0.2)
    assert all(s.field != "headline" for s in fine.suggestions)


def test_every_suggestion_promises_more_clicks_of_an_editable_field_and_they_are_ranked_by_what_is_sure(
    ad_predictor: AdScorePredictor, new_ads: pl.DataFrame
) -> None:
    found = ad_predictor.predict(new_ads, suggestions=2)
    assert any(score.suggestions for score in found)
    for score in found:
        assert len(score.suggestions) <= 2
        assert list(score.suggestions) == sorted(score.suggestions, key=lambda s: -s.low)
        for s in score.suggestions:
            assert s.field in EDITABLE
            assert s.low < s.uplift < s.high
            assert s.uplift > 0
            assert s.after != s.before


def test_an_edit_whose_result_lies_outside_of_the_training_ads_is_not_suggested(ad_predictor: AdScorePredictor) -> None:
    rows = pl.DataFrame({"headline": ["Garden coffee boring shoes"], "format": ["image"]})
    state = ad_predictor._state
    shorter = "Garden coffee shoes"
    assert shorter in {s.after for s in ad_predictor.predict(rows, suggestions=9)[0].suggestions}
    # The same model, had it learned from ads of four words or more.
    longer, least = AdScorePredictor(encoder="none"), creative_features(rows)["headline_words"].item()
    longer._fitted = replace(state, support=replace(state.support, ranges={"headline_words": (least, np.inf)}))
    found = longer.predict(rows, suggestions=9)[0]
    assert not found.out_of_support
    assert shorter not in {s.after for s in found.suggestions}


def test_suggested_edits_pay_in_the_world_that_made_the_ads(ad_predictor: AdScorePredictor, new_ads: pl.DataFrame) -> None:
    def planted(headline: str) -> float:
        return sum(EFFECTS.get(word, 0.0) for word in headline.lower().split())

    changes = [s for score in ad_predictor.predict(new_ads, suggestions=1) for s in score.suggestions if s.field == "headline"]
    gains = np.array([planted(s.after) - planted(s.before or "") for s in changes])
    assert len(gains) > 20
    inside = [s.low <= np.exp(g) - 1 <= s.high for s, g in zip(changes, gains, strict=True)]
    assert np.mean(inside) > 0.8
    assert np.mean(gains) > 0.1


def test_edits_invent_nothing() -> None:
    creative = {
        "headline": "WOW boring shoes for you!",
        "description": "Boring terms apply here today",
        "format": "image",
        "call_to_action": None,
    }
    found = edits(creative, ["boring"], {"format": ("image", "video"), "call_to_action": ("Shop now",)})
    assert found == [
        ("headline", "WOW shoes for you!"),
        ("description", "Terms apply here today"),
        ("headline", "WOW boring shoes for you"),
        ("format", "video"),
        ("call_to_action", "Shop now"),
    ]
    assert edits({"headline": "SHOUTED words here"}, [], {}) == [("headline", "Shouted words here")]
    assert edits({"headline": "Boring shoes"}, ["boring"], {}) == [], "two words would be left"
    assert edits({"headline": None}, [], {}) == []


def test_what_few_ads_had_is_not_offered() -> None:
    frame = pl.DataFrame({"format": ["image"] * 25 + ["video"] * 20 + ["hologram"] * 3 + [None] * 30})
    assert offered(frame) == {"format": ("image", "video")}


def test_the_distance_by_hand() -> None:
    a, b = bag_of({"headline": "Free coffee", "format": "image"}), bag_of({"headline": "Free shoes", "format": "image"})
    assert a == {"headline:free", "headline:coffee", "format:image"}
    assert edit_distance(a, b) == 2 / 4
    assert edit_distance(a, a) == 0
    assert edit_distance(frozenset(), frozenset()) == 0


def test_intervals_of_differences_grow_with_the_distance_and_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    words = [a + b for a in "bcdfgh" for b in ("abel", "oden", "iras", "ulto", "emi", "axo", "yde", "uni", "ort", "ack")]
    effect = dict(zip(words, 0.15 * rng.standard_normal(60), strict=True))

    def world(n: int) -> tuple[pl.DataFrame, np.ndarray]:
        rows, truth = [], []
        for g in range(n):
            base, kept = list(rng.choice(words, 6, replace=False)), rng.uniform(0.1, 0.9)
            for _ in range(3):
                own = [str(w) if rng.random() < kept else str(rng.choice(words)) for w in base]
                rows.append((f"g{g}", " ".join(own)))
                truth.append(sum(effect[w] for w in own))
        return pl.DataFrame(rows, schema=["group_id", "headline"], orient="row"), np.array(truth)

    frame, truth = world(400)
    shown = np.full(len(truth), 20_000.0)
    seen = observe(rng.binomial(20_000, 1 / (1 + np.exp(3.5 - truth))) / 20_000, shown, frame["group_id"].to_numpy())
    contrast = within_group(seen.log_odds, np.ones(len(truth)), seen.group, seen.n_groups)
    found = EditInterval.fit(frame, seen.group, contrast, seen.variance, np.zeros(len(truth)), level=0.9, seed=1)
    assert found.per_distance > 0
    assert found.half_width(1.0) > 1.2 * found.half_width(0.1)
    held, held_truth = world(400)
    bags = [bag_of({"headline": h}) for h in held["headline"].to_list()]
    inside = [
        abs(held_truth[i] - held_truth[i + 1]) <= found.half_width(edit_distance(bags[i], bags[i + 1])) for i in range(0, len(bags) - 1, 3)
    ]
    assert np.mean(inside) == pytest.approx(0.9, abs=0.06)


def test_too_few_pairs_for_the_level_are_refused() -> None:
    frame = creatives(2, size=2)
    group = np.array([0, 0, 1, 1])
    with pytest.raises(SampleError, match="2 pairs of siblings cannot support 90% intervals of their differences"):
        EditInterval.fit(frame, group, np.zeros(4), np.ones(4), np.zeros(4), level=0.9, seed=1)


def test_pairs_beyond_what_is_needed_are_drawn() -> None:
    from within_pipelines.prediction.ad_score import suggestions as module

    frame = pl.DataFrame({"headline": ["a b", "b c"] * 170})
    group = np.zeros(340, np.intp)
    noise = np.random.default_rng(1).standard_normal(340)
    found = EditInterval.fit(frame, group, noise, np.full(340, 0.5), np.zeros(340), level=0.9, seed=1)
    assert module._MOST_PAIRS < 340 * 339 / 2
    assert found.half_width(0.5) > 0
