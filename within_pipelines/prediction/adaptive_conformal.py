"""Intervals that keep their coverage while the world drifts: the miss rate that is aimed at follows the misses that are seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from within_pipelines.exceptions import SampleError

Floats = NDArray[np.float64]

# Newest scores kept. Older ones describe a world that has gone; fewer make the far quantiles rough.
MEMORY = 4000
# Share of a day's surprise by which the miss rate moves.
RATE = 0.1
# Never aim below this share of misses: the largest score seen is the widest band that the data can support.
_FINEST = 1e-3
# Of a horizon's worth of days that agree, the miss rate may follow at most this far from where it should be.
_FARTHEST = 0.09


@dataclass(frozen=True, slots=True)
class AdaptiveConformal:
    """State of adaptive conformal inference over days.

    `level` is the coverage wanted, `miss` the miss rate now aimed at (1 - `level` at the start), `rate` how fast it follows, `scores` the
    newest non-conformity scores (|truth - prediction| / scale), oldest first, `days` how many days have been learned from.

    After a day with share `err` of truths outside the band, miss <- miss + rate (1 - level - err): misses widen the next band, days
    without narrow it, and the long-run coverage is `level` for any sequence whatever (Gibbs and Candes 2021, proposition 4.1). Labels that
    come `horizon` days late only delay the answer: call `learn` when a day's truths are known, with the scores of that day.

    >>> state = AdaptiveConformal.start(np.arange(1.0, 100.0), level=0.9, rate=0.1)
    >>> state.quantile(), state.learn([np.full(10, 1000.0)]).miss < 0.1
    (90.0, True)
    """

    level: float
    rate: float
    miss: float
    scores: Floats
    days: int = 0

    @classmethod
    def start(cls, scores: Floats, *, level: float, rate: float = RATE, blocks: int | None = None) -> AdaptiveConformal:
        """Begin with calibration `scores`, oldest first.

        `blocks` is the number of independent stretches (weeks) that they come from. Scores of one week move together, so few weeks say
        little about the next one: the miss rate starts at (1 - level) blocks / (blocks + 1), the rate of n exchangeable cases.

        Raises `SampleError` for a level outside (0, 1), a negative rate, scores that are not finite, and fewer scores than a band of this
        level needs."""
        if not 0 < level < 1 or rate < 0:
            raise SampleError(f"level={level}, rate={rate}; give a level between 0 and 1 and a rate of at least 0.")
        kept = _finite(scores)
        needed = int(np.ceil(level / (1 - level) - 1e-9))
        if kept.size < needed:
            raise SampleError(f"{kept.size} calibration cases cannot support {level:.0%} intervals; at least {needed} are needed.")
        return cls(level, rate, (1 - level) * (1.0 if blocks is None else blocks / (blocks + 1)), kept[-MEMORY:])

    def quantile(self) -> float:
        """The score that the next truth should stay below: the ceil((n + 1) (1 - miss))-th smallest, at most the largest one seen."""
        n = self.scores.size
        rank = int(np.ceil((n + 1) * (1 - max(self.miss, _FINEST)) - 1e-9))
        return float(np.partition(self.scores, min(max(rank, 1), n) - 1)[min(max(rank, 1), n) - 1])

    def learn(self, days: Sequence[Floats]) -> AdaptiveConformal:
        """The state after the scores of `days`, in their order (one array per day, empty ones skipped).

        The band that counts as tried is that of the state before the day. `miss` stays within 0.09 of its start at the 90 % level (in
        proportion at others), so that a long calm cannot leave a band that the next shock finds closed.

        Raises `SampleError` for scores that are not finite."""
        state = self
        for day in days:
            found = _finite(day)
            if not found.size:
                continue
            wanted = 1 - state.level
            farthest = wanted * _FARTHEST / 0.1
            missed = float(np.mean(found > state.quantile()))
            moved = state.miss + state.rate * (wanted - missed)
            state = replace(
                state,
                miss=float(np.clip(moved, wanted - farthest, wanted + farthest)),
                scores=np.concatenate([state.scores, found])[-MEMORY:],
                days=state.days + 1,
            )
        return state

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        numbers = {"level": self.level, "rate": self.rate, "miss": self.miss, "days": self.days}
        return {**numbers, "scores": self.scores.tolist()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> AdaptiveConformal:
        """The state that `to_dict` wrote."""
        return cls(values["level"], values["rate"], values["miss"], np.array(values["scores"], dtype=np.float64), values["days"])


def _finite(scores: Floats) -> Floats:
    found = np.asarray(scores, dtype=np.float64).reshape(-1)
    bad = int((~np.isfinite(found)).sum())
    if bad:
        raise SampleError(f"{bad} of {found.size} conformal scores are not finite; leave rows without a known truth out.")
    return found
