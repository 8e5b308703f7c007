"""Incidents in a past of account-days, and what is usual without them.

Nobody has written down which past days were incidents, so they are told by how far out they are. Days so far out that nothing usual gets
there are plain (`incident_days`). But to take those out and call the rest usual cuts the usual off where alerts open: the farthest usual
days went as well, lesser incidents stayed, and a p-value that is a rank among the rest is too small. So every episode of unusual days gets
the probability that it was a usual one (`usual_probability`), and counts as that much of one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

# Episodes above this quantile of those that are no plain incidents are the tail that is looked into.
_TAIL = 0.8
_SHAPES = np.linspace(0.0, 0.2, 9)
_STARTS, _TURNS = 12, 150
# With fewer episodes that are no plain incidents there is no tail to speak of.
_FEWEST = 20


def episodes(statistic: Floats, *, calm: float) -> tuple[Floats, Ints]:
    """Stretches of days above `calm`, each of which can open one alert: the highest value of each, and which one every day belongs to.

    A stretch ends with a day at or below `calm`; a day that is not known (NaN) does not end it. Days outside have -1.

    >>> peaks, which = episodes(np.array([[0.0, 2.0, 3.0, 1.0, 2.5]]), calm=1.0)
    >>> peaks, which
    (array([3. , 2.5]), array([[-1,  0,  0, -1,  1]]))
    """
    which = np.full(statistic.shape, -1)
    current, count = np.full(len(statistic), -1), 0
    for day in range(statistic.shape[1]):
        current[statistic[:, day] <= calm] = -1
        begins = np.nonzero((statistic[:, day] > calm) & (current < 0))[0]
        current[begins] = count + np.arange(len(begins))
        count += len(begins)
        which[:, day] = current
    peaks = np.full(count, -np.inf)
    inside = (which >= 0) & np.isfinite(statistic)
    np.maximum.at(peaks, which[inside], statistic[inside])
    return peaks, which


def usual_probability(peaks: Floats, cut: float) -> Floats:
    """Probability of each episode, by its peak, that it was a usual one, where those beyond `cut` are plain incidents; 1 without any such.

    Peaks in the tail are a mixture. Usual ones get rarer with height: a generalised Pareto law of shape 0 to .2. Incidents get more
    frequent, ever more so, up to the median of the plain ones, beyond which nothing is usual: their density rises with the square of what a
    peak exceeds some height by, any mixture of such heights. Shares, scale and heights are those of greatest likelihood (EM), the shape is
    averaged over its likelihood. So no height has to be chosen from which on everything is an incident: a two-groups model (Efron, 2008)
    whose groups are told apart by their trend. Where incidents are frequent at low heights too, they pass for usual ones: the error is on
    the side of fewer alerts."""
    plain = peaks > cut
    if not plain.any() or len(peaks) - plain.sum() < _FEWEST:
        return np.where(plain, 0.0, 1.0)
    threshold, top = float(np.quantile(peaks[~plain], _TAIL)), float(np.median(peaks[plain]))
    mixed = (peaks > threshold) & (peaks <= top)
    if not (mixed & ~plain).any():
        return np.where(plain, 0.0, 1.0)
    excess = peaks[mixed] - threshold
    starts = np.linspace(0.0, top - threshold, _STARTS, endpoint=False)
    rising = 3.0 * np.maximum(excess[:, None] - starts, 0.0) ** 2 / (top - threshold - starts) ** 3
    fits = [_mixture(excess, rising, float(shape), float(excess[~plain[mixed]].mean())) for shape in _SHAPES]
    likelihood = np.array([fit for fit, _ in fits])
    weight = np.exp(likelihood - likelihood.max())
    probability = np.where(peaks > top, 0.0, 1.0)
    probability[mixed] = np.average([usual for _, usual in fits], axis=0, weights=weight)
    return probability


def thinned(values: Floats, probability: Floats) -> Floats:
    """As many of `values` as `probability` adds up to, sorted: from the highest down one for every whole that the sum passes.

    >>> thinned(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 1.0, 0.5, 0.5]))
    array([1., 2., 4.])
    """
    order = np.argsort(-values, kind="stable")
    total = np.cumsum(probability[order]) + 0.5
    # Rounded, because sums of probabilities of one are whole only up to rounding.
    kept = np.diff(np.floor(np.round(total, 6)), prepend=0.0) > 0
    return np.sort(values[order[kept]])


def _mixture(excess: Floats, rising: Floats, shape: float, scale: float) -> tuple[float, Floats]:
    """Log likelihood of a Pareto law of this `shape` and of the `rising` densities (a column each), with the shares that fit best, and each
    excess's probability under the former."""
    share = np.concatenate([[0.9], np.full(rising.shape[1], 0.1 / rising.shape[1])])
    for _ in range(_TURNS):
        usual = (1.0 + shape * excess / scale) ** (-1.0 - 1.0 / shape) / scale if shape else np.exp(-excess / scale) / scale
        density = np.column_stack([usual, rising]) * share
        total = density.sum(axis=1)
        belongs = density / total[:, None]
        share = belongs.mean(axis=0)
        # The likelihood equation of the scale, solved for it: (1 + shape) times the mean of scale * excess / (scale + shape * excess).
        scale = (1.0 + shape) * float(np.average(scale * excess / (scale + shape * excess), weights=belongs[:, 0]))
    return float(np.log(total).sum()), belongs[:, 0]


