"""Rows of numbers that were computed before: creatives repeat, and for a single one the call costs more than the counting."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Key = TypeVar("Key", bound=Hashable)
Floats = NDArray[np.float64]
# A table of more rows is computed as a whole: there looking up costs more than it saves.
FEW = 256
_MOST = 50_000


class Remembered(Generic[Key]):
    """`compute(keys)` gives one row of `width` numbers per key, each from its key alone; the last ones are kept.

    Threads may share it: at worst a row is computed twice."""

    def __init__(self, compute: Callable[[Sequence[Key]], Floats], *, width: int) -> None:
        self._compute = compute
        self._width = width
        self._known: dict[Key, Floats] = {}

    def rows(self, keys: Sequence[Key]) -> Floats:
        """One row per key, in order."""
        if len(keys) > FEW:
            return self._compute(keys)
        known = self._known
        found = {key: known.get(key) for key in keys}
        new = [key for key, row in found.items() if row is None]
        if new:
            computed = dict(zip(new, self._compute(new), strict=True))
            found |= computed
            if len(known) + len(new) > _MOST:
                known = self._known = {}
            known |= computed
        return np.array([found[key] for key in keys], dtype=np.float64).reshape(len(keys), self._width)
