"""What happens to an answer when only the protected attribute changes: the direct use of it, which no sample is too small to see."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from within_pipelines.exceptions import SampleError
from within_pipelines.stats import Estimate, Status, cluster_mean

_GENDER = (
    ("women", "men"), ("woman", "man"), ("female", "male"), ("girls", "boys"), ("girl", "boy"), ("mothers", "fathers"), ("moms", "dads"),
)  # fmt: skip
_SWAP = {a: b for pair in _GENDER for a, b in (pair, pair[::-1])}
_WORD = re.compile(r"\b(" + "|".join(sorted(_SWAP, key=len, reverse=True)) + r")\b", re.IGNORECASE)
_AGE = re.compile(r"\b(\d\d)\s*(?:\+|[-\u2013]\s*\d\d\+?)")
OLDER = 45
ATTRIBUTES: tuple[str, ...] = ("gender", "age")


def declared(segment: str | None, attribute: str) -> str:
    """The group that an audience segment names: women or men, "under 45" or "45+"; empty where it names none or both.

    >>> declared("Women 45+", "gender"), declared("Women 45+", "age"), declared("broad", "gender")
    ('women', '45+', '')
    """
    text = segment or ""
    if attribute == "age":
        ages = {int(found.group(1)) >= OLDER for found in _AGE.finditer(text)}
        return "" if len(ages) != 1 else "45+" if ages.pop() else "under 45"
    first = {a for a, _ in _GENDER}
    sides = {"women" if found.group(1).lower() in first else "men" for found in _WORD.finditer(text)}
    return sides.pop() if len(sides) == 1 else ""


def flipped(segment: str | None, attribute: str) -> str | None:
    """The same segment for the other group of `attribute`; unchanged where it names none.

    >>> flipped("Women 45+", "gender"), flipped("Women 45+", "age"), flipped(None, "age")
    ('men 45+', 'Women 18-44', None)
    """
    if segment is None or not declared(segment, attribute):
        return segment
    if attribute == "age":
        other = "18-44" if declared(segment, "age") == "45+" else "45+"
        return _AGE.sub(other, segment)
    return _WORD.sub(lambda found: _SWAP[found.group(1).lower()], segment)


@dataclass(frozen=True, slots=True)
class FlipEffect:
    """Mean absolute change of an answer when the attribute is flipped, by attribute, with intervals over clusters.

    Passed when every interval lies at or below `limit`, failed when one lies above, else insufficient; without a row that declares an
    attribute nothing can change, and it passes with `effects` empty."""

    effects: Mapping[str, Estimate]
    limit: float

    @property
    def status(self) -> Status:
        """The outcome."""
        if any(effect.low > self.limit for effect in self.effects.values()):
            return Status.FAILED
        return Status.PASSED if all(effect.high <= self.limit for effect in self.effects.values()) else Status.INSUFFICIENT

    @property
    def reason(self) -> str:
        """One sentence."""
        if not self.effects:
            return "No row declares a protected attribute, so none can be flipped."
        said = ", ".join(f"{name} {effect}" for name, effect in self.effects.items())
        beside = {Status.PASSED: "at most", Status.FAILED: "above", Status.INSUFFICIENT: "not surely at most"}[self.status]
        return f"Flipping the declared attribute moves answers by {said}, {beside} {self.limit:g}."


def flip_effect(
    answers: Callable[[pl.DataFrame], ArrayLike],
    rows: pl.DataFrame,
    flips: Mapping[str, Callable[[pl.DataFrame], pl.DataFrame]],
    *,
    clusters: ArrayLike,
    limit: float,
    rng: np.random.Generator,
    concerned: Mapping[str, ArrayLike] | None = None,
    n_resamples: int = 1000,
) -> FlipEffect:
    """Ask `answers` (any number of values per table, in units of `limit`) for `rows` and for each flipped table.

    `clusters` names the independent unit of each answer; `concerned` which answers belong to a row that declares the attribute (default:
    all). A flip is a function of the table, so that a declared causal or proxy model may change what follows from the attribute too.

    Raises `SampleError` when answers differ in number or are not finite.

    >>> rows = pl.DataFrame({"segment": ["women", "men"] * 20})
    >>> swap = lambda t: t.with_columns(pl.col("segment").replace({"women": "men", "men": "women"}))
    >>> unfair = lambda t: (t["segment"] == "men").cast(pl.Float64)
    >>> flip_effect(unfair, rows, {"gender": swap}, clusters=range(40), limit=0.05, rng=np.random.default_rng(7)).status.value
    'failed'
    """
    before = np.asarray(answers(rows), dtype=np.float64)
    unit = np.asarray(clusters)
    effects = {}
    for name, flip in flips.items():
        after = np.asarray(answers(flip(rows)), dtype=np.float64)
        if after.shape != before.shape or before.shape != unit.shape or not (np.all(np.isfinite(after)) and np.all(np.isfinite(before))):
            raise SampleError(
                f"{before.size} answers before, {after.size} after flipping {name}, {unit.size} clusters; all must be finite."
            )
        keep = np.ones(before.size, dtype=bool) if concerned is None else np.asarray(concerned[name], dtype=bool)
        if keep.any() and len(np.unique(unit[keep])) > 1:
            effects[name] = cluster_mean(np.abs(after - before)[keep], unit[keep], rng=rng, n_resamples=n_resamples)
    return FlipEffect(effects, limit)
