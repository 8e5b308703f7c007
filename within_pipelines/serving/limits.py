"""How much may one caller ask? A token bucket for each."""

from __future__ import annotations

from collections import OrderedDict

_MOST_CALLERS = 10_000


class TokenBuckets:
    """For each caller `burst` tokens that come back at `rate` per second; a request takes one.

    >>> buckets = TokenBuckets(rate=2.0, burst=2)
    >>> [buckets.take("a", now=0.0), buckets.take("a", now=0.0), buckets.take("a", now=0.0), buckets.take("a", now=0.5)]
    [0.0, 0.0, 0.5, 0.0]
    """

    def __init__(self, *, rate: float, burst: int) -> None:
        self.rate = rate
        self.burst = burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str, *, now: float) -> float:
        """0.0 when the request may pass, else the seconds until one may."""
        tokens, since = self._left.pop(caller, (float(self.burst), now))
        tokens = min(float(self.burst), tokens + (now - since) * self.rate)
        waits = 0.0 if tokens >= 1 else (1 - tokens) / self.rate
        self._left[caller] = (tokens - 1 if waits == 0 else tokens, now)
        if len(self._left) > _MOST_CALLERS:
            self._left.popitem(last=False)
        return waits
