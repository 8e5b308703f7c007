"""Parts are stacked by what they said of ads that they had not seen, and explain themselves exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.prediction.ad_score.fakes import FakeEncoder
from tests.prediction.worlds import creatives
from within_pipelines.exceptions import ArtifactError, SchemaError
from within_pipelines.prediction import AdScorePredictor
from within_pipelines.prediction.ad_score.contrasts import pairs_within


def meant(n_groups: int = 80, *, seed: int = 0, first: int = 0) -> pl.DataFrame:
    """Ads whose success lies in what their words mean: no word occurs often enough to be learned."""
    rng = np.random.default_rng(seed)
    encoder, axis = FakeEncoder(), np.random.default_rng(99).standard_normal(8)
    rows = []
    for g in range(n_groups):
        for _ in range(4):
            headline = " ".join(f"w{n}" for n in rng.integers(0, 100_000, 3))
            truth = -3.5 + 0.35 * float(encoder._vector(headline) @ axis)
            shown = int(rng.integers(8_000, 20_000))
            rows.append((f"g{g + first}", headline, shown, int(rng.binomial(shown, 1 / (1 + np.exp(-truth)))), truth))
    return pl.DataFrame(rows, schema=["group_id", "headline", "impressions", "clicks", "truth"], orient="row")


@pytest.fixture(scope="module")
def encoder() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture(scope="module")
def predictor(encoder: FakeEncoder) -> AdScorePredictor:
    return AdScorePredictor(encoder=encoder).fit(meant())


def accuracy(predictor: AdScorePredictor, ads: pl.DataFrame) -> float:
    score, truth = predictor.contrasts(ads), ads["truth"].to_numpy()
    first, second = pairs_within(np.unique(ads["group_id"].to_numpy(), return_inverse=True)[1])
    return float(np.mean((score[first] > score[second]) == (truth[first] > truth[second])))


def test_meaning_is_learned_where_words_say_nothing(predictor: AdScorePredictor) -> None:
    new = meant(60, seed=1, first=500)
    assert accuracy(predictor, new) > 0.8
    assert accuracy(AdScorePredictor(encoder="none").fit(meant()), new) < 0.6
    weights = predictor.details["weights"]
    assert weights["meaning"] + weights["network"] > 0.7
    assert predictor.details["encoder"] == "fake"


def test_parts_that_know_nothing_get_no_weight() -> None:
    ads = creatives(60)
    rate = (ads["clicks"] / ads["impressions"]).to_numpy()
    fits = [AdScorePredictor(encoder=FakeEncoder()).fit(ads, np.random.default_rng(seed).permutation(rate)) for seed in (2, 3, 4)]
    # One shuffle may look like something by chance; most must not.
    assert np.median([sum(fit.details["weights"].values()) for fit in fits]) < 0.6


def test_an_objective_is_made_for_each_part_of_the_cross_fit_from_its_own_ads(predictor: AdScorePredictor, encoder: FakeEncoder) -> None:
    seen: list[pl.DataFrame] = []

    def made(ads: pl.DataFrame, x: np.ndarray) -> Any:
        # What the network sees starts with statistics of the text, the second the log of its length: each row is that of its ad.
        assert len(x) == ads.height
        np.testing.assert_allclose(x[:, 1], np.log1p(ads["headline"].str.len_chars().to_numpy()))
        seen.append(ads)
        return lambda shown, loss, steady, score, apart: loss(shown)

    ads = meant()
    same = AdScorePredictor(encoder=encoder).fit(ads, objective=made)
    # Five parts without a fold, which together leave out every ad once, and all ads at last.
    assert len(seen) == 6
    assert seen[-1].height == ads.height
    assert sum(ads.height - part.height for part in seen[:-1]) == ads.height
    new = meant(10, seed=2)
    other = AdScorePredictor(encoder=encoder).fit(ads, objective=lambda ads, x: lambda shown, loss, steady, score, apart: 0.0 * loss(shown))
    networks = [one.smooth_part(new)[0] for one in (predictor, same, other)]
    assert [np.array_equal(network.inner, networks[0].inner) for network in networks] == [True, True, False]


def test_with_an_objective_the_score_is_that_of_the_network_alone(
    predictor: AdScorePredictor, encoder: FakeEncoder, tmp_path: Path
) -> None:
    alone = AdScorePredictor(encoder=encoder).fit(meant(), objective=lambda ads, x: lambda shown, loss, *more: loss(shown))
    new = meant(10, seed=2)
    # Beside lines and trees the network of these ads has hardly a say: an objective would change as little.
    assert predictor.details["weights"]["network"] < 0.5 * sum(predictor.details["weights"].values())
    assert list(alone.details["weights"]) == ["network"]
    network, x, _ = alone.smooth_part(new)
    said = alone.details["weights"]["network"] * network(x)
    moved = alone.contrasts(new)
    assert np.ptp(moved) > 0.1
    np.testing.assert_allclose(moved - moved.mean(), said - said.mean(), rtol=1e-3)
    explained = alone.explain(new)
    total = explained.drop("log_odds_contrast").sum_horizontal().to_numpy()
    np.testing.assert_allclose(total, explained["log_odds_contrast"].to_numpy(), atol=1e-9)
    alone.save(tmp_path / "m")
    loaded = AdScorePredictor.load(tmp_path / "m", encoder=encoder)
    assert loaded.predict(new) == alone.predict(new)
    assert loaded.details == alone.details


def test_contributions_of_all_parts_add_up(predictor: AdScorePredictor) -> None:
    explained = predictor.explain(meant(10, seed=2))
    assert explained.columns[-3:] == ["meaning:headline", "intercept", "log_odds_contrast"]
    total = explained.drop("log_odds_contrast").sum_horizontal().to_numpy()
    np.testing.assert_allclose(total, explained["log_odds_contrast"].to_numpy(), atol=1e-9)
    np.testing.assert_allclose(total, predictor.predict(meant(10, seed=2)).to_frame()["log_odds_contrast"].to_numpy(), atol=1e-9)


def test_the_artifact_names_its_encoder_and_refuses_another(predictor: AdScorePredictor, encoder: FakeEncoder, tmp_path: Path) -> None:
    new = meant(10, seed=2)
    predictor.save(tmp_path / "m")
    loaded = AdScorePredictor.load(tmp_path / "m", encoder=encoder)
    assert loaded.predict(new) == predictor.predict(new)
    assert loaded.details == predictor.details
    with pytest.raises(ArtifactError, match="was fitted on the encoder fake with identity ffffffffffff, and this machine has 000000000000"):
        AdScorePredictor.load(tmp_path / "m", encoder=FakeEncoder(sha256="0" * 64))


def test_an_artifact_whose_encoder_is_not_here_is_refused(
    predictor: AdScorePredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WITHIN_ENCODER", "none")
    predictor.save(tmp_path / "m")
    with pytest.raises(ArtifactError, match="this machine has none; give the same weights in the same precision, or train again"):
        AdScorePredictor.load(tmp_path / "m")


def test_two_fits_write_the_same_bytes_whatever_was_asked_between(encoder: FakeEncoder, tmp_path: Path) -> None:
    one = AdScorePredictor(encoder=encoder).fit(meant(20))
    one.predict(meant(5, seed=7))
    assert AdScorePredictor(encoder=encoder).fit(meant(20)).save(tmp_path / "b") == one.save(tmp_path / "a")


def test_many_rows_are_answered_in_parts_that_agree(predictor: AdScorePredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    from within_pipelines.prediction.ad_score import predictor as module

    ads = meant(20, seed=3)
    whole = predictor.contrasts(ads)
    monkeypatch.setattr(module, "_CHUNK", 7)
    np.testing.assert_allclose(predictor.contrasts(ads), whole, atol=1e-12)
    batches = list(predictor.predict_batches(ads.partition_by("group_id")))
    assert [len(batch) for batch in batches] == [4] * 20
    assert predictor.contrasts(ads.head(0)).size == 0


def pictured(n_groups: int = 80, *, seed: int = 0) -> pl.DataFrame:
    """Ads with the same text whose pictures decide."""
    rng = np.random.default_rng(seed)
    pictures = rng.standard_normal((n_groups * 4, 6))
    truth = -3.5 + pictures @ np.array([0.4, -0.3, 0.2, 0, 0, 0])
    clicks = rng.binomial(20_000, 1 / (1 + np.exp(-truth)))
    groups = np.repeat([f"g{seed}-{g}" for g in range(n_groups)], 4)
    frame = pl.DataFrame({"group_id": groups, "headline": ["Same words here"] * len(truth), "clicks": clicks, "truth": truth})
    return frame.with_columns(impressions=pl.lit(20_000), image_embedding=pl.Series(pictures.tolist()))


def test_pictures_decide_where_texts_are_alike_and_a_missing_one_counts_as_usual(tmp_path: Path) -> None:
    found = AdScorePredictor(encoder="none").fit(pictured())
    new = pictured(60, seed=1)
    assert accuracy(found, new) > 0.9
    explained = found.explain(new)
    assert explained.columns[-3] == "image"
    np.testing.assert_allclose(
        explained.drop("log_odds_contrast").sum_horizontal().to_numpy(), explained["log_odds_contrast"].to_numpy(), atol=1e-9
    )
    assert found.predict(new)[0].block_contributions["image"] == pytest.approx(explained["image"][0])
    blind = found.contrasts(new.head(4).drop("image_embedding"))
    np.testing.assert_allclose(blind, found.contrasts(new.head(4).with_columns(image_embedding=None)))
    assert np.ptp(blind) == pytest.approx(0, abs=1e-9)
    found.save(tmp_path / "m")
    assert AdScorePredictor.load(tmp_path / "m").predict(new) == found.predict(new)
    assert found.predict(new.to_pandas()).to_frame()["score"].to_list() == pytest.approx(found.predict(new).to_frame()["score"].to_list())


@pytest.mark.parametrize("picture", [[1.0, 2.0], [1.0] * 5 + [float("inf")]])
def test_pictures_of_another_kind_are_refused(picture: list[float]) -> None:
    found = AdScorePredictor(encoder="none").fit(pictured(20))
    with pytest.raises(SchemaError, match="The image_embedding of row 0 is no list of 6 finite numbers"):
        found.predict(pl.DataFrame({"headline": ["Same"], "image_embedding": [picture]}))


def test_pictures_that_are_no_lists_of_numbers_are_refused_in_words() -> None:
    ads = pictured(20)
    found = AdScorePredictor(encoder="none").fit(ads)
    with pytest.raises(SchemaError, match=r"The column image_embedding holds List\(String\); give lists of numbers"):
        found.predict(pl.DataFrame({"headline": ["Same"], "image_embedding": [["a"] * 6]}))
    with pytest.raises(SchemaError, match="The column image_embedding holds Float64; give lists of numbers, all of one length"):
        AdScorePredictor(encoder="none").fit(ads.with_columns(image_embedding=pl.lit(3.0)))
