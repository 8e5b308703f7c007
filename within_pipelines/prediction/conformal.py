"""Intervals that hold their coverage without believing the model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from within_pipelines.exceptions import SampleError


def conformal_quantile(scores: NDArray[np.float64], *, level: float) -> float:
    """The score that a new exchangeable case stays below with probability at least `level`.

    The ceil((n + 1) level)-th smallest of n calibration scores (split conformal; Vovk et al. 2005, Lei et al. 2018).

    Raises `SampleError` when n is too small for the level: no finite bound would hold.

    >>> conformal_quantile(np.arange(1., 100.), level=.9)
    90.0
    """
    n = scores.size
    rank = int(np.ceil((n + 1) * level - 1e-9))
    if rank > n:
        needed = int(np.ceil(level / (1 - level)))
        raise SampleError(f"{n} calibration cases cannot support {level:.0%} intervals; at least {needed} are needed.")
    return float(np.sort(scores)[rank - 1])
