"""How well will this creative do beside its siblings, and which of its parts say so?"""

from __future__ import annotations

import hashlib
import json
from math import erf, sqrt
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.exceptions import ArtifactError, NotFittedError, SampleError, SettingsError
from within_pipelines.prediction.ad_score.contrasts import Observed, between_ad_variance, observe, within_group
from within_pipelines.prediction.ad_score.library import AdLibrary
from within_pipelines.prediction.ad_score.model import (
    PENALTIES,
    Ridge,
    Sample,
    best_blend,
    cross_fit,
    fit_ridge,
    fit_trees,
    open_trees,
    tree_contributions,
    tree_values,
)
from within_pipelines.prediction.ad_score.scores import AdScore, AdScores
from within_pipelines.prediction.ad_score.vocabulary import TEXT_COLUMNS, joined_text, learn_vocabulary, word_matrix, words_of
from within_pipelines.prediction.artifact import float_list, read_artifact, write_artifact
from within_pipelines.prediction.calibration import logit, sigmoid
from within_pipelines.prediction.champion import champion_folder
from within_pipelines.prediction.conformal import conformal_quantile
from within_pipelines.prediction.frames import as_polars, as_vector, matrix, require

Floats = NDArray[np.float64]

AD_SCORE_KINDS: tuple[str, ...] = ("ridge_xgboost", "longer_headline")
# Impressions that an ad counts for when the table does not say.
ASSUMED_IMPRESSIONS = 10_000.0
_MINIMUM_GROUPS = 12
_LENGTH = ("headline_characters",)
_COSTLY = -0.02


