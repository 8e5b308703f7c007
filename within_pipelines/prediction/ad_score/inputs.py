"""From a table of creatives to the numbers that the model sees: hand-made features, words, meaning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.exceptions import SchemaError
from within_pipelines.features import CREATIVE_FEATURES, Speller, creative_features, creative_values, plain_text
from within_pipelines.prediction.ad_score.vocabulary import TEXT_COLUMNS, joined_text, learn_vocabulary, word_matrix, words_of
from within_pipelines.prediction.encoder import TextEncoder
from within_pipelines.prediction.frames import matrix

Floats = NDArray[np.float64]
# A text column is encoded when at least this share of the training ads has it.
_COMMON_ENOUGH = 0.2
# What upper and lower case add to hand-made features. Held out on real headline tests they tell nothing, and a hostile or careless hand
# changes them for free.
CASE_FEATURES: tuple[str, ...] = tuple(
    f"{text}_{name}" for text in ("headline", "description") for name in ("capital_words", "capital_share", "title_case_share")
)
BLOCKS: tuple[str, ...] = ("headline", "description", "call_to_action", "format", "platform", "audience", "siblings", "image")


@dataclass(frozen=True, slots=True)
class Inputs:
    """Columns of the input matrix in their order: `features`, then one per word of `vocabulary`, then the encoder's for each of `meanings`,
    then the `image_width` numbers of an image embedding (0 where the training ads had none).

    `idf` is the inverse document frequency of each word. `spelling` are words that the training ads use more than once: an unknown word one
    slip away from one of them is read as it. Case is not seen at all: on real headline tests it tells nothing (`CASE_FEATURES`)."""

    features: tuple[str, ...]
    vocabulary: tuple[str, ...]
    idf: Floats
    meanings: tuple[str, ...]
    encoder: TextEncoder | None
    image_width: int = 0
    speller: Speller | None = None

    @classmethod
    def learn(cls, frame: pl.DataFrame, *, features: Sequence[str], words: bool, encoder: TextEncoder | None) -> Inputs:
        """Learn the vocabulary from the training ads, and which of their texts are worth encoding."""
        speller = Speller.of(joined_text(frame, TEXT_COLUMNS)) if words else None
        frame = _spelled(frame, speller)
        texts = joined_text(frame, TEXT_COLUMNS) if words else []
        vocabulary = tuple(learn_vocabulary(texts))
        idf = np.log((1 + len(texts)) / (1 + word_matrix(texts, vocabulary).sum(axis=0))) + 1.0
        meanings: tuple[str, ...] = ()
        if encoder is not None:
            meanings = tuple(
                name
                for name in ("headline", "description")
                if name in frame.columns and frame[name].is_not_null().mean() >= _COMMON_ENOUGH  # type: ignore[operator]
            )
        width = _image_width(frame) if words else 0
        seen = tuple(name for name in features if name not in CASE_FEATURES)
        return cls(seen, vocabulary, idf, meanings, encoder, width, speller)

    @property
    def n_hand(self) -> int:
        """How many hand-made features there are."""
        return len(self.features)

    @property
    def n_explained(self) -> int:
        """How many columns are explained one by one: hand-made features and words."""
        return len(self.features) + len(self.vocabulary)

    @property
    def names(self) -> list[str]:
        """Names of what is explained: features, words as `word:...`, the meaning of each encoded text as `meaning:...`, `image`."""
        image = ["image"] if self.image_width else []
        return [*self.features, *(f"word:{w}" for w in self.vocabulary), *(f"meaning:{text}" for text in self.meanings), *image]

    def spelled(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The table with its misspelt words corrected; a table that is so already is returned as it is."""
        return _spelled(frame, self.speller)

    def matrix(self, frame: pl.DataFrame, *, remember: bool = True) -> Floats:
        """The input matrix. `remember=False` encodes anew, so that the numbers do not depend on what was asked before."""
        frame = self.spelled(frame)
        parts = [self._hand(frame), word_matrix(joined_text(frame, TEXT_COLUMNS), self.vocabulary)]
        if self.encoder is not None:
            texts = self.texts(frame)
            # All at once: what costs is the number of calls.
            known = sorted({text for own in texts.values() for text in own})
            vectors = self.encoder.encode(known, remember=remember)
            place = {text: row for row, text in enumerate(known)}
            parts += [vectors[[place[text] for text in own]].astype(np.float64) for own in texts.values()]
        if self.image_width:
            parts.append(_images(frame, self.image_width))
        return np.column_stack(parts)

    def texts(self, frame: pl.DataFrame) -> dict[str, list[str]]:
        """Per encoded text column, what the encoder is given for each row; "" where there is nothing."""
        frame = self.spelled(frame) if self.meanings else frame
        return {name: _texts(frame, name) for name in self.meanings}

    def _hand(self, frame: pl.DataFrame) -> Floats:
        if set(self.features) <= set(frame.columns):
            return matrix(frame, self.features)
        places = [CREATIVE_FEATURES.columns.index(name) for name in self.features]
        return np.ascontiguousarray(creative_values(frame)[:, places])

    def meaning_slices(self) -> list[slice]:
        """Columns of each encoded text, then of the image."""
        width = 0 if self.encoder is None else self.encoder.dimension
        found = [slice(self.n_explained + i * width, self.n_explained + (i + 1) * width) for i in range(len(self.meanings))]
        end = self.n_explained + len(self.meanings) * width
        return [*found, slice(end, end + self.image_width)] if self.image_width else found

    def explained(self, parts: Floats) -> Floats:
        """Contributions per column of the input matrix as contributions per name: those of a meaning are added up."""
        sums = [parts[:, columns].sum(axis=1) for columns in self.meaning_slices()]
        return np.column_stack([parts[:, : self.n_explained], *sums]) if sums else parts[:, : self.n_explained]

    def blocks(self, frame: pl.DataFrame, contributions: Floats) -> dict[str, Floats]:
        """Contributions per name (rows as in `frame`) added up by what an advertiser can change.

        A word counts for the text that it stands in, in equal parts where it stands in several; a word that a row does not use counts for
        its headline, because there its absence is seen."""
        columns = _columns_of(tuple(self.names))
        result = {block: contributions[:, columns[block]].sum(axis=1) for block in BLOCKS}
        if not self.vocabulary:
            return result
        frame = self.spelled(frame)
        words = slice(self.n_hand, self.n_explained)
        values = contributions[:, words]
        used = {name: word_matrix(_texts(frame, name), self.vocabulary) for name in TEXT_COLUMNS if name in frame.columns}
        count = np.sum(list(used.values()), axis=0) if used else np.zeros_like(values)
        result["headline"] += np.where(count == 0, values, 0.0).sum(axis=1)
        for name, there in used.items():
            result[name] += np.divide(values * there, count, out=np.zeros_like(values), where=count > 0).sum(axis=1)
        return result

    def known_share(self, frame: pl.DataFrame) -> list[float]:
        """Share of each creative's words that occur in the training ads; 0 for an empty creative."""
        known = set(self.vocabulary)
        return [sum(w in known for w in words) / len(words) if words else 0.0 for words in map(words_of, joined_text(frame, TEXT_COLUMNS))]


