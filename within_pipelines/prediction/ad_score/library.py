"""Past ads with their results, to show what worked for something similar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from within_pipelines.prediction.ad_score.vocabulary import word_matrix

_MOST = 2000


@dataclass(frozen=True, slots=True)
class AdLibrary:
    """Headlines of past ads that beat their siblings, and by how much (log-odds)."""

    headlines: tuple[str, ...]
    contrasts: tuple[float, ...]

    @classmethod
    def of(cls, headlines: Sequence[str | None], contrasts: NDArray[np.float64], deviation: NDArray[np.float64]) -> AdLibrary:
        """Keep ads whose contrast lies above 0 by more than its own standard deviation, the strongest first."""
        found: dict[str, float] = {}
        for row in np.argsort(-contrasts, kind="stable"):
            headline = headlines[row]
            if headline and contrasts[row] > deviation[row] and headline not in found:
                found[headline] = float(contrasts[row])
        kept = list(found.items())[:_MOST]
        return cls(tuple(h for h, _ in kept), tuple(c for _, c in kept))

    def nearest(self, vectors: NDArray[np.float64], vocabulary: Sequence[str], idf: NDArray[np.float64], *, most: int = 3) -> list[Any]:
        """Per row of word vectors, up to `most` kept ads by cosine similarity of idf-weighted words (above 0.1)."""
        if not self.headlines or not len(vocabulary):
            return [() for _ in range(len(vectors))]
        own = word_matrix(self.headlines, vocabulary) * idf
        own /= np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-12)
        query = vectors * idf
        query = query / np.maximum(np.linalg.norm(query, axis=1, keepdims=True), 1e-12)
        answers = []
        for similarity in query @ own.T:
            best = np.argsort(-similarity, kind="stable")[:most]
            answers.append(
                tuple(
                    {"headline": self.headlines[i], "contrast": self.contrasts[i], "similarity": round(float(similarity[i]), 6)}
                    for i in best
                    if similarity[i] > 0.1
                )
            )
        return answers
