"""Have many features together moved? Maximum mean discrepancy, least-squares density difference, and a classifier that tells windows
apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError
from within_pipelines.monitoring.clustered import FEWEST_CLUSTERS, ROWS, SIGN_FLIPS, group_rows
from within_pipelines.monitoring.kolmogorov_smirnov import judge_distance
from within_pipelines.monitoring.mean_shift import mean_shift
from within_pipelines.monitoring.state import DriftState

Floats = NDArray[np.float64]
# Kernels and classifiers see at most so many rows of a window, drawn by the given generator; the result says how many.
MOST_ROWS = 1000
SEPARATION = 0.6


@dataclass(frozen=True, slots=True)
class MultivariateShift:
    """How two windows of several features differ.

    `method` is "mmd", "lsdd" or "classifier". `statistic` is the squared MMD (unbiased), the LSDD, or the classifier's AUC; each
    estimates an
    effect that does not grow with the sample, and `threshold` is the smallest one that matters. `attribution` names features with their
    share of the shift, largest first. `n_reference` and `n_current` are the rows used, of the `rows_*` given. `detectable` is the smallest
    statistic that would have been significant, above `threshold` nothing is called stable; None for the classifier and for few accounts."""

    method: str
    state: DriftState
    statistic: float
    p_value: float
    threshold: float
    null: str
    attribution: tuple[tuple[str, float], ...]
    n_reference: int
    n_current: int
    rows_reference: int
    rows_current: int
    n_clusters: int | None
    reason: str = ""
    detectable: float | None = None

    @property
    def drifted(self) -> bool:
        """True only for `DriftState.DRIFTED`."""
        return self.state is DriftState.DRIFTED


@dataclass(frozen=True, slots=True)
class _Windows:
    ref: Floats
    cur: Floats
    ref_clusters: NDArray[np.generic] | None
    cur_clusters: NDArray[np.generic] | None
    given: tuple[int, int]


def _windows(
    reference: ArrayLike, current: ArrayLike, reference_clusters: ArrayLike | None, current_clusters: ArrayLike | None, most: int,
    rng: np.random.Generator,
) -> _Windows:  # fmt: skip
    ref, cur = (np.asarray(v, dtype=np.float64) for v in (reference, current))
    ref, cur = (v[:, None] if v.ndim == 1 else v for v in (ref, cur))
    if ref.ndim != 2 or ref.shape[1:] != cur.shape[1:] or min(len(ref), len(cur)) < 4:
        raise SampleError(f"The windows have shapes {ref.shape} and {cur.shape}; give at least four rows of the same features in both.")
    if bad := int(np.sum(~np.isfinite(ref)) + np.sum(~np.isfinite(cur))):
        raise SampleError(f"{bad} values are not finite; impute them first (`standardised` does), the same way in both windows.")
    if (reference_clusters is None) != (current_clusters is None):
        raise SampleError("Give clusters of both windows or of neither.")
    labels = [None if c is None else np.asarray(c) for c in (reference_clusters, current_clusters)]
    kept = [np.sort(rng.choice(len(v), most, replace=False)) if len(v) > most else np.arange(len(v)) for v in (ref, cur)]
    chosen = [None if c is None else c[k] for c, k in zip(labels, kept, strict=True)]
    return _Windows(ref[kept[0]], cur[kept[1]], chosen[0], chosen[1], (len(ref), len(cur)))


def standardised(reference: Floats, current: Floats) -> tuple[Floats, Floats]:
    """Both windows with the reference's mean 0 and standard deviation 1 per feature; missing values at 0, constants all 0."""
    with np.errstate(invalid="ignore"):
        known = np.isfinite(reference)
        centre = np.nanmedian(np.where(known.any(axis=0), np.where(known, reference, np.nan), 0.0), axis=0)
        spread = np.nanstd(np.where(known.any(axis=0), np.where(known, reference, np.nan), 0.0), axis=0)
    made = []
    for values in (reference, current):
        scaled = np.divide(values - centre, spread, out=np.zeros_like(values, dtype=np.float64), where=spread > 0)
        made.append(np.where(np.isfinite(scaled), scaled, 0.0))
    return made[0], made[1]


def _squared(x: Floats, y: Floats) -> Floats:
    found: Floats = np.maximum((x * x).sum(axis=1)[:, None] + (y * y).sum(axis=1)[None] - 2 * x @ y.T, 0.0)
    return found


