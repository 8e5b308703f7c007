"""Past ads that did well are shown for similar headlines, with their results."""

from __future__ import annotations

import numpy as np
import pytest

from within_pipelines.prediction.ad_score.library import AdLibrary


def library(
    headlines: list[str | None], contrasts: list[float], deviation: list[float], vectors: np.ndarray, basis: str = "words"
) -> AdLibrary:
    n = len(headlines)
    rates, shown, variance = np.linspace(0.01, 0.05, n), np.full(n, 1000.0), np.array(deviation) ** 2
    # So large a spread that nothing shrinks.
    return AdLibrary.of(headlines, np.array(contrasts), variance, rates, shown, vectors, basis=basis, spread=1e6, accounts=[None] * n)


def test_only_ads_that_beat_their_siblings_beyond_noise_are_kept_the_strongest_first_and_once() -> None:
    found = library(["a", "b", None, "c", "b"], [0.2, 0.5, 0.9, 0.3, 0.4], [0.1, 0.1, 0.1, 0.4, 0.1], np.eye(5))
    assert [(ad.headline, round(ad.contrast, 9), ad.ctr, ad.impressions) for ad in found.ads] == [
        ("b", 0.5, 0.02, 1000),
        ("a", 0.2, 0.01, 1000),
    ]
    assert found.vectors.argmax(axis=1).tolist() == [1, 0]


def test_the_luck_of_small_ads_does_not_lead() -> None:
    # Spread .3: .6 with variance .09 shrinks to .3, .4 with variance .01 to .36.
    found = AdLibrary.of(
        ["small", "large"], np.array([0.6, 0.4]), np.array([0.09, 0.01]), np.ones(2), np.ones(2), np.eye(2), basis="words", spread=0.3,
        accounts=[None, None],
    )  # fmt: skip
    assert [(ad.headline, round(ad.contrast, 3)) for ad in found.ads] == [("large", 0.36), ("small", 0.3)]


def test_an_account_sees_its_own_ads_alone() -> None:
    found = AdLibrary.of(
        ["a", "a", "b"], np.full(3, 0.5), np.full(3, 0.01), np.ones(3), np.ones(3), np.ones((3, 1)), basis="words", spread=0.3,
        accounts=["p/1", "p/2", "p/2"],
    )  # fmt: skip
    assert len(found.ads) == 3
    own, other, nobody = found.nearest(np.ones((3, 1)), accounts=["p/1", "p/9", None])
    assert [entry["headline"] for entry in own] == ["a"]
    assert other == ()
    assert len(nobody) == 3


def test_nearest_is_the_cosine_of_weighted_words() -> None:
    # Columns: blue, garden, shoes; garden counts double.
    found = library(["blue shoes", "garden shoes", "unknown"], [0.3, 0.2, 0.1], [0.0] * 3, np.array([[1.0, 0, 1], [0, 2, 1], [0, 0, 0]]))
    first, second = found.nearest(np.array([[0.0, 2, 1], [0, 0, 0]]))
    assert [entry["headline"] for entry in first] == ["garden shoes", "blue shoes"]
    assert first[0]["similarity"] == pytest.approx(1.0, abs=1e-3)
    assert first[1]["similarity"] == pytest.approx(1 / (np.sqrt(5) * np.sqrt(2)), abs=1e-3)
    assert (first[0]["contrast"], first[0]["impressions"]) == (0.2, 1000)
    assert second == ()


def test_what_all_headlines_share_is_no_likeness() -> None:
    # Meanings of all headlines lie in one corner of the space; likeness is measured from their middle.
    rng = np.random.default_rng(0)
    vectors = 100 + rng.standard_normal((50, 8))
    found = library([f"h{i}" for i in range(50)], [0.5] * 50, [0.1] * 50, vectors, basis="meaning")
    unlike = found.nearest(found.centre + np.array([[0, 0, 0, 0, 0, 0, 0, 1e-9]]), most=50)
    assert len(unlike[0]) < 30
    assert found.nearest(vectors[7:8])[0][0]["headline"] == "h7"


def test_an_empty_library_or_vocabulary_finds_nothing() -> None:
    assert library([], [], [], np.zeros((0, 1))).nearest(np.ones((2, 1))) == [(), ()]
    assert library(["a"], [0.1], [0.0], np.zeros((1, 0))).nearest(np.ones((1, 0))) == [()]
