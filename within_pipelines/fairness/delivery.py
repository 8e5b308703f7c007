"""Does an ad reach groups alike: the four-fifths rule with its sampling error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError
from within_pipelines.fairness.metrics import exposure_parity
from within_pipelines.stats import Estimate, Status, Verdict, cluster_bootstrap, wilson_interval


def exposure_gaps(
    exposure: ArrayLike, groups: ArrayLike, *, clusters: ArrayLike, rng: np.random.Generator, n_resamples: int = 500, level: float = 0.95,
) -> dict[str, Estimate]:  # fmt: skip
    """Each group's share of all exposure over its share of rows (`exposure_parity`), with intervals that resample whole clusters.

    1 is parity. Draws without the group are left out of its interval. Raises `SampleError` with fewer than two groups or clusters, or
    exposure that is negative or adds up to nothing.

    >>> ads = exposure_gaps([30, 10] * 8, ["a", "b"] * 8, clusters=list(range(16)), rng=np.random.default_rng(7))
    >>> {group: share.value for group, share in ads.items()}
    {'a': 1.5, 'b': 0.5}
    """
    shown, labels = np.asarray(exposure, dtype=np.float64), np.asarray(groups).astype(str)
    values = exposure_parity(shown, labels)
    if len(values) < 2:
        raise SampleError(f"The rows are all of group {next(iter(values))}; exposure is compared between two or more groups.")

    def share_of(group: str) -> Callable[[NDArray[np.int64]], float]:
        def share(at: NDArray[np.int64]) -> float:
            mine, total = labels[at] == group, float(shown[at].sum())
            return float(shown[at][mine].sum()) / total / float(mine.mean()) if mine.any() and total > 0 else float("nan")

        return share

    return {group: cluster_bootstrap(share_of(group), clusters, rng=rng, n_resamples=n_resamples, level=level) for group in values}


def delivery_parity(
    delivered: Mapping[str, int],
    *,
    eligible: Mapping[str, float] | None = None,
    threshold: float = 0.8,
    level: float = 0.95,
    minimum_people: int = 100,
) -> Verdict:
    """The gate `delivery`: lowest over highest delivery rate of the groups, 0 to 1, against the four-fifths rule (EEOC, 1978).

    `delivered` counts people reached per group; `eligible` the people who could have been (any common unit; equal when left out). For
    each pair of groups, given their total, the count of one is binomial, so Wilson's interval of its share gives one of the ratio;
    levels are adjusted for the number of pairs (Bonferroni). The pair with the lowest ratio is reported. Failed when its whole interval
    lies below `threshold`, passed when every pair's lies at or above it, else insufficient, with a `warning` in the evidence; a total
    below `minimum_people` is insufficient without one.

    Raises `SampleError` with fewer than two groups, negative counts, or eligible numbers that are not positive.

    >>> delivery_parity({"women": 3000, "men": 7000}).status.value, delivery_parity({"women": 5000, "men": 5100}).status.value
    ('failed', 'passed')
    """
    able = dict.fromkeys(delivered, 1.0) if eligible is None else dict(eligible)
    if len(delivered) < 2 or set(able) != set(delivered):
        raise SampleError(f"delivered has groups {sorted(delivered)}, eligible {sorted(able)}; give the same two or more groups in both.")
    if min(delivered.values()) < 0 or min(able.values()) <= 0:
        raise SampleError("A group has a negative count or nobody eligible; give counts >= 0 and eligible numbers above 0.")
    total = sum(delivered.values())
    pairs = list(combinations(sorted(delivered), 2))
    if total < minimum_people:
        reason = f"Only {total} people were reached; {minimum_people} are needed to judge delivery."
        return Verdict("delivery", Status.INSUFFICIENT, None, threshold, dict(delivered), reason)
    ratios: list[tuple[Estimate, str, str]] = []
    for one, other in pairs:
        low, high = sorted((one, other), key=lambda group: (delivered[group] / able[group], group))
        n = delivered[low] + delivered[high]
        scale = able[high] / able[low]
        if n == 0:
            ratios.append((Estimate(1.0, 0.0, 1.0, n=0, level=level), low, high))
            continue
        share = wilson_interval(delivered[low], n, level=1 - (1 - level) / len(pairs))
        ends = [s / (1 - s) * scale if s < 1 else float("inf") for s in (share.value, share.low, share.high)]
        value, least, most = (min(1.0, end) for end in ends)
        ratios.append((Estimate(value, least, most, n=n, level=level), low, high))
    failing = [found for found in ratios if found[0].high < threshold]
    worst, low, high = min(failing or ratios, key=lambda found: (found[0].value, found[0].low))
    if failing:
        status, why = Status.FAILED, f"below {threshold:g} beyond sampling error"
    elif all(found[0].low >= threshold for found in ratios):
        status, why = Status.PASSED, f"at or above {threshold:g}"
    else:
        status, why = Status.INSUFFICIENT, f"within sampling error of {threshold:g}"
    reason = f"{low} are reached {worst} times as often as {high}: {why}."
    evidence = {"lowest": low, "highest": high}
    if status is Status.INSUFFICIENT:
        side = "below" if worst.value < threshold else "at or above"
        evidence["warning"] = f"{worst.value:.2f} is {side} {threshold:g}, but not beyond sampling error"
    return Verdict("delivery", status, worst, threshold, dict(delivered), reason, evidence=evidence)
