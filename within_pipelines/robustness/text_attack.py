"""The worst that an optimiser can do to a text with a few edits that a reader does not mind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError
from within_pipelines.robustness.text import LOOK_ALIKE, Edit

Floats = NDArray[np.float64]


class ScoreTexts(Protocol):
    """A score per text; `rows[i]` is the number of the row that `texts[i]` stands in, for models that read more than the text."""

    def __call__(self, texts: Sequence[str], rows: NDArray[np.intp], /) -> ArrayLike:
        """One finite number per text."""


@dataclass(frozen=True, slots=True)
class TextAttack:
    """Per row: the worst `texts` found, the signed `change` of the score that they bring (0 where nothing moved it), how many `edits` they
    took; and how many texts were scored (`queries`)."""

    texts: tuple[str, ...]
    change: Floats
    edits: NDArray[np.int64]
    queries: int

    def success(self, tolerance: float) -> float:
        """Share of rows that moved by more than `tolerance`."""
        return float(np.mean(np.abs(self.change) > tolerance))


def _one(text: str, places: list[int], rng: np.random.Generator) -> int | None:
    return places[int(rng.integers(len(places)))] if places else None


def _slip(text: str, rng: np.random.Generator) -> str:
    """Two neighbouring letters inside a word change places; its first letter stays, as readers need it."""
    places = [i for i in range(1, len(text) - 1) if text[i - 1 : i + 2].isalpha() and text[i] != text[i + 1]]
    i = _one(text, places, rng)
    return text if i is None else text[:i] + text[i + 1] + text[i] + text[i + 2 :]


def _look_alike(text: str, rng: np.random.Generator) -> str:
    i = _one(text, [i for i, letter in enumerate(text) if ord(letter) in LOOK_ALIKE], rng)
    return text if i is None else text[:i] + text[i].translate(LOOK_ALIKE) + text[i + 1 :]


def _zero_width(text: str, rng: np.random.Generator) -> str:
    i = _one(text, [i for i, letter in enumerate(text) if letter.isalpha()], rng)
    return text if i is None else text[: i + 1] + "\u200b" + text[i + 1 :]


def _word_case(text: str, rng: np.random.Generator) -> str:
    words = text.split(" ")
    i = _one(text, [i for i, word in enumerate(words) if any(letter.isalpha() for letter in word)], rng)
    if i is not None:
        words[i] = words[i].lower() if words[i].isupper() else words[i].upper()
    return " ".join(words)


def _full_stop(text: str, rng: np.random.Generator) -> str:
    return text[:-1] if text.endswith(".") and not text.endswith("..") else text if text[-1:] in ".!?" else text + "."


READER_EDITS: tuple[Edit, ...] = (_slip, _look_alike, _zero_width, _word_case, _full_stop)


def text_attack(
    score: ScoreTexts, texts: Sequence[str], *, budget: int, rng: np.random.Generator, tries: int = 8, edits: Sequence[Edit] = READER_EDITS
) -> TextAttack:
    """Greedy search for the edits that move each score furthest (as TextBugger, Li et al. 2019): up to `budget` times the worst of `tries`
    single edits of the worst text so far is kept, if it is worse.

    Only scores are looked at. An edit is one slip of neighbouring letters, one look-alike letter, one zero-width character, one word in the
    other case, or a final full stop. What is found is a lower bound of the worst case. A larger budget goes on from where a smaller one with
    the same generator ended, so it never finds less.

    Raises `SampleError` for a negative budget, no tries or edits, or scores that are not finite.

    >>> capitals = lambda texts, rows: [sum(letter.isupper() for letter in text) for text in texts]
    >>> found = text_attack(capitals, ["big sale"], budget=1, rng=np.random.default_rng(7))
    >>> found.texts, found.change.tolist()
    (('big SALE',), [4.0])
    """
    if budget < 0 or tries < 1 or not edits:
        raise SampleError(f"budget is {budget}, tries {tries}, edits {len(edits)}; give a budget >= 0, at least one try and one edit.")
    worst = list(texts)
    every = np.arange(len(worst), dtype=np.intp)
    clean = _asked(score, worst, every)
    change, used, queries = np.zeros(len(worst)), np.zeros(len(worst), dtype=np.int64), len(worst)
    # One seed for all steps: the first steps do not depend on how many follow.
    seed = int(rng.integers(2**62))
    for step in range(budget):
        trials: list[str] = []
        owners: list[int] = []
        for row, text in enumerate(worst):
            own = np.random.default_rng([seed, row, step])
            drawn = {edits[int(own.integers(len(edits)))](text, own) for _ in range(tries)} - {text}
            trials += sorted(drawn)
            owners += [row] * len(drawn)
        if not trials:
            break
        rows = np.array(owners, dtype=np.intp)
        moved = _asked(score, trials, rows) - clean[rows]
        queries += len(trials)
        furthest = {}
        for trial, row, by in zip(trials, owners, moved.tolist(), strict=True):
            if abs(by) > abs(furthest.get(row, ("", change[row]))[1]):
                furthest[row] = (trial, by)
        for row, (trial, by) in furthest.items():
            worst[row], change[row], used[row] = trial, by, used[row] + 1
    return TextAttack(tuple(worst), change, used, queries)


def _asked(score: ScoreTexts, texts: Sequence[str], rows: NDArray[np.intp]) -> Floats:
    found = np.asarray(score(texts, rows), dtype=np.float64)
    if found.shape != (len(texts),) or not np.all(np.isfinite(found)):
        raise SampleError(f"score answered {len(texts)} texts with shape {found.shape}; give one finite number per text.")
    return found
