"""Ask a model, and keep its failure as a finding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

# Takes rows, returns plain numbers: array, list, Polars or pandas series.
Predict = Callable[[pl.DataFrame], Any]


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model said about some rows: `values`, or the `fault` that it showed instead ("" when it showed none)."""

    values: NDArray[np.float64]
    fault: str = ""

    @property
    def usable(self) -> bool:
        """True when the model answered with finite numbers of the expected shape."""
        return not self.fault


def ask(predict: Predict, rows: pl.DataFrame, *, expected: int | None = None) -> Answers:
    """Call `predict(rows)` and return its numbers, or its fault: it raised, answered in another shape than one number for each of
    `expected` units (None: any number of them, at least one), with something that is no number, or with NaN or infinity.

    >>> import polars as pl
    >>> rows = pl.DataFrame({"x": [1.0, 2.0]})
    >>> ask(lambda rows: rows["x"] * 2, rows, expected=2).values.tolist()
    [2.0, 4.0]
    >>> ask(lambda rows: [0.5], rows, expected=2).fault
    'answered in shape (1,), 2 numbers were wanted'
    >>> ask(lambda rows: rows["y"], rows).fault.split(":")[0]
    'raised ColumnNotFoundError'
    """
    nothing = np.empty(0)
    try:
        answer = predict(rows.clone())
    except Exception as failure:  # noqa: BLE001 - the model is what is being judged: that it raised is the finding, and it is kept
        return Answers(nothing, f"raised {type(failure).__name__}: {str(failure)[:200]}")
    try:
        values = np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError) as failure:
        return Answers(nothing, f"answered with {type(answer).__name__} that is no array of numbers: {str(failure)[:200]}")
    if values.ndim != 1 or len(values) == 0 or (expected is not None and len(values) != expected):
        wanted = "a flat list of numbers was wanted" if expected is None else f"{expected} numbers were wanted"
        return Answers(nothing, f"answered in shape {values.shape}, {wanted}")
    if bad := int(np.sum(~np.isfinite(values))):
        return Answers(nothing, f"answered with {bad} of {len(values)} numbers that are not finite")
    return Answers(values)
