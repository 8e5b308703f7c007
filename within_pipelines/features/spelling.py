"""Read a misspelt word as the known word that it is one slip away from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from within_pipelines.features.lexicon import COMMON, KINDS, NEGATIVE, POSITIVE

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
# Shorter words are one slip away from too many others.
_SHORTEST = 4
_LEXICON: frozenset[str] = frozenset(
    part for words in (*KINDS.values(), POSITIVE, NEGATIVE, COMMON) for entry in words for part in entry.split()
)


@dataclass(frozen=True, slots=True)
class Speller:
    """Words that need no correction: those given (the training ads') and the word lists of `lexicon`.

    An unknown word of at least four letters is read as the one known word that differs by two neighbours swapped; failing that, as the one
    known word with the same first letter that differs by one letter left out, added or replaced (Damerau 1964). Where several fit, or
    none, the word stays."""

    words: frozenset[str]
    _shortened: dict[str, frozenset[str]] = field(default_factory=dict, repr=False, compare=False)
    _found: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    def correct(self, text: str) -> str:
        """The text with its misspelt words replaced; case of the first letter is kept.

        >>> Speller(frozenset({"winter", "coats"})).correct("Warm wniter coatss for Motehrs")
        'Warm winter coats for Mothers'
        """
        return _WORD.sub(lambda match: self._corrected(match.group()), text)

    def _corrected(self, word: str) -> str:
        lower = word.lower().replace("’", "'")
        if len(lower) < _SHORTEST or lower in self.words or lower in _LEXICON:
            return word
        if lower not in self._found:
            # Unknown words are many over time; what was looked up is not kept for ever.
            if len(self._found) > 50_000:
                self._found.clear()
            self._found[lower] = self._nearest(lower)
        found = self._found[lower]
        if found == lower:
            return word
        return found.upper() if word.isupper() else found.capitalize() if word[0].isupper() else found

    def _nearest(self, word: str) -> str:
        swapped = {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1)}
        near = {w for w in swapped if w in self.words or w in _LEXICON}
        if not near:
            if not self._shortened:
                self._index()
            # One letter apart means: equal after one letter is left out of either or of both.
            near = {known for short in {word, *_without_one(word)} for known in self._shortened.get(short, ())}
            near = {known for known in near if known[0] == word[0] and abs(len(known) - len(word)) <= 1 and _one_apart(word, known)}
        return near.pop() if len(near) == 1 else word

    def _index(self) -> None:
        index: dict[str, set[str]] = {}
        for known in self.words | _LEXICON:
            if len(known) >= _SHORTEST:
                for short in {known, *_without_one(known)}:
                    index.setdefault(short, set()).add(known)
        self._shortened.update({short: frozenset(words) for short, words in index.items()})

    @classmethod
    def of(cls, texts: Iterable[str | None], *, minimum: int = 2) -> Speller:
        """The words that at least `minimum` of `texts` use: a word that was written once may be a slip itself."""
        counts: dict[str, int] = {}
        for text in texts:
            for word in {w.lower().replace("’", "'") for w in _WORD.findall(text or "")}:
                counts[word] = counts.get(word, 0) + 1
        return cls(frozenset(word for word, n in counts.items() if n >= minimum))


def _without_one(word: str) -> set[str]:
    return {word[:i] + word[i + 1 :] for i in range(len(word))}


def _one_apart(a: str, b: str) -> bool:
    """Whether one letter left out, added or replaced turns `a` into `b`."""
    if len(a) == len(b):
        return sum(x != y for x, y in zip(a, b, strict=True)) == 1
    longer, shorter = (a, b) if len(a) > len(b) else (b, a)
    return shorter in _without_one(longer)
