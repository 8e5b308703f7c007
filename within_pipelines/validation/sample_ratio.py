"""Did the split deliver the shares that it was asked for?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from within_pipelines.exceptions import SampleError

# Stricter than usual tests, because it is asked of every experiment and a mismatch stops all of it (Fabijan et al., 2019).
MISMATCH_ALPHA = 0.001


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """Counts beside the shares that were asked for: chi-square statistic, p-value, and the verdict at `alpha`."""

    counts: Mapping[str, int]
    expected: Mapping[str, float]
    statistic: float
    p_value: float
    alpha: float

    @property
    def mismatch(self) -> bool:
        """True when chance hardly explains the counts: something between assignment and measurement loses or adds units."""
        return self.p_value < self.alpha


def sample_ratio(counts: Mapping[str, int], shares: Mapping[str, float], *, alpha: float = MISMATCH_ALPHA) -> SampleRatio:
    """Pearson's chi-square test of the counts against the shares (any positive numbers; they are scaled to sum to 1).

    After a mismatch no effect can be believed, because the units that went missing are not missing by chance. Counts must be of
    independent units (people, accounts), not of their events.

    Raises `SampleError` when arms differ, a count is negative, a share is not positive, or there are fewer than two arms or no unit.

    >>> sample_ratio({"a": 5100, "b": 4900}, {"a": 0.5, "b": 0.5}).mismatch
    False
    >>> sample_ratio({"a": 5300, "b": 4700}, {"a": 0.5, "b": 0.5}).mismatch
    True
    """
    from scipy.special import chdtrc

    if len(shares) < 2 or set(counts) != set(shares):
        raise SampleError(f"counts has arms {sorted(counts)}, shares {sorted(shares)}; give the same two or more arms in both.")
    if min(counts.values()) < 0 or not all(share > 0 and math.isfinite(share) for share in shares.values()):
        raise SampleError(f"counts are {dict(counts)} and shares {dict(shares)}; give counts >= 0 and shares above 0.")
    observed = np.array([counts[arm] for arm in shares], dtype=np.float64)
    expected = np.array(list(shares.values()), dtype=np.float64)
    total = float(observed.sum())
    if total == 0:
        raise SampleError("No unit was counted; a split can be checked when units have arrived.")
    expected *= total / expected.sum()
    statistic = float(np.sum((observed - expected) ** 2 / expected))
    wanted = dict(zip(shares, expected.tolist(), strict=True))
    return SampleRatio(dict(counts), wanted, statistic, float(chdtrc(len(shares) - 1, statistic)), alpha)
