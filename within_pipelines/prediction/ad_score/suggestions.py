"""Edits of a creative that past ads speak for, each with what it should bring and how sure that is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.exceptions import SampleError
from within_pipelines.prediction.ad_score.contrasts import MOST_COMPARED, pairs_within
from within_pipelines.prediction.ad_score.vocabulary import words_of
from within_pipelines.prediction.conformal import conformal_quantile

Floats = NDArray[np.float64]
EDITABLE: tuple[str, ...] = ("headline", "description", "call_to_action", "format")
# A call to action or format is offered when at least this many training ads had it.
LEAST_ADS = 20
# A headline is not cut below this many words.
_LEAST_WORDS = 3
_MOST_PAIRS = 50_000


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One edit of one field.

    `uplift` is the expected relative change of the click-through rate (0.1: ten per cent more clicks per impression), with a conformal
    interval `low`..`high` at the predictor's level. It is what ads that differ so have shown, not a promise of cause and effect."""

    field: str
    before: str | None
    after: str
    uplift: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class EditInterval:
    """How far the truth about the difference of two siblings lies from its prediction, by how much they differ.

    The variance of the true difference around the predicted one is `common` + `per_distance` x distance, distance in [0, 1] as in
    `edit_distance`; `quantile` is the conformal quantile of errors in units of their standard deviation."""

    common: float
    per_distance: float
    quantile: float

    @classmethod
    def fit(
        cls, frame: pl.DataFrame, group: NDArray[np.intp], contrast: Floats, variance: Floats, unseen: Floats, *, level: float, seed: int
    ) -> EditInterval:
        """Learn both from pairs of siblings predicted by parts that have not seen them.

        Raises `SampleError` when there are too few pairs for the level."""
        first, second = pairs_within(group, most=MOST_COMPARED)
        if first.size > _MOST_PAIRS:
            chosen = np.sort(np.random.default_rng([seed, 4]).permutation(first.size)[:_MOST_PAIRS])
            first, second = first[chosen], second[chosen]
        if first.size * (1 - level) < 1:
            raise SampleError(f"{first.size} pairs of siblings cannot support {level:.0%} intervals of their differences.")
        bags = [_bag(row) for row in frame.select(_present(frame)).iter_rows()]
        distance = np.array([edit_distance(bags[i], bags[j]) for i, j in zip(first.tolist(), second.tolist(), strict=True)])
        error = (contrast[first] - contrast[second]) - (unseen[first] - unseen[second])
        noise = variance[first] + variance[second]
        # Weighted least squares of the excess on (1, distance), neither allowed below 0.
        from scipy.optimize import nnls

        weight = 1 / (noise + noise.mean())
        design = np.column_stack([np.ones_like(distance), distance]) * weight[:, None]
        (common, slope), _ = nnls(design, (error**2 - noise) * weight)
        common = max(float(common), 1e-6)
        spread = np.sqrt(noise + common + slope * distance)
        return cls(common, float(slope), conformal_quantile(np.abs(error) / spread, level=level))

    def half_width(self, distance: float) -> float:
        """Half the interval of the true difference in log-odds, two ads `distance` apart."""
        return self.quantile * sqrt(self.common + self.per_distance * distance)


def edit_distance(a: frozenset[str], b: frozenset[str]) -> float:
    """Share of the words of two creatives that only one of them uses (Jaccard 1901); 0 for the same words.

    >>> edit_distance(frozenset({"free", "coffee"}), frozenset({"coffee"}))
    0.5
    """
    union = len(a | b)
    return 0.0 if union == 0 else len(a ^ b) / union


def bag_of(creative: Mapping[str, Any]) -> frozenset[str]:
    """The words of all editable fields, each with its field."""
    return _bag([creative.get(name) for name in EDITABLE], EDITABLE)


def _present(frame: pl.DataFrame) -> list[str]:
    return [name for name in EDITABLE if name in frame.columns]


def _bag(values: Sequence[Any], names: Sequence[str] = ()) -> frozenset[str]:
    fields = names or range(len(values))
    return frozenset(f"{field}:{word}" for field, value in zip(fields, values, strict=True) for word in words_of(str(value or "")))


def offered(frame: pl.DataFrame) -> dict[str, tuple[str, ...]]:
    """Calls to action and formats that enough training ads had, the most frequent first."""
    found: dict[str, tuple[str, ...]] = {}
    for name in ("call_to_action", "format"):
        if name in frame.columns:
            counts = frame[name].drop_nulls().value_counts(sort=True).filter(pl.col("count") >= LEAST_ADS)
            found[name] = tuple(str(value) for value in counts.sort("count", name, descending=[True, False])[name].to_list())
    return found


def edits(creative: Mapping[str, Any], costly: Sequence[str], choices: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """(field, new value) for every edit worth asking the model about.

    Costly words leave the headline or description, shouting and marks at the end of a headline go, and each offered call to action or
    format is tried; nothing is invented, and the meaning is left to the person who reads it."""
    found: list[tuple[str, str]] = []
    for name in ("headline", "description"):
        text = str(creative.get(name) or "").strip()
        for word in costly:
            shorter = re.sub(r"\s{2,}", " ", re.sub(rf"(?i)(?<!\w){re.escape(word)}(?!\w)", "", text)).strip(" ,;:-–")
            if shorter and shorter != text and len(words_of(shorter)) >= _LEAST_WORDS:
                found.append((name, shorter[0].upper() + shorter[1:] if text[0].isupper() else shorter))
    headline = str(creative.get("headline") or "").strip()
    plain = re.sub(r"\s*[!?]+$", "", headline)
    calm = " ".join(word.capitalize() if len(word) > 3 and word.isupper() else word for word in headline.split())
    found += [("headline", changed) for changed in (plain, calm) if changed and changed != headline]
    for name, values in choices.items():
        if name in creative:
            found += [(name, value) for value in values if value != creative.get(name)]
    return list(dict.fromkeys(found))
