"""Texts as numbers where no encoder is at hand, and the words that came and went between two samples of texts."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from within_pipelines.exceptions import SampleError

WIDTH = 256


def hashed_words(texts: Sequence[str], *, width: int = WIDTH) -> NDArray[np.float64]:
    """A row of length 1 per text: words and pairs of neighbours, each added with a sign to a column that its hash names (Weinberger et al.,
    2009). A word that was never seen before has its place as well, so new topics move the rows. A text without words is all zeros.

    Raises `SampleError` for a width below 2.

    >>> a, b = hashed_words(["Winter coats 5 % off", "winter COATS 9 % off"])
    >>> bool(np.allclose(a, b)), round(float(a @ a), 6)
    (True, 1.0)
    """
    from within_pipelines.prediction.ad_score.vocabulary import words_of

    if width < 2:
        raise SampleError(f"width is {width}; give at least two columns.")
    rows = np.zeros((len(texts), width))
    for row, text in enumerate(texts):
        words = words_of(text)
        for token in (*words, *(f"{first} {second}" for first, second in pairwise(words))):
            number = zlib.crc32(token.encode())
            rows[row, (number >> 1) % width] += 1.0 if number & 1 else -1.0
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    made: NDArray[np.float64] = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    return made


@dataclass(frozen=True, slots=True)
class WordChange:
    """The share of texts that use a word, before and now."""

    word: str
    before: float
    now: float


def moved_words(reference: Sequence[str], current: Sequence[str], *, most: int = 10) -> tuple[WordChange, ...]:
    """The words whose share of texts changed most, largest change first. It describes a shift that a test has found; it is no test.

    Raises `SampleError` when a sample is empty.

    >>> [change.word for change in moved_words(["big hats", "hats"], ["big shoes", "shoes"])]
    ['hats', 'shoes']
    """
    from within_pipelines.prediction.ad_score.vocabulary import words_of

    if not reference or not current:
        raise SampleError(f"{len(reference)} reference and {len(current)} current texts; give at least one of each.")
    counts = [Counter(word for text in texts for word in set(words_of(text))) for texts in (reference, current)]
    found = [WordChange(word, counts[0][word] / len(reference), counts[1][word] / len(current)) for word in counts[0] | counts[1]]
    changed = [change for change in found if change.now != change.before]
    return tuple(sorted(changed, key=lambda change: (-abs(change.now - change.before), change.word))[:most])