class AdScorePredictor:
    """Ranks creatives within the group that they compete in (an ad group, an A/B test).

    `fit` takes a pandas or polars table with at least `headline` and `group_id`; also used where present: `description`,
    `call_to_action`, `format`, `platform`, `audience_segment`, `impressions` (the weight of a row) and `first_day`. Labels are
    click-through rates in [0, 1]. `kind="ridge_xgboost"` blends a weighted ridge and boosted trees on text statistics, context and words;
    `kind="longer_headline"` is the simple rival. An unfitted predictor answers with the registered champion."""

    model = "ad_score"

    def __init__(self, *, kind: str = "ridge_xgboost", level: float = 0.9) -> None:
        if kind not in AD_SCORE_KINDS:
            raise SettingsError(f"kind={kind!r} is unknown; give one of {', '.join(AD_SCORE_KINDS)}.")
        if not 0.5 <= level < 1:
            raise SettingsError(f"level={level} is no interval level; give a number from 0.5 up to 1.")
        self.kind = kind
        self.level = level
        self._features: list[str] = []
        self._vocabulary: list[str] = []
        self._idf: Floats = np.zeros(0)
        self._ridge: Ridge | None = None
        self._trees: bytes | None = None
        self._booster: Any = None
        self._share, self._slope = 1.0, 1.0
        self._centre = 0.0
        self._spread, self._residual, self._quantile = 1.0, 1.0, 1.0
        self._library = AdLibrary((), ())

    @property
    def fitted(self) -> bool:
        """Whether `fit` or `load` has been called."""
        return self._ridge is not None

    @property
    def residual_sd(self) -> float:
        """Standard deviation of true contrasts around their prediction, in log-odds."""
        return self._residual

    @property
    def interval_quantile(self) -> float:
        """Conformal quantile of |error| over its standard deviation at the interval's level."""
        return self._quantile

    @property
    def feature_names(self) -> list[str]:
        """Names of the features, words as `word:...`."""
        return [*self._features, *(f"word:{word}" for word in self._vocabulary)]

    def fit(self, data: Any, labels: Any = None, *, seed: int = 7, threads: int = 1) -> Self:
        """Fit on past ads; `labels` are click-through rates (default: `clicks` / `impressions` of the table).

        Groups are dealt into five folds by a stable hash of their name; predictions for the groups of each fold by a model fitted on the
        others set the ridge penalty, the blend, its slope and the interval. Then everything is fitted once on all. Deterministic for a
        seed.

        Raises `SchemaError` without `headline` or `group_id`; `SampleError` for labels outside [0, 1] or fewer than 12 groups with at
        least two ads."""
        fresh = type(self)(kind=self.kind, level=self.level)
        fresh._fit(data, labels, seed=seed, threads=threads)
        # All at once, so that a refused refit leaves the model as it was.
        self.__dict__.update(fresh.__dict__)
        return self

    def _fit(self, data: Any, labels: Any, *, seed: int, threads: int) -> None:
        from within_pipelines.features import CREATIVE_FEATURES

        frame, seen = _observed(data, labels)
        self._features = list(CREATIVE_FEATURES.columns if self.kind == "ridge_xgboost" else _LENGTH)
        names = frame["group_id"].cast(pl.String).to_list()
        fold = np.array([_fold(name, seed) for name in names])
        # Few groups may all fall into one fold; then deal them in order.
        if min(len({n for n, f in zip(names, fold, strict=True) if f == k}) for k in range(5)) < 2:
            order = {name: i % 5 for i, name in enumerate(sorted(set(names)))}
            fold = np.array([order[name] for name in names])
        texts = joined_text(frame, TEXT_COLUMNS)
        self._vocabulary = learn_vocabulary(texts) if self.kind == "ridge_xgboost" else []
        present = word_matrix(texts, self._vocabulary)
        self._idf = np.log((1 + len(texts)) / (1 + present.sum(axis=0))) + 1.0
        x = np.column_stack([self._hand_features(frame), present])
        self._spread = sqrt(between_ad_variance(seen))
        weight = 1 / (seen.variance + self._spread**2)
        y = within_group(seen.log_odds, weight, seen.group, seen.n_groups)
        sample = Sample(x, y, weight, seen.group)
        penalties = PENALTIES if self.kind == "ridge_xgboost" else (1e-6,)
        with_trees = self.kind == "ridge_xgboost"
        linear, trees, penalty = cross_fit(sample, fold, penalties=penalties, with_trees=with_trees, seed=seed, threads=threads)
        self._share, self._slope = best_blend(sample, linear, trees)
        mixed = linear if trees is None else self._share * linear + (1 - self._share) * trees
        self._fit_interval(sample, self._slope * mixed, seen.variance)
        self._ridge = fit_ridge(sample, penalty=penalty)
        self._trees = fit_trees(sample, seed=seed, threads=threads) if with_trees else None
        self._booster = None
        self._centre = float(np.average(self._raw(x), weights=weight))
        deviation = np.sqrt(seen.variance + self._residual**2)
        self._library = AdLibrary.of(joined_text(frame), y, deviation)

    def _fit_interval(self, sample: Sample, unseen: Floats, variance: Floats) -> None:
        """Spread of the truth around predictions that were made without the ad's own group, and the conformal quantile."""
        error = sample.y - within_group(unseen, sample.weight, sample.group, sample.n_groups)
        excess = float(np.sum(sample.weight * (error**2 - variance)) / sample.weight.sum())
        # A group's own mean takes a part of each error with it.
        lost = 1 - sample.n_groups / sample.y.size
        self._residual = sqrt(max(excess / lost, 1e-4))
        self._quantile = conformal_quantile(np.abs(error) / np.sqrt(self._residual**2 + variance), level=self.level)

    def _hand_features(self, frame: pl.DataFrame) -> Floats:
        from within_pipelines.features import creative_features

        if set(self._features) <= set(frame.columns):
            return matrix(frame, self._features)
        return matrix(creative_features(frame), self._features)

    def _matrix(self, frame: pl.DataFrame) -> Floats:
        return np.column_stack([self._hand_features(frame), word_matrix(joined_text(frame, TEXT_COLUMNS), self._vocabulary)])

    def _boosted(self) -> Any:
        if self._booster is None:
            assert self._trees is not None
            self._booster = open_trees(self._trees)
        return self._booster

    def _raw(self, x: Floats) -> Floats:
        assert self._ridge is not None
        linear = self._ridge(x)
        mixed = linear if self._trees is None else self._share * linear + (1 - self._share) * tree_values(self._boosted(), x)
        result: Floats = self._slope * mixed
        return result

    def contrasts(self, data: Any) -> Floats:
        """Predicted log-odds of a click of each row, less the mean over all past ads (not of the siblings)."""
        self._refuse_unfitted()
        result: Floats = self._raw(self._matrix(as_polars(data))) - self._centre
        return result

    def _contributions(self, x: Floats, group: NDArray[np.intp] | None) -> Floats:
        """Per feature and intercept; rows add up to the contrast."""
        assert self._ridge is not None
        parts = np.column_stack([self._ridge.contributions(x), np.zeros(len(x))])
        if self._trees is not None:
            parts = self._share * parts + (1 - self._share) * tree_contributions(self._boosted(), x)
        parts = self._slope * parts
        parts[:, -1] -= self._centre
        if group is None:
            return parts
        # An ad without siblings in the table is compared with past ads: centred on itself it would always be average.
        alone = np.bincount(group)[group] == 1
        beside = within_group(parts, np.ones(len(x)), group, int(group.max()) + 1)
        return np.where(alone[:, None], parts, beside)

    def predict(self, data: Any) -> AdScores:
        """Score each row. With `group_id` in the table the siblings are the rows of the same group, else past ads.

        Raises `NotFittedError` when this predictor is not fitted and no champion is registered, `SchemaError` without `headline`,
        `SampleError` for an empty table."""
        frame = self._prepared(data)
        x = self._matrix(frame)
        group = _siblings(frame)
        parts = self._contributions(x, group)
        contrast = parts.sum(axis=1)
        names = self.feature_names
        text_columns = np.array([n.startswith(("headline", "description", "word:")) for n in names])
        audience_columns = np.array([n.startswith("audience") for n in names])
        words = x[:, len(self._features) :]
        similar = self._library.nearest(words, self._vocabulary, self._idf)
        statistics = self._statistics(frame)
        # A typical sibling's own contrast spreads by `_spread` around 0, this one's truth by `_residual` around its prediction.
        width = sqrt(self._residual**2 + self._spread**2)
        half = self._quantile * self._residual
        levels = frame["account_ctr"].cast(pl.Float64).to_list() if "account_ctr" in frame.columns else [None] * frame.height
        texts = joined_text(frame, TEXT_COLUMNS)
        headlines = joined_text(frame)
        known = set(self._vocabulary)
        idf = dict(zip(self._vocabulary, self._idf.tolist(), strict=True))
        answers = []
        for i in range(frame.height):
            own = parts[i, :-1]
            strongest = np.argsort(-np.abs(own), kind="stable")[:8]
            used = np.flatnonzero(words[i]) + len(self._features)
            tokens = words_of(texts[i])
            topical = [word for word in words_of(headlines[i]) if word in known]
            level = levels[i]
            answers.append(
                AdScore(
                    score=100 * _normal(contrast[i] / width),
                    log_odds_contrast=float(contrast[i]),
                    low=float(contrast[i] - half),
                    high=float(contrast[i] + half),
                    interval_level=self.level,
                    predicted_ctr=None if level is None else float(sigmoid(logit(np.array([level])) + contrast[i])[0]),
                    engagement=100 * _normal(own[text_columns].sum() / self._spread),
                    sentiment=50 * (1 + statistics["sentiment"][i]),
                    complexity=100 * (1 - min(max(statistics["reading_ease"][i], 0.0), 1.0)) if tokens else 0.0,
                    topic=max(topical, key=lambda word: (idf[word], word)) if topical else None,
                    audience_match=100 * _normal(own[audience_columns].sum() / self._spread),
                    confidence=sum(word in known for word in tokens) / len(tokens) if tokens else 0.0,
                    contributions={names[k]: float(own[k]) for k in strongest if own[k] != 0},
                    costly_words={
                        names[k].removeprefix("word:"): float(own[k]) for k in sorted(used, key=lambda k: own[k]) if own[k] < _COSTLY
                    },
                    similar_ads=similar[i],
                )
            )
        return AdScores(tuple(answers))

    @staticmethod
    def _statistics(frame: pl.DataFrame) -> dict[str, list[float]]:
        from within_pipelines.features import creative_features

        wanted = ("headline_sentiment", "description_sentiment", "headline_reading_ease")
        found = frame if set(wanted) <= set(frame.columns) else creative_features(frame)
        tone = [(a or 0.0, b or 0.0) for a, b in found.select("headline_sentiment", "description_sentiment").iter_rows()]
        return {
            "sentiment": [max(-1.0, min(1.0, a + b)) for a, b in tone],
            "reading_ease": [value or 0.0 for value in found["headline_reading_ease"].to_list()],
        }

    def explain(self, data: Any) -> pl.DataFrame:
        """Contributions to the contrast in log-odds: one column per feature plus `intercept`; they add up to `log_odds_contrast`."""
        frame = self._prepared(data)
        parts = self._contributions(self._matrix(frame), _siblings(frame))
        columns = {name: parts[:, i] for i, name in enumerate([*self.feature_names, "intercept"])}
        return pl.DataFrame(columns).with_columns(log_odds_contrast=pl.Series(parts.sum(axis=1)))

    def _prepared(self, data: Any) -> pl.DataFrame:
        if not self.fitted:
            self.__dict__.update(type(self).load(champion_folder(self.model)).__dict__)
        frame = as_polars(data)
        if frame.is_empty():
            raise SampleError("The table holds no creatives; give at least one row.")
        require(frame, ["headline"], why="give the creatives' texts, missing ones as null.")
        return frame

    def _refuse_unfitted(self) -> None:
        if not self.fitted:
            raise NotFittedError("This ad_score predictor is not fitted; call fit(), or predict(), which asks for the champion.")

    def save(self, folder: Path) -> str:
        """Write the artifact to `folder`; returns its `model_sha256`.

        Raises `NotFittedError` when there is nothing to save."""
        self._refuse_unfitted()
        assert self._ridge is not None
        state = {
            "features": self._features,
            "vocabulary": self._vocabulary,
            "idf": float_list(self._idf),
            "ridge": {
                "mean": float_list(self._ridge.mean),
                # JSON has no infinity; a constant column's scale is kept as null.
                "scale": [value if np.isfinite(value) else None for value in float_list(self._ridge.scale)],
                "coefficients": float_list(self._ridge.coefficients),
            },
            "blend": [self._share, self._slope, self._centre],
            "spread": [self._spread, self._residual, self._quantile],
            "library": {"headlines": list(self._library.headlines), "contrasts": list(self._library.contrasts)},
        }
        files = {"model.json": json.dumps(state, sort_keys=True).encode()}
        if self._trees is not None:
            files["trees.ubj"] = self._trees
        return write_artifact(folder, files, {"model": self.model, "kind": self.kind, "level": self.level})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The predictor that `save` wrote.

        Raises `ArtifactError` when the artifact is damaged or of another model."""
        artifact = read_artifact(folder)
        if artifact.manifest.get("model") != cls.model:
            raise ArtifactError(f"{folder} holds a {artifact.manifest.get('model')} model, not {cls.model}.")
        state = json.loads(artifact.text("model.json"))
        loaded = cls(kind=artifact.manifest["kind"], level=artifact.manifest["level"])
        loaded._features, loaded._vocabulary = state["features"], state["vocabulary"]
        loaded._idf = np.array(state["idf"], dtype=np.float64)
        ridge = state["ridge"]
        scale = np.array([np.inf if value is None else value for value in ridge["scale"]], dtype=np.float64)
        loaded._ridge = Ridge(np.array(ridge["mean"], dtype=np.float64), scale, np.array(ridge["coefficients"], dtype=np.float64))
        loaded._share, loaded._slope, loaded._centre = state["blend"]
        loaded._spread, loaded._residual, loaded._quantile = state["spread"]
        loaded._library = AdLibrary(tuple(state["library"]["headlines"]), tuple(state["library"]["contrasts"]))
        loaded._trees = artifact.bytes("trees.ubj") if "trees.ubj" in artifact.manifest["files"] else None
        return loaded


def _normal(z: float) -> float:
    """Standard normal distribution function."""
    return 0.5 * (1 + erf(float(z) / sqrt(2)))


def _fold(name: str, seed: int) -> int:
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()[0] % 5


def _siblings(frame: pl.DataFrame) -> NDArray[np.intp] | None:
    if "group_id" not in frame.columns:
        return None
    group = frame["group_id"].cast(pl.String).rank("dense").cast(pl.Int64)
    # Ads whose group is not known are nobody's siblings: each is its own group.
    beyond = pl.int_range(frame.height, 2 * frame.height, eager=True)
    _, index = np.unique(group.zip_with(group.is_not_null(), beyond + 1).to_numpy(), return_inverse=True)
    siblings: NDArray[np.intp] = index.astype(np.intp)
    return siblings


def _observed(data: Any, labels: Any) -> tuple[pl.DataFrame, Observed]:
    """The usable ads (in groups of at least two) and what was observed of them."""
    frame = as_polars(data)
    require(frame, ["headline", "group_id"], why="group_id names the ads that compete with each other.")
    if labels is None:
        require(frame, ["clicks", "impressions"], why="without labels the click-through rate comes from these.")
        labels = frame["clicks"].cast(pl.Float64) / frame["impressions"].cast(pl.Float64)
    rate = as_vector(labels, rows=frame.height, what="labels")
    if frame.height and (rate.min() < 0 or rate.max() > 1):
        raise SampleError(f"labels lie in [{rate.min():g}, {rate.max():g}]; give click-through rates between 0 and 1.")
    shown = frame["impressions"].cast(pl.Float64) if "impressions" in frame.columns else pl.Series([ASSUMED_IMPRESSIONS] * frame.height)
    frame = frame.with_columns(pl.Series("_rate", rate, dtype=pl.Float64), shown.alias("_shown"))
    # An ad that was never shown is no sibling, so it goes before siblings are counted.
    frame = frame.filter((pl.col("_shown") > 0) & pl.col("_shown").is_finite() & pl.col("group_id").is_not_null())
    frame = frame.filter(pl.len().over("group_id") > 1)
    groups = frame["group_id"].n_unique()
    if groups < _MINIMUM_GROUPS:
        raise SampleError(
            f"{groups} groups hold at least two ads; at least {_MINIMUM_GROUPS} are needed to learn what makes the difference."
        )
    frame = frame.sort("group_id", maintain_order=True)
    return frame, observe(frame["_rate"].to_numpy(), frame["_shown"].to_numpy(), frame["group_id"].cast(pl.String).to_numpy())
