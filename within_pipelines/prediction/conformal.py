"""Intervals that hold their coverage without believing the model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from within_pipelines.exceptions import SampleError


def conformal_quantile(scores: NDArray[np.float64], *, level: float) -> float:
    """The score that a new exchangeable case stays below with probability at least `level`.

    The ceil((n + 1) level)-th smallest of n calibration scores (split conformal; Vovk et al. 2005, Lei et al. 2018).

    Raises `SampleError` when n is too small for the level (no finite bound would hold), for a level outside (0, 1) and for scores that
    are not finite.

    >>> conformal_quantile(np.arange(1., 100.), level=.9)
    90.0
    """
    if not 0 < level < 1:
        raise SampleError(f"level={level} is no level; give a number between 0 and 1.")
    n = scores.size
    bad = int((~np.isfinite(scores)).sum())
    if bad:
        raise SampleError(f"{bad} of {n} calibration scores are not finite; no bound could be ranked among them.")
    rank = int(np.ceil((n + 1) * level - 1e-9))
    if rank > n:
        needed = int(np.ceil(level / (1 - level) - 1e-9))
        raise SampleError(f"{n} calibration cases cannot support {level:.0%} intervals; at least {needed} are needed.")
    return float(np.sort(scores)[rank - 1])