# A tail is drawn through these quantiles: each leaves a quarter of what the one before leaves.
_QUANTILES = (0.80, 0.95, 0.9875)
# From one of them to the next, for the slowest tail of a mean of calibrated surprises: -log10 of a p-value, all metrics moving as one.
_STEEPEST = float(np.log10(4.0))
_ROUNDS = 5
_EXPLAINED_AT_FIRST, _EXPLAINED = 0.2, 0.025


def incident_days(statistic: Floats) -> Bools:
    """Account-days that the tail of the rest cannot explain, with the unusual days next to them.

    The tail is a generalised Pareto law through three quantiles, whose shape is Pickands' (1975) less one standard error and never below
    the exponential: a mean of surprises falls off faster than that. From the height on at which it explains at most one in forty of the
    days beyond, days are incidents; they are taken out and everything is judged again by the tail of the rest, because they raised its
    quantiles and its shape, which is why the first turn takes it for that of
    calibrated p-values and asks for one in five only. Cutting at a quantile instead would make the next
    value look improbable, for ever."""
    incident = np.zeros(statistic.shape, dtype=bool)
    for turn in range(_ROUNDS):
        known = np.sort(statistic[np.isfinite(statistic) & ~incident])
        first, middle, high = np.quantile(known, _QUANTILES)
        if turn == 0:
            high = min(high, middle + _STEEPEST)
        candidates = np.sort(statistic[np.isfinite(statistic) & (statistic > high)])
        explained = (
            len(known) * (1.0 - _QUANTILES[2]) * _beyond(candidates - high, first, middle, high, n=len(known), exponential=turn == 0)
        )
        share = _EXPLAINED_AT_FIRST if turn == 0 else _EXPLAINED
        out = np.nonzero(explained <= share * np.arange(len(candidates), 0, -1))[0]
        if not len(out):
            return np.zeros(statistic.shape, dtype=bool)
        grown = _spread(statistic >= candidates[out[0]], statistic > high)
        if np.array_equal(grown, incident):
            break
        incident = grown
    return incident


def _beyond(excess: Floats, first: float, middle: float, high: float, *, n: int, exponential: bool) -> Floats:
    """Share of what exceeds `high` that exceeds it by more than `excess`."""
    lower, upper = max(middle - first, 1e-9), max(high - middle, 1e-9)
    noise = 1.8 / np.sqrt(max(1.0, n * (1.0 - _QUANTILES[2])))
    shape = max(0.0, float(np.log(upper / lower) / np.log(4.0)) - noise)
    if exponential or shape < 1e-6:
        return np.asarray(np.exp(-excess * np.log(4.0) / upper))
    # The quantile at a quarter of what is left beyond `middle` lies `upper` above it; the scale at `high` has grown by 4^shape.
    scale = shape * upper * 4.0**shape / (4.0**shape - 1.0)
    return np.asarray((1.0 + shape * excess / scale) ** (-1.0 / shape))


def _spread(peak: Bools, unusual: Bools) -> Bools:
    """`peak` and the runs of `unusual` days that touch it."""
    reached = peak.copy()
    for _ in range(peak.shape[1]):
        grown = reached.copy()
        grown[:, 1:] |= reached[:, :-1] & unusual[:, 1:]
        grown[:, :-1] |= reached[:, 1:] & unusual[:, :-1]
        if np.array_equal(grown, reached):
            break
        reached = grown
    return reached
