"""What people and copy-paste do to the text of an ad."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from within_pipelines.exceptions import SchemaError
from within_pipelines.robustness.perturbation import Expectation, Perturbation, Perturbed, in_place

# Cyrillic letters that look like Latin ones (Unicode confusables).
LOOK_ALIKE = str.maketrans("aceopxyABCEHKMOPTX", "асеорхуАВСЕНКМОРТХ")
TYPO_RATE = 0.03
HOMOGLYPH_RATE = 0.2

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


def _other_ending(text: str, rng: np.random.Generator) -> str:
    bare = text.rstrip(".! ")
    # A question stays one: dropping its mark would change what is said.
    return text if not bare or bare.endswith("?") else bare + str(rng.choice(["", ".", "!"]))


def typos(columns: Sequence[str], *, rate: float = TYPO_RATE) -> Perturbation:
    """Neighbouring letters swapped, `rate` of them and at least one in each text."""
    return _edited("typos", columns, lambda text, rng: _swap_neighbours(text, rng, rate), Expectation.STABLE)


def upper_case(columns: Sequence[str]) -> Perturbation:
    """Everything in capitals. Capitals may rightly count against an ad, so only an answer is asked."""
    return _edited("upper case", columns, lambda text, rng: text.upper(), Expectation.ANSWERED)


def lower_case(columns: Sequence[str]) -> Perturbation:
    """Everything in small letters."""
    return _edited("lower case", columns, lambda text, rng: text.lower(), Expectation.STABLE)


def punctuation(columns: Sequence[str]) -> Perturbation:
    """Another ending: none, a full stop or an exclamation mark; questions stay questions."""
    return _edited("punctuation", columns, _other_ending, Expectation.STABLE)


def homoglyphs(columns: Sequence[str], *, rate: float = HOMOGLYPH_RATE) -> Perturbation:
    """Letters replaced by Cyrillic ones that look the same, as hostile advertisers do to pass word filters."""
    return _edited("homoglyphs", columns, lambda text, rng: _look_alike(text, rng, rate), Expectation.ANSWERED)


def text_perturbations(columns: Sequence[str] = ("headline", "description")) -> tuple[Perturbation, ...]:
    """All perturbations of text."""
    return (typos(columns), lower_case(columns), upper_case(columns), punctuation(columns), homoglyphs(columns))
