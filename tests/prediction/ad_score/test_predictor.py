"""The ad score finds planted word effects, adds up, and refuses what it cannot use."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.prediction.worlds import EFFECTS, creatives
from within_pipelines.exceptions import ArtifactError, SampleError, SchemaError, SettingsError
from within_pipelines.prediction import AdScorePredictor
from within_pipelines.prediction.ad_score.contrasts import pairs_within


def accuracy(predictor: AdScorePredictor, ads: pl.DataFrame) -> float:
    """Share of sibling pairs whose truly better ad has the higher score."""
    score, truth = predictor.predict(ads).to_frame()["log_odds_contrast"].to_numpy(), ads["truth"].to_numpy()
    first, second = pairs_within(np.unique(ads["group_id"].to_numpy(), return_inverse=True)[1])
    return float(np.mean((score[first] > score[second]) == (truth[first] > truth[second])))


def same(a: Any, b: Any) -> None:
    assert_frame_equal(a.to_frame(), b.to_frame(), abs_tol=1e-9)


def test_planted_words_are_found_on_unseen_ads_and_the_simple_rival_does_not_see_them(
    ad_predictor: AdScorePredictor, longer_headline: AdScorePredictor, new_ads: pl.DataFrame
) -> None:
    assert accuracy(ad_predictor, new_ads) > 0.8
    assert accuracy(longer_headline, new_ads) < 0.6


def test_the_contributions_of_planted_words_have_the_planted_signs_and_nearly_their_sizes(ad_predictor: AdScorePredictor) -> None:
    group = pl.DataFrame({"headline": ["Garden coffee shoes", *(f"Garden coffee shoes {w}" for w in EFFECTS)], "group_id": ["g"] * 6})
    found = ad_predictor.predict(group).to_frame()["log_odds_contrast"].to_numpy()
    effect = dict(zip(EFFECTS, found[1:] - found[0], strict=True))
    assert all(np.sign(effect[w]) == np.sign(planted) for w, planted in EFFECTS.items())
    assert effect == pytest.approx(EFFECTS, abs=0.2)
    scores = ad_predictor.predict(group)
    assert "boring" in scores[list(EFFECTS).index("boring") + 1].costly_words
    assert "word:free" in scores[1].contributions
    assert not scores[0].costly_words


def test_labels_that_mean_nothing_give_a_coin(ads: pl.DataFrame, new_ads: pl.DataFrame) -> None:
    rng = np.random.default_rng(3)
    shuffled = AdScorePredictor(encoder="none").fit(ads, rng.permutation((ads["clicks"] / ads["impressions"]).to_numpy()))
    # 360 pairs, four ads a group: a standard error of about .03.
    assert accuracy(shuffled, new_ads) == pytest.approx(0.5, abs=0.1)
    half = np.abs(shuffled.predict(new_ads).to_frame()["log_odds_contrast"].to_numpy()).mean()
    assert half < 0.1, "what was not learned is pulled towards no difference"


def test_intervals_cover_unseen_truth_as_often_as_they_say(ad_predictor: AdScorePredictor) -> None:
    ads = creatives(250, seed=9, first=300)
    table = ad_predictor.predict(ads).to_frame().with_columns(ads["truth", "group_id"])
    table = table.with_columns(actual=pl.col("truth") - pl.col("truth").mean().over("group_id"))
    inside = table.select(pl.col("actual").is_between("low", "high").mean()).item()
    assert 0.86 < inside < 0.99
    assert table["interval_level"].unique().to_list() == [0.9]


def test_two_fits_write_the_same_bytes_and_loading_gives_the_same_answers(
    ads: pl.DataFrame, new_ads: pl.DataFrame, ad_predictor: AdScorePredictor, tmp_path: Path
) -> None:
    first = ad_predictor.save(tmp_path / "one")
    assert AdScorePredictor(encoder="none").fit(ads).save(tmp_path / "two") == first
    assert AdScorePredictor(encoder="none").fit(ads, seed=8).save(tmp_path / "three") != first
    loaded = AdScorePredictor.load(tmp_path / "one")
    assert loaded.predict(new_ads) == ad_predictor.predict(new_ads)
    assert loaded.save(tmp_path / "again") == first
    assert json.loads((tmp_path / "one" / "manifest.json").read_text())["kind"] == "stack"


def test_the_rival_is_saved_and_loaded_too(longer_headline: AdScorePredictor, new_ads: pl.DataFrame, tmp_path: Path) -> None:
    longer_headline.save(tmp_path / "rival")
    loaded = AdScorePredictor.load(tmp_path / "rival")
    assert loaded.kind == "longer_headline"
    assert loaded.predict(new_ads) == longer_headline.predict(new_ads)
    assert loaded.feature_names == ["headline_characters"]


def test_an_artifact_of_another_model_or_a_damaged_one_is_refused(
    ad_predictor: AdScorePredictor, health_predictor: Any, tmp_path: Path
) -> None:
    health_predictor.save(tmp_path / "health")
    with pytest.raises(ArtifactError, match="holds a account_health model, not ad_score"):
        AdScorePredictor.load(tmp_path / "health")
    ad_predictor.save(tmp_path / "ad")
    trees = tmp_path / "ad" / "trees.ubj"
    trees.write_bytes(trees.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactError, match="was changed after it was written"):
        AdScorePredictor.load(tmp_path / "ad")


@pytest.mark.parametrize("with_groups", [True, False])
def test_contributions_add_up_to_the_prediction(ad_predictor: AdScorePredictor, new_ads: pl.DataFrame, with_groups: bool) -> None:
    rows = new_ads if with_groups else new_ads.drop("group_id")
    explained = ad_predictor.explain(rows)
    assert explained.columns == [*ad_predictor.feature_names, "intercept", "log_odds_contrast"]
    total = explained.drop("log_odds_contrast").sum_horizontal().to_numpy()
    np.testing.assert_allclose(total, explained["log_odds_contrast"].to_numpy(), atol=1e-9)
    predicted = ad_predictor.predict(rows).to_frame()["log_odds_contrast"].to_numpy()
    np.testing.assert_allclose(total, predicted, atol=1e-9)
    if not with_groups:
        np.testing.assert_allclose(total, ad_predictor.contrasts(rows), atol=1e-6)


def test_contrasts_of_siblings_add_up_to_nothing(ad_predictor: AdScorePredictor, new_ads: pl.DataFrame) -> None:
    table = ad_predictor.predict(new_ads).to_frame().with_columns(new_ads["group_id"])
    assert table.group_by("group_id").agg(pl.col("log_odds_contrast").sum().abs())["log_odds_contrast"].max() < 1e-9


def test_row_order_does_not_matter(ad_predictor: AdScorePredictor, new_ads: pl.DataFrame) -> None:
    order = np.random.default_rng(1).permutation(new_ads.height).tolist()
    table = ad_predictor.predict(new_ads).to_frame()
    assert_frame_equal(ad_predictor.predict(new_ads[order]).to_frame(), table[order], abs_tol=1e-9)


def test_pandas_with_a_repeated_index_gives_the_answers_of_polars(ads: pl.DataFrame, new_ads: pl.DataFrame, tmp_path: Path) -> None:
    frame = ads.to_pandas()
    frame.index = pd.Index([0] * len(frame))
    labels = frame["clicks"] / frame["impressions"]
    fitted = AdScorePredictor(kind="longer_headline").fit(frame, labels)
    other = AdScorePredictor(kind="longer_headline").fit(ads, ads["clicks"] / ads["impressions"])
    assert fitted.save(tmp_path / "a") == other.save(tmp_path / "b")
    assert fitted.predict(new_ads.to_pandas()) == other.predict(new_ads)


def test_an_ad_alone_is_compared_with_past_ads(ad_predictor: AdScorePredictor) -> None:
    alone = pl.DataFrame({"headline": ["Free coffee today"], "group_id": ["g"]})
    same(ad_predictor.predict(alone), ad_predictor.predict(alone.drop("group_id")))
    assert ad_predictor.predict(alone)[0].score > 60


def test_ads_whose_group_is_not_known_are_nobodys_siblings(ad_predictor: AdScorePredictor, new_ads: pl.DataFrame) -> None:
    unknown = new_ads.head(6).with_columns(group_id=pl.lit(None, pl.String))
    same(ad_predictor.predict(unknown), ad_predictor.predict(unknown.drop("group_id")))
    mixed = pl.concat([unknown, new_ads[8:16]])
    assert_frame_equal(ad_predictor.predict(mixed).to_frame()[6:], ad_predictor.predict(new_ads[8:16]).to_frame(), abs_tol=1e-9)


def test_empty_texts_and_unknown_categories_have_a_stated_answer(ad_predictor: AdScorePredictor) -> None:
    rows = pl.DataFrame(
        {"headline": [None, "Zyx qwv", "Free"], "format": ["hologram", None, "image"], "platform": ["mars_ads", None, "google_ads"]},
        schema_overrides={"headline": pl.String},
    )
    empty, unknown, known = ad_predictor.predict(rows)
    assert empty.confidence == 0
    assert empty.topic is None
    assert empty.complexity == 0
    assert unknown.confidence == 0
    assert unknown.similar_ads == ()
    assert known.confidence == 1
    assert known.topic == "free"
    assert known.similar_ads
    assert all(np.isfinite(s.log_odds_contrast) and 0 <= s.score <= 100 for s in (empty, unknown, known))


def test_every_component_lies_in_its_range(ad_predictor: AdScorePredictor, new_ads: pl.DataFrame) -> None:
    table = ad_predictor.predict(new_ads).to_frame()
    for name in ("score", "engagement", "sentiment", "complexity", "audience_match"):
        assert table[name].is_between(0, 100).all(), name
    assert table["confidence"].is_between(0, 1).all()
    assert (table["low"] < table["log_odds_contrast"]).all()
    assert (table["log_odds_contrast"] < table["high"]).all()


def test_fifty_is_average_and_the_score_follows_the_contrast(ad_predictor: AdScorePredictor, new_ads: pl.DataFrame) -> None:
    twins = ad_predictor.predict(pl.DataFrame({"headline": ["Same words"] * 3, "group_id": ["g"] * 3}))
    assert [score.score for score in twins] == pytest.approx([50] * 3)
    table = ad_predictor.predict(new_ads).to_frame().sort("log_odds_contrast")
    assert table["score"].is_sorted()


def test_the_expected_rate_moves_the_accounts_level_by_the_contrast(ad_predictor: AdScorePredictor) -> None:
    rows = pl.DataFrame({"headline": ["Free coffee", "Boring coffee"], "group_id": ["g", "g"], "account_ctr": [0.02, None]})
    first, second = ad_predictor.predict(rows)
    assert first.predicted_ctr is not None
    assert np.log(first.predicted_ctr / (1 - first.predicted_ctr)) == pytest.approx(np.log(0.02 / 0.98) + first.log_odds_contrast)
    assert second.predicted_ctr is None


def test_features_made_before_are_used_as_they_are(ad_predictor: AdScorePredictor, new_ads: pl.DataFrame) -> None:
    from within_pipelines.features import creative_features

    made = pl.concat([new_ads, creative_features(new_ads)], how="horizontal")
    same(ad_predictor.predict(made), ad_predictor.predict(new_ads))


def test_few_groups_are_dealt_into_folds_in_order(ads: pl.DataFrame) -> None:
    few = ads.filter(pl.col("group_id") < "g0012")
    assert AdScorePredictor(kind="longer_headline").fit(few).fitted


def test_an_ad_that_was_never_shown_is_no_sibling(ads: pl.DataFrame, tmp_path: Path) -> None:
    labels = (ads["clicks"] / ads["impressions"]).to_numpy()
    row = ads[0].with_columns(group_id=pl.lit("x"), impressions=pl.lit(0, pl.Int64))
    both = pl.concat([ads, row, row.with_columns(impressions=pl.lit(100, pl.Int64))])
    noisy = AdScorePredictor(kind="longer_headline").fit(both, np.r_[labels, 0.5, 0.1])
    plain = AdScorePredictor(kind="longer_headline").fit(ads, labels)
    assert noisy.save(tmp_path / "a") == plain.save(tmp_path / "b")


def test_without_impressions_every_ad_weighs_the_same(ads: pl.DataFrame, tmp_path: Path) -> None:
    labels = ads["clicks"] / ads["impressions"]
    without = AdScorePredictor(kind="longer_headline").fit(ads.drop("impressions"), labels)
    equal = AdScorePredictor(kind="longer_headline").fit(ads.with_columns(impressions=10_000), labels)
    assert without.save(tmp_path / "a") == equal.save(tmp_path / "b")
    some = ads.with_columns(impressions=pl.when(pl.int_range(400) < 7).then(None).otherwise("impressions"))
    told = some.with_columns(pl.col("impressions").fill_null(10_000))
    missing, assumed = (AdScorePredictor(kind="longer_headline").fit(frame, labels) for frame in (some, told))
    assert missing.save(tmp_path / "c") == assumed.save(tmp_path / "d")


def test_a_refused_refit_leaves_the_model_as_it_was(longer_headline: AdScorePredictor, ads: pl.DataFrame, tmp_path: Path) -> None:
    before = longer_headline.save(tmp_path / "before")
    with pytest.raises(SampleError):
        longer_headline.fit(ads.head(8))
    assert longer_headline.save(tmp_path / "after") == before


@pytest.mark.parametrize(
    ("change", "labels", "error", "told"),
    [
        (lambda f: f.drop("headline"), None, SchemaError, "The table lacks headline; group_id names the ads that compete"),
        (lambda f: f.drop("group_id"), None, SchemaError, "The table lacks group_id"),
        (lambda f: f.drop("clicks"), None, SchemaError, "lacks clicks; without labels the click-through rate comes from these"),
        (lambda f: f, np.full(400, 2.0), SampleError, r"labels lie in \[2, 2\]; give click-through rates between 0 and 1"),
        (lambda f: f, np.r_[np.nan, np.inf, np.full(398, 0.1)], SampleError, "labels holds 2 of 400 values that are missing"),
        (lambda f: f, np.full(3, 0.1), SampleError, "labels holds 3 values for 400 rows"),
        (lambda f: f.with_columns(pl.col("first_day").cast(pl.String)), None, SchemaError, "The column first_day holds String; give dates"),
        (
            lambda f: f.with_columns(pl.col("impressions").cast(pl.String)),
            None,
            SchemaError,
            "The column impressions holds String; give counts",
        ),
        (lambda f: f.with_columns(pl.lit("many").alias("clicks")), np.full(400, 0.1), SchemaError, "The column clicks holds String"),
        (
            lambda f: f.with_columns(pl.when(pl.int_range(400) < 7).then(None).otherwise("impressions").alias("impressions")),
            None,
            SampleError,
            "impressions are missing in 7 of 400 rows, and without labels the click-through rate comes from them",
        ),
        (lambda f: f.head(3), None, SampleError, "1 groups hold at least two ads; at least 12 are needed"),
        (lambda f: f.head(0), None, SampleError, "The table holds no ads"),
        (lambda f: f.head(0).to_pandas().astype({"first_day": object}), None, SampleError, "The table holds no ads"),
        (lambda f: f.with_columns(group_id="ad_id"), None, SampleError, "0 groups hold at least two ads"),
    ],
)
def test_unusable_training_data_are_refused(ads: pl.DataFrame, change: Any, labels: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        AdScorePredictor(encoder="none").fit(change(ads), labels)


def test_more_certainty_than_the_ads_can_support_is_refused(ads: pl.DataFrame) -> None:
    with pytest.raises(SampleError, match="400 calibration cases cannot support 100% intervals; at least 999 are needed"):
        AdScorePredictor(kind="longer_headline", level=0.999).fit(ads)


def test_ads_that_are_all_alike_give_no_difference(ads: pl.DataFrame) -> None:
    alike = ads.with_columns(headline=pl.lit("Same"), description=None, format=None, audience_segment=None, call_to_action=None)
    found = AdScorePredictor(encoder="none").fit(alike).predict(alike.head(8))
    assert [score.log_odds_contrast for score in found] == pytest.approx([0] * 8, abs=1e-9)


def test_unusable_questions_are_refused(ad_predictor: AdScorePredictor, new_ads: pl.DataFrame) -> None:
    with pytest.raises(SampleError, match="The table holds no creatives; give at least one row"):
        ad_predictor.predict(new_ads.head(0))
    with pytest.raises(SchemaError, match="The table lacks headline; give the creatives' texts, missing ones as null"):
        ad_predictor.predict(new_ads.drop("headline"))


def test_unusable_settings_are_refused() -> None:
    with pytest.raises(SettingsError, match="kind='magic' is unknown; give one of stack, longer_headline"):
        AdScorePredictor(kind="magic")
    with pytest.raises(SettingsError, match=r"level=90 is no interval level; give a number from 0.5 up to 1"):
        AdScorePredictor(level=90)
    for setting, wrong in (("kind", ["stack"]), ("level", "a"), ("level", None), ("encoder", 3), ("encoder", b"none")):
        with pytest.raises(SettingsError, match=rf"^{setting}={re.escape(repr(wrong))} is .*; give "):
            AdScorePredictor(**{setting: wrong})


@pytest.mark.parametrize("suggestions", [None, "3", 1.5, -1, True])
def test_a_number_of_suggestions_that_is_none_is_refused(
    ad_predictor: AdScorePredictor, new_ads: pl.DataFrame, suggestions: object
) -> None:
    with pytest.raises(SettingsError, match=f"suggestions={suggestions!r} is no number of edits; give a whole number, 0 for none"):
        ad_predictor.predict(new_ads, suggestions=suggestions)  # type: ignore[arg-type]


def test_win_probabilities_of_two_siblings_add_up_to_one_and_follow_the_difference(
    ad_predictor: AdScorePredictor, new_ads: pl.DataFrame
) -> None:
    group = new_ads.head(4)
    found = dict(zip(group["ad_id"].to_list(), ad_predictor.predict(group), strict=True))
    for one, score in found.items():
        assert set(score.win_probabilities) == set(found) - {one}
        for other, chance in score.win_probabilities.items():
            assert chance + found[other].win_probabilities[one] == pytest.approx(1)
            assert (chance > 0.5) == (score.log_odds_contrast > found[other].log_odds_contrast)
    unnamed = ad_predictor.predict(group.drop("ad_id"))
    assert set(unnamed[0].win_probabilities) == {"1", "2", "3"}
    assert ad_predictor.predict(group.head(1))[0].win_probabilities == {}


def test_win_probabilities_are_calibrated_on_unseen_truth(ad_predictor: AdScorePredictor) -> None:
    ads = creatives(250, seed=9, first=300)
    truth = dict(zip(ads["ad_id"].to_list(), ads["truth"].to_list(), strict=True))
    pairs = [
        (chance, truth[ad] > truth[other])
        for ad, score in zip(ads["ad_id"].to_list(), ad_predictor.predict(ads), strict=True)
        for other, chance in score.win_probabilities.items()
    ]
    likely = [won for chance, won in pairs if 0.7 < chance < 0.9]
    assert len(likely) > 100
    assert 0.68 < np.mean(likely) < 0.95


def test_blocks_add_up_to_the_contrast_but_for_the_intercept(ad_predictor: AdScorePredictor, new_ads: pl.DataFrame) -> None:
    intercept = ad_predictor.explain(new_ads)["intercept"].to_numpy()
    for score, own in zip(ad_predictor.predict(new_ads), intercept, strict=True):
        assert sum(score.block_contributions.values()) + own == pytest.approx(score.log_odds_contrast, abs=1e-9)


def test_what_noise_hides_is_not_known_to_be_nothing() -> None:
    # 60 impressions an ad say next to nothing; the planted spread of .25 must still lie in most intervals.
    rng = np.random.default_rng(0)
    truth = 0.25 * rng.standard_normal((60, 2))
    clicks = rng.binomial(60, 1 / (1 + np.exp(2.5 - truth.ravel())))
    thin = pl.DataFrame({"group_id": np.repeat(np.arange(60), 2), "headline": [f"word {i} here" for i in range(120)], "clicks": clicks})
    thin = thin.with_columns(impressions=pl.lit(60))
    found = AdScorePredictor(kind="longer_headline").fit(thin).predict(thin).to_frame()
    contrast = (truth - truth.mean(axis=1, keepdims=True)).ravel()
    inside = (contrast >= found["low"].to_numpy()) & (contrast <= found["high"].to_numpy())
    assert inside.mean() > 0.8


@pytest.mark.parametrize("asked", [2, 4, 12, 1])
def test_intervals_hold_for_groups_of_any_size(asked: int) -> None:
    rng = np.random.default_rng(1)

    def world(groups: int, size: int) -> pl.DataFrame:
        truth = -3 + 0.3 * rng.standard_normal(groups * size)
        names = np.repeat([f"g{i}" for i in range(groups)], size)
        clicks = rng.binomial(30_000, 1 / (1 + np.exp(-truth)))
        return pl.DataFrame({"group_id": names, "headline": ["same"] * len(truth), "impressions": 30_000, "clicks": clicks, "truth": truth})

    predictor = AdScorePredictor(kind="longer_headline").fit(world(300, 2))
    new = world(600, asked)
    found = predictor.predict(new.drop("group_id") if asked == 1 else new).to_frame()
    mean = pl.lit(-3.0) if asked == 1 else pl.col("truth").mean().over("group_id")
    contrast = new.select(pl.col("truth") - mean)[:, 0].to_numpy()
    inside = (contrast >= found["low"].to_numpy()) & (contrast <= found["high"].to_numpy())
    assert inside.mean() == pytest.approx(0.9, abs=0.035)


def test_ads_without_any_click_teach_nothing(ads: pl.DataFrame) -> None:
    with pytest.raises(SampleError, match="None of 400 ads was clicked"):
        AdScorePredictor(kind="longer_headline").fit(ads.with_columns(clicks=0))


def test_ads_that_were_never_shown_need_no_rate_and_impossible_volumes_are_refused(ads: pl.DataFrame, tmp_path: Path) -> None:
    unshown = pl.concat([ads, ads[0].with_columns(group_id=pl.lit("x"), impressions=pl.lit(0, pl.Int64), clicks=pl.lit(0, pl.Int64))])
    one, two = (AdScorePredictor(kind="longer_headline").fit(frame) for frame in (unshown, ads))
    assert one.save(tmp_path / "a") == two.save(tmp_path / "b")
    with pytest.raises(SampleError, match="impressions are negative or infinite in 400 of 400 rows"):
        AdScorePredictor(kind="longer_headline").fit(ads.with_columns(impressions=-5), ads["clicks"] / ads["impressions"])


def test_columns_without_a_value_are_missing_whatever_their_type(ad_predictor: AdScorePredictor) -> None:
    rows = pd.DataFrame({"headline": ["Free coffee today"], "description": [float("nan")], "format": [None]})
    plain = ad_predictor.predict(pl.DataFrame({"headline": ["Free coffee today"]}))[0]
    assert ad_predictor.predict(rows, suggestions=3)[0].score == pytest.approx(plain.score)
    with pytest.raises(SchemaError, match="The columns headline mix kinds of values; give one kind each"):
        ad_predictor.predict(pd.DataFrame({"headline": ["Free", 3]}))


def test_repeated_ids_hide_no_sibling(ad_predictor: AdScorePredictor) -> None:
    rows = pl.DataFrame({"headline": ["Free coffee", "Boring", "Garden"], "group_id": ["g"] * 3, "ad_id": ["a", "a", None]})
    assert [set(score.win_probabilities) for score in ad_predictor.predict(rows)] == [{"1", "2"}, {"0", "2"}, {"0", "1"}]
    unnamed = ad_predictor.predict(rows.with_columns(group_id=pl.lit("")))
    assert all(score.win_probabilities == {} for score in unnamed)


def test_an_artifact_with_features_of_another_release_is_refused(ad_predictor: AdScorePredictor, tmp_path: Path) -> None:
    from within_pipelines.prediction import write_artifact

    ad_predictor.save(tmp_path / "m")
    manifest = json.loads((tmp_path / "m" / "manifest.json").read_text())
    files = {name: (tmp_path / "m" / name).read_bytes() for name in manifest["files"]}
    write_artifact(tmp_path / "other", files, {k: v for k, v in manifest.items() if k not in ("files",)} | {"features_sha256": "0"})
    with pytest.raises(ArtifactError, match="fitted on creative features as another release computes them; train again"):
        AdScorePredictor.load(tmp_path / "other")


@pytest.mark.parametrize("name", ["headline", "description", "call_to_action", "platform", "group_id", "account_id", "ad_id"])
def test_lists_where_words_belong_are_refused_in_words(ad_predictor: AdScorePredictor, new_ads: pl.DataFrame, name: str) -> None:
    odd = new_ads.with_columns(pl.Series(name, [["a"]] * new_ads.height))
    asked = (ad_predictor.predict, ad_predictor.explain, ad_predictor.scores, ad_predictor.contrasts)
    for ask in (*asked, lambda rows: AdScorePredictor().fit(rows, [0.01] * rows.height)):
        with pytest.raises(SchemaError, match=rf"The column {name} holds List\(String\); give text"):
            ask(odd)


def test_numbers_of_which_pandas_knows_none_are_missing(ad_predictor: AdScorePredictor) -> None:
    bare = pd.DataFrame({"headline": ["Free coffee today"]})
    nothing = bare.assign(account_ctr=None, account_clicks_before=None, account_impressions_before=None, first_day=None)
    assert ad_predictor.predict(nothing) == ad_predictor.predict(bare)


def test_the_audience_that_does_better_matches_better() -> None:
    rng = np.random.default_rng(5)
    segments = ["women 25-34", "men 25-34"]
    odds = {"women 25-34": -3.6, "men 25-34": -4.2}
    rows = [(f"g{group}", f"Headline {rng.integers(5)} of words", name) for group in range(80) for name in segments]
    ads = pl.DataFrame(rows, schema=["group_id", "headline", "audience_segment"], orient="row").with_columns(impressions=20_000)
    rates = [rng.binomial(20_000, 1 / (1 + np.exp(-odds[name]))) / 20_000 for name in ads["audience_segment"]]
    predictor = AdScorePredictor(encoder="none").fit(ads, rates)
    pair = pl.DataFrame({"headline": ["Headline 1 of words"] * 2, "audience_segment": segments, "group_id": ["g"] * 2})
    women, men = predictor.predict(pair)
    assert women.audience_match > 60
    assert men.audience_match < 40
    assert women.block_contributions["audience"] > 0 > men.block_contributions["audience"]
