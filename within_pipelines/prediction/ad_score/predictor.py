"""How well will this creative do beside its siblings, and which of its parts say so?"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from math import exp, sqrt
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.exceptions import ArtifactError, NotFittedError, SampleError, SettingsError
from within_pipelines.features import Speller
from within_pipelines.prediction.ad_score.answers import accounts_of, answers_of, headline_vectors, normal
from within_pipelines.prediction.ad_score.contrasts import (
    HIDDEN,
    between_ad_variance,
    within_group,
)
from within_pipelines.prediction.ad_score.fitted import Fitted
from within_pipelines.prediction.ad_score.folds import clusters_of, folds_of
from within_pipelines.prediction.ad_score.inputs import Inputs
from within_pipelines.prediction.ad_score.levels import LevelModel, check_history
from within_pipelines.prediction.ad_score.library import AdLibrary, PastAd
from within_pipelines.prediction.ad_score.model import Ridge, Sample
from within_pipelines.prediction.ad_score.network import Network
from within_pipelines.prediction.ad_score.scores import AdScore, AdScores
from within_pipelines.prediction.ad_score.stack import Stack
from within_pipelines.prediction.ad_score.suggestions import EDITABLE, EditInterval, Suggestion, bag_of, edit_distance, edits, offered
from within_pipelines.prediction.ad_score.support import Support
from within_pipelines.prediction.ad_score.tables import creatives, observed_ads, with_features
from within_pipelines.prediction.ad_score.vocabulary import joined_text
from within_pipelines.prediction.ad_score.winning import beside_share, fit_sharpness
from within_pipelines.prediction.arguments import check_fit, is_number, is_whole
from within_pipelines.prediction.artifact import read_artifact, write_artifact
from within_pipelines.prediction.champion import champion_folder
from within_pipelines.prediction.conformal import conformal_quantile
from within_pipelines.prediction.encoder import TextEncoder, find_encoder
from within_pipelines.prediction.frames import require
from within_pipelines.prediction.objective import ObjectiveFor

Floats = NDArray[np.float64]

AD_SCORE_KINDS: tuple[str, ...] = ("stack", "longer_headline")
_LENGTH = ("headline_characters",)
_MOST_EDITS = 12
# Rows whose input matrix is held at once.
_CHUNK = 8192


class AdScorePredictor:
    """Ranks creatives within the group that they compete in (an ad group, an A/B test).

    `fit` takes a pandas or polars table with at least `headline` and `group_id`; also used where present: `description`,
    `call_to_action`, `format`, `platform`, `audience_segment`, `image_embedding` (a list of numbers), `impressions` (the weight of a row),
    `first_day` and what was known before it (`account_clicks_before`, `account_impressions_before`, the same for `campaign_` and
    `group_`). Labels are click-through rates in [0, 1]. `kind="stack"` stacks a ridge on words and text statistics, boosted trees, a ridge
    on the meaning of texts and image, and a network; `kind="longer_headline"` is the simple rival. `encoder` is the sentence encoder or its
    name ("all-MiniLM-L6-v2", "all-mpnet-base-v2", a folder, "none"); the default is the one that `find_encoder` finds, and words alone
    where there is none. An unfitted predictor answers with the registered champion."""

    model = "ad_score"

    def __init__(self, *, kind: str = "stack", level: float = 0.9, encoder: str | TextEncoder | None = None) -> None:
        if kind not in AD_SCORE_KINDS:
            raise SettingsError(f"kind={kind!r} is unknown; give one of {', '.join(AD_SCORE_KINDS)}.")
        if not (is_number(level) and 0.5 <= level < 1):
            raise SettingsError(f"level={level!r} is no interval level; give a number from 0.5 up to 1.")
        if not (encoder is None or isinstance(encoder, str) or hasattr(encoder, "encode")):
            raise SettingsError(f"encoder={encoder!r} is no sentence encoder; give its name or folder as text, 'none', or a TextEncoder.")
        self.kind = kind
        self.level = float(level)
        self.encoder = encoder
        self._fitted: Fitted | None = None

    @property
    def fitted(self) -> bool:
        """Whether `fit` or `load` has been called."""
        return self._fitted is not None

    @property
    def _state(self) -> Fitted:
        if self._fitted is None:
            raise NotFittedError("This ad_score predictor is not fitted; call fit(), or predict(), which asks for the champion.")
        return self._fitted

    @property
    def residual_sd(self) -> float:
        """Standard deviation of true contrasts around their prediction, in log-odds."""
        return self._state.residual

    @property
    def sharpness(self) -> float:
        """Slope that calibrates win probabilities on ads that the parts had not seen; below 1 where they would be too bold."""
        return self._state.sharpness

    @property
    def interval_quantile(self) -> float:
        """Conformal quantile of |error| over its standard deviation at the interval's level."""
        return self._state.quantile

    @property
    def feature_names(self) -> list[str]:
        """Names of what is explained: features, words as `word:...`, meanings of texts as `meaning:...`."""
        return self._state.inputs.names

    @property
    def encoder_in_use(self) -> TextEncoder | None:
        """The sentence encoder that this model was fitted on; None for words alone."""
        return self._state.inputs.encoder

    def encoded_texts(self, data: Any) -> set[str]:
        """The texts of these creatives whose meaning is read, as the encoder is given them."""
        return {text for own in self._state.inputs.texts(creatives(data)).values() for text in own} - {""}

    @property
    def details(self) -> dict[str, Any]:
        """What the registry says of this model: encoder, weights of the stacked parts, penalties, sizes."""
        state = self._state
        encoder = state.inputs.encoder
        return {
            "encoder": "words only" if encoder is None else encoder.name,
            "encoder_sha256": None if encoder is None else encoder.sha256,
            "encoded_texts": list(state.inputs.meanings),
            "weights": {name: round(weight, 4) for name, weight in state.stack.weights.items()},
            "penalties": state.stack.penalties,
            "words": len(state.inputs.vocabulary),
        }

    @property
    def has_levels(self) -> bool:
        """Whether click-through rates start from learned levels, which `recalibrated` can set anew."""
        return self._state.levels is not None

    @property
    def curves(self) -> dict[str, list[float]]:
        """Learning curves by name: the network's mean loss per ad and epoch."""
        network = self._state.stack.network
        return {} if network is None else {"network_loss": [float(loss) for loss in network.losses.mean(axis=0)]}

    def _encoder(self) -> TextEncoder | None:
        return find_encoder(self.encoder) if self.encoder is None or isinstance(self.encoder, str) else self.encoder

    def fit(self, data: Any, labels: Any = None, *, seed: int = 7, threads: int = 1, objective: ObjectiveFor | None = None) -> Self:
        """Fit on past ads; `labels` are click-through rates (default: `clicks` / `impressions` of the table).

        Groups are dealt into five folds by a stable hash of their cluster; predictions for the groups of each fold by parts fitted on the
        others set the penalties, the weights of the parts and the intervals. Then everything is fitted once on all. Clusters are the
        column `cluster_id` where it is given (a story, a product), else groups that share a headline, because a text that was seen with
        its result is no test. Deterministic for a seed. With `objective` the score is that of the network
        alone, which descends it (hardened, or fairer: `prediction.objective`), because lines and trees would not.

        Ads that were never shown, are in no group or alone in theirs teach nothing and are left out. `impressions` that are missing
        count as 10,000 beside labels.

        Raises `SchemaError` without `headline` or `group_id`, for counts that are no numbers and a `first_day` that holds no dates;
        `SampleError` for labels outside [0, 1], impressions that are missing where there are no labels, or fewer than 12 groups with at
        least two ads; `ArtifactError` when a named encoder is not installed; `SettingsError` for an objective of the rival, which has no
        network, and for a seed or threads that are no whole numbers."""
        check_fit(seed=seed, threads=threads)
        # All at once, so that a refused refit leaves the model as it was.
        self._fitted = self._learned(data, labels, seed=seed, threads=threads, objective=objective)
        return self

    def _learned(self, data: Any, labels: Any, *, seed: int, threads: int, objective: ObjectiveFor | None) -> Fitted:
        from within_pipelines.features import CREATIVE_FEATURES

        frame, seen = observed_ads(data, labels)
        frame = with_features(frame)
        simple = self.kind == "longer_headline"
        if simple and objective is not None:
            raise SettingsError("longer_headline has no network to train with an objective; give objective=None, or kind='stack'.")
        encoder = None if simple else self._encoder()
        inputs = Inputs.learn(frame, features=_LENGTH if simple else CREATIVE_FEATURES.columns, words=not simple, encoder=encoder)
        x = inputs.matrix(frame, remember=False)
        spread = sqrt(between_ad_variance(seen))
        weight = 1 / (seen.variance + spread**2)
        contrast = within_group(seen.log_odds, weight, seen.group, seen.n_groups)
        sample = Sample(x, contrast, weight, seen.group)
        fold = folds_of(clusters_of(frame), seed=seed)
        stack, unseen = Stack.fit(
            inputs, sample, fold, spread=spread, simple=simple, seed=seed, threads=threads,
            objective=None if objective is None else lambda rows, seen_of: objective(frame[rows], seen_of),
        )  # fmt: skip
        beside = within_group(unseen, weight, seen.group, seen.n_groups)
        residual, quantile = self._interval(sample, contrast - beside, seen.variance)
        vectors, basis = headline_vectors(inputs, x)
        return Fitted(
            inputs=inputs,
            stack=stack,
            centre=float(np.average(stack(inputs, x), weights=weight)),
            spread=spread,
            residual=residual,
            quantile=quantile,
            sharpness=fit_sharpness(seen, unseen, residual=residual),
            edit_interval=EditInterval.fit(frame, seen.group, contrast, seen.variance, unseen, level=self.level, seed=seed),
            choices=offered(frame),
            support=Support.learn(inputs, frame, x, seed=seed),
            levels=LevelModel.fit(frame, seen, beside, level=self.level),
            library=AdLibrary.of(
                joined_text(frame),
                contrast,
                seen.variance,
                frame["_rate"].to_numpy(),
                seen.impressions,
                vectors,
                basis=basis,
                spread=spread,
                accounts=accounts_of(frame),
            ),
        )

    def _interval(self, sample: Sample, error: Floats, variance: Floats) -> tuple[float, float]:
        """Spread of the truth around predictions that were made without the ad's own group, and the conformal quantile."""
        total = sample.weight.sum()
        excess = float(np.sum(sample.weight * (error**2 - variance)) / total)
        # As for the spread of siblings: what noise hides is not known to be nothing.
        unsure = HIDDEN * sqrt(2 * float(np.sum((sample.weight * variance) ** 2))) / total
        # A group's own mean takes a part of each error with it.
        lost = 1 - sample.n_groups / sample.y.size
        residual = sqrt(max(excess / lost, unsure, 1e-4))
        shown = beside_share(sample.group)
        return residual, conformal_quantile(np.abs(error) / np.sqrt(shown * (residual**2 + variance)), level=self.level)

    def recalibrated(self, recent: Any, labels: Any = None) -> Self:
        """A predictor that ranks as this one, with the level of its click-through rates set anew from `recent` ads (as in `fit`).

        The newest 28 days of `recent` count. Rankings, explanations and intervals of contrasts stay as they are.

        Raises `SampleError` when this predictor was fitted on ads without history, or `recent` holds too few groups."""
        state = self._state
        if state.levels is None:
            raise SampleError("This predictor was fitted on ads without account history, so it has no level to recalibrate.")
        frame, seen = observed_ads(recent, labels)
        frame = with_features(frame)
        beside = within_group(state.stack(state.inputs, state.inputs.matrix(frame)), np.ones(frame.height), seen.group, seen.n_groups)
        other = type(self)(kind=self.kind, level=self.level, encoder=self.encoder)
        other._fitted = replace(state, levels=state.levels.recalibrated(frame, seen, beside, level=self.level))
        return other

    def contrasts(self, data: Any) -> Floats:
        """Predicted log-odds of a click of each row, less the mean over all past ads (not of the siblings).

        Memory does not grow with the number of rows beyond the answer itself."""
        state, frame = self._state, creatives(data)
        chunks = [state.stack(state.inputs, state.inputs.matrix(part)) for part in frame.iter_slices(_CHUNK)]
        return (np.concatenate(chunks) if chunks else np.zeros(0)) - state.centre

    def smooth_part(self, data: Any) -> tuple[Network | Ridge, Floats, Floats]:
        """(the network, or the line on words where there is none; what it sees of these ads; the spread of each input in training, 0 for
        constant ones). For attacks and certificates, which ask about inputs and not about ads."""
        state, frame = self._state, creatives(data)
        part, columns = state.stack.smooth_part(state.inputs, state.inputs.matrix(frame))
        return part, columns, np.where(np.isfinite(part.scale), part.scale, 0.0)

    def scores(self, data: Any) -> Floats:
        """The scores of `predict` alone, without reasons, intervals and similar ads, at a tenth of the cost."""
        frame, state = self._prepared(data), self._state
        contrast = self.contrasts(frame)
        group = _siblings(frame)
        if group is not None:
            alone = np.bincount(group)[group] == 1
            contrast = np.where(alone, contrast, within_group(contrast, np.ones(len(contrast)), group, int(group.max()) + 1))
        width = sqrt(state.residual**2 + state.spread**2)
        return np.array([100 * normal(state.sharpness * value / width) for value in contrast])

    def predict(self, data: Any, *, suggestions: int = 0) -> AdScores:
        """Score each row. With `group_id` in the table the siblings are the rows of the same group, else past ads.

        `suggestions` asks for up to so many edits per creative, which costs about ten more predictions each.

        Raises `NotFittedError` when this predictor is not fitted and no champion is registered, `SchemaError` without `headline` and for
        columns of another kind, `SampleError` for an empty table, `SettingsError` for `suggestions` that are no whole number."""
        if not (is_whole(suggestions) and suggestions >= 0):
            raise SettingsError(f"suggestions={suggestions!r} is no number of edits; give a whole number, 0 for none.")
        frame = self._prepared(data)
        state = self._state
        x = state.inputs.matrix(frame)
        group = _siblings(frame)
        parts = self._contributions(x, group)
        answers = answers_of(state, frame, x, parts, group, level=self.level)
        if suggestions > 0:
            found = self._suggested(self._checked(data), answers, most=suggestions)
            answers = [replace(answer, suggestions=own) for answer, own in zip(answers, found, strict=True)]
        return AdScores(tuple(answers))

    def predict_batches(self, batches: Iterable[Any]) -> Iterator[AdScores]:
        """`predict` for each table of `batches`; siblings must come in the same table."""
        for batch in batches:
            yield self.predict(batch)

    def _contributions(self, x: Floats, group: NDArray[np.intp] | None) -> Floats:
        """Per name and intercept; rows add up to the contrast."""
        state = self._state
        parts = state.stack.contributions(state.inputs, x)
        parts[:, -1] -= state.centre
        if group is None:
            return parts
        # An ad without siblings in the table is compared with past ads: centred on itself it would always be average.
        alone = np.bincount(group)[group] == 1
        beside = within_group(parts, np.ones(len(x)), group, int(group.max()) + 1)
        return np.where(alone[:, None], parts, beside)

    def _suggested(self, frame: pl.DataFrame, answers: list[AdScore], *, most: int) -> list[tuple[Suggestion, ...]]:
        """The edits with the highest lower bound whose expected uplift is above 0 and whose result the training ads support."""
        state = self._state
        given = [name for name in frame.columns if name in EDITABLE or name in ("platform", "audience_segment")]
        frame = frame.with_columns(pl.col(given).cast(pl.String))
        creatives = frame.select(given).to_dicts()
        tried = [
            (row, field, value, {**creative, field: value})
            for row, (creative, answer) in enumerate(zip(creatives, answers, strict=True))
            for field, value in edits(creative, list(answer.costly_words), state.choices)[:_MOST_EDITS]
        ]
        if not tried:
            return [() for _ in creatives]
        schema = frame.select(given).schema
        changed = with_features(pl.DataFrame([edited for *_, edited in tried], schema=schema))
        after, reasons = [], []
        for part in changed.iter_slices(_CHUNK // 8):
            x = state.inputs.matrix(part)
            after.append(state.stack(state.inputs, x))
            reasons += state.support.reasons(state.inputs, part, x)
        # Beside the creative itself without its siblings' history, which an edit does not change.
        before = state.stack(state.inputs, state.inputs.matrix(with_features(frame.select(given))))
        gain = np.concatenate(after) - before[[row for row, *_ in tried]]
        found: list[list[Suggestion]] = [[] for _ in creatives]
        for i, (row, field, value, edited) in enumerate(tried):
            if gain[i] <= 0 or reasons[i]:
                continue
            half = state.edit_interval.half_width(edit_distance(bag_of(creatives[row]), bag_of(edited)))
            low, middle, high = (exp(float(gain[i]) + step) - 1 for step in (-half, 0.0, half))
            found[row].append(Suggestion(field, creatives[row][field], value, middle, low, high))
        return [tuple(sorted(own, key=lambda s: (-s.low, s.field, s.after))[:most]) for own in found]

    def explain(self, data: Any) -> pl.DataFrame:
        """Contributions to the contrast in log-odds: one column per name plus `intercept`; they add up to `log_odds_contrast`.

        Exact for each part: products of a line, Shapley values of the trees (Lundberg et al. 2020), integrated gradients of the network."""
        frame = self._prepared(data)
        parts = self._contributions(self._state.inputs.matrix(frame), _siblings(frame))
        columns = {name: parts[:, i] for i, name in enumerate([*self.feature_names, "intercept"])}
        return pl.DataFrame(columns).with_columns(log_odds_contrast=pl.Series(parts.sum(axis=1)))

    def _prepared(self, data: Any) -> pl.DataFrame:
        """The creatives as the model reads them: misspelt words corrected."""
        frame = self._checked(data)
        return self._state.inputs.spelled(frame)

    def _checked(self, data: Any) -> pl.DataFrame:
        """The creatives as they were given."""
        if not self.fitted:
            self.__dict__.update(type(self).load(champion_folder(self.model)).__dict__)
        frame = creatives(data)
        if frame.is_empty():
            raise SampleError("The table holds no creatives; give at least one row.")
        require(frame, ["headline"], why="give the creatives' texts, missing ones as null.")
        check_history(frame)
        return frame

    def save(self, folder: str | Path) -> str:
        """Write the artifact to `folder`; returns its `model_sha256`.

        Raises `NotFittedError` when there is nothing to save."""
        from safetensors.numpy import save

        state = self._state
        inputs, library = state.inputs, state.library
        values = {
            "features": inputs.features,
            "vocabulary": inputs.vocabulary,
            "meanings": inputs.meanings,
            "image_width": inputs.image_width,
            "weights": state.stack.weights,
            "penalties": state.stack.penalties,
            "centre": state.centre,
            "spread": [state.spread, state.residual, state.quantile, state.sharpness],
            "edit_interval": asdict(state.edit_interval),
            "spelling": [] if inputs.speller is None else sorted(inputs.speller.words),
            "choices": state.choices,
            "support": state.support.to_dict(),
            "levels": None if state.levels is None else state.levels.to_dict(),
            "library": {"basis": library.basis, "ads": [asdict(ad) for ad in library.ads]},
        }
        arrays: dict[str, NDArray[Any]] = {"idf": inputs.idf, **state.stack.arrays(), **state.support.arrays()}
        arrays |= {"library.vectors": library.vectors.astype(np.float16), "library.centre": library.centre}
        files = {
            "model.json": json.dumps(values, sort_keys=True).encode(),
            "arrays.safetensors": save({name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())}),
        }
        if state.stack.trees is not None:
            files["trees.ubj"] = state.stack.trees
        encoder = None if inputs.encoder is None else {"name": inputs.encoder.name, "sha256": inputs.encoder.sha256}
        manifest = {"model": self.model, "kind": self.kind, "level": self.level, "encoder": encoder, "features_sha256": _features_sha256()}
        return write_artifact(folder, files, manifest)

    @classmethod
    def load(cls, folder: str | Path, *, encoder: TextEncoder | None = None) -> Self:
        """The predictor that `save` wrote; `encoder` serves one that `find_encoder` does not know by name.

        Raises `ArtifactError` when the artifact is damaged or of another model, or when the encoder that it was fitted on is not here."""
        from safetensors.numpy import load

        artifact = read_artifact(folder, model=cls.model)
        if artifact.manifest.get("features_sha256") != _features_sha256():
            raise ArtifactError(f"{folder} was fitted on creative features as another release computes them; train again (`within run`).")
        wanted = artifact.manifest["encoder"]
        if wanted is not None and encoder is None:
            encoder = _encoder_of(wanted, folder)
        if wanted is not None and (encoder is None or encoder.sha256 != wanted["sha256"]):
            raise ArtifactError(
                f"{folder} was fitted on the encoder {wanted['name']} with identity {wanted['sha256'][:12]}, and this machine has "
                f"{'none' if encoder is None else encoder.sha256[:12]}; give the same weights in the same precision, or train again."
            )
        values, arrays = json.loads(artifact.text("model.json")), load(artifact.bytes("arrays.safetensors"))
        trees = artifact.bytes("trees.ubj") if "trees.ubj" in artifact.manifest["files"] else None
        ads = tuple(PastAd(**ad) for ad in values["library"]["ads"])
        vectors = arrays["library.vectors"].astype(np.float32)
        loaded = cls(kind=artifact.manifest["kind"], level=artifact.manifest["level"], encoder=None if wanted is None else wanted["name"])
        spread, residual, quantile, sharpness = values["spread"]
        loaded._fitted = Fitted(
            inputs=Inputs(
                tuple(values["features"]),
                tuple(values["vocabulary"]),
                arrays["idf"],
                tuple(values["meanings"]),
                encoder if wanted is not None else None,
                values["image_width"],
                Speller(frozenset(values["spelling"])) if values["vocabulary"] or values["spelling"] else None,
            ),
            stack=Stack.restored(values["weights"], values["penalties"], arrays, trees),
            centre=values["centre"],
            spread=spread,
            residual=residual,
            quantile=quantile,
            sharpness=sharpness,
            edit_interval=EditInterval(**values["edit_interval"]),
            choices={name: tuple(found) for name, found in values["choices"].items()},
            support=Support.restored(values["support"], arrays),
            levels=None if values["levels"] is None else LevelModel.from_dict(values["levels"]),
            library=AdLibrary(ads, vectors, values["library"]["basis"], arrays["library.centre"]),
        )
        return loaded


def _encoder_of(wanted: dict[str, Any], folder: str | Path) -> TextEncoder | None:
    from within_pipelines.prediction.encoder import PACKAGED

    if all(part in PACKAGED for part in wanted["name"].split("+")):
        return find_encoder(wanted["name"])
    return find_encoder()


def _features_sha256() -> str:
    from within_pipelines.features import CREATIVE_FEATURES

    return CREATIVE_FEATURES.sha256


def _siblings(frame: pl.DataFrame) -> NDArray[np.intp] | None:
    if "group_id" not in frame.columns:
        return None
    names: list[str | None] = frame["group_id"].cast(pl.String).to_list()
    place = {name: i for i, name in enumerate(sorted({name for name in names if name}))}
    # Ads whose group is not known are nobody's siblings: each is its own group.
    alone = iter(range(len(place), len(place) + frame.height))
    return np.array([place[name] if name else next(alone) for name in names], dtype=np.intp)
