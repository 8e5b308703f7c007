"""From contributions to what a person reads: score, intervals, reasons, similar ads."""

from __future__ import annotations

from math import erf, sqrt

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.prediction.ad_score.fitted import Fitted
from within_pipelines.prediction.ad_score.inputs import BLOCKS, Inputs
from within_pipelines.prediction.ad_score.levels import given_levels
from within_pipelines.prediction.ad_score.scores import AdScore
from within_pipelines.prediction.ad_score.vocabulary import joined_text, words_of
from within_pipelines.prediction.ad_score.winning import beside_share, win_probability
from within_pipelines.prediction.calibration import sigmoid

Floats = NDArray[np.float64]
_COSTLY = -0.02
_MOST_SIBLINGS = 50


def answers_of(
    state: Fitted, frame: pl.DataFrame, x: Floats, parts: Floats, group: NDArray[np.intp] | None, *, level: float
) -> list[AdScore]:
    """One answer per row of `frame`. `x` is its input matrix, `parts` the contributions per name and intercept, which add up to the
    contrast; `group` numbers siblings (None: past ads are the company); `level` is that of the intervals."""
    inputs, names = state.inputs, state.inputs.names
    contrast, own = parts.sum(axis=1), parts[:, :-1]
    text = np.array([n.startswith(("headline", "description", "word:", "meaning:")) for n in names])
    audience = np.array([n.startswith("audience") for n in names])
    similar = state.library.nearest(headline_vectors(inputs, x)[0], accounts=accounts_of(frame))
    statistics = _statistics(frame)
    blocks = inputs.blocks(frame, own)
    reasons = state.support.reasons(inputs, frame, x)
    confidence = inputs.known_share(frame)
    # A typical sibling's own contrast spreads by `spread` around 0, this one's truth by `residual` around its prediction.
    width = sqrt(state.residual**2 + state.spread**2)
    half = state.quantile * state.residual * np.sqrt(np.ones(frame.height) if group is None else beside_share(group))
    expected, low, high = _rates(state, frame, contrast)
    wins = _wins(frame, state.sharpness * contrast, group, state.residual)
    headlines = joined_text(frame)
    known = dict(zip(inputs.vocabulary, inputs.idf.tolist(), strict=True))
    answers = []
    for i in range(frame.height):
        strongest = np.argsort(-np.abs(own[i]), kind="stable")[:8]
        used = np.flatnonzero(x[i, inputs.n_hand : inputs.n_explained]) + inputs.n_hand
        tokens = words_of(headlines[i])
        topical = [word for word in tokens if word in known]
        answers.append(
            AdScore(
                score=100 * normal(state.sharpness * contrast[i] / width),
                win_probabilities=wins[i],
                log_odds_contrast=float(contrast[i]),
                low=float(contrast[i] - half[i]),
                high=float(contrast[i] + half[i]),
                interval_level=level,
                predicted_ctr=expected[i],
                ctr_low=low[i],
                ctr_high=high[i],
                engagement=100 * normal(own[i][text].sum() / state.spread),
                sentiment=50 * (1 + statistics["sentiment"][i]),
                complexity=100 * (1 - min(max(statistics["reading_ease"][i], 0.0), 1.0)) if tokens else 0.0,
                topic=max(topical, key=lambda word: (known[word], word)) if topical else None,
                audience_match=100 * normal(own[i][audience].sum() / state.spread),
                confidence=confidence[i],
                out_of_support=bool(reasons[i]),
                support_reasons=reasons[i],
                contributions={names[k]: float(own[i][k]) for k in strongest if own[i][k] != 0},
                block_contributions={block: float(blocks[block][i]) for block in BLOCKS},
                costly_words={
                    names[k].removeprefix("word:"): float(own[i][k]) for k in sorted(used, key=lambda k: own[i][k]) if own[i][k] < _COSTLY
                },
                similar_ads=similar[i],
            )
        )
    return answers


def _statistics(frame: pl.DataFrame) -> dict[str, list[float]]:
    from within_pipelines.features import TEXT_FEATURES, plain_text, text_counts

    def of(name: str) -> Floats:
        texts = frame[name].cast(pl.String).to_list() if name in frame.columns else [None] * frame.height
        return text_counts([None if text is None else plain_text(text) for text in texts])

    headline, description = of("headline"), of("description")
    tone = TEXT_FEATURES.index("sentiment")
    return {
        "sentiment": np.clip(headline[:, tone] + description[:, tone], -1.0, 1.0).tolist(),
        "reading_ease": headline[:, TEXT_FEATURES.index("reading_ease")].tolist(),
    }


def _rates(state: Fitted, frame: pl.DataFrame, contrast: Floats) -> tuple[list[float | None], list[float | None], list[float | None]]:
    """Expected click-through rate and its interval; what is not known is None."""
    mean, variance, offset = given_levels(frame), np.zeros(frame.height), 0.0
    levels = state.levels
    if levels is not None:
        own, spread = levels.levels(frame)
        told = np.isfinite(own)
        # Of an account's rate alone, how far campaign and ad group lie from it is not known.
        mean, variance, offset = np.where(told, own, mean), np.where(told, spread, levels.below_account), levels.offset
    centre = mean + offset + contrast
    usable = levels is not None and np.isfinite(levels.quantile)
    half = levels.quantile * np.sqrt(variance + levels.residual**2) if levels is not None and usable else np.full(frame.height, np.nan)

    def rates(values: Floats) -> list[float | None]:
        return [float(p) if np.isfinite(p) else None for p in sigmoid(values)]

    return rates(centre), rates(centre - half), rates(centre + half)


def _wins(frame: pl.DataFrame, contrast: Floats, group: NDArray[np.intp] | None, residual: float) -> list[dict[str, float]]:
    found: list[dict[str, float]] = [{} for _ in range(frame.height)]
    if group is None:
        return found
    names = frame["ad_id"].cast(pl.String).to_list() if "ad_id" in frame.columns else [None] * frame.height
    order = np.argsort(group, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        own = [names[row] for row in members]
        # An id that is missing or repeated would hide a sibling; then rows go by their number.
        named = None not in own and len(set(own)) == len(own)
        ranked = members[np.argsort(-contrast[members], kind="stable")]
        for row in members:
            others = ranked[ranked != row][:_MOST_SIBLINGS]
            chance = win_probability(contrast[row] - contrast[others], residual=residual)
            found[row] = {str(names[o]) if named else str(o): float(p) for o, p in zip(others.tolist(), chance, strict=True)}
    return found


def accounts_of(frame: pl.DataFrame) -> list[str | None]:
    """The advertiser of each row; None where the table does not say."""
    if "account_id" not in frame.columns:
        return [None] * frame.height
    accounts = frame["account_id"].cast(pl.String).to_list()
    platforms = frame["platform"].cast(pl.String).to_list() if "platform" in frame.columns else [""] * frame.height
    return [None if account is None else f"{platform or ''}/{account}" for platform, account in zip(platforms, accounts, strict=True)]


def headline_vectors(inputs: Inputs, x: Floats) -> tuple[Floats, str]:
    """(vectors that similar headlines share, their basis): the encoder's, else idf-weighted words."""
    if "headline" in inputs.meanings:
        return x[:, inputs.meaning_slices()[inputs.meanings.index("headline")]], "meaning"
    return x[:, inputs.n_hand : inputs.n_explained] * inputs.idf, "words"


def normal(z: float) -> float:
    """Standard normal distribution function."""
    return 0.5 * (1 + erf(float(z) / sqrt(2)))
