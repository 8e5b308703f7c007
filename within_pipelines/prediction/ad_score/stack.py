"""Several models of the same contrast, stacked with non-negative weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from within_pipelines.prediction.ad_score.inputs import Inputs
from within_pipelines.prediction.ad_score.model import (
    MEANING_PENALTIES,
    PENALTIES,
    Ridge,
    Sample,
    cross_fit,
    cross_fit_ridge,
    fit_ridge,
    fit_trees,
    open_trees,
    stack_weights,
    tree_contributions,
    tree_values,
)
from within_pipelines.prediction.ad_score.network import Network, fit_network
from within_pipelines.prediction.objective import RowObjective, TrainingObjective

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Stack:
    """Fitted parts and their weights; what a part sees is a range of columns of the input matrix.

    - `words`: ridge on hand-made features and words,
    - `trees`: boosted trees on hand-made features,
    - `meaning`: ridge on the encoder's columns and the image embedding,
    - `network`: a network with Bradley-Terry loss on hand-made features and the encoder's columns (words where there is no encoder).

    Trained with an objective, it is the network alone."""

    weights: dict[str, float]
    words: Ridge | None = None
    trees: bytes | None = None
    meaning: Ridge | None = None
    network: Network | None = None
    penalties: dict[str, float] | None = None
    booster: Any = None

    @classmethod
    def fit(
        cls, inputs: Inputs, sample: Sample, fold: NDArray[np.int64], *, spread: float, simple: bool, seed: int, threads: int,
        objective: Callable[[NDArray[np.intp], Floats], TrainingObjective | RowObjective] | None = None,
    ) -> tuple[Self, Floats]:  # fmt: skip
        """(the stack, its predictions of each ad by parts that have not seen the ad's fold).

        Each part is fitted five times without a fold; these predictions set the penalties and the weights. Then each part is fitted once
        on all. `simple` is the rival: one unpenalised line on one feature. `objective` makes what the network descends from the numbers of
        the rows that it is fitted on and from what it sees of them. Then the network is the only part: lines and trees that do not descend
        the objective would take its weight, and with it what was asked for."""
        if objective is not None:
            alone = cls({})
            return alone, alone._weighed(
                sample, {"network": alone._add_network(inputs, sample, fold, spread=spread, seed=seed, objective=objective)}
            )
        explained = _columns(sample, slice(0, inputs.n_explained))
        unseen: dict[str, Floats] = {}
        penalties: dict[str, float] = {}
        unseen["words"], penalties["words"] = cross_fit_ridge(explained, fold, penalties=(1e-6,) if simple else PENALTIES)
        found = cls({}, fit_ridge(explained, penalty=penalties["words"]))
        if not simple:
            hand = _columns(sample, slice(0, inputs.n_hand))

            def trees(part: Sample) -> Any:
                booster = open_trees(fit_trees(part, seed=seed, threads=threads))
                return lambda x: tree_values(booster, x)

            unseen["trees"] = cross_fit(hand, fold, trees)
            found.trees = fit_trees(hand, seed=seed, threads=threads)
            if inputs.meanings or inputs.image_width:
                meaning = _columns(sample, slice(inputs.n_explained, sample.x.shape[1]))
                unseen["meaning"], penalties["meaning"] = cross_fit_ridge(meaning, fold, penalties=MEANING_PENALTIES)
                found.meaning = fit_ridge(meaning, penalty=penalties["meaning"])
            unseen["network"] = found._add_network(inputs, sample, fold, spread=spread, seed=seed, objective=None)
        found.penalties = penalties
        return found, found._weighed(sample, unseen)

    def _add_network(
        self, inputs: Inputs, sample: Sample, fold: NDArray[np.int64], *, spread: float, seed: int,
        objective: Callable[[NDArray[np.intp], Floats], TrainingObjective | RowObjective] | None,
    ) -> Floats:  # fmt: skip
        """Fit the network on everything; what networks that have not seen an ad's fold say of it."""
        seen = Sample(sample.x[:, _network_columns(inputs, sample.x.shape[1])], sample.y, sample.weight, sample.group)

        def network(rows: NDArray[np.intp]) -> Network:
            part = _renumbered(Sample(seen.x[rows], seen.y[rows], seen.weight[rows], seen.group[rows]))
            return fit_network(part, spread=spread, seed=seed, objective=None if objective is None else objective(rows, part.x))

        unseen = np.zeros(seen.y.size)
        for k in np.unique(fold):
            unseen[fold == k] = network(np.flatnonzero(fold != k))(seen.x[fold == k])
        self.network = network(np.arange(seen.y.size))
        return unseen

    def _weighed(self, sample: Sample, unseen: Mapping[str, Floats]) -> Floats:
        """Set the weights by what the parts say of unseen ads, and say it with these weights."""
        weights = stack_weights(sample, list(unseen.values()))
        self.weights = dict(zip(unseen, weights.tolist(), strict=True))
        return np.asarray(sum(self.weights[name] * prediction for name, prediction in unseen.items()))

    def _parts(self, inputs: Inputs, x: Floats) -> Mapping[str, tuple[Any, NDArray[np.intp]]]:
        """Each part that has a weight, with the columns that it sees."""
        everything = np.arange(x.shape[1])
        parts: dict[str, tuple[Any, NDArray[np.intp]]] = {}
        if self.words is not None:
            parts["words"] = (self.words, everything[: inputs.n_explained])
        if self.trees is not None:
            if self.booster is None:
                self.booster = open_trees(self.trees)
            parts["trees"] = (self.booster, everything[: inputs.n_hand])
        if self.meaning is not None:
            parts["meaning"] = (self.meaning, everything[inputs.n_explained :])
        if self.network is not None:
            parts["network"] = (self.network, _network_columns(inputs, x.shape[1]))
        return {name: part for name, part in parts.items() if self.weights.get(name, 0.0) > 0}

    def smooth_part(self, inputs: Inputs, x: Floats) -> tuple[Network | Ridge, Floats]:
        """(the network, or the line on words where there is none; its columns of `x`)."""
        if self.network is not None:
            return self.network, np.ascontiguousarray(x[:, _network_columns(inputs, x.shape[1])])
        # One of the two is always there.
        assert self.words is not None
        return self.words, np.ascontiguousarray(x[:, : inputs.n_explained])

    def __call__(self, inputs: Inputs, x: Floats) -> Floats:
        """Predicted log-odds, up to a constant that siblings share."""
        total = np.zeros(len(x))
        for name, (part, columns) in self._parts(inputs, x).items():
            seen = np.ascontiguousarray(x[:, columns])
            total += self.weights[name] * (tree_values(part, seen) if name == "trees" else part(seen))
        return total

    def contributions(self, inputs: Inputs, x: Floats) -> Floats:
        """Per name of `inputs.names`, the last column the intercept; rows add up to the prediction."""
        wide, intercept = np.zeros_like(x), np.zeros(len(x))
        for name, (part, columns) in self._parts(inputs, x).items():
            seen = np.ascontiguousarray(x[:, columns])
            if name == "trees":
                own = tree_contributions(part, seen)
                intercept += self.weights[name] * own[:, -1]
                own = own[:, :-1]
            else:
                own = part.contributions(seen)
            wide[:, columns] += self.weights[name] * own
        return np.column_stack([inputs.explained(wide), intercept])

    def arrays(self) -> dict[str, Floats]:
        """Everything numeric but the trees, by name."""
        found: dict[str, Floats] = {}
        for name in ("words", "meaning"):
            ridge: Ridge | None = getattr(self, name)
            if ridge is not None:
                found |= {f"{name}.mean": ridge.mean, f"{name}.scale": ridge.scale, f"{name}.coefficients": ridge.coefficients}
        if self.network is not None:
            net = self.network
            found |= {"network.mean": net.mean, "network.scale": net.scale, "network.inner": net.inner}
            found |= {"network.bias": net.bias, "network.outer": net.outer, "network.losses": net.losses}
        return found

    @classmethod
    def restored(cls, weights: dict[str, float], penalties: dict[str, float], arrays: Mapping[str, Floats], trees: bytes | None) -> Self:
        """The stack that `arrays` came from."""

        def ridge(name: str) -> Ridge | None:
            if f"{name}.mean" not in arrays:
                return None
            return Ridge(arrays[f"{name}.mean"], arrays[f"{name}.scale"], arrays[f"{name}.coefficients"])

        network = None
        if "network.inner" in arrays:
            network = Network(*(arrays[f"network.{part}"] for part in ("mean", "scale", "inner", "bias", "outer", "losses")))
        return cls(weights, ridge("words"), trees, ridge("meaning"), network, penalties)


def _columns(sample: Sample, columns: slice) -> Sample:
    return Sample(np.ascontiguousarray(sample.x[:, columns]), sample.y, sample.weight, sample.group)


def _network_columns(inputs: Inputs, width: int) -> NDArray[np.intp]:
    hand = np.arange(inputs.n_hand)
    rest = np.arange(inputs.n_explained, width) if inputs.meanings or inputs.image_width else np.arange(inputs.n_hand, inputs.n_explained)
    return np.concatenate([hand, rest])


def _renumbered(sample: Sample) -> Sample:
    """The same sample with group numbers that have no gaps."""
    return Sample(sample.x, sample.y, sample.weight, np.unique(sample.group, return_inverse=True)[1])
