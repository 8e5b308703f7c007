"""Is the data biased before anything is trained on it: who is in it, how they are labelled, what betrays the attribute, what is missing?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError
from within_pipelines.fairness.audit import UNDECLARED, _shuffled_sums, intersection, pooled
from within_pipelines.fairness.group_gap import _exchangeable
from within_pipelines.stats import Estimate, cluster_bootstrap, holm, permutation_p_value

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BiasFinding:
    """One look at the data: `kind` (sampling, label, missing, proxy), the attribute, what was looked at, its size with interval.

    `adjusted` is the p-value against shuffled groups (against the reference, for sampling) after Holm over all looks of the report; a look
    is `biased` when it is at most `alpha` and the size exceeds `threshold`."""

    kind: str
    attribute: str
    what: str
    size: Estimate
    threshold: float
    p_value: float
    adjusted: float
    alpha: float

    @property
    def biased(self) -> bool:
        """Beyond the threshold and beyond chance."""
        return self.adjusted <= self.alpha and self.size.value > self.threshold


@dataclass(frozen=True, slots=True)
class BiasReport:
    """All findings, the largest first; groups that were too small to look at."""

    findings: tuple[BiasFinding, ...]
    small: tuple[str, ...]

    @property
    def biased(self) -> tuple[BiasFinding, ...]:
        """What is beyond threshold and chance."""
        return tuple(finding for finding in self.findings if finding.biased)

    def to_frame(self) -> pl.DataFrame:
        """One row per finding."""
        schema: dict[str, Any] = {
            "kind": pl.String, "attribute": pl.String, "what": pl.String, "size": pl.Float64, "low": pl.Float64, "high": pl.Float64,
            "threshold": pl.Float64, "adjusted": pl.Float64, "biased": pl.Boolean,
        }  # fmt: skip
        rows = [
            (f.kind, f.attribute, f.what, f.size.value, f.size.low, f.size.high, f.threshold, f.adjusted, f.biased) for f in self.findings
        ]
        return pl.DataFrame(rows, schema=schema, orient="row")


def proxy_strength(features: ArrayLike, groups: ArrayLike, *, clusters: ArrayLike, folds: int = 5, penalty: float = 10.0) -> float:
    """How well features together tell the group: cross-validated balanced accuracy of a ridge, guessing is 0 and certainty 1.

    Folds hold whole clusters out. `features` is (rows, columns), missing values count as the column's mean.

    Raises `SampleError` with fewer than two groups or fewer clusters than folds.

    >>> group = np.repeat(["a", "b"], 100)
    >>> round(proxy_strength((group == "a")[:, None].astype(float), group, clusters=range(200)), 2)
    1.0
    """
    x, labels = np.asarray(features, dtype=np.float64), np.asarray(groups).astype(str)
    names, codes = np.unique(labels, return_inverse=True)
    unit = np.unique(np.asarray(clusters).astype(str), return_inverse=True)[1]
    if len(names) < 2 or x.shape[:1] != labels.shape or int(unit.max()) + 1 < folds:
        raise SampleError(f"{len(names)} groups, {x.shape} features, {int(unit.max()) + 1} clusters; give two groups and {folds} clusters.")
    answers = _held_out(_standard(x), np.eye(len(names))[codes], unit, folds=folds, penalty=penalty)
    return _balanced(answers.argmax(axis=1), codes, len(names))


def _standard(x: Floats) -> Floats:
    mean = np.nanmean(np.where(np.isfinite(x), x, np.nan), axis=0) if x.size else np.zeros(x.shape[1])
    filled = np.where(np.isfinite(x), x, np.nan_to_num(mean))
    spread = filled.std(axis=0)
    scaled: Floats = (filled - filled.mean(axis=0)) / np.where(spread > 1e-12, spread, 1.0)
    return scaled


def _held_out(x: Floats, target: Floats, unit: NDArray[np.int64], *, folds: int, penalty: float) -> Floats:
    """Ridge answers of each fold by the others; classes weigh alike through the prior-corrected target."""
    # Every `folds`-th cluster in a fixed shuffled order, so that sorted clusters do not gather in one fold.
    fold = np.random.default_rng(0).permutation(int(unit.max()) + 1)[unit] % folds
    weight = (1 / np.maximum(target.sum(axis=0), 1))[target.argmax(axis=1)]
    result = np.zeros_like(target)
    for k in range(folds):
        train = fold != k
        w = weight[train][:, None] / weight[train].mean()
        one = np.column_stack([np.ones(train.sum()), x[train]])
        ridge = penalty * np.eye(one.shape[1])
        ridge[0, 0] = 0.0
        coefficients = np.linalg.solve(one.T @ (w * one) + ridge, one.T @ (w * target[train]))
        result[~train] = np.column_stack([np.ones((~train).sum()), x[~train]]) @ coefficients
    return result


def _balanced(answered: NDArray[np.int64], codes: NDArray[np.int64], n: int) -> float:
    recalls = [float((answered[codes == c] == c).mean()) for c in range(n) if np.any(codes == c)]
    return (float(np.mean(recalls)) - 1 / n) / (1 - 1 / n)


def detect_bias(
    rows: pl.DataFrame,
    attributes: Mapping[str, ArrayLike],
    *,
    clusters: ArrayLike,
    rng: np.random.Generator,
    label: str | None = None,
    features: Sequence[str] = (),
    reference: Mapping[str, Mapping[str, float]] | None = None,
    intersections: bool = True,
    thresholds: Mapping[str, float] | None = None,
    minimum_units: int = 5,
    alpha: float = 0.05,
    n_permutations: int = 1999,
    n_resamples: int = 300,
) -> BiasReport:
    """Look at the training data for sampling, label and missingness bias and for proxies.

    - `sampling`: total variation distance (0 to 1) between the groups' shares of rows and `reference` (attribute to group to share); its
      null draws whole clusters as if the reference were true. All groups count here, also small ones and those that no row has.
    - `label`: largest less smallest mean of `label` over groups, in its units.
    - `missing`: the same for the share of missing values of each feature that has any.
    - `proxy`: `proxy_strength` of all numeric `features` together, then the correlation ratio (eta squared, 0 to 1) of each alone.

    Groups with fewer than `minimum_units` clusters are pooled or left out; `intersections` adds the joint groups of all attributes.
    `thresholds` by kind default to .1 for sampling, label and missing, .2 for proxy. Sizes are biased upwards by chance; the permutation
    null has the same bias, so only `biased` findings count.

    Raises `SampleError` without attributes or for lengths that differ.

    >>> rng = np.random.default_rng(7)
    >>> group = np.repeat(["a", "b"], 200)
    >>> table = pl.DataFrame({"y": rng.random(400) < np.where(group == "a", 0.7, 0.3), "x": rng.normal(size=400) + 3 * (group == "a")})
    >>> found = detect_bias(table, {"g": group}, clusters=range(400), rng=rng, label="y", features=["x"])
    >>> sorted({finding.kind for finding in found.biased})
    ['label', 'proxy']
    """
    unit = np.unique(np.asarray(clusters).astype(str), return_inverse=True)[1].astype(np.int64)
    named = {name: np.asarray(values).astype(str) for name, values in attributes.items()}
    if not named or {len(v) for v in named.values()} | {len(unit)} != {rows.height}:
        raise SampleError(f"{rows.height} rows, {len(unit)} clusters, attributes {sorted(named)}; give at least one, all of one length.")
    if intersections and len(named) > 1:
        whole = np.all([v != UNDECLARED for v in named.values()], axis=0)
        named[" x ".join(named)] = np.where(whole, intersection(*named.values()), UNDECLARED)
    limits = {"sampling": 0.1, "label": 0.1, "missing": 0.1, "proxy": 0.2, **(thresholds or {})}
    raw: list[tuple[str, str, str, Estimate, float]] = []
    small: list[str] = []
    for name, labels in named.items():
        if reference is not None and name in reference:
            # Before small groups are pooled or left out: who is hardly there, or not at all, is what this looks for.
            told = labels != UNDECLARED
            whole_look = _Look(name, labels[told], unit[told], rows.filter(told), rng, n_permutations, n_resamples)
            raw.append(whole_look.sampling(reference[name]))
        joined = pooled(labels, unit, minimum_units=minimum_units).astype(str)
        sizes = {g: len(np.unique(unit[joined == g])) for g in np.unique(joined).tolist() if g != UNDECLARED}
        small += [f"{name}: {g}" for g, n in sizes.items() if n < minimum_units]
        keep = np.isin(joined, [g for g, n in sizes.items() if n >= minimum_units])
        if len(set(joined[keep])) < 2:
            continue
        look = _Look(name, joined[keep], unit[keep], rows.filter(keep), rng, n_permutations, n_resamples)
        if label is not None:
            raw.append(look.means("label", label, rows[label].cast(pl.Float64).to_numpy()[keep]))
        for feature in features:
            missing = rows[feature].is_null().cast(pl.Float64).to_numpy()[keep]
            if 0 < missing.mean() < 1:
                raw.append(look.means("missing", feature, missing))
        numeric = [f for f in features if rows[f].dtype.is_numeric() or rows[f].dtype == pl.Boolean]
        if numeric:
            raw += look.proxies(numeric)
    adjusted = holm(np.array([p for *_, p in raw], dtype=np.float64))
    findings = [
        BiasFinding(kind, attribute, what, size, limits[kind], p, float(q), alpha)
        for (kind, attribute, what, size, p), q in zip(raw, adjusted, strict=True)
    ]
    return BiasReport(tuple(sorted(findings, key=lambda f: (not f.biased, -f.size.value / f.threshold))), tuple(small))


@dataclass(frozen=True, slots=True)
class _Look:
    """One attribute's groups over the rows that have one."""

    attribute: str
    labels: NDArray[np.str_]
    unit: NDArray[np.int64]
    rows: pl.DataFrame
    rng: np.random.Generator
    n_permutations: int
    n_resamples: int

    @property
    def _codes(self) -> NDArray[np.int64]:
        return np.unique(self.labels, return_inverse=True)[1].astype(np.int64)

    def _shuffled(self, sums: Floats) -> Floats:
        """Group sums of the columns of `sums` (one row per row) after groups were shuffled in whole clusters."""
        codes = self._codes
        blocks, inside = _exchangeable(np.unique(self.unit, return_inverse=True)[1], codes, np.zeros(len(codes), dtype=np.int64))
        _, first, block = np.unique(blocks, return_index=True, return_inverse=True)
        own = np.column_stack([np.bincount(block, weights=sums[:, i]) for i in range(sums.shape[1])]).astype(np.float64)
        return _shuffled_sums(codes[first], inside[first], own, int(codes.max()) + 1, rng=self.rng, n_permutations=self.n_permutations)

    def means(self, kind: str, what: str, values: Floats) -> tuple[str, str, str, Estimate, float]:
        codes, n = self._codes, int(self._codes.max()) + 1
        given = np.isfinite(values)
        filled, there = np.where(given, values, 0.0), given.astype(np.float64)

        def spread(rows: NDArray[np.int64]) -> float:
            counts = np.bincount(codes[rows], weights=there[rows], minlength=n)
            if np.any(counts == 0):
                return float("nan")
            own = np.bincount(codes[rows], weights=filled[rows], minlength=n) / counts
            return float(own.max() - own.min())

        size = cluster_bootstrap(spread, self.unit, rng=self.rng, n_resamples=self.n_resamples)
        sums = self._shuffled(np.column_stack([filled, there]))
        with np.errstate(invalid="ignore", divide="ignore"):
            null = np.ptp(sums[..., 0] / sums[..., 1], axis=1)
        return kind, self.attribute, what, size, permutation_p_value(size.value, null[np.isfinite(null)])

    def sampling(self, reference: Mapping[str, float]) -> tuple[str, str, str, Estimate, float]:
        # Groups that only the reference has are missing from the sample; those that only the sample has, from the reference.
        names, codes = np.unique([*self.labels.tolist(), *(g for g, share in reference.items() if share > 0)], return_inverse=True)
        codes, names, n = codes[: len(self.labels)].astype(np.int64), names.tolist(), len(names)
        expected = np.array([reference.get(g, 0.0) for g in names], dtype=np.float64)
        if min(reference.values(), default=0.0) < 0 or expected.sum() <= 0 or not len(codes):
            raise SampleError(
                f"The reference of {self.attribute} is {dict(reference)}; give a non-negative share for each of {names}, and rows."
            )
        expected /= expected.sum()

        def distance(rows: NDArray[np.int64]) -> float:
            return float(np.abs(np.bincount(codes[rows], minlength=n) / len(rows) - expected).sum() / 2)

        size = cluster_bootstrap(distance, self.unit, rng=self.rng, n_resamples=self.n_resamples)
        # As if each part of a cluster that carries one label had drawn it from the reference.
        blocks = np.unique(np.column_stack([self.unit, codes]), axis=0, return_inverse=True)[1].reshape(-1)
        weight = np.bincount(blocks).astype(np.float64)
        drawn = self.rng.choice(n, size=(self.n_permutations, len(weight)), p=expected)
        shares = np.stack([(drawn == g) @ weight for g in range(n)], axis=1) / weight.sum()
        null = np.abs(shares - expected).sum(axis=1) / 2
        return "sampling", self.attribute, "shares against the reference", size, permutation_p_value(size.value, null)

    def proxies(self, numeric: list[str]) -> list[tuple[str, str, str, Estimate, float]]:
        codes, n = self._codes, int(self._codes.max()) + 1
        x = _standard(self.rows.select(pl.col(numeric).cast(pl.Float64)).fill_null(float("nan")).to_numpy())
        unit = np.unique(self.unit, return_inverse=True)[1].astype(np.int64)
        found = []
        for i, name in enumerate(numeric):
            column, square = x[:, i], float(np.mean(x[:, i] ** 2))
            if square < 1e-12:
                continue

            def eta(rows: NDArray[np.int64], column: Floats = column) -> float:
                y, c = column[rows], codes[rows]
                counts, mean = np.bincount(c, minlength=n), y.mean()
                own = np.bincount(c, weights=y, minlength=n) / np.maximum(counts, 1)
                total = float(np.sum((y - mean) ** 2))
                return float(np.sum(counts * (own - mean) ** 2) / total) if total > 0 else float("nan")

            size = cluster_bootstrap(eta, self.unit, rng=self.rng, n_resamples=self.n_resamples)
            sums = self._shuffled(np.column_stack([column, np.ones(len(column))]))
            means = sums[..., 0] / np.maximum(sums[..., 1], 1)
            null = np.sum(sums[..., 1] * (means - column.mean()) ** 2, axis=1) / np.sum((column - column.mean()) ** 2)
            found.append(("proxy", self.attribute, name, size, permutation_p_value(size.value, null)))
        if int(unit.max()) + 1 >= 10 and found:
            answers = _held_out(x, np.eye(n)[codes], unit, folds=5, penalty=10.0).argmax(axis=1)
            told = lambda rows: _balanced(answers[rows], codes[rows], n)
            size = cluster_bootstrap(told, self.unit, rng=self.rng, n_resamples=self.n_resamples)
            # A held-out prediction is honest about chance: only the labels need shuffling, not the fits.
            hits = np.eye(n)[answers]
            sums = self._shuffled(np.column_stack([hits, np.ones(len(codes))]))
            with np.errstate(invalid="ignore", divide="ignore"):
                recalls = np.stack([sums[:, g, g] / sums[:, g, n] for g in range(n)], axis=1)
            null = (np.nanmean(recalls, axis=1) - 1 / n) / (1 - 1 / n)
            found.insert(0, ("proxy", self.attribute, "all features together", size, permutation_p_value(size.value, null)))
        return found
