"""Post-processing: one cut-off per group, chosen on calibrated probabilities so that groups differ by at most a stated gap.

**Legal caveat.** A cut-off that depends on a protected attribute treats people differently because of it. In the European Union, the United
Kingdom and the United States that is direct discrimination (disparate treatment) in many uses, among them housing, employment and credit
advertising, even where it evens out results; elsewhere it may be required. Ask counsel before it decides about persons. Mitigation in
training (`FairLogistic`, `reweighing_weights`) does not need the attribute when it predicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError

Floats = NDArray[np.float64]
LEGAL_CAVEAT = (
    "Group thresholds decide by the protected attribute itself. That is direct discrimination in many uses (housing, employment and credit "
    "advertising among them), even where it evens out results: ask counsel first."
)
_CUTS = 80


@dataclass(frozen=True, slots=True)
class GroupThresholds:
    """Select a row when its score reaches the cut-off of its group; a group may mix a few cut-offs at random, with stated weights.

    `cuts` holds (threshold, weight) per group. `expected_accuracy` and `expected_gap` are what the calibrated probabilities of the training
    rows promise. `caveat` says why not to use it without counsel."""

    cuts: Mapping[str, tuple[tuple[float, float], ...]]
    expected_accuracy: float
    expected_gap: float
    caveat: str = LEGAL_CAVEAT

    @classmethod
    def fit(
        cls,
        scores: ArrayLike,
        outcome: ArrayLike,
        groups: ArrayLike,
        *,
        gap: float,
        criterion: Literal["demographic_parity", "equalized_odds"] = "demographic_parity",
        shrinkage: float = 10.0,
        serving_scores: ArrayLike | None = None,
    ) -> Self:
        """Maximise expected accuracy such that selection rates (or true and false positive rates) differ by at most `gap`.

        `scores` are probabilities of rows that the model has not seen (cross-fitted), else they promise too much. Expected, not observed,
        outcomes choose the cut-offs: sums of calibrated probabilities in place of counts, which small groups would overfit. The weights of
        a group's cut-offs solve a linear program, so the answer is the best for these probabilities and feasible for every gap. Cut-offs
        are found as selection rates; `serving_scores`, the final model's scores of the same rows, turn them into thresholds of that model,
        whose scores spread differently from cross-fitted ones.

        Raises `SampleError` for lengths that differ, scores outside [0, 1] or outcomes other than 0 and 1.

        >>> rng = np.random.default_rng(7)
        >>> g = np.repeat(["a", "b"], 300)
        >>> p = np.clip(rng.beta(2, 2, 600) + 0.2 * (g == "a"), 0, 1)
        >>> y = (rng.random(600) < p).astype(float)
        >>> chosen = GroupThresholds.fit(p, y, g, gap=0.02).probability(p, g)
        >>> bool(abs(chosen[g == "a"].mean() - chosen[g == "b"].mean()) < 0.03)
        True
        """
        p, y, labels = np.asarray(scores, dtype=np.float64), np.asarray(outcome, dtype=np.float64), np.asarray(groups).astype(str)
        final = p if serving_scores is None else np.asarray(serving_scores, dtype=np.float64)
        shapes = {p.shape, y.shape, labels.shape, final.shape}
        if len(shapes) > 1 or p.size == 0 or not np.all(np.isin(y, (0.0, 1.0))) or not np.all((p >= 0) & (p <= 1)) or gap < 0:
            raise SampleError(
                f"{p.size} scores, {y.size} outcomes, {labels.size} groups, gap {gap}; scores lie in [0, 1], outcomes are 0 or 1, gap >= 0."
            )
        names = np.unique(labels).tolist()
        intercept, slope, offsets = _calibrated(p, y, labels, names, shrinkage)
        expected = {g: np.sort(_probability(p[labels == g], intercept, slope, offsets[g]))[::-1] for g in names}
        weights, shares, right, reached = _best_mix(expected, gap, criterion)
        cuts = {}
        for g in names:
            own = np.sort(final[labels == g])[::-1]
            used = np.flatnonzero(weights[g] > 1e-9)
            cuts[g] = tuple((_between(own, int(shares[g][i])), float(weights[g][i])) for i in used)
        return cls(cuts, right / p.size, reached)

    def probability(self, scores: ArrayLike, groups: ArrayLike) -> Floats:
        """Probability of being selected per row: 0 or 1 but for rows between the cut-offs that a group mixes.

        Raises `SampleError` for a group that was not seen in fitting."""
        p, labels = np.asarray(scores, dtype=np.float64), np.asarray(groups).astype(str)
        if unknown := sorted(set(labels.tolist()) - set(self.cuts)):
            raise SampleError(f"Groups {unknown} were not seen when thresholds were chosen; fit again with them.")
        result = np.zeros(len(p))
        for g, mixed in self.cuts.items():
            own = labels == g
            for threshold, weight in mixed:
                result[own] += weight * (p[own] >= threshold)
        return result

    def select(self, scores: ArrayLike, groups: ArrayLike, *, rng: np.random.Generator) -> Floats:
        """0 or 1 per row, drawn where a group mixes cut-offs."""
        chance = self.probability(scores, groups)
        return (rng.random(len(chance)) < chance).astype(np.float64)


def _logit(p: Floats) -> Floats:
    clipped = np.clip(p, 1e-6, 1 - 1e-6)
    result: Floats = np.log(clipped / (1 - clipped))
    return result


def _probability(p: Floats, intercept: float, slope: float, offset: float) -> Floats:
    result: Floats = 1 / (1 + np.exp(-(intercept + slope * _logit(p) + offset)))
    return result


def _calibrated(
    p: Floats, y: Floats, labels: NDArray[np.str_], names: list[str], shrinkage: float
) -> tuple[float, float, dict[str, float]]:
    """Platt scaling with an offset per group, shrunk to 0 as if `shrinkage` / 4 rows of the average group stood beside each."""
    design = np.column_stack([np.ones(len(p)), _logit(p), *((labels == g).astype(np.float64) for g in names)])
    # A weak prior at slope 1: few rows say little about calibration.
    decay, centre = np.r_[1e-6, 1.0, np.full(len(names), shrinkage / 4)], np.r_[0.0, 1.0, np.zeros(len(names))]
    b = centre.copy()
    for _ in range(50):
        fitted = 1 / (1 + np.exp(-(design @ b)))
        weight = np.maximum(fitted * (1 - fitted), 1e-6)
        step = np.linalg.solve(design.T @ (weight[:, None] * design) + np.diag(decay), design.T @ (y - fitted) - decay * (b - centre))
        b = b + np.clip(step, -1, 1)
        if float(np.abs(step).max()) < 1e-8:
            break
    return float(b[0]), max(float(b[1]), 1e-3), dict(zip(names, b[2:].tolist(), strict=True))


def _between(descending: Floats, cut: int) -> float:
    """The threshold that selects the first `cut` of descending scores."""
    if cut == 0:
        return float("inf")
    if cut == len(descending):
        return float("-inf")
    return float((descending[cut - 1] + descending[cut]) / 2)


def _best_mix(
    expected: dict[str, Floats], gap: float, criterion: str
) -> tuple[dict[str, Floats], dict[str, NDArray[np.int64]], float, float]:
    """(weights per cut, cuts per group, expected right answers, expected gap): a linear program over mixtures of cuts.

    Variables: the weight of each cut of each group, and the lower edge of the window in which each rate must lie."""
    from scipy.optimize import linprog

    cuts, rates, gains = {}, {}, []
    for g, own in expected.items():
        at = np.unique(np.linspace(0, len(own), min(_CUTS, len(own) + 1)).round().astype(np.int64))
        hits, false = np.r_[0.0, np.cumsum(own)][at], np.r_[0.0, np.cumsum(1 - own)][at]
        # Right are the selected positives and the others' negatives.
        gains.append(hits + (1 - own).sum() - false)
        cuts[g] = at
        odds = [hits / max(float(own.sum()), 1e-9), false / max(float((1 - own).sum()), 1e-9)]
        rates[g] = [at / len(own)] if criterion == "demographic_parity" else odds
    n_rates, sizes = len(next(iter(rates.values()))), [len(c) for c in cuts.values()]
    starts = np.cumsum([0, *sizes])
    n = int(starts[-1]) + n_rates
    above, limits = [], []
    for k, g in enumerate(expected):
        for r in range(n_rates):
            row = np.zeros(n)
            row[starts[k] : starts[k + 1]] = rates[g][r]
            row[starts[-1] + r] = -1.0
            above += [row, -row]
            limits += [gap, 0.0]
    whole = np.zeros((len(cuts), n))
    for k in range(len(cuts)):
        whole[k, starts[k] : starts[k + 1]] = 1.0
    found = linprog(
        -np.r_[np.concatenate(gains), np.zeros(n_rates)], A_ub=np.array(above), b_ub=np.array(limits), A_eq=whole, b_eq=np.ones(len(cuts)),
        bounds=(0, 1), method="highs",
    )  # fmt: skip
    weights = {g: np.asarray(found.x[starts[k] : starts[k + 1]], dtype=np.float64) for k, g in enumerate(expected)}
    reached = max(float(np.ptp([weights[g] @ rates[g][r] for g in expected])) for r in range(n_rates))
    return weights, cuts, -float(found.fun), reached
