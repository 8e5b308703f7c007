"""What the worst of a few edits does to scores of unseen ads, what small changes of the network's inputs do at worst, and what none can."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

    from within_pipelines.prediction import AdScorePredictor
    from within_pipelines.prediction.ad_score.evaluation import Pairs
    from within_pipelines.robustness import FaultResult

Floats = NDArray[np.float64]
# Edits that a reader does not mind, and how many are tried for each of them: a few hundred scores.
EDITS, TRIES = 3, 6
_MOST_ATTACKED = 40
# Pairs, spread of the noise in standard deviations of the inputs, and draws: the largest radius that they can show is 0.46.
_MOST_PAIRS, SIGMA, FIRST, DRAWS = 60, 0.25, 50, 200
_PAIRS_AT_ONCE = 5
# Every real-valued input of an attacked pair moves by so many standard deviations; whole numbers by whole units only.
EPS = 0.1
_ATTACKED_PAIRS, _ATTACK_STEPS = 200, 20
RADII: tuple[float, ...] = tuple(round(0.02 * i, 2) for i in range(26))


def worst_edits(
    predictor: AdScorePredictor, texts: pl.DataFrame, *, tolerance: float, rng: np.random.Generator, at_stake: pl.DataFrame | None = None
) -> FaultResult:
    """The greedy text attack on the headline of one ad of each group (column `cluster`).

    Told, not judged: the gate asks what mistakes do, and this looks for the worst. `worst_change` is the largest change of a score,
    `unhandled` the share of ads that can be moved beyond the tolerance: a lower bound, with Wilson's interval over groups; `money` the
    largest amount per currency of `at_stake` (a row per ad: `amount`, `currency`) on one of them."""
    import polars as pl

    from within_pipelines.robustness import Expectation, FaultResult, text_attack
    from within_pipelines.robustness.stability import largest_amounts, mean_of_changes
    from within_pipelines.stats import wilson_interval

    shuffled = texts.with_row_index("_row").filter(pl.col("headline").is_not_null())
    shuffled = shuffled[rng.permutation(shuffled.height)].unique("cluster", keep="first", maintain_order=True).head(_MOST_ATTACKED)
    name, what = f"worst of {EDITS} edits", f"a greedy search of {EDITS} edits of the headline that a reader does not mind"
    if shuffled.is_empty():
        return FaultResult(name, f"{what}: no ad has a headline", Expectation.ANSWERED)

    def score(edited: Sequence[str], rows: NDArray[np.intp]) -> Floats:
        return predictor.scores(shuffled[rows].with_columns(pl.Series("headline", list(edited), dtype=pl.String)))

    found = text_attack(score, shuffled["headline"].to_list(), budget=EDITS, rng=rng, tries=TRIES)
    change = np.abs(found.change)
    share = wilson_interval(int(np.sum(change > tolerance)), len(change))
    money = {} if at_stake is None else largest_amounts(at_stake[shuffled["_row"].to_numpy()[change > tolerance]])
    mean = mean_of_changes(change, np.arange(len(change)), rng=rng)
    return FaultResult(name, what, Expectation.ANSWERED, unhandled=share, mean_change=mean, worst_change=float(change.max()), money=money)


def whole_steps(x: Floats, scale: Floats) -> Floats:
    """One unit of whole-numbered columns in standard deviations; 0 for columns of any number, and for constant ones."""
    whole = np.all(~np.isfinite(x) | (x == np.rint(x)), axis=0)
    return np.where(whole & np.isfinite(scale), 1 / scale, 0.0)


def held_under_attack(part: Any, x: Floats, pairs: Pairs, chosen: NDArray[np.intp]) -> Floats:
    """1 for each chosen pair whose better ad `part` (the network, or a line) still names when PGD (20 steps) has moved both ads' inputs
    by up to 0.1 standard deviations, whole numbers by whole units; 0 else, also where it was wrong before. `x`: what it sees of each ad."""
    from within_pipelines.robustness import FeasibleSet, ReluNetwork, classifier_victim, pgd

    z = np.nan_to_num(np.clip((x - part.mean) / part.scale, -6, 6), nan=0.0)
    won = pairs.won[chosen] > 0.5
    win = np.where(won, pairs.first[chosen], pairs.second[chosen])
    lose = np.where(won, pairs.second[chosen], pairs.first[chosen])
    if hasattr(part, "inner"):
        judge = ReluNetwork.mean_of(part.inner, part.bias, part.outer).paired()
    else:
        # A line is the difference of two rectified halves.
        halves = np.column_stack([part.coefficients, -part.coefficients])
        judge = ReluNetwork(halves, np.zeros(2), np.array([1.0, -1.0])).paired()
    both = np.concatenate([z[win], z[lose]], axis=1)
    budget, step = np.where(np.isfinite(part.scale), EPS, 0.0), whole_steps(x, part.scale)
    feasible = FeasibleSet.of(np.concatenate([budget, budget]), step=np.concatenate([step, step]))
    victim = classifier_victim(judge, np.ones(len(both)), judge.gradient)
    found = pgd(victim, both, feasible, rng=np.random.default_rng(7), steps=_ATTACK_STEPS, restarts=1)
    return (found.margin > 0).astype(np.float64)


def attacked_inputs(predictor: AdScorePredictor, rows: pl.DataFrame, *, rng: np.random.Generator) -> FaultResult:
    """Of the unseen pairs of siblings that differ by more than chance and that the network (the line on words where a version has none)
    names rightly, the share that an attack on its inputs turns: told, not judged. Nobody can write numbers into these inputs, texts pass
    the door; the row compares versions, for example one trained with an adversarial objective."""
    from within_pipelines.exceptions import SampleError
    from within_pipelines.prediction.ad_score.evaluation import Pairs
    from within_pipelines.robustness import Expectation, FaultResult
    from within_pipelines.stats import wilson_interval

    name = f"inputs {EPS:g} sd off"
    what = "an attack (PGD) on the inputs of the network, of pairs that it names rightly"
    try:
        pairs = Pairs.of(rows, rng=rng)
    except SampleError as error:
        return FaultResult(name, f"{what}: {error}", Expectation.ANSWERED)
    part, x, _ = predictor.smooth_part(rows)
    chosen = np.sort(rng.permutation(np.flatnonzero(pairs.significant))[:_ATTACKED_PAIRS])
    chosen = chosen[pairs.right(part(x))[chosen] > 0.5]
    if not chosen.size:
        return FaultResult(name, f"{what}: it names none rightly", Expectation.ANSWERED)
    lost = len(chosen) - int(held_under_attack(part, x, pairs, chosen).sum())
    return FaultResult(name, what, Expectation.ANSWERED, unhandled=wilson_interval(lost, len(chosen)))


def certified_accuracy(
    predictor: AdScorePredictor, rows: pl.DataFrame, *, rng: np.random.Generator
) -> dict[str, tuple[list[float], list[float]]]:
    """Certified accuracy against radius of the smoothed network (the line on words where a version has none) on unseen pairs of siblings
    whose results differ by more than chance: the share for which a majority vote under noise names the better ad and
    no change of the inputs of both within the radius (Euclidean, in standard deviations) can turn it, each with confidence .999. Empty
    without such a pair."""
    from within_pipelines.exceptions import SampleError
    from within_pipelines.prediction.ad_score.evaluation import Pairs
    from within_pipelines.robustness import certify

    try:
        pairs = Pairs.of(rows, rng=rng)
    except SampleError:
        return {}
    chosen = rng.permutation(np.flatnonzero(pairs.significant))[:_MOST_PAIRS]
    part, seen, spread = predictor.smooth_part(rows)
    width = seen.shape[1]
    both = np.hstack([seen[pairs.first[chosen]], seen[pairs.second[chosen]]])
    scale = np.tile(spread, 2)
    # A column that never varied counts nothing, whatever it holds: noise there is left out.
    both, scale = both[:, scale > 0], scale[scale > 0]
    used = np.flatnonzero(spread > 0)

    def whole(z: Floats) -> Floats:
        x = np.full((len(z), width), np.nan)
        x[:, used] = z
        return part(x)

    def first_wins(z: Floats) -> NDArray[np.int64]:
        return (whole(z[:, : len(used)]) > whole(z[:, len(used) :])).astype(np.int64)

    labels = pairs.won[chosen].astype(np.int64)
    right = np.zeros(len(RADII))
    for start in range(0, len(chosen), _PAIRS_AT_ONCE):
        some = slice(start, start + _PAIRS_AT_ONCE)
        certificate = certify(first_wins, both[some], sigma=SIGMA, rng=rng, scale=scale, first=FIRST, draws=DRAWS)
        right += np.array(certificate.accuracy(labels[some], RADII)) * len(labels[some])
    name = f"{type(part).__name__.lower()}, {len(chosen)} pairs"
    return {name: (list(RADII), (right / len(chosen)).tolist())}