def median_bandwidth(x: Floats) -> float:
    """sigma with 2 sigma^2 = the median squared distance between different rows, over 2 (Gretton et al., 2012); 1 when all rows are
    equal."""
    distances = _squared(x, x)[np.triu_indices(len(x), 1)]
    middle = float(np.median(distances)) if distances.size else 0.0
    return float(np.sqrt(0.5 * middle)) if middle > 0 else 1.0


def _gaussian(squared: Floats, sigma: float) -> Floats:
    found: Floats = np.exp(-squared / (2 * sigma**2))
    return found


def mmd2_unbiased(kernel: Floats, m: int) -> float:
    """Unbiased squared maximum mean discrepancy from a kernel matrix whose last `m` rows are the current window (Gretton et al., 2012)."""
    n = len(kernel) - m
    own = [float(part.sum() - np.trace(part)) for part in (kernel[:n, :n], kernel[n:, n:])]
    return own[0] / (n * (n - 1)) + own[1] / (m * (m - 1)) - 2 * float(kernel[:n, n:].mean())


def maximum_mean_discrepancy(
    reference: ArrayLike,
    current: ArrayLike,
    *,
    rng: np.random.Generator,
    names: Sequence[str] = (),
    reference_clusters: ArrayLike | None = None,
    current_clusters: ArrayLike | None = None,
    sigma: float | None = None,
    alpha: float = 0.05,
    minimum_effect: float = 0.01,
    n_permutations: int = 499,
    most_rows: int = MOST_ROWS,
) -> MultivariateShift:
    """Gaussian-kernel MMD between two windows of rows of features. `sigma` defaults to the reference's median heuristic.

    Rows count as independent and exchange their window, or, with clusters, each cluster's part of the difference of mean embeddings gets
    a random sign: with a_c that part, the null is the squared length of sum of +-a_c, whose Gram matrix is summed once. The statistic is
    the
    unbiased one in both cases. `attribution` is each feature's share of the summed one-feature MMDs. Drifted needs p <= alpha and a
    statistic of `minimum_effect` (0.01 is about a shift of .25 standard deviations in one standardised feature); it is stable when a
    statistic of that size would have been significant, else insufficient.

    Raises `SampleError` for other shapes, values that are not finite, or clusters of one window only.

    >>> rng = np.random.default_rng(7)
    >>> x, y = rng.normal(size=(2, 150, 2))
    >>> maximum_mean_discrepancy(x, y + [1, 0], rng=rng, names=["a", "b"]).attribution[0][0]
    'a'
    """
    w = _windows(reference, current, reference_clusters, current_clusters, most_rows, rng)
    rows, m = np.concatenate([w.ref, w.cur]), len(w.cur)
    n = len(w.ref)
    width = median_bandwidth(w.ref) if sigma is None else sigma
    kernel = _gaussian(_squared(rows, rows), width)
    statistic = mmd2_unbiased(kernel, m)
    n_clusters = None
    if w.ref_clusters is None or w.cur_clusters is None:
        null = _exchange(kernel, n, m, rng, n_permutations)
        p_value, reach = _chance(statistic, null, alpha, slack=1e-12)
    else:
        groups = group_rows(w.ref_clusters, w.cur_clusters, rng=rng)
        n_clusters = groups.n_clusters
        centred = kernel - kernel.mean(axis=0) - kernel.mean(axis=1)[:, None] + kernel.mean()
        observed, null = _signed(centred, _weights(n, m), groups.codes, groups.n_groups, rng, n_permutations)
        p_value, reach = _chance(observed, null, alpha, slack=1e-9 * observed)
        # The null is of the squared length, which exceeds the unbiased statistic by what rows add to themselves.
        reach -= observed - statistic
    attribution = _shares(
        names, lambda k: max(0.0, mmd2_unbiased(_gaussian(_squared(rows[:, [k]], rows[:, [k]]), median_bandwidth(w.ref[:, [k]])), m))
    )
    state = _state(p_value, statistic, reach, alpha, minimum_effect, n_clusters)
    return _result("mmd", state, statistic, p_value, minimum_effect, attribution, w, n_clusters, reach)


def _weights(n: int, m: int) -> Floats:
    weights: Floats = np.r_[np.full(n, -1 / n), np.full(m, 1 / m)]
    return weights


