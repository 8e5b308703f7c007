"""Since when has the loss been higher? The champion's daily mean loss, one day after another, through Page-Hinkley.

`concept_drift` compares two windows and says whether; this dates it, for whoever looks for the cause. It decides nothing and has no part in
the budget of false alarms: days of overlapping labels hang together, so its own rule would be too eager for that."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

# Half a standard deviation of the daily mean does not matter; five of what exceeds it are a signal. Fewer days have no deviation to go by.
DELTA, THRESHOLD, LEAST_DAYS, LEAST_ROWS = 0.5, 5.0, 14, 3


def loss_stream(before: pl.DataFrame, after: pl.DataFrame) -> dict[str, Any]:
    """Evidence of a rise: the first day after the reference on which Page-Hinkley signals, and the day since which the loss is higher.

    `before` are rows judged before the version served, `after` those since, both with `day` and the `realised` loss. The days before give
    the level and the standard deviation of a daily mean. `stream_signal` and `stream_since` are None where nothing rose;
    `stream_days` is 0 where fewer than 14 days before, or none after, have three rows."""
    from within_pipelines.monitoring import PageHinkley

    (_, known), (days, means) = _daily(before), _daily(after)
    level = sum(known) / len(known) if known else 0.0
    spread = (sum((mean - level) ** 2 for mean in known) / (len(known) - 1)) ** 0.5 if len(known) > 1 else 0.0
    if len(known) < LEAST_DAYS or not days or spread < 1e-9:
        return {"stream_days": 0, "stream_signal": None, "stream_since": None}
    stream = PageHinkley(delta=DELTA, threshold=THRESHOLD, minimum=LEAST_DAYS)
    # A rise among the days before is no news: the stream begins anew after it.
    stream.feed((mean - level) / spread for mean in known)
    calm = True
    since: date | None = None
    for day, mean in zip(days, means, strict=True):
        if stream.add((mean - level) / spread):
            return {"stream_days": len(days), "stream_signal": day, "stream_since": since or day}
        # The sum is at its lowest while nothing rises; the first day above is where the rise began.
        since = (day if calm else since) if stream.total > stream.lowest else None
        calm = since is None
    return {"stream_days": len(days), "stream_signal": None, "stream_since": None}


def _daily(rows: pl.DataFrame) -> tuple[list[date], list[float]]:
    import polars as pl

    if not rows.height:
        return [], []
    known = rows.filter(pl.col("realised").is_not_null())
    found = known.group_by("day").agg(pl.len(), mean=pl.col("realised").mean()).filter(pl.col("len") >= LEAST_ROWS).sort("day")
    return found["day"].to_list(), found["mean"].to_list()
