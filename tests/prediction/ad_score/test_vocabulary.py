"""Words are read the same however they are written."""

from __future__ import annotations

import polars as pl

from within_pipelines.prediction.ad_score.vocabulary import joined_text, learn_vocabulary, word_matrix, words_of


def test_words_lose_their_case_and_punctuation_and_numbers_become_one_word() -> None:
    assert words_of("Don’t pay 25% — get 3 FREE Äpfel!") == ["don't", "pay", "0", "get", "0", "free", "äpfel"]
    assert words_of(None) == words_of("") == words_of("!?") == []


def test_rare_words_and_words_of_nearly_all_texts_are_left_out() -> None:
    texts = ["the cat"] * 8 + ["the dog dog"] * 7 + ["the cow", None]
    assert learn_vocabulary(texts) == ["cat", "the"]
    assert learn_vocabulary(texts[:16]) == ["cat"]
    assert learn_vocabulary(texts, minimum=7) == ["cat", "dog", "the"]
    assert learn_vocabulary(texts, minimum=1, most=2) == ["cat", "the"]


def test_equally_frequent_words_are_chosen_by_the_alphabet_whatever_the_order_of_texts() -> None:
    texts = ["b a"] * 9 + ["c"] * 9
    assert learn_vocabulary(texts, most=2) == learn_vocabulary(texts[::-1], most=2) == ["a", "b"]


def test_a_word_counts_once_per_text() -> None:
    assert word_matrix(["b b a", None, "x"], ["a", "b"]).tolist() == [[1, 1], [0, 0], [0, 0]]


def test_texts_are_joined_and_missing_ones_left_out() -> None:
    frame = pl.DataFrame({"headline": ["A", None, None], "description": ["b", "c", None]})
    assert joined_text(frame, ("headline", "description", "call_to_action")) == ["A\nb", "c", None]
    assert joined_text(frame) == ["A", None, None]
    assert joined_text(frame, ("call_to_action",)) == [None, None, None]
