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


def _place(places: list[int], rng: np.random.Generator) -> int | None:
    return places[int(rng.integers(len(places)))] if places else None


def _slip(word: str, rng: np.random.Generator) -> str:
    """Two neighbouring letters inside a word change places; its first letter stays, as readers need it."""
    i = _place([i for i in range(1, len(word) - 1) if word[i - 1 : i + 2].isalpha() and word[i] != word[i + 1]], rng)
    return word if i is None else word[:i] + word[i + 1] + word[i] + word[i + 2 :]


def _look_alike(word: str, rng: np.random.Generator) -> str:
    i = _place([i for i, letter in enumerate(word) if ord(letter) in LOOK_ALIKE], rng)
    return word if i is None else word[:i] + word[i].translate(LOOK_ALIKE) + word[i + 1 :]


def _zero_width(word: str, rng: np.random.Generator) -> str:
    i = _place([i for i, letter in enumerate(word) if letter.isalpha()], rng)
    return word if i is None else word[: i + 1] + "\u200b" + word[i + 1 :]


def _other_case(word: str, rng: np.random.Generator) -> str:
    return word.lower() if word.isupper() else word.upper()


READER_EDITS: tuple[Edit, ...] = (_slip, _look_alike, _zero_width, _other_case)


def text_attack(
    score: ScoreTexts, texts: Sequence[str], *, budget: int, rng: np.random.Generator, tries: int = 8, edits: Sequence[Edit] = READER_EDITS
) -> TextAttack:
    """Greedy search for the edits that move each score furthest (in the manner of TextBugger, Li et al. 2019).

    The worst text of up to b edits is the worst of up to b - 1 or of `tries` new ones: m edits of one kind on one word of the worst text of
    b - m edits, m drawn from 1 to b, because a model that mends one slip may not mend two. Only scores are looked at. An edit is a slip of
    neighbouring letters, one look-alike letter, one zero-width character, or one word in the other case. What is found is a lower bound of
    the worst case. A larger budget goes on from where a smaller one with the same generator ended, so it never finds less.

    Raises `SampleError` for a negative budget, no tries or edits, or scores that are not finite.

    >>> capitals = lambda texts, rows: [sum(letter.isupper() for letter in text) for text in texts]
    >>> found = text_attack(capitals, ["big sale"], budget=1, rng=np.random.default_rng(7))
    >>> found.texts, found.change.tolist()
    (('big SALE',), [4.0])
    """
    if budget < 0 or tries < 1 or not edits:
        raise SampleError(f"budget is {budget}, tries {tries}, edits {len(edits)}; give a budget >= 0, at least one try and one edit.")
    clean = _asked(score, list(texts), np.arange(len(texts), dtype=np.intp))
    queries = len(texts)
    # Per level of the budget and row: the worst text, what it moves, the edits that it took.
    levels: list[list[tuple[str, float, int]]] = [[(text, 0.0, 0) for text in texts]]
    # One seed for all levels: the first do not depend on how many follow.
    seed = int(rng.integers(2**62))
    for level in range(1, budget + 1):
        trials: list[tuple[str, int, int]] = []
        for row in range(len(texts)):
            own = np.random.default_rng([seed, row, level])
            drawn: dict[str, int] = {}
            for _ in range(tries):
                more = int(own.integers(1, level + 1))
                base, _, before = levels[level - more][row]
                trial = _edited_word(base, edits[int(own.integers(len(edits)))], more, own)
                if trial != base:
                    drawn[trial] = min(before + more, drawn.get(trial, budget))
            trials += [(trial, row, cost) for trial, cost in sorted(drawn.items())]
        best = list(levels[-1])
        if trials:
            rows = np.array([row for _, row, _ in trials], dtype=np.intp)
            moved = _asked(score, [trial for trial, _, _ in trials], rows) - clean[rows]
            queries += len(trials)
            for (trial, row, cost), by in zip(trials, moved.tolist(), strict=True):
                if abs(by) > abs(best[row][1]):
                    best[row] = (trial, by, cost)
        levels.append(best)
    worst = levels[-1]
    return TextAttack(tuple(w[0] for w in worst), np.array([w[1] for w in worst]), np.array([w[2] for w in worst], dtype=np.int64), queries)


def _edited_word(text: str, edit: Edit, times: int, rng: np.random.Generator) -> str:
    words = text.split(" ")
    i = _place([i for i, word in enumerate(words) if any(letter.isalpha() for letter in word)], rng)
    if i is None:
        return text
    for _ in range(times):
        words[i] = edit(words[i], rng)
    return " ".join(words)


def _asked(score: ScoreTexts, texts: Sequence[str], rows: NDArray[np.intp]) -> Floats:
    found = np.asarray(score(texts, rows), dtype=np.float64)
    if found.shape != (len(texts),) or not np.all(np.isfinite(found)):
        raise SampleError(f"score answered {len(texts)} texts with shape {found.shape}; give one finite number per text.")
    return found
