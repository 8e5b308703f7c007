"""Randomised smoothing: answers of a noisy vote that no change within a radius can turn, with a stated confidence."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError

Floats = NDArray[np.float64]
ABSTAIN = -1


def clopper_pearson_lower(successes: int, trials: int, *, alpha: float = 0.001) -> float:
    """One-sided lower bound of a share that holds with confidence 1 - `alpha` (Clopper and Pearson 1934): the `alpha` quantile of
    Beta(successes, trials - successes + 1), alpha^(1 / trials) when every trial succeeded, 0 when none did.

    >>> round(clopper_pearson_lower(100, 100, alpha=0.001), 6) == round(0.001 ** 0.01, 6)
    True
    """
    if not 0 <= successes <= trials or trials < 1 or not 0 < alpha < 1:
        raise SampleError(f"{successes} of {trials} trials at alpha {alpha} is no share; give 0 <= successes <= trials and 0 < alpha < 1.")
    if successes == 0:
        return 0.0
    from scipy.stats import beta

    return float(beta.ppf(alpha, successes, trials - successes + 1))


@dataclass(frozen=True, slots=True)
class Certificate:
    """Per row: the smoothed `label` (-1: abstains, the vote is too close) and the `radius` (Euclidean, in units of the scaled input) within
    which it cannot change, 0 where it abstains. Each row's statement holds with confidence 1 - `alpha`."""

    label: NDArray[np.int64]
    radius: Floats
    sigma: float
    alpha: float

    def accuracy(self, labels: ArrayLike, radii: Sequence[float]) -> list[float]:
        """Certified accuracy: the share of rows that are right and certified to at least each radius."""
        right = self.label == np.asarray(labels)
        sure = self.label != ABSTAIN
        return [float(np.mean(right & sure & (self.radius >= radius))) for radius in radii]


def certify(
    classify: Callable[[Floats], ArrayLike], x: Floats, *, sigma: float, rng: np.random.Generator, scale: ArrayLike = 1.0, first: int = 100,
    draws: int = 1000, alpha: float = 0.001, n_classes: int = 2,
) -> Certificate:  # fmt: skip
    """Certify the smoothed classifier g(x) = most likely class of classify(x + sigma x scale x noise) (Cohen, Rosenfeld and Kolter 2019).

    `first` draws guess the class, `draws` fresh ones bound its probability p from below (Clopper-Pearson); above 1/2 the radius is
    sigma x Phi^-1(p), else it abstains. The largest radius that can come out is sigma x Phi^-1(alpha^(1/draws)), for a constant model.
    `scale` (one per feature, 0: held fixed) makes different units comparable: the radius is Euclidean in changes over scale.

    Raises `SampleError` when sigma is not positive."""
    if not sigma > 0:
        raise SampleError(f"sigma is {sigma}; smoothing needs a positive spread of the noise.")
    width = np.broadcast_to(np.asarray(scale, dtype=np.float64), (x.shape[1],))
    guess = _votes(classify, x, sigma * width, rng, first, n_classes).argmax(axis=1)
    counts = _votes(classify, x, sigma * width, rng, draws, n_classes)[np.arange(len(x)), guess]
    bound = {k: clopper_pearson_lower(int(k), draws, alpha=alpha) for k in np.unique(counts)}
    p = np.array([bound[k] for k in counts])
    sure = p > 0.5
    radius = np.array([sigma * NormalDist().inv_cdf(min(value, 1 - 1e-16)) if good else 0.0 for value, good in zip(p, sure, strict=True)])
    return Certificate(np.where(sure, guess, ABSTAIN), radius, sigma, alpha)


def _votes(
    classify: Callable[[Floats], ArrayLike], x: Floats, spread: Floats, rng: np.random.Generator, draws: int, n_classes: int
) -> NDArray[np.int64]:
    counts = np.zeros((len(x), n_classes), dtype=np.int64)
    per = max(1, min(draws, 200_000 // max(len(x), 1)))
    done = 0
    while done < draws:
        n = min(per, draws - done)
        noisy = np.repeat(x, n, axis=0) + rng.standard_normal((len(x) * n, x.shape[1])) * spread
        found = np.asarray(classify(noisy)).astype(np.int64).reshape(len(x), n)
        for label in range(n_classes):
            counts[:, label] += (found == label).sum(axis=1)
        done += n
    return counts


@dataclass(frozen=True, slots=True)
class MedianBound:
    """Bounds of a smoothed regression's median within `radius`: `low <= median(x + any change up to radius) <= high`, confidence
    1 - `alpha` per row; infinite where the draws cannot tell. `median` is the smoothed answer at the row itself."""

    median: Floats
    low: Floats
    high: Floats
    radius: float
    alpha: float


def median_bounds(
    predict: Callable[[Floats], ArrayLike], x: Floats, *, sigma: float, radius: float, rng: np.random.Generator, scale: ArrayLike = 1.0,
    draws: int = 1000, alpha: float = 0.001,
) -> MedianBound:  # fmt: skip
    """Median smoothing (Chiang et al. 2020): within `radius` the median of predict(x + noise) lies between its quantiles Phi(-radius/sigma)
    and Phi(radius/sigma), which order statistics of the draws bound (binomial, `alpha` / 2 on each side)."""
    if not sigma > 0 or radius < 0:
        raise SampleError(f"sigma is {sigma} and radius {radius}; give a positive spread and a radius >= 0.")
    from scipy.stats import binom

    width = np.broadcast_to(np.asarray(scale, dtype=np.float64), (x.shape[1],))
    values = np.empty((len(x), draws))
    for i in range(0, draws, 100):
        n = min(100, draws - i)
        noisy = np.repeat(x, n, axis=0) + rng.standard_normal((len(x) * n, x.shape[1])) * sigma * width
        values[:, i : i + n] = np.asarray(predict(noisy), dtype=np.float64).reshape(len(x), n)
    values.sort(axis=1)
    below, above = NormalDist().cdf(-radius / sigma), NormalDist().cdf(radius / sigma)
    # The k-th smallest draw lies below the quantile unless fewer than k draws do.
    lower = int(binom.ppf(alpha / 2, draws, below)) - 1
    upper = int(binom.ppf(1 - alpha / 2, draws, above))
    low = values[:, lower] if lower >= 0 else np.full(len(x), -math.inf)
    high = values[:, upper] if upper < draws else np.full(len(x), math.inf)
    return MedianBound(np.median(values, axis=1), low, high, radius, alpha)
