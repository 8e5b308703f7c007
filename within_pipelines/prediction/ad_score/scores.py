"""What the predictor says about one creative."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import polars as pl

from within_pipelines.prediction.ad_score.suggestions import Suggestion


@dataclass(frozen=True, slots=True)
class AdScore:
    """One creative beside its siblings.

    - `score`: 100 x the probability that it beats a typical sibling; 50 is average.
    - `win_probabilities`: for each sibling in the table (by `ad_id`, else by row number), the probability that this ad's true
      click-through rate is the higher one; at most 50 siblings, the strongest first. Empty for an ad alone.
    - `log_odds_contrast`: predicted log-odds of a click less the mean of the siblings in the table (of past ads when it has none), with
      a conformal interval `low`..`high` at `interval_level`.
    - `predicted_ctr`: recent level x exp(contrast) on the log-odds scale, where the row says what the account did lately, with a
      conformal interval `ctr_low`..`ctr_high` where the training ads had such a history (else None).
    - `engagement`: 100 x the normal probability of the texts' own contribution (words, lengths, tone, meaning) in units of the spread
      between siblings; 50 is neutral.
    - `sentiment`: 50 (1 + s), s in (-1, 1) the lexicon balance of positive and negative words of headline and description.
    - `complexity`: 100 (1 - reading ease), Flesch's reading ease of the headline clipped to [0, 1].
    - `topic`: the headline's most distinctive word among those the model knows (None when it knows none).
    - `audience_match`: as `engagement`, for the contribution of the audience segment.
    - `confidence`: share of the creative's words that occur in the training ads, 0 to 1; 0 also for an empty creative.
    - `out_of_support`: whether the creative is unlike the training ads; `support_reasons` say how.
    - `contributions`: the strongest contributions to the contrast in log-odds, by feature; `block_contributions`: all of them, added up
      by what an advertiser can change (headline, description, call_to_action, format, platform, audience, siblings, image).
    - `costly_words`: words of the creative whose contribution lies below -0.02 log-odds, worst first.
    - `similar_ads`: past ads most like this one that did better than their siblings, with their measured results.
    - `suggestions`: edits with their expected uplift, the surest first; empty unless `predict` was asked for them."""

    score: float
    win_probabilities: dict[str, float]
    log_odds_contrast: float
    low: float
    high: float
    interval_level: float
    predicted_ctr: float | None
    ctr_low: float | None
    ctr_high: float | None
    engagement: float
    sentiment: float
    complexity: float
    topic: str | None
    audience_match: float
    confidence: float
    out_of_support: bool
    support_reasons: tuple[str, ...]
    contributions: dict[str, float]
    block_contributions: dict[str, float]
    costly_words: dict[str, float]
    similar_ads: tuple[dict[str, Any], ...]
    suggestions: tuple[Suggestion, ...] = ()


@dataclass(frozen=True, slots=True)
class AdScores(Sequence[AdScore]):
    """The answers for all rows, in their order."""

    scores: tuple[AdScore, ...]

    @overload
    def __getitem__(self, index: int) -> AdScore: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[AdScore, ...]: ...

    def __getitem__(self, index: int | slice) -> AdScore | tuple[AdScore, ...]:
        return self.scores[index]

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[AdScore]:
        return iter(self.scores)

    def to_frame(self) -> pl.DataFrame:
        """The plain numbers as one row per creative."""
        schema: dict[str, Any] = {
            "score": pl.Float64, "log_odds_contrast": pl.Float64, "low": pl.Float64, "high": pl.Float64, "interval_level": pl.Float64,
            "predicted_ctr": pl.Float64, "ctr_low": pl.Float64, "ctr_high": pl.Float64,
            "engagement": pl.Float64, "sentiment": pl.Float64, "complexity": pl.Float64, "topic": pl.String,
            "audience_match": pl.Float64, "confidence": pl.Float64, "out_of_support": pl.Boolean,
        }  # fmt: skip
        return pl.DataFrame([[getattr(score, name) for name in schema] for score in self.scores], schema=schema, orient="row")