def _exchange(kernel: Floats, n: int, m: int, rng: np.random.Generator, n_permutations: int) -> Floats:
    """The unbiased squared MMD of rows that exchange their window at random."""
    plain = kernel - np.diag(np.diag(kernel))
    marks = rng.permuted(np.tile(np.r_[np.zeros(n), np.ones(m)], (n_permutations, 1)), axis=1)
    inside = np.einsum("ij,ij->i", marks @ plain, marks)
    row_sums = marks @ plain.sum(axis=1)
    outside = plain.sum() - 2 * row_sums + inside
    null: Floats = outside / (n * (n - 1)) + inside / (m * (m - 1)) - 2 * (row_sums - inside) / (n * m)
    return null


def _signed(
    centred: Floats, weight: Floats, codes: NDArray[np.int64], n_groups: int, rng: np.random.Generator, n_permutations: int
) -> tuple[float, Floats]:
    """The squared length of the weighted embedding, and what it is under random signs of groups."""
    member = np.zeros((n_groups, len(codes)))
    member[codes, np.arange(len(codes))] = weight
    leverage = np.minimum(np.abs(member).sum(axis=1), 0.9)
    gram = member @ centred @ member.T
    observed = float(gram.sum())
    scale = 1 / np.sqrt(1 - leverage)
    gram = gram * scale[:, None] * scale[None]
    signs = rng.integers(0, 2, size=(n_permutations, n_groups)) * 2.0 - 1.0
    return observed, np.einsum("ij,ij->i", signs @ gram, signs)


def _chance(observed: float, null: Floats, alpha: float, slack: float) -> tuple[float, float]:
    """The p-value, and the value above which it would be at most `alpha`; infinite where so few draws cannot get there."""
    p_value = float((1 + np.sum(null >= observed - slack)) / (1 + len(null)))
    allowed = int(alpha * (1 + len(null)) + 1e-9) - 1
    return p_value, math.inf if allowed < 0 else float(np.sort(null)[::-1][min(allowed, len(null) - 1)])


def _state(p_value: float, statistic: float, reach: float, alpha: float, minimum_effect: float, n_clusters: int | None) -> DriftState:
    if n_clusters is not None and n_clusters < FEWEST_CLUSTERS:
        return DriftState.INSUFFICIENT
    return judge_distance(statistic, p_value, reach, alpha, minimum_effect)


def _shares(names: Sequence[str], size: Callable[[int], float]) -> tuple[tuple[str, float], ...]:
    found = [size(k) for k in range(len(names))]
    total = sum(found)
    if total <= 0:
        return ()
    return tuple(sorted(((name, value / total) for name, value in zip(names, found, strict=True)), key=lambda entry: (-entry[1], entry[0])))


def _result(
    method: str, state: DriftState, statistic: float, p_value: float, threshold: float, attribution: tuple[tuple[str, float], ...],
    w: _Windows, n_clusters: int | None, reach: float = math.inf,
) -> MultivariateShift:  # fmt: skip
    few = n_clusters is not None and n_clusters < FEWEST_CLUSTERS
    reason = f"Only {n_clusters} accounts are in the windows; eight are the least." if few else ""
    null = ROWS if n_clusters is None else SIGN_FLIPS
    return MultivariateShift(
        method, state, statistic, p_value, threshold, null, attribution, len(w.ref), len(w.cur), w.given[0], w.given[1], n_clusters, reason,
        reach if math.isfinite(reach) and not few else None,
    )  # fmt: skip


