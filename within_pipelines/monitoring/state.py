"""The answers to "has it moved?", and the samples that the question is put to."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError


class DriftState(StrEnum):
    """`INSUFFICIENT` says that a shift of the size that matters could not have been seen; it is not calm.

    `MEASUREMENT_CHANGE` says that something moved and that a dated event of the measurement calendar explains it: the ruler changed, not
    the world, so nothing is to be retrained."""

    DRIFTED = "drifted"
    STABLE = "stable"
    INSUFFICIENT = "insufficient"
    MEASUREMENT_CHANGE = "measurement_change"


def finite_sample(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """`values` as a flat array of finite numbers.

    Raises `SampleError` when it is empty, not flat, or holds values that are not finite."""
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or len(sample) == 0:
        raise SampleError(f"{name} has shape {sample.shape}; give a flat sample with at least one value.")
    if bad := int(np.sum(~np.isfinite(sample))):
        raise SampleError(
            f"{name} holds {bad} of {len(sample)} values that are not finite; impute or drop them first, because a bin of their own "
            "would hide a rise in missing data (feature_drift reports missing shares beside the values)."
        )
    return sample
