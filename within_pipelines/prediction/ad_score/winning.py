"""How likely is one ad to beat its sibling, and how far may a prediction beside siblings be off?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from within_pipelines.prediction.ad_score.contrasts import MOST_COMPARED, Observed, group_mean, pairs_within
from within_pipelines.prediction.calibration import fit_log_odds, logit, sigmoid

Floats = NDArray[np.float64]
# Logistic with this slope and normal agree within .01 (Camilli 1994); its tails allow for the rare ad that no text explains.
LOGISTIC = 1.702


def win_probability(difference: Floats, *, residual: float, noise: Floats | float = 0.0) -> Floats:
    """P(an ad beats its sibling), from the predicted difference of their contrasts, the residual spread of each and sampling noise.

    >>> win_probability(np.array([0.0, 0.3]), residual=0.2).round(2)
    array([0.5 , 0.86])
    """
    return sigmoid(LOGISTIC * difference / np.sqrt(2 * residual**2 + noise))


def sampling_noise(seen: Observed) -> Floats:
    """Variance of each ad's observed log-odds at its group's click-through rate: what the next such result would scatter by."""
    own = 1 / (1 + np.exp(-seen.log_odds))
    rate = group_mean(own, seen.impressions, seen.group, seen.n_groups)[seen.group]
    result: Floats = 1 / np.maximum(seen.impressions * rate * (1 - rate), 0.5)
    return result


def fit_sharpness(seen: Observed, unseen: Floats, *, residual: float) -> float:
    """Slope of who won on what was predicted, over pairs of siblings that no part had seen (Platt 1999, without intercept)."""
    first, second = pairs_within(seen.group, most=MOST_COMPARED)
    # Every other pair the other way round, so that both outcomes occur; without intercept the way round changes nothing.
    flip = np.arange(first.size) % 2 == 1
    first, second = np.where(flip, second, first), np.where(flip, first, second)
    gap = seen.log_odds[first] - seen.log_odds[second]
    noise = sampling_noise(seen)
    p = win_probability(unseen[first] - unseen[second], residual=residual, noise=noise[first] + noise[second])
    decided = gap != 0
    won = (gap[decided] > 0).astype(np.float64)
    # Worth about two hundred pairs at slope 1, because a handful of ads says nothing about calibration.
    return float(np.clip(fit_log_odds(logit(p[decided])[:, None], won, penalty=np.array([10.0]), prior=np.ones(1))[0], 0.0, 2.0))


def beside_share(group: NDArray[np.intp]) -> Floats:
    """Share of an ad's own variance that is left beside its siblings' mean, which it is part of: 1 - 1/n among n, 1 alone.

    >>> beside_share(np.array([0, 0, 1])).tolist()
    [0.5, 0.5, 1.0]
    """
    sizes = np.bincount(group)[group]
    return np.where(sizes > 1, 1 - 1 / np.maximum(sizes, 1), 1.0)