def least_squares_density_difference(
    reference: ArrayLike,
    current: ArrayLike,
    *,
    rng: np.random.Generator,
    reference_clusters: ArrayLike | None = None,
    current_clusters: ArrayLike | None = None,
    sigma: float | None = None,
    ridge: float = 0.1,
    n_centres: int = 50,
    alpha: float = 0.05,
    minimum_effect: float = 0.01,
    n_permutations: int = 499,
    most_rows: int = MOST_ROWS,
) -> MultivariateShift:
    """Squared L2 distance of the two densities, estimated directly: LSDD (Sugiyama et al., 2013).

    The difference is modelled by Gaussians at `n_centres` reference rows: with H_ij = exp(-|c_i - c_j|^2 / (4 sigma^2)) and h the
    difference of
    mean kernel values, theta = (H + ridge I)^-1 h and LSDD = 2 theta'h - theta'H theta, in units of (pi sigma^2)^(d/2). Nulls as in
    `maximum_mean_discrepancy`; centres are drawn with `rng` and take no part as rows.

    Raises `SampleError` like `maximum_mean_discrepancy`, or when the centres leave fewer than four rows."""
    w = _windows(reference, current, reference_clusters, current_clusters, most_rows, rng)
    n_centres = min(n_centres, len(w.ref) // 4)
    if n_centres < 2:
        raise SampleError(f"{len(w.ref)} reference rows leave too few for centres; give at least eight.")
    width = median_bandwidth(w.ref) if sigma is None else sigma
    drawn = rng.permutation(len(w.ref))
    centres, rest = w.ref[drawn[:n_centres]], np.sort(drawn[n_centres:])
    ref_clusters = None if w.ref_clusters is None else w.ref_clusters[rest]
    rows = np.concatenate([w.ref[rest], w.cur])
    n, m = len(rest), len(w.cur)
    features = _gaussian(_squared(rows, centres), width)
    h_matrix = np.exp(-_squared(centres, centres) / (4 * width**2))
    solved = np.linalg.inv(h_matrix + ridge * np.eye(n_centres))
    quadratic = 2 * solved - solved @ h_matrix @ solved
    weight = _weights(n, m)
    h = weight @ features
    statistic = float(h @ quadratic @ h)
    n_clusters = None
    if ref_clusters is None or w.cur_clusters is None:
        marks = rng.permuted(np.tile(weight, (n_permutations, 1)), axis=1) @ features
    else:
        groups = group_rows(ref_clusters, w.cur_clusters, rng=rng)
        n_clusters = groups.n_clusters
        added = np.zeros((groups.n_groups, n_centres))
        np.add.at(added, groups.codes, weight[:, None] * (features - features.mean(axis=0)))
        leverage = np.minimum(np.bincount(groups.codes, weights=np.abs(weight), minlength=groups.n_groups), 0.9)
        signs = rng.integers(0, 2, size=(n_permutations, groups.n_groups)) * 2.0 - 1.0
        marks = signs @ (added / np.sqrt(1 - leverage)[:, None])
    null = np.einsum("ij,ij->i", marks @ quadratic, marks)
    p_value, reach = _chance(statistic, null, alpha, slack=1e-9 * statistic)
    state = _state(p_value, statistic, reach, alpha, minimum_effect, n_clusters)
    return _result("lsdd", state, statistic, p_value, minimum_effect, (), w, n_clusters, reach)


def classifier_two_sample(
    reference: ArrayLike,
    current: ArrayLike,
    *,
    rng: np.random.Generator,
    names: Sequence[str] = (),
    reference_clusters: ArrayLike | None = None,
    current_clusters: ArrayLike | None = None,
    boosted: bool = False,
    alpha: float = 0.05,
    minimum_effect: float = SEPARATION,
    n_permutations: int = 1999,
    most_rows: int = 5 * MOST_ROWS,
) -> MultivariateShift:
    """Can a classifier tell the windows apart on rows of accounts that it has not seen? AUC .5 is no, 1 is always (Lopez-Paz and Oquab,
    2017).

    Clusters are halved. A ridge logistic regression on standardised features (or shallow boosted trees) learns on one half and scores the
    other, and the reverse; scores become ranks within their half, and the change of the mean rank, which is AUC - .5, is tested there
    with random signs of clusters. `p_value` is the larger of the two halves' (one-sided), so both must say so; the AUC is their mean. One
    test over all folds of a cross-validation would not do: a pair of clusters counts twice in it, once as lesson and once as question, and
    false alarms come to more than twice what is stated. Drifted needs p <= alpha and an AUC of `minimum_effect`; it is stable when the
    intervals of both halves end below that. `attribution` are shares of absolute standardised coefficients, of boosted trees of the loss
    of AUC when a feature is shuffled.

    Raises `SampleError` like `maximum_mean_discrepancy`, or when a half does not hold clusters of both windows.

    >>> rng = np.random.default_rng(7)
    >>> x, y = rng.normal(size=(2, 300, 2))
    >>> found = classifier_two_sample(x, y + [0, 1], rng=rng, names=["a", "b"])
    >>> found.state.value, found.attribution[0][0]
    ('drifted', 'b')
    """
    w = _windows(reference, current, reference_clusters, current_clusters, most_rows, rng)
    n, m = len(w.ref), len(w.cur)
    rows, label = np.concatenate([w.ref, w.cur]), np.r_[np.zeros(n), np.ones(m)]
    clustered = w.ref_clusters is not None and w.cur_clusters is not None
    units = np.concatenate([w.ref_clusters, w.cur_clusters]) if clustered else np.arange(n + m)
    unique, codes = np.unique(units, return_inverse=True)
    if len(unique) < 4:
        raise SampleError(f"{len(unique)} clusters cannot be halved; four are the least, eight for an answer.")
    half = (rng.permutation(len(unique)) % 2)[codes]
    weights, changes = np.zeros(rows.shape[1]), []
    for k in range(2):
        seen, held = half != k, half == k
        if len(np.unique(label[seen])) < 2 or len(np.unique(label[held])) < 2:
            raise SampleError("A half of the accounts does not hold rows of both windows; give more accounts, or more that are in both.")
        scores, weight = _separate(rows[seen], label[seen], rows[held], label[held], boosted, rng, weighed=bool(names))
        order = np.unique(scores, return_inverse=True, return_counts=True)
        middle = (np.cumsum(order[2]) - (order[2] - 1) / 2)[order[1]]
        ranks, new = (middle - 0.5) / held.sum(), label[held] == 1
        changes.append(
            mean_shift(
                ranks[~new], ranks[new], rng=rng, reference_clusters=codes[held][~new], current_clusters=codes[held][new],
                n_permutations=n_permutations,
            )
        )  # fmt: skip
        weights += weight
    auc = 0.5 + float(np.mean([change.change[0] for change in changes]))
    high = 0.5 + max(float(change.high[0]) for change in changes)
    p_value = max(float(change.p_worse[0]) for change in changes)
    n_clusters = len(unique) if clustered else None
    if n_clusters is not None and n_clusters < FEWEST_CLUSTERS:
        state = DriftState.INSUFFICIENT
    elif p_value <= alpha and auc >= minimum_effect:
        state = DriftState.DRIFTED
    else:
        state = DriftState.STABLE if high < minimum_effect else DriftState.INSUFFICIENT
    attribution = _shares(names, lambda k: float(weights[k]))
    return _result("classifier", state, auc, p_value, minimum_effect, attribution, w, n_clusters)


def _separate(
    x: Floats, y: Floats, held: Floats, held_label: Floats, boosted: bool, rng: np.random.Generator, *, weighed: bool
) -> tuple[Floats, Floats]:
    """Scores of the held-out rows, and how much each feature carries (of trees only where `weighed`: a shuffle per feature costs most)."""
    centre, spread = x.mean(axis=0), x.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    x, held = (x - centre) / spread, (held - centre) / spread
    if not boosted:
        from sklearn.linear_model import LogisticRegression

        linear = LogisticRegression(C=0.1, max_iter=200, class_weight="balanced").fit(x, y)
        return held @ linear.coef_[0], np.abs(linear.coef_[0])
    from sklearn.ensemble import HistGradientBoostingClassifier

    from within_pipelines.prediction.metrics import auroc

    # Ranks need no balanced classes, and weights of rows would make the binning of features cost more than the trees.
    trees = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=8, learning_rate=0.1, random_state=int(rng.integers(2**31))).fit(
        x, y
    )
    scores = trees.predict_proba(held)[:, 1]
    if not weighed:
        return scores, np.zeros(x.shape[1])
    whole = auroc(held_label, scores)
    lost = np.zeros(x.shape[1])
    for k in range(x.shape[1]):
        shuffled = held.copy()
        shuffled[:, k] = rng.permutation(shuffled[:, k])
        lost[k] = max(0.0, whole - auroc(held_label, trees.predict_proba(shuffled)[:, 1]))
    return scores, lost


def text_drift(
    reference: Sequence[str],
    current: Sequence[str],
    *,
    embed: Callable[[Sequence[str]], Floats],
    rng: np.random.Generator,
    reference_clusters: ArrayLike | None = None,
    current_clusters: ArrayLike | None = None,
    alpha: float = 0.05,
    n_permutations: int = 499,
) -> MultivariateShift:
    """MMD between the embeddings of two samples of texts; `embed` turns texts into rows (a sentence encoder, or counts of words).

    Raises `SampleError` like `maximum_mean_discrepancy`, or when `embed` gives another number of rows than texts."""
    rows = [np.asarray(embed(texts), dtype=np.float64) for texts in (reference, current)]
    for texts, made in zip((reference, current), rows, strict=True):
        if made.ndim != 2 or len(made) != len(texts):
            raise SampleError(f"embed gave an array of shape {made.shape} for {len(texts)} texts; give one row per text.")
    return maximum_mean_discrepancy(
        rows[0], rows[1], rng=rng, reference_clusters=reference_clusters, current_clusters=current_clusters, alpha=alpha,
        n_permutations=n_permutations,
    )  # fmt: skip
