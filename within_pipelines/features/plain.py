"""The text as a reader reads it: what looks the same becomes the same, before anything is counted."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# Letters of other scripts that look like Latin ones (Unicode Technical Standard 39, the pairs that fonts of ads draw alike).
_CYRILLIC = dict(zip("асеорхуіјѕһԁԛԝАВСЕНІЈКМОРЅТХУ", "aceopxyijshdqwABCEHIJKMOPSTXY", strict=True))
_GREEK = dict(zip("οαινυκρχΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "oaivukpxABEZHIKMNOPTYX", strict=True))
_ARMENIAN = dict(zip("օսոցհ", "ounqh", strict=True))
LOOK_ALIKE: dict[str, str] = _CYRILLIC | _GREEK | _ARMENIAN
_FOLD = str.maketrans(LOOK_ALIKE)
_SIGNS = str.maketrans("’‘‛ʼ`´“”„‟«»–—‑‐−―", "''''''" + '""""""' + "------")
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u3164\uffa0")
_WORD = re.compile(r"[^\W\d_]+")
_RUNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\s+"), " "),
    (re.compile(r" +([!?.,;:])"), r"\1"),
    (re.compile(r"!{2,}"), "!"),
    (re.compile(r"\?{2,}"), "?"),
    (re.compile(r"\.{4,}"), "..."),
    (re.compile(r",{2,}"), ","),
    (re.compile(r"-{2,}"), "-"),
    # A full stop at the end says nothing; an ellipsis, a question and an exclamation do.
    (re.compile(r"(?<!\.)\.$"), ""),
)


@lru_cache(maxsize=65_536)
def plain_text(text: str) -> str:
    """`text` in one spelling: compatibility forms (NFKC), no invisible characters, look-alike letters as Latin ones, plain quotes and
    dashes, single spaces, no repeated punctuation, no full stop at the end. Case stays.

    Letters of another script are folded in words that mix them with Latin letters, and in words made of look-alikes alone where most other
    letters are Latin; a headline in Russian or Greek stays as it is. Applying it twice changes nothing more.

    >>> plain_text("Frее  ｓｈｉｐｐｉｎｇ !!!")  # the e's are Cyrillic
    'Free shipping!'
    >>> plain_text("Все за это.")
    'Все за это'
    """
    # Folding may join what a mark kept apart, so it is repeated until nothing moves; two rounds do in practice.
    for _ in range(4):
        before = text
        if not text.isascii():
            text = unicodedata.normalize("NFKC", text)
            text = "".join(c for c in text if not _invisible(c)).translate(_SIGNS)
            text = _without_look_alikes(text)
        for pattern, plain in _RUNS:
            text = pattern.sub(plain, text)
        text = text.strip()
        if text == before:
            break
    return text


def _invisible(character: str) -> bool:
    return character in _INVISIBLE or "\ufe00" <= character <= "\ufe0f" or unicodedata.category(character) == "Cf"


def _latin(character: str) -> bool:
    return character.isascii() or "\u00c0" <= character <= "\u024f"


def _without_look_alikes(text: str) -> str:
    words = _WORD.findall(text)
    # A word of look-alikes alone tells no script; the others do.
    telling = [c for word in words if not all(c in LOOK_ALIKE for c in word) for c in word]
    mostly_latin = sum(map(_latin, telling)) > len(telling) / 2 if telling else False

    def folded(match: re.Match[str]) -> str:
        word = match.group()
        foreign = [c for c in word if not _latin(c)]
        if not foreign or not all(c in LOOK_ALIKE for c in foreign):
            return word
        return word.translate(_FOLD) if mostly_latin or len(foreign) < len(word) else word

    return _WORD.sub(folded, text)
