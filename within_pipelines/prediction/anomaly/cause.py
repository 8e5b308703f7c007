"""Why a metric moved: which total moved it, and which campaign or segment moved that. Everything adds up exactly, in logarithms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite, log

from within_pipelines.exceptions import SampleError

# Sign of each total in the logarithm of a metric; the totals themselves are their own cause.
PARTS: Mapping[str, Mapping[str, int]] = {
    "spend": {"spend": 1},
    "impressions": {"impressions": 1},
    "clicks": {"clicks": 1},
    "conversions": {"conversions": 1},
    "revenue": {"revenue": 1},
    "ctr": {"clicks": 1, "impressions": -1},
    "cpc": {"spend": 1, "clicks": -1},
    "cpm": {"spend": 1, "impressions": -1},
    "cvr": {"conversions": 1, "clicks": -1},
    "cpa": {"spend": 1, "conversions": -1},
    "roas": {"revenue": 1, "spend": -1},
}


@dataclass(frozen=True, slots=True)
class Share:
    """What one campaign or segment adds to the logarithm of the metric's change, and per total."""

    name: str
    log_change: float
    by_total: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Cause:
    """A metric's change against what was expected, in logarithms (0.69 is a doubling).

    `by_total` adds up to `log_change`: cpc = spend / clicks moves by what spend moved less what clicks moved. The `log_change` of the
    `shares`, largest first, adds up to it too, and their `by_total` to that of the whole."""

    metric: str
    log_change: float
    by_total: Mapping[str, float]
    shares: tuple[Share, ...] = ()


@dataclass(frozen=True, slots=True)
class Level:
    """A total now and as it was expected; a late total's `actual` is what was reported over the share known so far."""

    actual: float
    expected: float


def decompose(metric: str, totals: Mapping[str, Level], segments: Mapping[str, Mapping[str, Level]] | None = None) -> Cause | None:
    """Attribute the change of `metric` to its `totals`, and to `segments` (name -> totals) that make them up.

    A total's change splits over segments by the logarithmic mean Divisia index (Ang 2004): segment i adds (actual_i - expected_i) / L,
    L = (actual - expected) / log(actual / expected), which adds up without a rest, also for segments that come or go. What the segments
    do not explain of a total is the share of "(rest)". None where a total is missing or not positive, because there is no logarithm of it.

    Raises `SampleError` for an unknown metric.

    >>> cause = decompose("cpc", {"spend": Level(100.0, 100.0), "clicks": Level(50.0, 100.0)})
    >>> cause.by_total, round(cause.log_change, 3)
    ({'spend': 0.0, 'clicks': 0.6931471805599453}, 0.693)
    """
    if metric not in PARTS:
        raise SampleError(f"The metric {metric!r} has no known parts; give one of {sorted(PARTS)}.")
    signs = PARTS[metric]
    levels = {name: totals[name] for name in signs if name in totals}
    if len(levels) < len(signs) or any(not (0 < level.actual < inf and 0 < level.expected < inf) for level in levels.values()):
        return None
    by_total = {name: sign * log(levels[name].actual / levels[name].expected) for name, sign in signs.items()}
    log_change = sum(by_total.values())
    if not segments:
        return Cause(metric, log_change, by_total)
    parts: dict[str, dict[str, float]] = {name: {} for name in segments}
    rest: dict[str, float] = {}
    for total, sign in signs.items():
        mean = _logarithmic_mean(levels[total])
        for name, own in segments.items():
            level = own.get(total)
            moved = level.actual - level.expected if level is not None else 0.0
            parts[name][total] = sign * moved / mean if isfinite(moved) else 0.0
        rest[total] = by_total[total] - sum(part[total] for part in parts.values())
    parts["(rest)"] = rest
    shares = [Share(name, sum(part.values()), part) for name, part in parts.items()]
    shares.sort(key=lambda share: (-abs(share.log_change), share.name))
    return Cause(metric, log_change, by_total, tuple(shares))


def _logarithmic_mean(level: Level) -> float:
    """(a - b) / log(a / b), a for a = b."""
    ratio = log(level.actual / level.expected)
    return level.actual if abs(ratio) < 1e-9 else (level.actual - level.expected) / ratio
