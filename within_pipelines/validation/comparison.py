"""Is the challenger at least as good as the champion, on the same rows?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from within_pipelines.exceptions import SampleError
from within_pipelines.stats import Verdict, judge_at_least, paired_difference


def compare_paired(
    challenger: ArrayLike,
    champion: ArrayLike,
    clusters: ArrayLike,
    *,
    margin: float,
    rng: np.random.Generator,
    higher_is_better: bool = True,
    minimum_clusters: int = 30,
    weights: ArrayLike | None = None,
    n_resamples: int = 2000,
    level: float = 0.95,
    gate: str = "champion_comparison",
    what: str = "gain over the champion",
) -> Verdict:
    """Non-inferiority of the challenger: the interval of its mean gain lies at or above `-margin`.

    `challenger` and `champion` hold one quality per row, of the same rows in the same order (1 where a pair was ordered rightly, or a
    loss with `higher_is_better=False`); `clusters` says which rows belong together (account, story, test). `margin` is the loss that
    would be accepted, in units of the quality; 0 asks for superiority up to ties. Passed when the whole interval lies above, failed when
    it lies below, else insufficient; so is evidence from fewer than `minimum_clusters` clusters.

    Raises `SampleError` for a negative margin and for samples that `paired_difference` refuses.

    >>> right, wrong = np.ones(40), np.zeros(40)
    >>> compare_paired(right, wrong, np.arange(40), margin=0.02, rng=np.random.default_rng(7)).status.value
    'passed'
    """
    if not margin >= 0:
        raise SampleError(f"margin is {margin}; give how much worse the challenger may be, a number >= 0.")
    sign = 1.0 if higher_is_better else -1.0
    gain = paired_difference(
        sign * np.asarray(challenger, dtype=np.float64),
        sign * np.asarray(champion, dtype=np.float64),
        clusters,
        rng=rng,
        weights=weights,
        n_resamples=n_resamples,
        level=level,
    )
    rows = int(np.asarray(challenger).size)
    return judge_at_least(gate, gain, -margin, minimum_n=minimum_clusters, what=what, evidence={"margin": margin, "rows": rows})


@dataclass(frozen=True, slots=True)
class McNemar:
    """Rows that only one of two classifiers got right, and the exact two-sided p-value that both are equally often right."""

    only_challenger: int
    only_champion: int
    p_value: float


def mcnemar_exact(challenger_right: ArrayLike, champion_right: ArrayLike) -> McNemar:
    """McNemar's exact test (1947) on paired right or wrong answers: the discordant rows are coin flips if both are equally good.

    Rows must be independent; for rows in clusters use `compare_paired`. No discordant row gives p = 1.

    Raises `SampleError` when the two differ in shape or hold anything but true and false.

    >>> mcnemar_exact([1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1]).p_value
    0.0625
    """
    from scipy.special import bdtr

    a, b = np.asarray(challenger_right), np.asarray(champion_right)
    if a.shape != b.shape or a.ndim != 1:
        raise SampleError(f"The answers have shapes {a.shape} and {b.shape}; a paired test needs the same rows in both.")
    if not (np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all()):
        raise SampleError("The answers hold something else than 0 and 1 (or True and False); give whether each row was right.")
    a, b = a.astype(np.bool_), b.astype(np.bool_)
    first, second = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    p_value = 1.0 if first + second == 0 else min(1.0, 2 * float(bdtr(min(first, second), first + second, 0.5)))
    return McNemar(first, second, p_value)
