"""The ad score trained with another aim beside accuracy: which one the settings ask for, and what it bought and cost on unseen ads.

Only the network can descend it, so a score that is trained with an objective is that of its network alone. What leaving out the lines and
trees costs stands in the same table as what the objective buys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from within_pipelines.exceptions import SampleError, SettingsError
from within_pipelines.pipeline.ad_score_worst_case import EPS, held_under_attack, whole_steps

if TYPE_CHECKING:
    import polars as pl

    from within_pipelines.prediction import AdScorePredictor
    from within_pipelines.prediction.objective import ObjectiveFor, RowObjective, TrainingObjective

Floats = NDArray[np.float64]
# What `WITHIN_AD_SCORE_OBJECTIVE_STRENGTH` means for each, and its default.
STRENGTHS: Mapping[str, tuple[str, float]] = {
    "adversarial": ("share of the loss at attacked inputs, up to 1", 0.5),
    "trades": ("beta of TRADES", 1.0),
    "noise": ("standard deviation of the noise, in those of the inputs", 0.25),
    "fair": ("price of unequal mean win scores", 3.0),
}
_MOST_ATTACKED = 400


def objective_strength(name: str, strength: float | None) -> float:
    """`strength`, or the objective's default.

    Raises `SettingsError` for a share above 1."""
    value = STRENGTHS[name][1] if strength is None else strength
    if name == "adversarial" and value > 1:
        raise SettingsError(f"WITHIN_AD_SCORE_OBJECTIVE_STRENGTH={value:g} is no {STRENGTHS[name][0]}; give 0 < share <= 1.")
    return value


def objective_of(name: str, strength: float | None = None) -> ObjectiveFor | None:
    """What the setting `ad_score_objective` asks the network to descend; None for `plain`, its own loss alone.

    `adversarial` (Madry et al. 2018), `trades` (Zhang et al. 2019) and `noise` (Cohen et al. 2019) harden it against inputs that are up to
    0.1 standard deviations off; `fair` evens mean win scores between the declared audiences (gender and age together; ads that declare
    none are a group of their own).

    Raises `SettingsError` for a name that there is not; the objective itself raises `SampleError` when no audience is declared."""
    if name == "plain":
        return None
    if name not in STRENGTHS:
        raise SettingsError(f"WITHIN_AD_SCORE_OBJECTIVE={name!r} is unknown; give one of plain, {', '.join(STRENGTHS)}.")
    value = objective_strength(name, strength)

    def make(ads: pl.DataFrame, x: Floats) -> TrainingObjective | RowObjective:
        from within_pipelines.fairness import FairRanking
        from within_pipelines.robustness import AdversarialTraining, GaussianAugmentation, Trades

        if name == "fair":
            return FairRanking(_audiences(ads), value)
        budget = _budget(x)
        if name == "adversarial":
            return AdversarialTraining(budget, share=value)
        return Trades(budget, beta=value) if name == "trades" else GaussianAugmentation(np.where(budget > 0, value, 0.0))

    return make


def _declared(ads: pl.DataFrame) -> dict[str, NDArray[np.str_]]:
    from within_pipelines.fairness import ATTRIBUTES, declared

    segments = ads["audience_segment"].to_list() if "audience_segment" in ads.columns else [None] * ads.height
    return {name: np.array([declared(s, name) for s in segments], dtype=str) for name in ATTRIBUTES}


def _audiences(ads: pl.DataFrame) -> NDArray[np.str_]:
    from within_pipelines.fairness import intersection

    labels = np.array(intersection(*_declared(ads).values()), dtype=str)
    if len(np.unique(labels)) < 2:
        raise SampleError(
            f"All {ads.height} ads declare the audience {labels[:1].tolist()}; a fair objective needs audience_segment to name a gender or "
            "age of at least two groups. Set WITHIN_AD_SCORE_OBJECTIVE=plain, or name segments."
        )
    return labels


def _budget(x: Floats) -> Floats:
    """How far each standardised input may be pushed while training: not at all where one whole unit is already more than that."""
    from within_pipelines.prediction.ad_score.model import standardiser

    _, scale = standardiser(x, np.ones(len(x)))
    return np.where(np.isfinite(scale) & (whole_steps(x, scale) <= EPS), EPS, 0.0)


def _network_share(predictor: AdScorePredictor) -> float:
    weights = predictor.details["weights"]
    return float(weights.get("network", 0.0) / max(sum(weights.values()), 1e-12))


def objective_costs(plain: AdScorePredictor, other: AdScorePredictor, test: pl.DataFrame, *, rng: np.random.Generator) -> pl.DataFrame:
    """What `other`, trained with an objective, does on unseen ads beside `plain`, trained on the same rows without: pairs ranked rightly by
    the whole score, by the network, by the network under attack (PGD of 20 steps inside the feasible set, up to 400 pairs that differ by
    more than chance), the network's share of the parts' weights (1 with an objective; 0 when the network says nothing of unseen ads, then
    all scores are equal and no performance gate passes), and the gap between declared audiences of the mean score of an ad asked for alone.
    Changes are paired, with 95 % intervals over clusters.

    Raises `SampleError` when the test ads hold no pair of siblings that differs by more than chance."""
    import polars as pl

    from within_pipelines.prediction.ad_score.evaluation import Pairs
    from within_pipelines.stats import cluster_bootstrap, cluster_mean

    pairs = Pairs.of(test, rng=rng)
    clusters = pairs.clusters[pairs.first]
    clear = np.sort(rng.permutation(np.flatnonzero(pairs.significant))[:_MOST_ATTACKED])
    rows: list[dict[str, Any]] = []

    def told(measure: str, before: Floats, after: Floats, units: NDArray[Any]) -> None:
        change = cluster_mean(after - before, units, rng=rng)
        rows.append(
            {"measure": measure, "plain": float(before.mean()), "with objective": float(after.mean()), "change": change.value,
             "low": change.low, "high": change.high, "n": len(before)}
        )  # fmt: skip

    models = (plain, other)
    first, second = (m.contrasts(test) for m in models)
    told("pairs ranked rightly", pairs.right(first), pairs.right(second), clusters)
    (part, x), (hardened, z) = (m.smooth_part(test)[:2] for m in models)
    before, after = pairs.right(part(x)), pairs.right(hardened(z))
    told("pairs ranked rightly, network alone", before, after, clusters)
    told("significant pairs, network alone", before[clear], after[clear], clusters[clear])
    held, held_after = held_under_attack(part, x, pairs, clear), held_under_attack(hardened, z, pairs, clear)
    told("significant pairs, network under attack", held, held_after, clusters[clear])
    share, shared = (_network_share(m) for m in models)
    rows.append(
        {"measure": "share of the network in the score", "plain": share, "with objective": shared, "change": shared - share,
         "low": shared - share, "high": shared - share, "n": 1}
    )  # fmt: skip
    scores = [m.scores(test.drop("group_id")) for m in models]
    for name, labels in _declared(test).items():
        groups = sorted(set(labels.tolist()) - {""})
        if len(groups) < 2:
            continue

        def gap(i: NDArray[np.int64], s: Floats, labels: NDArray[np.str_] = labels, groups: list[str] = groups) -> float:
            means = [s[i][labels[i] == g].mean() for g in groups if np.any(labels[i] == g)]
            return float(np.ptp(means)) if means else 0.0

        def change_of(i: NDArray[np.int64], of: Callable[..., float] = gap) -> float:
            return of(i, scores[1]) - of(i, scores[0])

        everything = np.arange(test.height)
        gap_before, gap_after = gap(everything, scores[0]), gap(everything, scores[1])
        change = cluster_bootstrap(change_of, pairs.clusters, rng=rng, n_resamples=300)
        rows.append(
            {"measure": f"score gap by {name}, ads asked for alone", "plain": gap_before, "with objective": gap_after,
             "change": change.value, "low": change.low, "high": change.high, "n": int(np.sum(labels != ""))}
        )  # fmt: skip
    return pl.DataFrame(rows)