def _image_width(frame: pl.DataFrame) -> int:
    """Length of the image embeddings of the training ads, 0 where too few have one."""
    if "image_embedding" not in frame.columns or frame["image_embedding"].null_count() > (1 - _COMMON_ENOUGH) * frame.height:
        return 0
    kind = frame.schema["image_embedding"]
    if not isinstance(kind, pl.List | pl.Array):
        raise SchemaError(f"The column image_embedding holds {kind}; give lists of numbers, all of one length.")
    return len(frame["image_embedding"].drop_nulls()[0])


def _images(frame: pl.DataFrame, width: int) -> Floats:
    """Image embeddings as rows; a missing one is NaN, which counts as usual.

    Raises `SchemaError` for embeddings that are no lists of `width` finite numbers."""
    result = np.full((frame.height, width), np.nan)
    if "image_embedding" not in frame.columns:
        return result
    kind = frame.schema["image_embedding"]
    if isinstance(kind, pl.List | pl.Array) and not (kind.inner == pl.Null or kind.inner.is_numeric()):
        raise SchemaError(f"The column image_embedding holds {kind}; give lists of numbers.")
    for row, values in enumerate(frame["image_embedding"].to_list()):
        if values is None:
            continue
        own = np.asarray(values, dtype=np.float64) if isinstance(values, list) else np.zeros(0)
        if own.shape != (width,) or not np.isfinite(own).all():
            raise SchemaError(f"The image_embedding of row {row} is no list of {width} finite numbers, as those of the training ads were.")
        result[row] = own
    return result


def _texts(frame: pl.DataFrame, name: str) -> list[str]:
    """Texts as a reader reads them, in small letters."""
    if name not in frame.columns:
        return [""] * frame.height
    return [plain_text(text or "").lower() for text in frame[name].cast(pl.String).to_list()]


def _spelled(frame: pl.DataFrame, speller: Speller | None) -> pl.DataFrame:
    """The table with misspelt words corrected; rows that change get their hand-made features anew where the table holds them."""
    if speller is None:
        return frame
    given = [name for name in TEXT_COLUMNS if name in frame.columns]
    texts = {name: frame[name].cast(pl.String).to_list() for name in given}
    right = {name: [None if text is None else speller.correct(plain_text(text)) for text in own] for name, own in texts.items()}
    wrong = [i for i in range(frame.height) if any(texts[n][i] is not None and right[n][i] != plain_text(texts[n][i]) for n in given)]
    if not wrong:
        return frame
    changed = [pl.Series(name, right[name], dtype=pl.String) for name in given]
    frame = frame.with_columns(changed)
    if not set(CREATIVE_FEATURES.columns) <= set(frame.columns):
        return frame
    anew = creative_features(frame[wrong].drop(CREATIVE_FEATURES.columns))
    columns = []
    for name in CREATIVE_FEATURES.columns:
        values = frame[name].to_numpy().copy()
        values[wrong] = anew[name].to_numpy()
        columns.append(pl.Series(name, values, dtype=pl.Float64))
    return frame.with_columns(columns)


@lru_cache(maxsize=16)
def _columns_of(names: tuple[str, ...]) -> dict[str, list[int]]:
    """Per block the places of its names; words belong to the text that they stand in."""
    found: dict[str, list[int]] = {block: [] for block in BLOCKS}
    for place, name in enumerate(names):
        if not name.startswith("word:"):
            found[_block_of(name)].append(place)
    return found


def _block_of(name: str) -> str:
    plain = name.removeprefix("meaning:")
    found = next((block for block in BLOCKS if plain.startswith(block)), None)
    return found if found is not None else "siblings"
