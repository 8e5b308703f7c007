"""When a fact became known."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

# An export without an export time is taken to have been reportable 34 hours after the event day began: every account's own day is over by
# then (UTC-10 included), and a daily export made in the morning would have held it.
ASSUMED_LAG = timedelta(hours=34)
_KNOWLEDGE_DELAY = timedelta(days=1, hours=12)


def knowledge_time(origin: date) -> datetime:
    """The moment up to which facts count for a prediction whose last complete day is `origin`: noon UTC of the next day.

    >>> knowledge_time(date(2026, 3, 1)).isoformat()
    '2026-03-02T12:00:00+00:00'
    """
    return datetime.combine(origin, time(), tzinfo=UTC) + _KNOWLEDGE_DELAY


def assumed_as_of(day: date) -> datetime:
    """The knowledge time assumed for a fact of `day` in an export that does not say when it was made."""
    return datetime.combine(day, time(), tzinfo=UTC) + ASSUMED_LAG
