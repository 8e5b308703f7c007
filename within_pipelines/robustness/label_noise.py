"""How much a model moves when some of the labels that it learns from are wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError
from within_pipelines.robustness.stability import rank_correlation
from within_pipelines.stats import Estimate, cluster_bootstrap

Floats = NDArray[np.float64]
Learn = Callable[[Floats], ArrayLike]


@dataclass(frozen=True, slots=True)
class LabelNoise:
    """What one share of wrong labels did, as the mean over refits with Student's interval of that mean.

    `score_change` is the mean absolute change of a score, in its units; `rank_stability` Spearman's correlation of scores before and
    after, -1 to 1; `n_wrong` the number of labels that were changed in each refit."""

    share: float
    n_wrong: int
    score_change: Estimate
    rank_stability: Estimate


def noised(labels: ArrayLike, share: float, *, rng: np.random.Generator) -> Floats:
    """`labels` with round(share x n) of them wrong: 0 and 1 are flipped; other labels go round among the chosen rows, so that their spread
    stays what it was.

    Raises `SampleError` when `share` is outside [0, 1] or a label is not finite.

    >>> noised([0, 1, 1, 0], 1.0, rng=np.random.default_rng(7)).tolist()
    [1.0, 0.0, 0.0, 1.0]
    """
    y = np.array(labels, dtype=np.float64)
    if not 0 <= share <= 1 or y.ndim != 1 or not np.all(np.isfinite(y)):
        raise SampleError(f"share is {share} of labels of shape {y.shape}; give a share in [0, 1] of finite labels.")
    chosen = rng.permutation(len(y))[: round(share * len(y))]
    y[chosen] = 1 - y[chosen] if np.all(np.isin(y, (0.0, 1.0))) else y[np.roll(chosen, 1)]
    return y


def label_noise(
    learn: Learn, labels: ArrayLike, *, rng: np.random.Generator, shares: Sequence[float] = (0.05, 0.1, 0.2), repeats: int = 10,
    level: float = 0.95,
) -> tuple[LabelNoise, ...]:  # fmt: skip
    """Refit with a stated share of wrong labels and compare the scores of the same rows (Frenay and Verleysen 2014: noise completely at
    random).

    `learn(labels)` fits on these labels and returns scores of rows that stay the same; it must answer equal labels with equal scores (fix
    its seed), else its own chance counts as movement. Each share is tried `repeats` times with other labels wrong. It costs 1 + shares x
    repeats fits, which is why no daily report holds it.

    Raises `SampleError` for fewer than two repeats, or scores that are not finite or change in number.

    >>> x = np.arange(20.0)
    >>> line = lambda y: np.polyval(np.polyfit(x, y, 1), x)
    >>> found = label_noise(line, (x > 9).astype(float), rng=np.random.default_rng(7), shares=(0.0, 0.1))
    >>> [round(noise.score_change.value, 2) for noise in found], found[1].n_wrong
    ([0.0, 0.08], 2)
    """
    if repeats < 2:
        raise SampleError(f"repeats is {repeats}; an interval needs at least 2.")
    y = np.asarray(labels, dtype=np.float64)
    before = _scores(learn(y))
    found = []
    for share in shares:
        changes, ranks = [], []
        for _ in range(repeats):
            after = _scores(learn(noised(y, share, rng=rng)), expected=len(before))
            changes.append(float(np.mean(np.abs(after - before))))
            ranks.append(rank_correlation(before, after))
        score, rank = _mean(changes, level, 0.0, np.inf), _mean(ranks, level, -1.0, 1.0)
        found.append(LabelNoise(share, round(share * len(y)), score, rank))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class NoisePoint:
    """What a share of wrong training labels leaves: `quality` of unseen rows, its `change` from none wrong, `n_wrong` labels per refit."""

    share: float
    n_wrong: int
    quality: Estimate
    change: Estimate


def noise_curve(
    learn: Learn, labels: ArrayLike, quality: Callable[[Floats, NDArray[np.int64]], float], *, clusters: ArrayLike,
    rng: np.random.Generator, shares: Sequence[float] = (0.0, 0.05, 0.1, 0.2), repeats: int = 3, n_resamples: int = 300,
    level: float = 0.95,
) -> tuple[NoisePoint, ...]:  # fmt: skip
    """Refit with a stated share of wrong labels and judge the answers for rows that no fit has seen.

    `learn(labels)` fits and returns scores of the same unseen rows; `quality(scores, at)` is a number for the rows `at` of them
    (accuracy, AUROC). The quality of a share is the mean over `repeats` refits with other labels wrong, its interval that of resampling
    whole `clusters` of unseen rows; the change is paired on the same draws. Costs 1 + shares x repeats fits.

    Raises `SampleError` as `label_noise` does, and for fewer than one repeat.

    >>> x = np.arange(40.0)
    >>> line = lambda y: np.polyval(np.polyfit(x, y, 1), x)
    >>> right = lambda scores, at: float(np.mean((scores[at] > 0.5) == (x[at] > 19)))
    >>> curve = noise_curve(line, (x > 19).astype(float), right, clusters=x, rng=np.random.default_rng(7), shares=(0.0, 0.5))
    >>> curve[0].quality.value, curve[0].change.value, curve[1].n_wrong, curve[1].quality.value < 0.9
    (1.0, 0.0, 20, True)
    """
    if repeats < 1:
        raise SampleError(f"repeats is {repeats}; give at least 1.")
    y = np.asarray(labels, dtype=np.float64)
    clean = _scores(learn(y))
    found = []
    for share in shares:
        refits = [_scores(learn(noised(y, share, rng=rng)), expected=len(clean)) for _ in range(repeats)] if share > 0 else [clean]

        def at_share(at: NDArray[np.int64], refits: list[Floats] = refits) -> float:
            return float(np.mean([quality(scores, at) for scores in refits]))

        def less(at: NDArray[np.int64], refits: list[Floats] = refits) -> float:
            return float(np.mean([quality(scores, at) for scores in refits])) - quality(clean, at)

        drawn = [cluster_bootstrap(of, clusters, rng=rng, n_resamples=n_resamples, level=level) for of in (at_share, less)]
        found.append(NoisePoint(share, round(share * len(y)), drawn[0], drawn[1]))
    return tuple(found)


def _scores(values: ArrayLike, expected: int | None = None) -> Floats:
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or not np.all(np.isfinite(scores)) or (expected is not None and len(scores) != expected):
        raise SampleError(f"learn answered with scores of shape {scores.shape}; give one finite score per row, the same rows each time.")
    return scores


def _mean(values: Sequence[float], level: float, least: float, most: float) -> Estimate:
    from scipy.stats import t

    mean, n = float(np.mean(values)), len(values)
    half = float(t.ppf((1 + level) / 2, n - 1)) * float(np.std(values, ddof=1)) / sqrt(n)
    return Estimate(mean, max(least, mean - half), min(most, mean + half), n=n, level=level)
