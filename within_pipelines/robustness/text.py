"""What people and copy-paste do to the text of an ad."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from within_pipelines.exceptions import SchemaError
from within_pipelines.robustness.perturbation import Expectation, Perturbation, Perturbed, in_place

# Cyrillic letters that look like Latin ones (Unicode confusables).
LOOK_ALIKE = str.maketrans("aceopxyABCEHKMOPTX", "асеорхуАВСЕНКМОРТХ")
TYPO_RATE = 0.03
HOMOGLYPH_RATE = 0.2
INVISIBLE_RATE = 0.1
_WORDS = re.compile(r"[^\W\d_]+")
# Words of ads that mean the same in a headline, each way.
_SAME_MEANING = (
    ("buy", "purchase"), ("cheap", "inexpensive"), ("kids", "children"), ("mom", "mother"), ("moms", "mothers"), ("quick", "fast"),
    ("easy", "simple"), ("great", "excellent"), ("big", "large"), ("begin", "start"), ("help", "assist"), ("shop", "store"),
    ("amazing", "incredible"), ("secret", "hidden"), ("tips", "advice"), ("trick", "hack"), ("tricks", "hacks"), ("job", "position"),
    ("deal", "bargain"), ("deals", "bargains"), ("gift", "present"), ("gifts", "presents"), ("picture", "photo"), ("pictures", "photos"),
    ("people", "folks"), ("reason", "cause"), ("reasons", "causes"), ("home", "house"), ("film", "movie"), ("doctor", "physician"),
)  # fmt: skip
SYNONYMS: dict[str, tuple[str, ...]] = {}
for _one, _other in _SAME_MEANING:
    SYNONYMS[_one] = (*SYNONYMS.get(_one, ()), _other)
    SYNONYMS[_other] = (*SYNONYMS.get(_other, ()), _one)

# Those that ads use most as eye-catchers; none has a meaning that a headline could be about.
EMOJI: tuple[str, ...] = ("\U0001f525", "\U0001f449", "\u2728", "\U0001f60d", "\u2705", "\U0001f389")

Edit = Callable[[str, np.random.Generator], str]


def _edited(name: str, columns: Sequence[str], edit: Edit, expectation: Expectation) -> Perturbation:
    def apply(rows: pl.DataFrame, rng: np.random.Generator) -> Perturbed:
        present = [column for column in columns if column in rows.columns]
        if not present:
            raise SchemaError(f"None of the text columns {', '.join(columns)} is in the table, which has {', '.join(rows.columns)}.")
        changed = [
            pl.Series(column, [None if text is None else edit(text, rng) for text in rows[column].to_list()], dtype=pl.String)
            for column in present
        ]
        return in_place(rows.with_columns(changed))

    return Perturbation(name, expectation, apply)


def _swap_neighbours(text: str, rng: np.random.Generator, rate: float) -> str:
    letters = list(text)
    at = [i for i in range(len(letters) - 1) if letters[i].isalpha() and letters[i + 1].isalpha() and letters[i] != letters[i + 1]]
    if not at:
        return text
    # At least one slip in every text, so that short headlines are tried as well.
    for i in rng.choice(at, size=max(1, round(rate * len(at))), replace=False):
        letters[i], letters[i + 1] = letters[i + 1], letters[i]
    return "".join(letters)


def _look_alike(text: str, rng: np.random.Generator, rate: float) -> str:
    return "".join(
        letter.translate(LOOK_ALIKE) if chance < rate else letter for letter, chance in zip(text, rng.random(len(text)), strict=True)
    )


def _other_punctuation(text: str, rng: np.random.Generator) -> str:
    """Marks that say the same: a final full stop more or less, a question or exclamation mark repeated."""
    bare = text.rstrip(". ")
    if not bare or text.endswith("..."):
        return text
    if bare[-1] in "?!":
        return bare + bare[-1] * int(rng.integers(0, 3))
    return bare + ("" if text.endswith(".") else ".") if rng.random() < 0.7 else text


def _invisible(text: str, rng: np.random.Generator, rate: float) -> str:
    """Zero-width characters between letters, wider spaces, curly quotes, full-width letters."""
    out = []
    for letter, chance in zip(text, rng.random(len(text)), strict=True):
        if letter == " ":
            out.append("\u00a0" if chance < rate else "  " if chance < 2 * rate else " ")
        elif letter in "'\"" and chance < 0.5:
            out.append({"'": "\u2019", '"': "\u201d"}[letter])
        elif letter.isascii() and letter.isalpha() and chance < rate:
            out.append(letter + "\u200b" if chance < rate / 2 else chr(ord(letter) + 0xFEE0))
        else:
            out.append(letter)
    return "".join(out)


def _synonym(text: str, rng: np.random.Generator) -> str:
    found = [match for match in _WORDS.finditer(text) if match.group().lower() in SYNONYMS]
    if not found:
        return text
    match = found[int(rng.integers(len(found)))]
    other = str(rng.choice(SYNONYMS[match.group().lower()]))
    other = other.capitalize() if match.group()[0].isupper() else other
    return text[: match.start()] + other + text[match.end() :]


def _with_emoji(text: str, rng: np.random.Generator) -> str:
    """One emoji before, after, or between two words."""
    words = text.split(" ")
    if not text.strip():
        return text
    at = (0, len(words), int(rng.integers(0, len(words) + 1)))[int(rng.integers(3))]
    return " ".join([*words[:at], EMOJI[int(rng.integers(len(EMOJI)))], *words[at:]])


def typos(columns: Sequence[str], *, rate: float = TYPO_RATE) -> Perturbation:
    """Neighbouring letters swapped, `rate` of them and at least one in each text."""
    return _edited("typos", columns, lambda text, rng: _swap_neighbours(text, rng, rate), Expectation.STABLE)


def upper_case(columns: Sequence[str]) -> Perturbation:
    """Everything in capitals."""
    return _edited("upper case", columns, lambda text, rng: text.upper(), Expectation.STABLE)


def lower_case(columns: Sequence[str]) -> Perturbation:
    """Everything in small letters."""
    return _edited("lower case", columns, lambda text, rng: text.lower(), Expectation.STABLE)


def punctuation(columns: Sequence[str]) -> Perturbation:
    """Marks that say the same: a final full stop more or less, a question or exclamation mark repeated; none is added or lost."""
    return _edited("punctuation", columns, _other_punctuation, Expectation.STABLE)


def exclamation(columns: Sequence[str]) -> Perturbation:
    """An exclamation mark at the end. In real headline tests it costs clicks, so a score may move: only an answer is asked."""
    return _edited("exclamation", columns, lambda text, rng: text.rstrip(".! ") + "!" if text.strip() else text, Expectation.ANSWERED)


def invisible(columns: Sequence[str], *, rate: float = INVISIBLE_RATE) -> Perturbation:
    """Zero-width characters, wide spaces, curly quotes and full-width letters: a reader sees the same text."""
    return _edited("invisible characters", columns, lambda text, rng: _invisible(text, rng, rate), Expectation.STABLE)


def synonyms(columns: Sequence[str]) -> Perturbation:
    """One word replaced by another that means the same. Words of one meaning win differently in real tests: only an answer is asked."""
    return _edited("synonyms", columns, _synonym, Expectation.ANSWERED)


def emoji(columns: Sequence[str]) -> Perturbation:
    """One emoji before, after or inside the text. A reader sees it, and ads carry it to be clicked more: only an answer is asked."""
    return _edited("emoji", columns, _with_emoji, Expectation.ANSWERED)


def homoglyphs(columns: Sequence[str], *, rate: float = HOMOGLYPH_RATE) -> Perturbation:
    """Letters replaced by Cyrillic ones that look the same, as hostile advertisers do to pass word filters."""
    return _edited("homoglyphs", columns, lambda text, rng: _look_alike(text, rng, rate), Expectation.STABLE)


def text_perturbations(columns: Sequence[str] = ("headline", "description")) -> tuple[Perturbation, ...]:
    """All perturbations of text."""
    make = (typos, lower_case, upper_case, punctuation, homoglyphs, invisible, exclamation, synonyms, emoji)
    return tuple(one(columns) for one in make)
