"""Past ads that did well are shown for similar words."""

from __future__ import annotations

import numpy as np
import pytest

from within_pipelines.prediction.ad_score.library import AdLibrary
from within_pipelines.prediction.ad_score.vocabulary import word_matrix


def test_only_ads_that_beat_their_siblings_beyond_noise_are_kept_the_strongest_first() -> None:
    library = AdLibrary.of(["a", "b", None, "c", "b"], np.array([0.2, 0.5, 0.9, 0.3, 0.4]), np.array([0.1, 0.1, 0.1, 0.4, 0.1]))
    assert library.headlines == ("b", "a")
    assert library.contrasts == (0.5, 0.2)


def test_nearest_is_the_cosine_of_weighted_words() -> None:
    vocabulary, idf = ["blue", "garden", "shoes"], np.array([1.0, 2.0, 1.0])
    library = AdLibrary(("blue shoes", "garden shoes", "unknown"), (0.3, 0.2, 0.1))
    found = library.nearest(word_matrix(["Garden shoes!", "nothing here"], vocabulary), vocabulary, idf)
    assert [entry["headline"] for entry in found[0]] == ["garden shoes", "blue shoes"]
    assert found[0][0] == {"headline": "garden shoes", "contrast": 0.2, "similarity": 1.0}
    assert found[0][1]["similarity"] == pytest.approx(1 / (np.sqrt(5) * np.sqrt(2)), abs=1e-6)
    assert found[1] == ()


def test_an_empty_library_or_vocabulary_finds_nothing() -> None:
    assert AdLibrary((), ()).nearest(np.ones((2, 1)), ["a"], np.ones(1)) == [(), ()]
    assert AdLibrary(("a",), (0.1,)).nearest(np.ones((1, 0)), [], np.ones(0)) == [()]
