"""Words that occur in enough ads to learn from, and which of them a creative uses."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+")
TEXT_COLUMNS: tuple[str, ...] = ("headline", "description", "call_to_action")


def words_of(text: str | None) -> list[str]:
    """Lower-case words of the text as a reader reads it (`features.plain_text`); every number counts as the same word "0".

    >>> words_of("Why 5 Moms can't stop")
    ['why', '0', 'moms', "can't", 'stop']
    """
    from within_pipelines.features import plain_text

    found = _WORD.findall(plain_text(text or "").lower())
    return ["0" if word.isdigit() else word for word in found]


def learn_vocabulary(texts: Sequence[str | None], *, minimum: int = 8, most: int = 1500) -> list[str]:
    """The `most` most frequent words that occur in at least `minimum` texts, but not in nearly all of them; sorted."""
    counts = Counter(word for text in texts for word in set(words_of(text)))
    usable = [(word, n) for word, n in counts.items() if minimum <= n <= 0.95 * len(texts)]
    return sorted(word for word, _ in sorted(usable, key=lambda entry: (-entry[1], entry[0]))[:most])


def word_matrix(texts: Sequence[str | None], vocabulary: Sequence[str]) -> NDArray[np.float64]:
    """1 where a text uses a word of the vocabulary."""
    index = {word: column for column, word in enumerate(vocabulary)}
    result = np.zeros((len(texts), len(vocabulary)))
    for row, text in enumerate(texts):
        columns = [index[word] for word in set(words_of(text)) if word in index]
        result[row, columns] = 1.0
    return result


def joined_text(frame: pl.DataFrame, columns: Sequence[str] = ("headline",)) -> list[str | None]:
    """The given text columns of each row joined by a line break; None where all are missing."""
    present = [name for name in columns if name in frame.columns]
    if not present:
        return [None] * frame.height
    texts = [frame[name].cast(pl.String).to_list() for name in present]
    return ["\n".join(text for text in row if text is not None) or None for row in zip(*texts, strict=True)]
