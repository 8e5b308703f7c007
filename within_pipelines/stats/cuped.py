"""Take out of an outcome what was known before the experiment began."""

from __future__ import annotations

import math
from dataclasses import dataclass

from numpy.typing import ArrayLike

from within_pipelines.exceptions import SampleError
from within_pipelines.stats.permutation import Alternative
from within_pipelines.stats.two_samples import MeanDifference, sample, t_test


@dataclass(frozen=True, slots=True)
class Cuped:
    """The adjusted difference, the coefficient of what was known before, and the share of variance that it removed (0 to 1)."""

    test: MeanDifference
    coefficient: float
    variance_removed: float


def cuped_difference(
    first: ArrayLike,
    before_first: ArrayLike,
    second: ArrayLike,
    before_second: ArrayLike,
    *,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
) -> Cuped:
    """Mean of the first arm minus that of the second, each outcome reduced by theta * (before - mean of before) (Deng et al., 2013).

    `before_*` is the same metric (or any number) of each unit from before the assignment, so the arms cannot have changed it; theta is
    the pooled within-arm regression coefficient. The arms' means of `before` differ by chance alone, and theta takes that chance out.

    Raises `SampleError` when lengths differ, an arm has fewer than three units, or values are not finite.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> before = rng.normal(size=200)
    >>> y = before + 0.1 * rng.normal(size=200) + np.repeat([0.2, 0.0], 100)
    >>> found = cuped_difference(y[:100], before[:100], y[100:], before[100:])
    >>> found.variance_removed > 0.9, found.test.p_value < 1e-6
    (True, True)
    """
    a, xa = sample(first, "first", minimum=3), sample(before_first, "before_first", minimum=3)
    b, xb = sample(second, "second", minimum=3), sample(before_second, "before_second", minimum=3)
    if a.shape != xa.shape or b.shape != xb.shape:
        raise SampleError(f"The arms have {len(a)} and {len(b)} outcomes but {len(xa)} and {len(xb)} earlier values; give one per unit.")
    ca, cb, da, db = a - a.mean(), b - b.mean(), xa - xa.mean(), xb - xb.mean()
    spread = float(da @ da + db @ db)
    theta = float(ca @ da + cb @ db) / spread if spread > 0 else 0.0
    ra, rb = ca - theta * da, cb - theta * db
    # One degree of freedom an arm for its mean, one shared for theta.
    scale = (len(a) + len(b) - 2) / (len(a) + len(b) - 3)
    va, vb = (scale * float(r @ r) / (len(r) - 1) / len(r) for r in (ra, rb))
    difference = float(a.mean() - b.mean()) - theta * float(xa.mean() - xb.mean())
    total = va + vb
    df = total**2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1)) if total > 0 else float(len(a) + len(b) - 3)
    plain = float(ca @ ca + cb @ cb)
    removed = 1 - float(ra @ ra + rb @ rb) / plain if plain > 0 else 0.0
    test = t_test(difference, math.sqrt(total), df, n=len(a) + len(b), alternative=alternative, level=level)
    return Cuped(test, theta, removed)
