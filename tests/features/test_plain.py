"""What looks the same is the same text, and what does not stays."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from within_pipelines.features import LOOK_ALIKE, Speller, creative_features, plain_text

HEADLINE = "Why mothers pack 5 warm coats, 20% off today!"


@pytest.mark.parametrize(
    "same",
    [
        "Why mоthers pаck 5 wаrm cоats, 20% off tоday!",  # Cyrillic o and a
        "Why  mothers\u00a0pack 5 warm coats , 20% off today !!!",
        "W\u200bhy mo\u00adthers pack\u2060 5 warm coats, 20% off today!",
        "Ｗｈｙ ｍｏｔｈｅｒｓ pack 5 warm coats, 20％ off today！",
        "𝐖𝐡𝐲 𝐦𝐨𝐭𝐡𝐞𝐫𝐬 pack 5 warm coats, 20% off today!",
    ],
)
def test_a_forged_text_reads_as_the_honest_one(same: str) -> None:
    assert same != HEADLINE
    assert plain_text(same) == HEADLINE
    honest, forged = (creative_features(pl.DataFrame({"headline": [text]})) for text in (HEADLINE, same))
    assert honest.equals(forged)


def test_what_says_something_else_stays() -> None:
    for text in ("Why?", "Why!", "Wait...", "FREE", "Free", "Купить тёплые пальто", "Ο καφές μας", "naïve café", "日本語の見出し", "5.5"):
        assert plain_text(text) == text
    assert plain_text("Really?!") == "Really?!"
    assert plain_text("The end.") == "The end"
    assert plain_text("“Wow” – it’s new") == '"Wow" - it\'s new'
    assert all(a.isalpha() and not a.isascii() and b.isascii() for a, b in LOOK_ALIKE.items())


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=30))
def test_reading_twice_is_reading_once(text: str) -> None:
    once = plain_text(text)
    assert plain_text(once) == once


def test_one_slip_is_corrected_and_known_or_distant_words_are_not() -> None:
    speller = Speller.of(["Warm winter coats", "Winter coats for mothers", "coats once", "zebras", None])
    assert speller.words == {"winter", "coats"}
    assert speller.correct("wniter COAST witner Cots coat's") == "winter COATS winter Coats coats"
    for kept in ("winter", "for", "teh", "xyzzy", "quantum", ""):
        assert speller.correct(kept) == kept
    # Two known words are equally near: nobody knows which was meant.
    assert Speller(frozenset({"snack", "snark"})).correct("snabk") == "snabk"
    assert Speller(frozenset()).correct("motehrs") == "mothers"
