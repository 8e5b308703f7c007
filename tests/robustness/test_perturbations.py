"""Laws of the perturbations."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from within_pipelines.exceptions import SchemaError
from within_pipelines.robustness import (
    Expectation,
    Perturbation,
    duplicated_rows,
    emoji,
    feed_faults,
    homoglyphs,
    lower_case,
    missing_column,
    missing_values,
    punctuation,
    scaled_unit,
    shuffled_columns,
    shuffled_rows,
    text_perturbations,
    typos,
    upper_case,
)
from within_pipelines.robustness.text import EMOJI

ADS = pl.DataFrame(
    {
        "headline": ["Shoes for every foot", "Why are knees sore?", "", None, "ÄÖÜ 💤", "Buy now!"],
        "description": ["Free shipping.", None, "a", "Two words", "x y", "..."],
        "impressions": [10, 20, 30, 40, 50, 60],
    }
)
EVERY = (*text_perturbations(), *feed_faults(("headline", "impressions"), units=("impressions",)))


@pytest.mark.parametrize("perturbation", EVERY, ids=lambda p: p.name)
def test_equal_seeds_change_alike_the_input_stays_and_each_row_knows_its_source(perturbation: Perturbation) -> None:
    before = ADS.clone()
    first, again = (perturbation.apply(ADS, np.random.default_rng(3)) for _ in range(2))
    assert first.rows.equals(again.rows)
    assert ADS.equals(before)
    assert len(first.source) == len(first.rows)
    kept = [name for name in ADS.columns if name in first.rows.columns]
    changed = ADS[first.source].select(kept)
    if perturbation.expectation is not Expectation.UNCHANGED and not perturbation.name.endswith("dropped"):
        assert not changed.equals(first.rows.select(kept))
    assert {name: first.rows.schema[name] for name in kept} == {name: ADS.schema[name] for name in kept}
    # Nobody types into a missing field.
    if perturbation.name in {p.name for p in text_perturbations()}:
        assert first.rows["headline"].is_null().to_list() == ADS["headline"].is_null().to_list()
    assert len(perturbation.apply(ADS.clear(), np.random.default_rng(3)).rows) == 0


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=16), st.integers(0, 1000))
def test_a_typo_keeps_the_letters_and_case_keeps_the_words(text: str, seed: int) -> None:
    frame = pl.DataFrame({"headline": [text]}, schema={"headline": pl.String})
    rng = np.random.default_rng(seed)
    slipped = typos(["headline"]).apply(frame, rng).rows["headline"][0]
    assert sorted(slipped) == sorted(text)
    has_pair = any(a.isalpha() and b.isalpha() and a != b for a, b in pairwise(text))
    assert (slipped != text) == has_pair
    assert lower_case(["headline"]).apply(frame, rng).rows["headline"][0] == text.lower()
    assert upper_case(["headline"]).apply(frame, rng).rows["headline"][0] == text.upper()
    assert len(homoglyphs(["headline"], rate=1.0).apply(frame, rng).rows["headline"][0]) == len(text)
    ended = punctuation(["headline"]).apply(frame, rng).rows["headline"][0]
    assert ended.rstrip(".!? ") == text.rstrip(".!? ")


def test_look_alikes_are_other_letters_and_questions_stay_questions() -> None:
    rng = np.random.default_rng(1)
    forged = homoglyphs(["headline"], rate=1.0).apply(ADS, rng).rows["headline"][0]
    assert forged != ADS["headline"][0]
    assert not any(letter in forged for letter in "aceopxy")
    ended = punctuation(["headline"]).apply(ADS, rng).rows["headline"]
    assert ended[1].rstrip("?") == "Why are knees sore"
    assert ended[1].endswith("?")
    # An exclamation mark is a change of what is said, so none comes and none goes.
    assert ["!" in (text or "") for text in ended] == ["!" in (text or "") for text in ADS["headline"]]


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=16), st.integers(0, 1000))
def test_an_emoji_is_one_more_word_and_takes_none_away(text: str, seed: int) -> None:
    frame = pl.DataFrame({"headline": [text]}, schema={"headline": pl.String})
    shown = emoji(["headline"]).apply(frame, np.random.default_rng(seed)).rows["headline"][0]
    if not text.strip():
        assert shown == text
        return
    words, before = shown.split(" "), text.split(" ")
    added = [i for i, word in enumerate(words) if word in EMOJI and [*words[:i], *words[i + 1 :]] == before]
    assert added


def test_emoji_stand_before_after_and_inside_and_are_told_not_judged() -> None:
    many = pl.DataFrame({"headline": ["Shoes for winter"] * 60})
    texts = emoji(["headline"]).apply(many, np.random.default_rng(4)).rows["headline"].to_list()
    starts, ends = (sum(pick(text) in EMOJI for text in texts) for pick in (lambda t: t.split(" ")[0], lambda t: t.split(" ")[-1]))
    assert min(starts, ends) >= 10
    assert starts + ends < 60
    assert emoji(["headline"]).expectation is Expectation.ANSWERED


def test_feed_faults_do_what_they_say() -> None:
    rng = np.random.default_rng(2)
    shuffled = shuffled_rows().apply(ADS, rng)
    assert shuffled.rows.sort("impressions").equals(ADS)
    assert ADS[shuffled.source].equals(shuffled.rows)
    turned = shuffled_columns().apply(ADS, np.random.default_rng(1)).rows
    assert turned.columns != ADS.columns
    assert turned.select(ADS.columns).equals(ADS)
    doubled = duplicated_rows().apply(ADS, rng)
    assert len(doubled.rows) == 8
    assert ADS[doubled.source].equals(doubled.rows)
    assert missing_column("impressions").apply(ADS, rng).rows.columns == ["headline", "description"]
    assert missing_values("impressions", rate=0.5).apply(ADS, rng).rows["impressions"].null_count() == 3
    assert scaled_unit("impressions").apply(ADS, rng).rows["impressions"].to_list() == [1000, 2000, 3000, 4000, 5000, 6000]


def test_refusals_name_the_columns() -> None:
    rng = np.random.default_rng(1)
    with pytest.raises(SchemaError, match="None of the text columns title"):
        typos(["title"]).apply(ADS, rng)
    with pytest.raises(SchemaError, match="no column 'spend'"):
        missing_column("spend").apply(ADS, rng)
    with pytest.raises(SchemaError, match="not numeric"):
        scaled_unit("headline").apply(ADS, rng)
