"""How far apart groups are."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError


def _checked(values: ArrayLike, groups: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.generic], NDArray[np.int64]]:
    y, labels = np.asarray(values, dtype=np.float64), np.asarray(groups)
    if y.ndim != 1 or y.shape != labels.shape or len(y) == 0:
        raise SampleError(f"values and groups have shapes {y.shape} and {labels.shape}; give one of each per row, at least one row.")
    if bad := int(np.sum(~np.isfinite(y))):
        raise SampleError(f"{bad} of {len(y)} values are not finite; a model that gives no score to a group is no fairer for it.")
    names, codes = np.unique(labels.astype(str), return_inverse=True)
    return y, names, codes


def group_means(values: ArrayLike, groups: ArrayLike) -> dict[str, float]:
    """The mean of `values` in each group: the selection rate where values are 0 and 1, the mean score else.

    Raises `SampleError` when shapes differ or a value is not finite.

    >>> group_means([1, 0, 1, 1], ["a", "a", "b", "b"])
    {'a': 0.5, 'b': 1.0}
    """
    y, names, codes = _checked(values, groups)
    means = np.bincount(codes, weights=y) / np.bincount(codes)
    return {str(name): float(mean) for name, mean in zip(names, means, strict=True)}


def demographic_parity_difference(selected: ArrayLike, groups: ArrayLike) -> float:
    """Largest minus smallest selection rate over the groups, 0 to 1; 0 when all are selected alike (Agarwal et al., 2018).

    `selected` holds 0 and 1. Raises `SampleError` for anything else.

    >>> demographic_parity_difference([1, 0, 1, 1], ["a", "a", "b", "b"])
    0.5
    """
    return _range(_rates(selected, groups))


def demographic_parity_ratio(selected: ArrayLike, groups: ArrayLike) -> float:
    """Smallest over largest selection rate, 0 to 1; 1 when all are selected alike, also when nobody is selected.

    >>> demographic_parity_ratio([1, 0, 1, 1], ["a", "a", "b", "b"])
    0.5
    """
    return _share(_rates(selected, groups))


def equal_opportunity_difference(outcome: ArrayLike, selected: ArrayLike, groups: ArrayLike) -> float:
    """Largest less smallest true positive rate over the groups, 0 to 1 (Hardt, Price and Srebro, 2016); groups without a positive count 0.

    >>> equal_opportunity_difference([1, 1, 1, 1], [1, 0, 1, 1], ["a", "a", "b", "b"])
    0.5
    """
    return _range(_conditional(outcome, selected, groups, of=1.0))


def equal_opportunity_ratio(outcome: ArrayLike, selected: ArrayLike, groups: ArrayLike) -> float:
    """Smallest over largest true positive rate; 1 when all are alike, also when nobody is selected.

    >>> equal_opportunity_ratio([1, 1, 1, 1], [1, 0, 1, 1], ["a", "a", "b", "b"])
    0.5
    """
    return _share(_conditional(outcome, selected, groups, of=1.0))


def equalized_odds_difference(outcome: ArrayLike, selected: ArrayLike, groups: ArrayLike) -> float:
    """The larger of the differences in true and in false positive rates (Hardt, Price and Srebro, 2016).

    >>> equalized_odds_difference([1, 0, 1, 0], [1, 0, 1, 1], ["a", "a", "b", "b"])
    1.0
    """
    return max(_range(_conditional(outcome, selected, groups, of=value)) for value in (0.0, 1.0))


def equalized_odds_ratio(outcome: ArrayLike, selected: ArrayLike, groups: ArrayLike) -> float:
    """The smaller of the ratios in true and in false positive rates.

    >>> equalized_odds_ratio([1, 0, 1, 0], [1, 1, 1, 1], ["a", "a", "b", "b"])
    1.0
    """
    return min(_share(_conditional(outcome, selected, groups, of=value)) for value in (0.0, 1.0))


def predictive_parity_difference(outcome: ArrayLike, selected: ArrayLike, groups: ArrayLike) -> float:
    """Largest less smallest precision over the groups (Chouldechova, 2017); a group in which nobody is selected counts 0.

    >>> predictive_parity_difference([1, 0, 1, 1], [1, 1, 1, 1], ["a", "a", "b", "b"])
    0.5
    """
    y, d = _binary(outcome, "outcomes"), _binary(selected, "selections")
    # Precision is the rate of positives among the selected: outcome and selection change places.
    return _range(_conditional(d, y, groups, of=1.0))


def predictive_parity_ratio(outcome: ArrayLike, selected: ArrayLike, groups: ArrayLike) -> float:
    """Smallest over largest precision; 1 when all are alike, also when no selected row comes true anywhere.

    >>> predictive_parity_ratio([1, 0, 1, 1], [1, 1, 1, 1], ["a", "a", "b", "b"])
    0.5
    """
    y, d = _binary(outcome, "outcomes"), _binary(selected, "selections")
    return _share(_conditional(d, y, groups, of=1.0))


def calibration_gap(outcome: ArrayLike, probability: ArrayLike, groups: ArrayLike) -> float:
    """Largest less smallest mean of predicted less realised over the groups; 0 when all are equally well calibrated in the large.

    >>> calibration_gap([1, 0, 1, 0], [0.5, 0.5, 0.75, 0.75], ["a", "a", "b", "b"])
    0.25
    """
    y, p = np.asarray(outcome, dtype=np.float64), np.asarray(probability, dtype=np.float64)
    if y.shape != p.shape:
        raise SampleError(f"outcomes and probabilities have shapes {y.shape} and {p.shape}; give one of each per row.")
    return _range(list(group_means(p - y, groups).values()))


def calibration_within_groups(outcome: ArrayLike, probability: ArrayLike, groups: ArrayLike, *, bins: int = 5) -> dict[str, float]:
    """Root mean squared calibration error inside each group, over equally filled bins, less what chance alone adds (Kumar, Liang and Ma,
    2019): 0 says that of the rows told p in this group a share of p came true (calibration within groups; Kleinberg et al., 2017).

    `calibration_gap` compares means only; probabilities that are too bold in one group have the right mean and are found here.

    Raises `SampleError` for outcomes other than 0 and 1, probabilities outside [0, 1], or a group with fewer than ten rows per bin.

    >>> p, y = np.repeat([0.2, 0.8], 100), np.tile([1, 0, 0, 0, 0], 40)
    >>> found = calibration_within_groups(y, p, np.repeat(["told right", "told wrong"], 100), bins=1)
    >>> {group: round(error, 1) for group, error in found.items()}
    {'told right': 0.0, 'told wrong': 0.6}
    """
    from within_pipelines.prediction.metrics import debiased_ece

    y = _binary(outcome, "outcomes")
    p, names, codes = _checked(probability, groups)
    if y.shape != p.shape or bins < 1 or not np.all((p >= 0) & (p <= 1)):
        raise SampleError(f"{y.size} outcomes, {p.size} probabilities in [{p.min():g}, {p.max():g}]; give one of each per row, in [0, 1].")
    counts = np.bincount(codes)
    if small := [f"{name} ({n})" for name, n in zip(names.tolist(), counts.tolist(), strict=True) if n < 10 * bins]:
        raise SampleError(f"Too few rows for {bins} bins of ten: {', '.join(small)}; pool small groups, or ask for fewer bins.")
    return {str(name): debiased_ece(y[codes == k], p[codes == k], bins=bins) for k, name in enumerate(names)}


def score_gap(scores: ArrayLike, groups: ArrayLike) -> float:
    """Largest less smallest mean score over the groups, in units of the score.

    >>> score_gap([1.0, 3.0, 4.0], ["a", "a", "b"])
    2.0
    """
    return _range(list(group_means(scores, groups).values()))


def exposure_parity(exposure: ArrayLike, groups: ArrayLike, *, merit: ArrayLike | None = None) -> dict[str, float]:
    """Each group's share of all exposure (impressions, reach, spend) over its share of merit (default: of rows); 1 is parity.

    The exposure of a ranking's place k is often 1 / log2(1 + k) (Singh and Joachims, 2018).

    Raises `SampleError` when exposure or merit is negative or sums to 0, also within a group for merit.

    >>> exposure_parity([30, 10], ["a", "b"])
    {'a': 1.5, 'b': 0.5}
    """
    shown, names, codes = _checked(exposure, groups)
    due, _, _ = _checked(np.ones_like(shown) if merit is None else merit, groups)
    earned = np.bincount(codes, weights=due)
    if min(shown.min(), due.min()) < 0 or shown.sum() <= 0 or earned.min() <= 0:
        raise SampleError("Exposure or merit is negative or adds up to nothing; give non-negative numbers, and some merit in each group.")
    shares = np.bincount(codes, weights=shown) / shown.sum() / (earned / earned.sum())
    return {str(name): float(share) for name, share in zip(names, shares, strict=True)}


def consistency(features: ArrayLike, scores: ArrayLike, *, neighbours: int = 5) -> float:
    """Individual fairness: 1 less the mean absolute difference of a row's score from its nearest neighbours' mean (Zemel et al., 2013).

    Features are standardised first; scores lie in [0, 1], so the answer does too, and 1 means that alike rows are scored alike.

    Raises `SampleError` when there are not more rows than `neighbours`, or something is not finite or outside [0, 1].

    >>> consistency([[0.0], [0.1], [5.0], [5.1]], [0.2, 0.2, 0.9, 0.9], neighbours=1)
    1.0
    """
    from scipy.spatial import cKDTree

    x, p = np.asarray(features, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if x.ndim != 2 or len(x) != len(p) or len(x) <= neighbours:
        raise SampleError(f"features have shape {x.shape}, scores {p.shape}; give a row of features per score, more than {neighbours}.")
    if not np.all(np.isfinite(x)) or not np.all((p >= 0) & (p <= 1)):
        raise SampleError("Features are not finite or scores lie outside [0, 1]; impute, or scale the scores first.")
    spread = x.std(axis=0)
    scaled = (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    near = cKDTree(scaled).query(scaled, k=neighbours + 1)[1]
    own = np.arange(len(p))[:, None]
    # A row is its own neighbour, but duplicates may push it from the first place.
    others = np.array([row[row != i][:neighbours] for i, row in zip(own[:, 0], near, strict=True)])
    return float(1 - np.mean(np.abs(p - p[others].mean(axis=1))))


def _range(rates: list[float]) -> float:
    return max(rates) - min(rates)


def _share(rates: list[float]) -> float:
    return min(rates) / max(rates) if max(rates) > 0 else 1.0


def _binary(values: ArrayLike, what: str) -> NDArray[np.float64]:
    found = np.asarray(values, dtype=np.float64)
    if other := int(np.sum(~np.isin(found, (0.0, 1.0)))):
        raise SampleError(f"{other} of {found.size} {what} are neither 0 nor 1; apply the decision's cut-off first.")
    return found


def _conditional(outcome: ArrayLike, selected: ArrayLike, groups: ArrayLike, *, of: float) -> list[float]:
    """Selection rate per group among rows whose outcome is `of`; 0 for a group without one, as fairlearn counts it."""
    y, d = _binary(outcome, "outcomes"), _binary(selected, "selections")
    if y.shape != d.shape:
        raise SampleError(f"outcomes and selections have shapes {y.shape} and {d.shape}; give one of each per row.")
    _, names, codes = _checked(d, groups)
    counts = np.bincount(codes[y == of], minlength=len(names))
    chosen = np.bincount(codes[y == of], weights=d[y == of], minlength=len(names))
    rates = np.divide(chosen, counts, out=np.zeros(len(names)), where=counts > 0)
    return [float(rate) for rate in rates]


def _rates(selected: ArrayLike, groups: ArrayLike) -> list[float]:
    return list(group_means(_binary(selected, "selections"), groups).values())
