"""Past ads with their results, to show what worked for something similar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MOST = 1000
# Cosine below which two ads are not called similar: idf-weighted words, and an encoder's middle layers (centred).
LEAST_SIMILAR = {"words": 0.1, "meaning": 0.3}


@dataclass(frozen=True, slots=True)
class PastAd:
    """An ad that beat its siblings: by how much (log-odds, shrunken by its noise), its click-through rate, impressions, and whose."""

    headline: str
    contrast: float
    ctr: float
    impressions: float
    account: str | None = None


@dataclass(frozen=True, slots=True)
class AdLibrary:
    """Past ads that beat their siblings beyond noise, the strongest first, with unit vectors of their headlines.

    `basis` says what the vectors are: "words" (idf-weighted) or "meaning" (an encoder's, less `centre`)."""

    ads: tuple[PastAd, ...]
    vectors: NDArray[np.float32]
    basis: str
    centre: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        headlines: Sequence[str | None],
        contrasts: Floats,
        variance: Floats,
        rates: Floats,
        impressions: Floats,
        vectors: Floats,
        *,
        basis: str,
        spread: float,
        accounts: Sequence[str | None],
    ) -> AdLibrary:
        """Keep ads whose contrast lies above 0 by more than its own standard deviation, the strongest first, each headline once an account.

        Contrasts are shrunken by spread^2 / (spread^2 + variance), or the luckiest small ads would lead."""
        shrunken = contrasts * spread**2 / (spread**2 + variance)
        beyond = contrasts > np.sqrt(variance)
        kept: dict[tuple[str | None, str], int] = {}
        for row in np.argsort(-shrunken, kind="stable"):
            headline = headlines[row]
            if headline and beyond[row]:
                kept.setdefault((accounts[row], headline), int(row))
        rows = list(kept.values())[:MOST]
        ads = tuple(PastAd(str(headlines[r]), float(shrunken[r]), float(rates[r]), float(impressions[r]), accounts[r]) for r in rows)
        centre = vectors.mean(axis=0) if basis == "meaning" and len(vectors) else np.zeros(vectors.shape[1])
        return cls(ads, _units(vectors[rows] - centre).astype(np.float16).astype(np.float32), basis, centre.astype(np.float32))

    def nearest(self, vectors: Floats, *, most: int = 3, accounts: Sequence[str | None] | None = None) -> list[tuple[dict[str, Any], ...]]:
        """Per row, up to `most` kept ads by cosine similarity, those too unlike left out.

        A row of a known account is shown that account's ads alone: what others advertise, and how it went, is theirs."""
        if not self.ads or not self.vectors.shape[1]:
            return [() for _ in range(len(vectors))]
        least = LEAST_SIMILAR[self.basis]
        # Nothing to compare: an empty text or one without a known word.
        blank = ~np.any(vectors, axis=1)
        similar = _units(vectors - self.centre).astype(np.float32) @ self.vectors.T
        similar[blank] = 0.0
        if accounts is not None and any(accounts):
            owners = np.array([ad.account or "" for ad in self.ads])
            asking = np.array([account or "" for account in accounts])
            similar[(asking[:, None] != "") & (owners[None, :] != asking[:, None])] = 0.0
        answers = []
        for row in similar:
            # Only what ties with the `most`-th or beats it needs an order.
            least_of_best = np.partition(row, -most)[-most] if row.size > most else -np.inf
            leading = np.flatnonzero(row >= least_of_best)
            best = leading[np.argsort(-row[leading], kind="stable")][:most]
            answers.append(tuple(self._shown(int(i), float(row[i])) for i in best if row[i] > least))
        return answers

    def _shown(self, i: int, similarity: float) -> dict[str, Any]:
        ad = self.ads[i]
        return {
            "headline": ad.headline,
            "contrast": ad.contrast,
            "ctr": ad.ctr,
            "impressions": ad.impressions,
            "similarity": round(similarity, 4),
        }


def _units(vectors: Floats) -> Floats:
    result: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return result
