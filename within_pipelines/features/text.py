"""Count what a text is made of: lengths, signs, kinds of words, tone and ease of reading."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.features.lexicon import COMMON, KINDS, NEGATIVE, POSITIVE
from within_pipelines.features.remembered import Remembered

_WORD = r"[\p{L}\p{M}]+(?:['’][\p{L}]+)*"
# Words of nine letters and more are what readability formulas of several languages call long.
_LONG = r"[\p{L}]{9,}"
TEXT_FEATURES: tuple[str, ...] = (
    "missing", "characters", "words", "mean_word_length", "sentences", "digits", "numbers", "question", "exclamation", "ellipsis", "quotes",
    "capital_words", "capital_share", "title_case_share", "currency_sign", "percent_sign", "non_ascii_share",
    *(f"{kind}_words" for kind in KINDS), "positive_words", "negative_words", "sentiment", "long_word_share", "rare_word_share",
    "distinct_share", "reading_ease", "starts_with_kind",
)  # fmt: skip


def text_statistics(texts: pl.Series, prefix: str) -> pl.DataFrame:
    """One row per text, Float64 columns `<prefix>_<name>` for the names in `TEXT_FEATURES`.

    A text that is null or blank has `missing` = 1 and zeros elsewhere. `characters` and `words` are log(1 + n); `digits`, `numbers`, signs
    and `<kind>_words` are counts; shares lie in [0, 1]; `sentiment` = (positive - negative) / (positive + negative + 1) in (-1, 1);
    `reading_ease` is Flesch's formula (Flesch 1948) over 100 with syllables counted as groups of vowels, clipped to [-1, 2].

    >>> text_statistics(pl.Series(["Why mothers love 3 easy tricks?"]), "h").select("h_question", "h_numbers", "h_people_words").row(0)
    (1.0, 1.0, 1.0)
    """
    values = text_counts(texts.cast(pl.String).to_list())
    return pl.DataFrame([pl.Series(f"{prefix}_{name}", values[:, i]) for i, name in enumerate(TEXT_FEATURES)])


def text_counts(texts: Sequence[str | None]) -> NDArray[np.float64]:
    """One row per text, the columns of `TEXT_FEATURES`; what `text_statistics` says."""
    return _COUNTED.rows(texts)


def _counted(texts: Sequence[str | None]) -> NDArray[np.float64]:
    t = pl.col("t")
    frame = pl.DataFrame({"t": pl.Series(texts, dtype=pl.String)}).lazy().select(t.fill_null("").str.strip_chars())
    frame = frame.with_columns(l=t.str.to_lowercase().str.replace_all("’", "'"))
    table = frame.with_columns(w=pl.col("l").str.extract_all(_WORD)).select(_expressions()).collect()
    return table.to_numpy()


_COUNTED: Remembered[str | None] = Remembered(_counted, width=len(TEXT_FEATURES))


# A single ad is answered in milliseconds; building these expressions anew would take longer than computing them.
@cache
def _expressions() -> list[pl.Expr]:
    t, lower = pl.col("t"), pl.col("l")
    words = pl.col("w").list.len().cast(pl.Float64)
    per_word = pl.max_horizontal(words, pl.lit(1.0))
    letters = t.str.count_matches(r"\p{L}").cast(pl.Float64)
    length = t.str.len_chars().cast(pl.Float64)
    sentences = pl.max_horizontal(t.str.count_matches(r"[.!?…]+(?:\s|$)").cast(pl.Float64), pl.lit(1.0))
    syllables = lower.str.count_matches(r"[aeiouyáàâäéèêëíìîïóòôöúùûüæøåœ]+").cast(pl.Float64)
    positive, negative = _among(POSITIVE), _among(NEGATIVE)
    some = length > 0
    values = {
        "missing": (~some).cast(pl.Float64),
        "characters": length.log1p(),
        "words": words.log1p(),
        "mean_word_length": letters / per_word,
        "sentences": pl.when(some).then(sentences).otherwise(0.0),
        "digits": t.str.count_matches(r"\p{Nd}").cast(pl.Float64),
        "numbers": t.str.count_matches(r"\p{Nd}+(?:[.,]\p{Nd}+)*").cast(pl.Float64),
        "question": t.str.count_matches(r"[?？]").cast(pl.Float64),
        "exclamation": t.str.count_matches(r"[!！]").cast(pl.Float64),
        "ellipsis": t.str.count_matches(r"\.\.\.|…").cast(pl.Float64),
        "quotes": t.str.count_matches('["“”„«»]').cast(pl.Float64),
        "capital_words": t.str.count_matches(r"\b\p{Lu}{2,}\b").cast(pl.Float64),
        "capital_share": t.str.count_matches(r"\p{Lu}").cast(pl.Float64) / pl.max_horizontal(letters, pl.lit(1.0)),
        "title_case_share": t.str.count_matches(r"\b\p{Lu}\p{Ll}").cast(pl.Float64) / per_word,
        "currency_sign": t.str.count_matches(r"\p{Sc}").cast(pl.Float64),
        "percent_sign": t.str.count_matches("%").cast(pl.Float64),
        "non_ascii_share": t.str.count_matches(r"[^\x00-\x7F]").cast(pl.Float64) / pl.max_horizontal(length, pl.lit(1.0)),
        **{f"{kind}_words": _among(kind_words) + _phrases(kind_words) for kind, kind_words in KINDS.items()},
        "positive_words": positive,
        "negative_words": negative,
        "sentiment": (positive - negative) / (positive + negative + 1.0),
        "long_word_share": t.str.count_matches(_LONG).cast(pl.Float64) / per_word,
        "rare_word_share": pl.when(words > 0).then((words - _among(COMMON)) / per_word).otherwise(0.0),
        "distinct_share": pl.col("w").list.n_unique().cast(pl.Float64) / per_word,
        "reading_ease": pl.when(words > 0)
        .then(((206.835 - 1.015 * words / sentences - 84.6 * syllables / per_word) / 100.0).clip(-1.0, 2.0))
        .otherwise(0.0),
        "starts_with_kind": pl.col("w").list.first().is_in(sorted(KINDS["curiosity"])).fill_null(False).cast(pl.Float64),
    }
    return [values[name].cast(pl.Float64).alias(name) for name in TEXT_FEATURES]


def _among(words: frozenset[str]) -> pl.Expr:
    """How many of a text's words belong to `words`."""
    single = sorted(word for word in words if " " not in word)
    return pl.col("w").list.eval(pl.element().is_in(single)).list.sum().fill_null(0).cast(pl.Float64)


def _phrases(words: frozenset[str]) -> pl.Expr:
    """How many of the phrases of more than one word occur."""
    phrases = sorted(word for word in words if " " in word)
    if not phrases:
        return pl.lit(0.0)
    return pl.col("l").str.count_matches(r"\b(?:" + "|".join(phrases) + r")\b").cast(pl.Float64)
