"""An encoder that knows what was planted."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


class FakeEncoder:
    """The words of a text as eight numbers each, averaged; "FAR" lies far away; `told` says otherwise for some texts."""

    name = "fake"

    def __init__(self, told: Mapping[str, Any] | None = None, sha256: str = "f" * 64) -> None:
        self.told = dict(told or {})
        self.sha256 = sha256
        self.asked: list[str] = []

    @property
    def dimension(self) -> int:
        return len(next(iter(self.told.values()))) if self.told else 8

    def encode(self, texts: Sequence[str], *, remember: bool = True) -> np.ndarray:
        self.asked += list(texts)
        return np.array([self._vector(text) for text in texts], dtype=np.float32).reshape(len(texts), self.dimension)

    def _vector(self, text: str) -> np.ndarray:
        if text in self.told:
            return np.asarray(self.told[text])
        if not text:
            return np.zeros(self.dimension)
        if text == "FAR":
            return np.full(self.dimension, 50.0)
        return np.mean([self._word(word) for word in text.lower().split()], axis=0)

    def _word(self, word: str) -> np.ndarray:
        return np.random.default_rng(int(hashlib.sha256(word.encode()).hexdigest()[:8], 16)).standard_normal(self.dimension)
